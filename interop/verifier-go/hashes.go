// The hashes of proof.md ("Notation"): H, parts, and what is signed or hashed under a domain.

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

func u16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// hash is H over the concatenation of its arguments.
func hash(pieces ...[]byte) Digest {
	h := sha256.New()
	for _, piece := range pieces {
		h.Write(piece)
	}
	return Digest(h.Sum(nil))
}

// parts is H over each part with its length before it.
func parts(list ...[]byte) Digest {
	h := sha256.New()
	for _, part := range list {
		h.Write(u64(uint64(len(part))))
		h.Write(part)
	}
	return Digest(h.Sum(nil))
}

// domain separates what is signed in one network for one purpose from everything else.
func domain(network Digest, purpose string) []byte {
	return fmt.Appendf(nil, "samovar/v1/%s/%s", network, purpose)
}

// message is what is signed or hashed under a domain.
func message(network Digest, purpose string, payload []byte) []byte {
	name := domain(network, purpose)
	return append(append(u16(uint16(len(name))), name...), payload...)
}
