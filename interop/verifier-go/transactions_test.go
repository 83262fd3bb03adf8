// Transactions: the table of transaction.md as Go types, and the vectors that must be read by it.

package main

import (
	"bytes"
	"crypto/ed25519"
	"reflect"
	"testing"
)

type Transaction struct {
	Account Account `cbor:"account"`
	Nonce   uint64  `cbor:"nonce"`
	Action  Action  `cbor:"action"`
}

func (Transaction) purpose() string   { return "transaction" }
func (t Transaction) signer() Account { return t.Account }

type Action struct {
	choice
	TopUp        *TopUp        `cbor:"top-up"`
	Transfer     *Transfer     `cbor:"transfer"`
	Publish      *Publish      `cbor:"publish"`
	SetTerms     *SetTerms     `cbor:"set-terms"`
	Attest       *Attestation  `cbor:"attest"`
	Submit       *Submit       `cbor:"submit"`
	PostReleases *PostReleases `cbor:"post-releases"`
	Complete     *Completion   `cbor:"complete"`
}

// name is that of the action which is there.
func (a Action) name() string {
	value := reflect.ValueOf(a)
	for _, field := range reflect.VisibleFields(value.Type()) {
		if field.Type.Kind() == reflect.Pointer && !value.FieldByIndex(field.Index).IsNil() {
			return field.Tag.Get("cbor")
		}
	}
	return ""
}

type TopUp struct {
	Amount uint64 `cbor:"amount"`
}

type Transfer struct {
	To     Account `cbor:"to"`
	Amount uint64  `cbor:"amount"`
}

type Publish struct {
	Object PublishedObject `cbor:"object"`
	Terms  Signed[Terms]   `cbor:"terms"`
}

type SetTerms struct {
	Terms Signed[Terms] `cbor:"terms"`
}

type Attestation struct {
	Registration Registration            `cbor:"registration"`
	Votes        []Signed[AppraisalVote] `cbor:"votes"`
}

type Submit struct {
	Task Task `cbor:"task"`
}

// PostReleases has the fields of the fact that is recorded.
type PostReleases Releases

type Completion struct {
	Receipt  Signed[Receipt]      `cbor:"receipt"`
	Releases []Signed[Release]    `cbor:"releases"`
	Storage  []Signed[StorageAck] `cbor:"storage"`
}

const transactionBytesMax = 128 << 10

type transactionVector struct {
	Action    string   `json:"action"`
	Seed      hexBytes `json:"seed"`
	Account   string   `json:"account"`
	Nonce     uint64   `json:"nonce"`
	Signed    hexBytes `json:"signed"`
	Signature hexBytes `json:"signature"`
	ID        hexBytes `json:"id"`
	Fee       uint64   `json:"fee"`
}

func TestTransactions(t *testing.T) {
	var v struct {
		Genesis      hexBytes            `json:"genesis"`
		Network      hexBytes            `json:"network"`
		Transactions []transactionVector `json:"transactions"`
	}
	readJSON(t, "transaction.json", &v)
	var genesis Genesis
	if err := unmarshal(v.Genesis, genesisBytesMax, &genesis); err != nil {
		t.Fatal(err)
	}
	network := hash(v.Genesis)
	if network != Digest(v.Network) {
		t.Fatalf("the network is %s", network)
	}
	kinds := map[string]bool{}
	for _, vector := range v.Transactions {
		kinds[vector.Action] = true
		t.Run(vector.Action, func(t *testing.T) { checkTransaction(t, vector, network, genesis.Fees) })
	}
	if len(kinds) != 8 {
		t.Errorf("%d kinds of transactions, not 8", len(kinds))
	}
}

func checkTransaction(t *testing.T, v transactionVector, network Digest, fees Fees) {
	var transaction Encoded[Signed[Transaction]]
	if err := unmarshal(v.Signed, transactionBytesMax, &transaction); err != nil {
		t.Fatal(err)
	}
	signed := transaction.Value
	body := signed.Body.Value
	if body.Action.name() != v.Action || body.Nonce != v.Nonce || body.Account.String() != v.Account {
		t.Errorf("%s of %s with nonce %d", body.Action.name(), body.Account, body.Nonce)
	}
	if id := transaction.Digest(); id != Digest(v.ID) {
		t.Errorf("the id is %s", id)
	}
	kib := (uint64(len(v.Signed)) + 1023) / 1024
	if fee := fees.Transaction + fees.TransactionKib*kib; fee != v.Fee {
		t.Errorf("the fee is %d", fee)
	}
	if err := signed.verify(network); err != nil {
		t.Error(err)
	}
	if signed.verify(Digest{}) == nil {
		t.Error("it is signed for another network as well")
	}
	// RFC 8032 leaves nothing to chance: whoever has the key makes the same signature.
	made := ed25519.Sign(ed25519.NewKeyFromSeed(v.Seed), message(network, "transaction", signed.Body.Canonical))
	if !bytes.Equal(made, v.Signature) || !bytes.Equal(made, signed.Signature[:]) {
		t.Errorf("the signature is %x", made)
	}
}
