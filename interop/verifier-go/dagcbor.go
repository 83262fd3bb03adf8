// Canonical DAG-CBOR, as proof.md ("Notation") has it, and nothing else: whatever decodes here has exactly one encoding,
// so the bytes that were read are the canonical bytes, and nothing is ever encoded again to be hashed.
//
// What a record looks like is said by a Go type:
//
//	struct          a map with exactly these fields; the tag `cbor` names them
//	choice struct   (embeds choice) one of its fields: a bool for a name that carries nothing, else a pointer
//	pointer         the value, or null
//	slice, []byte   list, blob
//	[N]byte         blob of N bytes
//	CID             tag 42
//	uintN, bool     integer that fits, true or false
//	string          text; one of names() if the type has them

package main

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Digest is a SHA-256 digest.
type Digest [32]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Account is the Ed25519 public key of an account or a node.
type Account [32]byte

// String is the account's did:key, or what it is for if no key belongs to it.
func (a Account) String() string {
	if a == treasury {
		return "treasury"
	}
	return "did:key:z" + base58(append([]byte{0xed, 0x01}, a[:]...))
}

// base58 is base58btc of bytes that do not begin with a zero.
func base58(bytes []byte) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	number, base, digit := new(big.Int).SetBytes(bytes), big.NewInt(58), new(big.Int)
	var digits []byte
	for number.Sign() > 0 {
		number.DivMod(number, base, digit)
		digits = append(digits, alphabet[digit.Int64()])
	}
	slices.Reverse(digits)
	return string(digits)
}

// CID is a version 1 CID with a sha2-256 multihash: version, codec, 12 20, digest.
type CID [36]byte

func (c CID) String() string {
	return "b" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(c[:]))
}

const (
	codecRaw     = 0x55
	codecDagPB   = 0x70
	codecDagCBOR = 0x71
)

// cidOf is the dag-cbor CID of canonical bytes.
func cidOf(canonical []byte) CID {
	digest := sha256.Sum256(canonical)
	return CID(append([]byte{1, codecDagCBOR, 0x12, 32}, digest[:]...))
}

// Encoded is a value together with its canonical bytes.
type Encoded[T any] struct {
	Value     T
	Canonical []byte
}

func (e *Encoded[T]) decode(d *decoder) error {
	start := d.at
	if err := d.value(reflect.ValueOf(&e.Value).Elem()); err != nil {
		return err
	}
	e.Canonical = d.data[start:d.at]
	return nil
}

// Digest is what proof.md writes as D(x).
func (e *Encoded[T]) Digest() Digest { return sha256.Sum256(e.Canonical) }

// choice, embedded, makes a struct a choice.
type choice struct{}

// named is text that can only be one of some names.
type named interface{ names() []string }

// decodable has a decoder of its own.
type decodable interface{ decode(*decoder) error }

// unmarshal decodes all of data, which may have at most max bytes.
func unmarshal(data []byte, max int, into any) error {
	if len(data) > max {
		return fmt.Errorf("%d bytes; at most %d are allowed", len(data), max)
	}
	d := &decoder{data: data}
	if err := d.value(reflect.ValueOf(into).Elem()); err != nil {
		return fmt.Errorf("byte %d: %w", d.at, err)
	}
	if d.at != len(data) {
		return fmt.Errorf("%d bytes after the end", len(data)-d.at)
	}
	return nil
}

type decoder struct {
	data []byte
	at   int
}

// Major types of CBOR.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorList
	majorMap
	majorTag
	majorSimple
)

// Simple values that DAG-CBOR has, and the tag of a CID.
const (
	simpleFalse = 20
	simpleTrue  = 21
	simpleNull  = 22
	tagCID      = 42
)

var errEnd = errors.New("ends too early")

func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.data)-d.at) {
		return nil, errEnd
	}
	taken := d.data[d.at : d.at+int(n)]
	d.at += int(n)
	return taken, nil
}

// head reads a head: its major type, and its argument in the shortest form.
func (d *decoder) head() (major byte, argument uint64, err error) {
	initial, err := d.take(1)
	if err != nil {
		return 0, 0, err
	}
	major, info := initial[0]>>5, initial[0]&31
	if info < 24 {
		return major, uint64(info), nil
	}
	if info > 27 {
		return 0, 0, errors.New("an indefinite length, or a reserved head")
	}
	if major == majorSimple {
		return 0, 0, errors.New("a floating-point number or an unknown simple value")
	}
	width := 1 << (info - 24)
	digits, err := d.take(uint64(width))
	if err != nil {
		return 0, 0, err
	}
	for _, digit := range digits {
		argument = argument<<8 | uint64(digit)
	}
	least := uint64(24)
	if width > 1 {
		least = 1 << (8 * width / 2)
	}
	if argument < least {
		return 0, 0, errors.New("an integer that is not in its shortest form")
	}
	return major, argument, nil
}

// argument reads a head that must be of this major type.
func (d *decoder) argument(want byte, what string) (uint64, error) {
	major, argument, err := d.head()
	if err == nil && major != want {
		err = errors.New("no " + what + " here")
	}
	return argument, err
}

func (d *decoder) bytes() ([]byte, error) {
	length, err := d.argument(majorBytes, "byte string")
	if err != nil {
		return nil, err
	}
	return d.take(length)
}

func (d *decoder) text() (string, error) {
	length, err := d.argument(majorText, "text")
	if err != nil {
		return "", err
	}
	text, err := d.take(length)
	if err == nil && !utf8.Valid(text) {
		err = errors.New("text that is not UTF-8")
	}
	return string(text), err
}

func (d *decoder) cid() (CID, error) {
	tag, err := d.argument(majorTag, "CID")
	if err != nil {
		return CID{}, err
	}
	link, err := d.bytes()
	if err != nil {
		return CID{}, err
	}
	if tag != tagCID || len(link) != 1+len(CID{}) || link[0] != 0 {
		return CID{}, errors.New("no CID here")
	}
	cid := CID(link[1:])
	known := cid[1] == codecRaw || cid[1] == codecDagPB || cid[1] == codecDagCBOR
	if cid[0] != 1 || !known || cid[2] != 0x12 || cid[3] != 32 {
		return CID{}, errors.New("a CID of another kind")
	}
	return cid, nil
}

// peekNull skips a null, if there is one.
func (d *decoder) peekNull() bool {
	null := d.at < len(d.data) && d.data[d.at] == majorSimple<<5|simpleNull
	if null {
		d.at++
	}
	return null
}

func (d *decoder) value(into reflect.Value) error {
	switch own := into.Addr().Interface().(type) {
	case decodable:
		return own.decode(d)
	case *CID:
		cid, err := d.cid()
		*own = cid
		return err
	case *[]byte:
		blob, err := d.bytes()
		*own = blob
		return err
	}
	switch into.Kind() {
	case reflect.Bool:
		major, argument, err := d.head()
		if err == nil && (major != majorSimple || argument != simpleTrue && argument != simpleFalse) {
			err = errors.New("neither true nor false")
		}
		into.SetBool(argument == simpleTrue)
		return err
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		number, err := d.argument(majorUint, "unsigned integer")
		if err == nil && into.OverflowUint(number) {
			err = errors.New("the integer is too large")
		}
		into.SetUint(number)
		return err
	case reflect.String:
		return d.name(into)
	case reflect.Array:
		blob, err := d.bytes()
		if err == nil && len(blob) != into.Len() {
			err = fmt.Errorf("%d bytes where %d belong", len(blob), into.Len())
		}
		reflect.Copy(into, reflect.ValueOf(blob))
		return err
	case reflect.Slice:
		return d.list(into)
	case reflect.Pointer:
		if d.peekNull() {
			return nil
		}
		into.Set(reflect.New(into.Type().Elem()))
		return d.value(into.Elem())
	case reflect.Struct:
		if into.NumField() > 0 && into.Type().Field(0).Type == reflect.TypeFor[choice]() {
			return d.choice(into)
		}
		return d.fields(into)
	default:
		panic("no rule for " + into.Type().String())
	}
}

func (d *decoder) name(into reflect.Value) error {
	text, err := d.text()
	if err != nil {
		return err
	}
	if of, ok := into.Interface().(named); ok && !slices.Contains(of.names(), text) {
		return fmt.Errorf("%q is none of %s", text, strings.Join(of.names(), ", "))
	}
	into.SetString(text)
	return nil
}

func (d *decoder) list(into reflect.Value) error {
	length, err := d.argument(majorList, "list")
	if err != nil {
		return err
	}
	for range length {
		// One by one: a length that lies must not reserve memory.
		into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
		if err := d.value(into.Index(into.Len() - 1)); err != nil {
			return err
		}
	}
	return nil
}

// fields reads a map that has exactly the fields of a struct, in canonical order.
func (d *decoder) fields(into reflect.Value) error {
	order := canonicalOrder(into.Type())
	length, err := d.argument(majorMap, "map")
	if err != nil {
		return err
	}
	if length != uint64(len(order)) {
		return fmt.Errorf("%d fields where %d belong", length, len(order))
	}
	for _, field := range order {
		key, err := d.text()
		if err != nil {
			return err
		}
		if want := field.Tag.Get("cbor"); key != want {
			return fmt.Errorf("field %q where %q belongs", key, want)
		}
		if err := d.value(into.FieldByIndex(field.Index)); err != nil {
			return err
		}
	}
	return nil
}

// canonicalOrder sorts the fields by the length of their names, then bytewise.
func canonicalOrder(of reflect.Type) []reflect.StructField {
	fields := reflect.VisibleFields(of)
	fields = slices.DeleteFunc(fields, func(field reflect.StructField) bool { return field.Tag.Get("cbor") == "" })
	slices.SortFunc(fields, func(a, b reflect.StructField) int {
		left, right := a.Tag.Get("cbor"), b.Tag.Get("cbor")
		if len(left) != len(right) {
			return len(left) - len(right)
		}
		return strings.Compare(left, right)
	})
	return fields
}

// choice reads a name, or a map with one key.
func (d *decoder) choice(into reflect.Value) error {
	carries := false
	if d.at < len(d.data) && d.data[d.at]>>5 == majorMap {
		length, err := d.argument(majorMap, "map")
		if err != nil {
			return err
		}
		if length != 1 {
			return errors.New("a choice has one key")
		}
		carries = true
	}
	name, err := d.text()
	if err != nil {
		return err
	}
	for _, field := range reflect.VisibleFields(into.Type()) {
		if field.Tag.Get("cbor") != name || (field.Type.Kind() == reflect.Pointer) != carries {
			continue
		}
		chosen := into.FieldByIndex(field.Index)
		if !carries {
			chosen.SetBool(true)
			return nil
		}
		chosen.Set(reflect.New(field.Type.Elem()))
		return d.value(chosen.Elem())
	}
	return fmt.Errorf("unknown choice %q", name)
}

// The few things that are encoded: the archive of a result.

func appendHead(to []byte, major byte, argument uint64) []byte {
	switch {
	case argument < 24:
		return append(to, major<<5|byte(argument))
	case argument < 1<<8:
		return append(to, major<<5|24, byte(argument))
	case argument < 1<<16:
		return append(to, major<<5|25, byte(argument>>8), byte(argument))
	case argument < 1<<32:
		return append(append(to, major<<5|26), u32(uint32(argument))...)
	default:
		return append(append(to, major<<5|27), u64(argument)...)
	}
}

func appendText(to []byte, text string) []byte {
	return append(appendHead(to, majorText, uint64(len(text))), text...)
}

func appendBytes(to []byte, blob []byte) []byte {
	return append(appendHead(to, majorBytes, uint64(len(blob))), blob...)
}

func appendInteger(to []byte, number int64) []byte {
	if number < 0 {
		return appendHead(to, majorNegative, uint64(-1-number))
	}
	return appendHead(to, majorUint, uint64(number))
}
