// The vectors of proofs, and what must never pass: changed bytes, other networks, logs that do not grow.

package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const vectors = "../../docs/spec/vectors"

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	bytes, err := os.ReadFile(filepath.Join(vectors, name))
	if err == nil {
		err = json.Unmarshal(bytes, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func vectorNetwork(t *testing.T) Network {
	t.Helper()
	var file networkFile
	readJSON(t, "proof/network.json", &file)
	network, err := file.parse()
	if err != nil {
		t.Fatal(err)
	}
	return network
}

// Every vector holds, or breaks at the link at which it must.
func TestVectors(t *testing.T) {
	var cases []struct {
		File   string
		Broken string `json:"broken_link"`
		What   string
	}
	readJSON(t, "proof/cases.json", &cases)
	network := vectorNetwork(t)
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			bytes, err := os.ReadFile(filepath.Join(vectors, "proof", c.File))
			if err != nil {
				t.Fatal(err)
			}
			_, err = verify(bytes, network, nil)
			var broken *Broken
			switch {
			case err == nil && c.Broken != "":
				t.Fatalf("accepted, though %s", c.What)
			case err != nil && !errors.As(err, &broken):
				t.Fatal(err)
			case broken != nil && broken.Link != c.Broken:
				t.Fatalf("%v; it should break at %q: %s", err, c.Broken, c.What)
			}
			t.Log(err)
		})
	}
	if len(cases) < 10 {
		t.Fatalf("only %d vectors", len(cases))
	}
}

// Padding, frame and tags of a result, as far as numbers go.
func TestMostSealed(t *testing.T) {
	for most, sealed := range map[uint64]uint64{
		0: 4112, 1000: 25_616, 1 << 20: 1<<20 + 4<<15 + 2*16, math.MaxUint64: math.MaxUint64, 1<<64 - 1<<18: math.MaxUint64,
	} {
		if got := mostSealed(most); got != sealed {
			t.Errorf("%d for %d, not %d", got, most, sealed)
		}
	}
}

// No changed byte passes, and none makes the verifier panic. (That every byte counts, the other verifier shows.)
func TestChangedBytes(t *testing.T) {
	network := vectorNetwork(t)
	proof, err := os.ReadFile(filepath.Join(vectors, "proof", "success.proof"))
	if err != nil {
		t.Fatal(err)
	}
	for position := 0; position < len(proof); position += 5 {
		proof[position] ^= 1 << (position % 8)
		if _, err := verify(proof, network, nil); err == nil {
			t.Errorf("byte %d can be changed", position)
		}
		proof[position] ^= 1 << (position % 8)
	}
	for length := 0; length < len(proof); length += 97 {
		if _, err := verify(proof[:length], network, nil); err == nil {
			t.Errorf("%d bytes are enough", length)
		}
	}
}

// The same network under other rules is another network, and a head must not contradict a checkpoint.
func TestNetworkFile(t *testing.T) {
	good := vectorNetwork(t)
	proof, err := os.ReadFile(filepath.Join(vectors, "proof", "success.proof"))
	if err != nil {
		t.Fatal(err)
	}
	verified, err := verify(proof, good, nil)
	if err != nil {
		t.Fatal(err)
	}
	head := verified.head
	pinned := Checkpoint{Height: head.Height, TimeMs: head.TimeMs, LogSize: head.LogSize, LogRoot: head.LogRoot}
	for what, c := range map[string]struct {
		change func(*Network)
		broken string
	}{
		"another id":            {func(n *Network) { n.ID[0] ^= 1 }, linkGenesis},
		"another key":           {func(n *Network) { n.Key[0] ^= 1 }, linkGenesis},
		"no software TPMs":      {func(n *Network) { n.Simulated = false }, linkGenesis},
		"this very head":        {func(n *Network) { n.Checkpoint = &pinned }, ""},
		"another log":           {func(n *Network) { c := pinned; c.LogRoot[0] ^= 1; n.Checkpoint = &c }, linkFinality},
		"the same height later": {func(n *Network) { c := pinned; c.TimeMs++; n.Checkpoint = &c }, linkFinality},
		"a longer log before":   {func(n *Network) { c := pinned; c.Height--; c.TimeMs--; c.LogSize++; n.Checkpoint = &c }, linkFinality},
		"a shorter log before":  {func(n *Network) { c := pinned; c.Height--; c.TimeMs--; c.LogSize--; n.Checkpoint = &c }, ""},
	} {
		network := good
		c.change(&network)
		_, err := verify(proof, network, nil)
		var broken *Broken
		if errors.As(err, &broken); err == nil && c.broken != "" || err != nil && broken.Link != c.broken {
			t.Errorf("%s: %v, not a broken %q", what, err, c.broken)
		}
	}
}

// What 2.1.4.1 of RFC 9162 makes of every pair of sizes links them, and nothing less does.
func TestExtensions(t *testing.T) {
	var leaves []Digest
	for i := range uint64(40) {
		leaves = append(leaves, leafHash(u64(i)))
	}
	var subproof func(old int, of []Digest, whole bool) []Digest
	subproof = func(old int, of []Digest, whole bool) []Digest {
		if old == len(of) && whole {
			return nil
		}
		if old == len(of) {
			return []Digest{treeRoot(of)}
		}
		half := int(split(uint64(len(of))))
		if old <= half {
			return append(subproof(old, of[:half], whole), treeRoot(of[half:]))
		}
		return append(subproof(old-half, of[half:], false), treeRoot(of[:half]))
	}
	for size := 2; size <= len(leaves); size++ {
		for old := 1; old < size; old++ {
			from, to := treeRoot(leaves[:old]), treeRoot(leaves[:size])
			good := Extension{uint64(old), uint64(size), subproof(old, leaves[:size], true)}
			if !good.links(uint64(old), uint64(size), from, to) {
				t.Errorf("%d is not linked to %d", old, size)
			}
			if good.links(uint64(old), uint64(size), to, to) || good.links(uint64(old), uint64(size), from, from) {
				t.Errorf("%d is linked to %d by other roots", old, size)
			}
			short := Extension{good.From, good.To, good.Digests[1:]}
			long := Extension{good.From, good.To, append(slices.Clip(good.Digests), from)}
			if short.links(uint64(old), uint64(size), from, to) || long.links(uint64(old), uint64(size), from, to) {
				t.Errorf("%d is linked to %d by too few or too many digests", old, size)
			}
		}
	}
}
