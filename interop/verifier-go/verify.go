// The links of a proof, in the order in which they are checked, and what each one leaves to the next.

package main

import (
	"errors"
	"fmt"
)

// The names of the links, in the order in which they are checked.
const (
	linkBundle   = "bundle"
	linkGenesis  = "genesis"
	linkFinality = "finality"
	linkRecords  = "records"
	linkObjects  = "objects"
	linkTerms    = "terms"
	linkDraw     = "draw"
	linkVerdict  = "verdict"
	linkEvidence = "evidence"
	linkReceipt  = "receipt"
	linkReleases = "releases"
	linkStorage  = "storage"
	linkPayments = "payments"
	linkResult   = "result"
)

// Broken says which link of a proof does not hold, and why.
type Broken struct {
	Link  string
	Cause error
}

func (b *Broken) Error() string { return fmt.Sprintf("link %s is broken: %v", b.Link, b.Cause) }
func (b *Broken) Unwrap() error { return b.Cause }

const (
	bundleBytesMax  = 8 << 20
	genesisBytesMax = 1 << 20
	inputsMax       = 16
	recordsMax      = 2*(1+inputsMax) + 5
)

// Proof is a proof under check. Each link relies on what the links before it found.
type Proof struct {
	network   Network
	extension *Extension
	key       networkKey
	bundle    Bundle
	genesis   Genesis
	head      Header
	records   []provenRecord

	// Of the records:
	task         *Encoded[Task]
	taskID       Digest
	assignment   *Assignment
	settlement   *Settlement
	verdict      *Verdict
	registration *Encoded[Registration]
	receipt      Receipt
	objects      []object // the program, then the inputs in their order
	places       places

	evidence Evidence
	eventLog *EventLog

	// Notes are what a verifier must say beside `verified`.
	Notes []string
}

// object is one object of the task, with the terms that apply.
type object struct {
	id    CID
	made  provenRecord // fact `object`
	terms provenRecord // fact `terms`
}

func (o object) published() *PublishedObject { return o.made.Fact.Object }
func (o object) manifest() *Manifest         { return &o.published().Manifest.Value.Body.Value }
func (o object) deposit() *Deposit           { return &o.published().Deposit.Body.Value }
func (o object) applied() *Terms             { return &o.terms.Fact.Terms.Value.Body.Value }

// places are the records of the task's own facts.
type places struct{ task, assignment, settlement, verdict, registration provenRecord }

// verify checks a proof; the error is a *Broken. The extension is what is beside the proof to link it to a checkpoint, if
// anything is.
func verify(bytes []byte, network Network, extension *Extension) (*Proof, error) {
	p := &Proof{network: network, extension: extension}
	links := []struct {
		name  string
		holds func() error
	}{
		{linkBundle, func() error { return p.open(bytes) }},
		{linkGenesis, p.checkGenesis},
		{linkRecords, p.countRecords},
		{linkFinality, p.checkFinality},
		{linkRecords, p.sortRecords},
		{linkEvidence, p.openEvidence},
		{linkFinality, p.checkSeeds},
		{linkObjects, p.checkObjects},
		{linkTerms, p.checkTerms},
		{linkDraw, p.checkDraw},
		{linkVerdict, p.checkVerdict},
		{linkEvidence, p.checkEvidence},
		{linkReceipt, p.checkReceipt},
		{linkReleases, p.checkReleases},
		{linkStorage, p.checkStorage},
		{linkPayments, p.checkPayments},
	}
	for _, link := range links {
		if err := link.holds(); err != nil {
			return nil, &Broken{link.name, err}
		}
	}
	return p, nil
}

func (p *Proof) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Proof) open(bytes []byte) error {
	if err := unmarshal(bytes, bundleBytesMax, &p.bundle); err != nil {
		return err
	}
	if p.bundle.Version != 1 {
		return fmt.Errorf("version %d; this verifier knows 1", p.bundle.Version)
	}
	return nil
}

func (p *Proof) checkGenesis() error {
	if hash(p.bundle.Genesis) != p.network.ID {
		return errors.New("it is of another network")
	}
	if err := unmarshal(p.bundle.Genesis, genesisBytesMax, &p.genesis); err != nil {
		return err
	}
	switch {
	case p.genesis.Version != 1:
		return fmt.Errorf("version %d; this verifier knows 1", p.genesis.Version)
	case p.genesis.NetworkKey != p.network.Key:
		return errors.New("it names another key than the network file")
	case len(p.genesis.TrustAnchors.Simulated) != 0 && !p.network.Simulated:
		return errors.New("it accepts simulated TPMs, which the network file does not")
	}
	if p.genesis.Custody == "development" {
		p.note("custody: development")
	}
	return nil
}

func (p *Proof) countRecords() error {
	if count := len(p.bundle.Proven.Records); count > recordsMax {
		return fmt.Errorf("%d records; a task needs %d at most", count, recordsMax)
	}
	return nil
}

func (p *Proof) checkFinality() (err error) {
	if p.key, err = parseNetworkKey(p.network.ID, p.network.Key); err != nil {
		return err
	}
	if p.head, err = parseHeader(p.bundle.Proven.Head.Header); err != nil {
		return err
	}
	// The records first: that they are in the log costs a hundredth of what the certificate costs.
	if p.records, err = openRecords(p.network.ID, p.head, p.bundle.Proven); err != nil {
		return err
	}
	if err := p.key.verifyHead(p.bundle.Proven.Head, p.head); err != nil {
		return err
	}
	if p.network.Checkpoint == nil {
		p.note("no checkpoint is pinned")
		return nil
	}
	linked, err := p.network.Checkpoint.check(p.head, p.extension)
	if err == nil && !linked {
		p.note("nothing links the head to the checkpoint")
	}
	return err
}

// sortRecords gives every record its part in the proof.
func (p *Proof) sortRecords() error {
	objects, terms := map[CID]provenRecord{}, map[CID]provenRecord{}
	count := 0
	for _, record := range p.records {
		fact := record.Fact
		var place *provenRecord
		switch {
		case fact.Object != nil:
			objects[cidOf(fact.Object.Manifest.Canonical)] = record
			continue
		case fact.Terms != nil:
			terms[fact.Terms.Value.Body.Value.Object] = record
			continue
		case fact.Task != nil:
			place = &p.places.task
		case fact.Assignment != nil:
			place = &p.places.assignment
		case fact.Settlement != nil:
			place = &p.places.settlement
		case fact.Verdict != nil:
			place = &p.places.verdict
		case fact.Registration != nil:
			place = &p.places.registration
		default:
			return fmt.Errorf("record %d: of a kind that does not belong into a proof", record.index)
		}
		if place.digest != (Digest{}) {
			return fmt.Errorf("record %d: a second one of its kind", record.index)
		}
		*place = record
		count++
	}
	if count != 5 {
		return errors.New("task, assignment, settlement, verdict or registration is missing")
	}
	p.task, p.assignment = p.places.task.Fact.Task, p.places.assignment.Fact.Assignment
	p.settlement, p.verdict = p.places.settlement.Fact.Settlement, p.places.verdict.Fact.Verdict
	p.registration = p.places.registration.Fact.Registration
	if p.settlement.Receipt == nil {
		return errors.New("the settlement has no receipt")
	}
	p.receipt, p.taskID = p.settlement.Receipt.Body.Value, p.task.Digest()
	if p.assignment.Task != p.taskID || p.settlement.Task != p.taskID {
		return errors.New("assignment or settlement is about another task")
	}
	if p.places.task.index >= p.places.assignment.index || p.places.assignment.index >= p.places.settlement.index {
		return errors.New("task, assignment and settlement are not in this order")
	}
	return p.gatherObjects(objects, terms, len(p.records)-count)
}

func (p *Proof) gatherObjects(objects, terms map[CID]provenRecord, records int) error {
	ids := []CID{p.task.Value.Program}
	for _, input := range p.task.Value.Inputs {
		ids = append(ids, input.Object)
	}
	if records != 2*len(ids) || len(objects) != len(ids) || len(terms) != len(ids) {
		return errors.New("not exactly one object and one terms for program and each input")
	}
	for _, id := range ids {
		made, known := objects[id]
		applied, licensed := terms[id]
		if !known || !licensed {
			return errors.New("an object of the task, or its terms, is missing")
		}
		p.objects = append(p.objects, object{id, made, applied})
	}
	return nil
}

func (p *Proof) checkSeeds() error {
	if err := p.key.verifySeed(p.assignment.Seed); err != nil {
		return err
	}
	return p.key.verifySeed(p.verdict.Seed)
}
