// Link `result`: whether the files in a folder are the result that a proof is about.

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// chunkBytes is what one chunk holds of the padded plaintext.
const chunkBytes = 1<<20 - 16

const openingBytesMax = 256

// checkResult demands that a folder holds the result that the proof is about.
func (p *Proof) checkResult(folder string) error {
	if err := p.compareResult(folder); err != nil {
		return &Broken{linkResult, err}
	}
	return nil
}

func (p *Proof) compareResult(folder string) error {
	done := p.receipt.Outcome.Done
	if done == nil {
		return errors.New("the task failed: there is none")
	}
	encoded, err := os.ReadFile(filepath.Join(folder, "opening"))
	if err != nil {
		return err
	}
	var opening Opening
	if err := unmarshal(encoded, openingBytesMax, &opening); err != nil {
		return fmt.Errorf("the opening: %w", err)
	}
	archive, err := readArchive(folder)
	if err != nil {
		return err
	}
	chunks, root := plaintextRoot(archive, opening.LeafKey)
	seal := done.Seal
	if uint64(len(archive)) != opening.Length || chunks != seal.Chunks || root != seal.PlaintextRoot {
		return errors.New("the files are not those that were sealed")
	}
	return nil
}

// plaintextRoot pads and cuts a plaintext as object.md says; it returns the number of chunks and the root of the leaves.
func plaintextRoot(plaintext []byte, leafKey [32]byte) (chunks uint64, root Digest) {
	padded := append(slices.Clip(plaintext), make([]byte, paddedLength(uint64(len(plaintext)))-uint64(len(plaintext)))...)
	var leaves []Digest
	for chunk := range slices.Chunk(padded, chunkBytes) {
		index := u64(uint64(len(leaves)))
		salt := hmac.New(sha256.New, leafKey[:])
		salt.Write(index)
		data := hash([]byte("samovar/v1/leaf"), index, salt.Sum(nil), chunk)
		leaves = append(leaves, leafHash(data[:]))
	}
	return uint64(len(leaves)), treeRoot(leaves)
}

// paddedLength is Padmé's.
func paddedLength(length uint64) uint64 {
	length = max(length, 4096)
	e := bits.Len64(length) - 1
	s := bits.Len(uint(e))
	mask := uint64(1)<<(e-s) - 1
	if length+mask < length {
		return math.MaxUint64
	}
	return (length + mask) &^ mask
}

// readArchive makes the archive again out of the folder in which its parts were put.
func readArchive(folder string) ([]byte, error) {
	exit, err := os.ReadFile(filepath.Join(folder, "exit-code"))
	if err != nil {
		return nil, err
	}
	exitCode, err := strconv.ParseInt(strings.TrimSpace(string(exit)), 10, 64)
	if err != nil {
		return nil, err
	}
	stdout, err := os.ReadFile(filepath.Join(folder, "stdout"))
	if err != nil {
		return nil, err
	}
	stderr, err := os.ReadFile(filepath.Join(folder, "stderr"))
	if err != nil {
		return nil, err
	}
	paths, err := outputs(filepath.Join(folder, "out"))
	if err != nil {
		return nil, err
	}
	archive := appendHead(nil, majorMap, 4)
	archive = appendHead(appendText(archive, "files"), majorList, uint64(len(paths)))
	for _, path := range paths {
		content, err := os.ReadFile(filepath.Join(folder, "out", filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		archive = appendHead(archive, majorMap, 2)
		archive = appendText(appendText(archive, "path"), path)
		archive = appendBytes(appendText(archive, "bytes"), content)
	}
	archive = appendBytes(appendText(archive, "stderr"), stderr)
	archive = appendBytes(appendText(archive, "stdout"), stdout)
	return appendInteger(appendText(archive, "exit_code"), exitCode), nil
}

// outputs are the paths of all files below a folder, bytewise ascending.
func outputs(folder string) (paths []string, err error) {
	root := os.DirFS(folder)
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return nil
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", path)
		}
		paths = append(paths, path)
		return nil
	})
	slices.Sort(paths)
	return paths, err
}
