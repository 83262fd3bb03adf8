// Network files: what a verifier believes beforehand (network.md).

package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/BurntSushi/toml"
)

// Network is all that a verifier believes beforehand (docs/spec/network.md).
type Network struct {
	ID         Digest
	Key        [96]byte
	Simulated  bool
	Checkpoint *Checkpoint
}

// networkFile is a Network as it stands in a file.
type networkFile struct {
	ID         string `toml:"id" json:"id"`
	Key        string `toml:"key" json:"key"`
	Simulated  bool   `toml:"simulated" json:"simulated"`
	Checkpoint *struct {
		Height  uint64 `toml:"height" json:"height"`
		TimeMs  uint64 `toml:"time_ms" json:"time_ms"`
		LogSize uint64 `toml:"log_size" json:"log_size"`
		LogRoot string `toml:"log_root" json:"log_root"`
	} `toml:"checkpoint" json:"checkpoint"`
}

func readNetwork(path string) (network Network, err error) {
	var file networkFile
	if _, err := toml.DecodeFile(path, &file); err != nil {
		return network, err
	}
	network, err = file.parse()
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return network, err
}

func (f networkFile) parse() (network Network, err error) {
	network.Simulated = f.Simulated
	if err := fromHex(network.ID[:], f.ID); err != nil {
		return network, fmt.Errorf("id: %w", err)
	}
	if err := fromHex(network.Key[:], f.Key); err != nil {
		return network, fmt.Errorf("key: %w", err)
	}
	if known := f.Checkpoint; known != nil {
		network.Checkpoint = &Checkpoint{Height: known.Height, TimeMs: known.TimeMs, LogSize: known.LogSize}
		if err := fromHex(network.Checkpoint.LogRoot[:], known.LogRoot); err != nil {
			return network, fmt.Errorf("log_root: %w", err)
		}
	}
	return network, nil
}

func fromHex(into []byte, digits string) error {
	bytes, err := hex.DecodeString(digits)
	if err == nil && len(bytes) != len(into) {
		err = errors.New("of another length")
	}
	copy(into, bytes)
	return err
}
