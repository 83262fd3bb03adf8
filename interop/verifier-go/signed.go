// Signatures: who says a record, on which network, for which purpose.

package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
)

// Signed is a record and its signature. The signer is named inside the record.
type Signed[T record] struct {
	Body      Encoded[T] `cbor:"body"`
	Signature [64]byte   `cbor:"signature"`
}

// record is what can be signed.
type record interface {
	purpose() string
	signer() Account
}

func (s *Signed[T]) verify(network Digest) error {
	body := s.Body.Value
	signed := message(network, body.purpose(), s.Body.Canonical)
	if err := verifyStrict(body.signer(), signed, s.Signature); err != nil {
		return fmt.Errorf("the %s by %s is not signed: %w", body.purpose(), body.signer(), err)
	}
	return nil
}

// verifyStrict is Ed25519 without cofactor, for canonical encodings of points that are not of small order.
//
// crypto/ed25519 demands s below the group order, and compares R as bytes, so R is canonical; the rest is checked here.
func verifyStrict(key Account, message []byte, signature [64]byte) error {
	for _, encoding := range [][]byte{key[:], signature[:32]} {
		point, err := new(edwards25519.Point).SetBytes(encoding)
		if err != nil {
			return errors.New("a point is not on the curve")
		}
		if [32]byte(point.Bytes()) != [32]byte(encoding) {
			return errors.New("a point is not encoded canonically")
		}
		if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
			return errors.New("a point is of small order")
		}
	}
	if !ed25519.Verify(key[:], message, signature[:]) {
		return errors.New("the signature does not verify")
	}
	return nil
}
