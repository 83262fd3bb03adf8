// Link `finality`: headers, certificates and seeds under the network key, records in the log, checkpoints.

package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"
)

// Header is what a verifier reads of a block's header.
type Header struct {
	Epoch, View uint64
	Height      uint64
	TimeMs      uint64
	LogSize     uint64
	LogRoot     Digest
}

func parseHeader(header []byte) (Header, error) {
	r := &reader{rest: header}
	if version := r.take(1); !r.failed && version[0] != 1 {
		return Header{}, fmt.Errorf("a header of version %d", version[0])
	}
	h := Header{Epoch: r.u64(), View: r.u64()}
	r.take(32) // leader
	parentView := r.u64()
	r.take(32) // parent
	h.Height, h.TimeMs = r.u64(), r.u64()
	r.take(32 + 32) // state root, root of the state operations
	start, end := r.u64(), r.u64()
	r.take(32) // transactions
	h.LogSize = r.u64()
	h.LogRoot = Digest(r.take(32))
	seed := r.option(48)
	r.option(32) // digest of a payload
	switch {
	case r.failed || len(r.rest) != 0:
		return Header{}, errors.New("a header of another length or with an unknown option")
	case start >= end:
		return Header{}, errors.New("state operations that end before they start")
	case seed != (parentView != 0):
		return Header{}, errors.New("a seed where none belongs, or none where one does")
	case h.View != 0 && parentView >= h.View:
		return Header{}, errors.New("the parent's view is not below the header's")
	}
	return h, nil
}

// reader takes fields of fixed width off a byte string, big-endian. Once it failed it gives zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.failed, r.rest = true, nil
		return make([]byte, n)
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// option skips an optional field of n bytes and says whether it is there.
func (r *reader) option(n int) bool {
	switch r.u8() {
	case 0:
		return false
	case 1:
		r.take(n)
		return true
	default:
		r.failed = true
		return false
	}
}

// sized takes a byte string that begins with its length as u16 (TPM2B).
func (r *reader) sized() []byte { return r.take(int(r.u16())) }

// Certificate is a quorum's signature under the network key.
type Certificate struct {
	epoch, view uint64
	round       []byte // bytes of epoch and view
	proposal    []byte // and of parent view and payload
	payload     Digest
	vote, seed  [48]byte
}

const certificateBytesMax = 158

func parseCertificate(certificate []byte) (c Certificate, err error) {
	if len(certificate) > certificateBytesMax {
		return c, errors.New("the certificate is too long")
	}
	at := 0
	for _, into := range []*uint64{&c.epoch, &c.view, new(uint64)} {
		number, width := binary.Uvarint(certificate[at:])
		if width <= 0 || width > 1 && certificate[at+width-1] == 0 {
			return c, errors.New("the certificate has a number that is not minimal LEB128 of 64 bits")
		}
		*into = number
		at += width
		if into == &c.view {
			c.round = certificate[:at]
		}
	}
	if len(certificate)-at != 32+48+48 {
		return c, errors.New("the certificate is of another length")
	}
	c.payload = Digest(certificate[at:])
	c.proposal = certificate[:at+32]
	c.vote = [48]byte(certificate[at+32:])
	c.seed = [48]byte(certificate[at+80:])
	return c, nil
}

// networkKey is what certificates and seeds are verified with.
type networkKey struct {
	network Digest
	point   bls.G2Affine
}

func parseNetworkKey(network Digest, compressed [96]byte) (networkKey, error) {
	k := networkKey{network: network}
	_, err := k.point.SetBytes(compressed[:])
	if err == nil && k.point.IsInfinity() {
		err = errors.New("it is infinity")
	}
	if err != nil {
		return k, fmt.Errorf("the network key is no key: %w", err)
	}
	return k, nil
}

const hashToCurveTag = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"

// verify checks e(signature, G2) = e(hash_to_G1(m(N ‖ suffix, msg)), key).
func (k networkKey) verify(signature [48]byte, suffix string, msg []byte) error {
	var point bls.G1Affine
	if _, err := point.SetBytes(signature[:]); err != nil {
		return err
	}
	if point.IsInfinity() {
		return errors.New("the signature is infinity")
	}
	namespace := append(domain(k.network, "consensus"), suffix...)
	signed := binary.AppendUvarint(nil, uint64(len(namespace)))
	signed = append(append(signed, namespace...), msg...)
	hashed, err := bls.HashToG1(signed, []byte(hashToCurveTag))
	if err != nil {
		return err
	}
	hashed.Neg(&hashed)
	_, _, _, generator := bls.Generators()
	holds, err := bls.PairingCheck([]bls.G1Affine{point, hashed}, []bls.G2Affine{generator, k.point})
	if err == nil && !holds {
		err = errors.New("the signature is not the network's")
	}
	return err
}

func (k networkKey) verifyCertificate(c Certificate) error {
	if err := k.verify(c.vote, "_FINALIZE", c.proposal); err != nil {
		return fmt.Errorf("the certificate's votes: %w", err)
	}
	if err := k.verify(c.seed, "_SEED", c.round); err != nil {
		return fmt.Errorf("the certificate's seed: %w", err)
	}
	return nil
}

func (k networkKey) verifySeed(s Seed) error {
	round := binary.AppendUvarint(binary.AppendUvarint(nil, s.Round.Epoch), s.Round.View)
	if err := k.verify(s.Signature, "_SEED", round); err != nil {
		return fmt.Errorf("the seed of epoch %d, view %d: %w", s.Round.Epoch, s.Round.View, err)
	}
	return nil
}

// verifyHead checks that the network has certified a header as final.
func (k networkKey) verifyHead(head Head, header Header) error {
	certificate, err := parseCertificate(head.Certificate)
	if err != nil {
		return err
	}
	switch {
	case certificate.payload != hash(head.Header):
		return errors.New("the certificate is about another header")
	case certificate.epoch != header.Epoch || header.View > certificate.view:
		return errors.New("the certificate is of another round than the header")
	}
	return k.verifyCertificate(certificate)
}

// provenRecord is a record that is in the log.
type provenRecord struct {
	Record
	index  uint64
	digest Digest // of its bytes
}

const recordBytesMax = 192 << 10

// openRecords proves the records and decodes them.
func openRecords(network Digest, header Header, proven Proven) ([]provenRecord, error) {
	if len(proven.Records) == 0 {
		return nil, errors.New("the proof holds no records")
	}
	leaves := make([]indexedLeaf, len(proven.Records))
	for i, record := range proven.Records {
		if record.Index >= header.LogSize || i > 0 && record.Index <= proven.Records[i-1].Index {
			return nil, errors.New("the records are not in order, or not all in the log")
		}
		data := hash(record.Record)
		leaves[i] = indexedLeaf{record.Index, leafHash(data[:])}
	}
	root, left, err := multiRoot(leaves, 0, header.LogSize, proven.Digests)
	switch {
	case err != nil:
		return nil, err
	case len(left) != 0:
		return nil, errors.New("the proof of the records has too many digests")
	case root != header.LogRoot:
		return nil, errors.New("the records are not in the log")
	}
	records := make([]provenRecord, len(proven.Records))
	for i, bytes := range proven.Records {
		record := provenRecord{index: bytes.Index, digest: hash(bytes.Record)}
		if err := unmarshal(bytes.Record, recordBytesMax, &record.Record); err != nil {
			return nil, fmt.Errorf("record %d: %w", bytes.Index, err)
		}
		if record.Network != network || record.Height > header.Height || record.TimeMs > header.TimeMs {
			return nil, fmt.Errorf("record %d is of another network, or later than the head", bytes.Index)
		}
		records[i] = record
	}
	return records, nil
}

// Checkpoint is a head that is known to be of the true history.
type Checkpoint struct {
	Height  uint64
	TimeMs  uint64
	LogSize uint64
	LogRoot Digest
}

// check demands that a head may be of the checkpoint's history, and answers whether it is shown to be.
func (c Checkpoint) check(header Header, extension *Extension) (linked bool, err error) {
	heights := cmp.Compare(header.Height, c.Height)
	if cmp.Compare(header.TimeMs, c.TimeMs) != heights || cmp.Compare(header.LogSize, c.LogSize)*heights < 0 ||
		heights == 0 && header.LogSize != c.LogSize {
		return false, errors.New("the head and the checkpoint contradict each other")
	}
	if header.LogSize == c.LogSize && header.LogRoot != c.LogRoot {
		return false, errors.New("the head has another log than the checkpoint")
	}
	if header.LogSize == c.LogSize || extension == nil {
		return header.LogSize == c.LogSize, nil
	}
	if header.LogSize > c.LogSize {
		linked = extension.links(c.LogSize, header.LogSize, c.LogRoot, header.LogRoot)
	} else {
		linked = extension.links(header.LogSize, c.LogSize, header.LogRoot, c.LogRoot)
	}
	if !linked {
		err = errors.New("the extension does not link the logs of head and checkpoint")
	}
	return linked, err
}
