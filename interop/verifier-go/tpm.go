// TPM structures, as the TPM 2.0 library specification has them: keys, signatures, quotes.

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"math/big"
)

// Numbers of algorithms and of structures.
const (
	algECC    = 0x0023
	algECDSA  = 0x0018
	algSHA256 = 0x000b
	algSHA384 = 0x000c
	algNull   = 0x0010
	curveP256 = 0x0003

	tpmGenerated = 0xff544347 // the TPM made it, nobody gave it to the TPM to sign
	typeQuote    = 0x8018
)

// Attributes of a key.
const (
	fixedTPM            = 1 << 1
	fixedParent         = 1 << 4
	sensitiveDataOrigin = 1 << 5
	restricted          = 1 << 16
	decrypt             = 1 << 17
	sign                = 1 << 18
)

var errTPM = errors.New("a structure of the TPM ends early or late")

// tpmName is the name by which a TPM knows a key: its name algorithm, and the digest of its public area under that.
func tpmName(public []byte) ([]byte, error) {
	r := &reader{rest: public}
	r.u16() // kind of key
	switch algorithm := r.u16(); algorithm {
	case algSHA256:
		digest := sha256.Sum256(public)
		return append(u16(algorithm), digest[:]...), nil
	case algSHA384:
		digest := sha512.Sum384(public)
		return append(u16(algorithm), digest[:]...), nil
	default:
		return nil, errors.New("the name algorithm of the attestation key is neither SHA-256 nor SHA-384")
	}
}

// parseAttestationKey reads a TPMT_PUBLIC.
func parseAttestationKey(public []byte) (*ecdsa.PublicKey, error) {
	r := &reader{rest: public}
	kind := r.u16()
	r.u16() // name algorithm
	attributes := r.u32()
	r.sized() // authPolicy
	symmetric, scheme, schemeHash, curve, kdf := r.u16(), r.u16(), r.u16(), r.u16(), r.u16()
	x, y := r.sized(), r.sized()
	if r.failed || len(r.rest) != 0 {
		return nil, errTPM
	}
	wanted := [...]uint16{algECC, algNull, algECDSA, algSHA256, curveP256, algNull}
	if wanted != [...]uint16{kind, symmetric, scheme, schemeHash, curve, kdf} {
		return nil, errors.New("the attestation key is not a P-256 key for ECDSA with SHA-256")
	}
	const needed = fixedTPM | fixedParent | sensitiveDataOrigin | restricted | sign
	if attributes&needed != needed || attributes&decrypt != 0 {
		return nil, errors.New("the attestation key is not a restricted signing key that stays in its TPM")
	}
	if len(x) > 32 || len(y) > 32 {
		return nil, errors.New("the attestation key is no point")
	}
	point := make([]byte, 65)
	point[0] = 4
	copy(point[33-len(x):], x)
	copy(point[65-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// parseTPMSignature reads a TPMT_SIGNATURE.
func parseTPMSignature(signature []byte) (r, s *big.Int, err error) {
	in := &reader{rest: signature}
	algorithm, hashed := in.u16(), in.u16()
	r, s = new(big.Int).SetBytes(in.sized()), new(big.Int).SetBytes(in.sized())
	if in.failed || len(in.rest) != 0 {
		return nil, nil, errTPM
	}
	if algorithm != algECDSA || hashed != algSHA256 {
		return nil, nil, errors.New("the quote is not signed with ECDSA and SHA-256")
	}
	return r, s, nil
}

// quote is what a verifier reads of a TPMS_ATTEST.
type quote struct {
	extraData       []byte
	selection       [selectionBytes]byte
	registersDigest []byte
}

const selectionBytes = 4 + 2 + 1 + 3

func parseQuote(attest []byte) (q quote, err error) {
	r := &reader{rest: attest}
	magic, kind := r.u32(), r.u16()
	if magic != tpmGenerated || kind != typeQuote {
		return q, errors.New("the TPM signed something else than a quote")
	}
	r.sized() // qualifiedSigner
	q.extraData = r.sized()
	r.take(8 + 4 + 4 + 1) // clockInfo
	r.take(8)             // firmwareVersion
	q.selection = [selectionBytes]byte(r.take(selectionBytes))
	q.registersDigest = r.sized()
	if r.failed || len(r.rest) != 0 {
		return q, errTPM
	}
	return q, nil
}

// selectionOf is the TPML_PCR_SELECTION of these registers of the SHA-256 bank, none above 23: one bank, three bytes.
func selectionOf(registers []Register) [selectionBytes]byte {
	selection := [selectionBytes]byte{0, 0, 0, 1, 0, algSHA256, 3}
	for _, register := range registers {
		selection[7+register/8] |= 1 << (register % 8)
	}
	return selection
}
