//go:debug x509negativeserial=1

// verifier-go checks proofs of Samovar offline. It was written from docs/spec alone, so that what that says, and not what
// one program does, is what a proof means; the Rust verifier is tested against it.
//
//	verifier-go PROOF NETWORK.toml [RESULT]
//
// PROOF is the file that `samovar run` writes, NETWORK.toml the one thing that is believed. With RESULT, the folder beside
// the proof, it also checks that the files there are the proven ones. If NETWORK.toml pins a checkpoint, the file
// `extension` beside PROOF links the two. It prints what it checked, and `verified` at the end; or which link is broken, and
// exits with 1.
//
// The code follows docs/spec/proof.md link by link: verify.go has their order.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) != 3 && len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: verifier-go PROOF NETWORK.toml [RESULT]")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, path, networkPath string, result []string) error {
	network, err := readNetwork(networkPath)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	bytes, err := io.ReadAll(io.LimitReader(file, bundleBytesMax+1))
	if err != nil {
		return err
	}
	var extension *Extension
	if network.Checkpoint != nil {
		if extension, err = readExtension(filepath.Join(filepath.Dir(path), "extension")); err != nil {
			return err
		}
	}
	proof, err := verify(bytes, network, extension)
	if err != nil {
		return err
	}
	for _, folder := range result {
		if err := proof.checkResult(folder); err != nil {
			return err
		}
	}
	proof.print(out, len(result) > 0)
	return nil
}

const extensionBytesMax = 4096

// readExtension reads what links a proof to a checkpoint; there need not be any.
func readExtension(path string) (*Extension, error) {
	encoded, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	extension := &Extension{}
	if err := unmarshal(encoded, extensionBytesMax, extension); err != nil {
		return nil, &Broken{linkFinality, fmt.Errorf("%s: %w", path, err)}
	}
	return extension, nil
}

// print says what holds, link by link, and what a verifier must say beside it.
func (p *Proof) print(out io.Writer, withResult bool) {
	line := func(word, format string, args ...any) {
		fmt.Fprintf(out, "%-9s %s\n", word, fmt.Sprintf(format, args...))
	}
	settled := p.places.settlement
	line(linkGenesis, "network %s", p.network.ID)
	line(linkFinality, "height %d, ledger time %s, settled at height %d", p.head.Height, utc(p.head.TimeMs), settled.Height)
	line(linkRecords, "%d records are in the log", len(p.records))
	line(linkObjects, "%d objects", len(p.objects))
	for _, object := range p.objects {
		line(linkTerms, "serial %d of object %s", object.applied().Serial, object.id)
	}
	line(linkDraw, "executor %s, 1 of %d", p.assignment.Executor, p.assignment.EligibleSize)
	line(linkVerdict, "%d of %d votes", len(p.verdict.Votes), len(p.verdict.Drawn))
	line(linkEvidence, "release counter %d", p.verdict.Result.ReleaseCounter)
	line(linkReceipt, "attempt %d, signed by the executor", p.receipt.Attempt)
	line(linkReleases, "%d", len(p.settlement.Releases))
	line(linkStorage, "%d acknowledgements", len(p.settlement.Storage))
	for _, payment := range p.settlement.Payments {
		line(linkPayments, "%d to %s: %s", payment.Amount, payment.To, payment.Reason)
	}
	if withResult {
		line(linkResult, "the files are the proven ones")
	}
	line("task", "%s", p.taskID)
	line("outcome", "%s", p.receipt.Outcome)
	line("settled", "height %d, ledger time %s", settled.Height, utc(settled.TimeMs))
	for _, note := range p.Notes {
		line("note", "%s", note)
	}
	fmt.Fprintln(out, "verified")
}

// String names a failure's class, or the result: the root over its plaintext, and its ciphertext.
func (o Outcome) String() string {
	if o.Done == nil {
		return fmt.Sprintf("failed: %s", *o.Failed)
	}
	return fmt.Sprintf("done: %s in %s", o.Done.Seal.PlaintextRoot, o.Done.Ciphertext)
}

func utc(ms uint64) string { return time.UnixMilli(int64(ms)).UTC().Format(time.RFC3339Nano) }
