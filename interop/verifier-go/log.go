// The log is the tree of RFC 9162, section 2.1.

package main

import (
	"errors"
	"math/bits"
)

func leafHash(data []byte) Digest        { return hash([]byte{0}, data) }
func nodeHash(left, right Digest) Digest { return hash([]byte{1}, left[:], right[:]) }
func split(leaves uint64) (left uint64)  { return 1 << (bits.Len64(leaves-1) - 1) }

// treeRoot is the root over a list of leaf hashes, which is not empty.
func treeRoot(leaves []Digest) Digest {
	if len(leaves) == 1 {
		return leaves[0]
	}
	left := split(uint64(len(leaves)))
	return nodeHash(treeRoot(leaves[:left]), treeRoot(leaves[left:]))
}

// indexedLeaf is a leaf hash with its place.
type indexedLeaf struct {
	index uint64
	hash  Digest
}

var errLogProof = errors.New("the proof of the records has too few digests")

// multiRoot is the root that wanted leaves and the digests of all other subtrees lead to.
//
// wanted ascends, is not empty, and lies within first .. first+size. It returns the digests that it did not need.
func multiRoot(wanted []indexedLeaf, first, size uint64, digests []Digest) (Digest, []Digest, error) {
	if len(wanted) == 0 {
		if len(digests) == 0 {
			return Digest{}, nil, errLogProof
		}
		return digests[0], digests[1:], nil
	}
	if size == 1 {
		return wanted[0].hash, digests, nil
	}
	half, cut := split(size), 0
	for cut < len(wanted) && wanted[cut].index-first < half {
		cut++
	}
	left, digests, err := multiRoot(wanted[:cut], first, half, digests)
	if err != nil {
		return Digest{}, nil, err
	}
	right, digests, err := multiRoot(wanted[cut:], first+half, size-half, digests)
	return nodeHash(left, right), digests, err
}

// inclusionRoot is the root that one leaf and its path lead to (2.1.3.2).
func inclusionRoot(leaf Digest, index, size uint64, path []Digest) (Digest, error) {
	if size == 1 {
		if len(path) != 0 {
			return Digest{}, errors.New("the path is too long")
		}
		return leaf, nil
	}
	if len(path) == 0 {
		return Digest{}, errors.New("the path is too short")
	}
	half, top, path := split(size), path[len(path)-1], path[:len(path)-1]
	if index < half {
		left, err := inclusionRoot(leaf, index, half, path)
		return nodeHash(left, top), err
	}
	right, err := inclusionRoot(leaf, index-half, size-half, path)
	return nodeHash(top, right), err
}

// Extension shows that a longer log begins with a shorter one (2.1.4).
type Extension struct {
	From    uint64   `cbor:"from"`
	To      uint64   `cbor:"to"`
	Digests []Digest `cbor:"digests"`
}

// links says whether it shows that of two different logs.
func (e Extension) links(shorter, longer uint64, shorterRoot, longerRoot Digest) bool {
	if e.From != shorter || e.To != longer || shorter >= longer {
		return false
	}
	if shorter == 0 {
		return len(e.Digests) == 0 && shorterRoot == hash()
	}
	old, new, left, ok := extend(shorter, longer, true, shorterRoot, e.Digests)
	return ok && len(left) == 0 && old == shorterRoot && new == longerRoot
}

// extend follows SUBPROOF of 2.1.4.1: it returns the roots of the first `old` and of all `size` leaves of a subtree, and
// the digests that it did not need. known is the root that need not be told: that of a subtree which is the whole old log.
func extend(old, size uint64, whole bool, known Digest, digests []Digest) (oldRoot, newRoot Digest, left []Digest, ok bool) {
	if old == size && whole {
		return known, known, digests, true
	}
	var told Digest
	if old == size {
		told, left, ok = next(digests)
		return told, told, left, ok
	}
	half := split(size)
	if old <= half {
		if oldRoot, newRoot, left, ok = extend(old, half, whole, known, digests); ok {
			told, left, ok = next(left)
		}
		return oldRoot, nodeHash(newRoot, told), left, ok
	}
	if oldRoot, newRoot, left, ok = extend(old-half, size-half, false, known, digests); ok {
		told, left, ok = next(left)
	}
	return nodeHash(told, oldRoot), nodeHash(told, newRoot), left, ok
}

func next(digests []Digest) (first Digest, left []Digest, ok bool) {
	if len(digests) == 0 {
		return Digest{}, nil, false
	}
	return digests[0], digests[1:], true
}
