// Objects and terms: the owners' word, the custodians' word, the copies.

package main

import (
	"errors"
	"fmt"
	"slices"
)

func (p *Proof) checkObjects() error {
	for i, object := range p.objects {
		if err := p.checkObject(object, i == 0); err != nil {
			return fmt.Errorf("object %d: %w", i, err)
		}
	}
	return nil
}

func (p *Proof) checkObject(object object, program bool) error {
	published, manifest, deposit := object.published(), object.manifest(), object.deposit()
	if err := published.Manifest.Value.verify(p.network.ID); err != nil {
		return err
	}
	if err := published.Deposit.verify(p.network.ID); err != nil {
		return err
	}
	kind := Kind("data")
	if program {
		kind = "program"
	}
	switch {
	case manifest.Kind != kind:
		return fmt.Errorf("it is a %s, not a %s", manifest.Kind, kind)
	case program && manifest.CiphertextBytes > p.genesis.Limits.ProgramBytes:
		return errors.New("the program is larger than the genesis allows")
	case deposit.Object != object.id || deposit.Owner != manifest.Owner:
		return errors.New("the deposit is of another object or owner")
	case deposit.Threshold < 1 || int(deposit.Threshold) > len(deposit.Custodians):
		return errors.New("the threshold is out of bounds")
	case len(published.DepositAcks) != len(deposit.Custodians):
		return errors.New("not every custodian acknowledged its share")
	case object.made.index >= p.places.task.index:
		return errors.New("it was published after the task")
	}
	seen := map[Account]bool{}
	for i, custodian := range deposit.Custodians {
		ack := &published.DepositAcks[i]
		said := ack.Body.Value
		if seen[custodian.Node] {
			return errors.New("one node holds two shares")
		}
		seen[custodian.Node] = true
		if said.Deposit != published.Deposit.Body.Digest() || int(said.Index) != i+1 || said.Custodian != custodian.Node {
			return fmt.Errorf("acknowledgement %d is of another share", i+1)
		}
		if err := ack.verify(p.network.ID); err != nil {
			return err
		}
	}
	return p.checkCopies(published.Storage, manifest.Owner, manifest.Ciphertext, manifest.CiphertextBytes, manifest.Leaves)
}

// checkCopies demands that enough nodes other than the maker store a ciphertext and its leaves.
func (p *Proof) checkCopies(acks []Signed[StorageAck], maker Account, ciphertext CID, bytes uint64, leaves CID) error {
	type copy struct {
		content CID
		node    Account
	}
	seen := map[copy]bool{}
	var ofCiphertext, ofLeaves uint32
	for i := range acks {
		ack := acks[i].Body.Value
		switch {
		case ack.Node == maker:
			return errors.New("the maker acknowledges its own content")
		case seen[copy{ack.Content, ack.Node}]:
			return errors.New("a node acknowledges the same content twice")
		case ack.Content == ciphertext && ack.Bytes != bytes:
			return errors.New("an acknowledged length is not that of the ciphertext")
		case ack.Content == ciphertext:
			ofCiphertext++
		case ack.Content == leaves:
			ofLeaves++
		default:
			return errors.New("an acknowledgement is of other content")
		}
		seen[copy{ack.Content, ack.Node}] = true
		if err := acks[i].verify(p.network.ID); err != nil {
			return err
		}
	}
	if copies := p.genesis.Limits.Copies; ofCiphertext < copies || ofLeaves < copies {
		return fmt.Errorf("%d copies of the ciphertext and %d of the leaves; %d are needed", ofCiphertext, ofLeaves, copies)
	}
	return nil
}

func (p *Proof) checkTerms() error {
	if len(p.assignment.Terms) != len(p.objects) {
		return errors.New("the assignment does not name terms for each object")
	}
	for i, object := range p.objects {
		if err := p.checkTermsOf(object, p.assignment.Terms[i], i == 0); err != nil {
			return fmt.Errorf("of object %d: %w", i, err)
		}
	}
	return nil
}

func (p *Proof) checkTermsOf(object object, named AppliedTerms, program bool) error {
	encoded, terms := object.terms.Fact.Terms, object.applied()
	if err := encoded.Value.verify(p.network.ID); err != nil {
		return err
	}
	now := p.places.assignment.TimeMs
	switch {
	case terms.Owner != object.manifest().Owner:
		return errors.New("they are not the owner's")
	case named != AppliedTerms{object.id, terms.Serial, encoded.Digest()}:
		return errors.New("the assignment applies other terms")
	case object.terms.index <= object.made.index || object.terms.index >= p.places.assignment.index:
		return errors.New("they are not between object and assignment")
	case terms.Revoked:
		return errors.New("they are revoked")
	case terms.ExpiresMs != nil && *terms.ExpiresMs <= now:
		return errors.New("they had expired")
	case !terms.Requesters.admit(p.task.Value.Requester):
		return errors.New("they do not admit the requester")
	}
	others := p.objects[:1]
	if program {
		others = p.objects[1:]
	}
	for _, other := range others {
		if !terms.Counterparts.admit(other.id) {
			return errors.New("they do not admit a counterpart")
		}
	}
	return nil
}

func (r Requesters) admit(requester Account) bool {
	return r.Any || slices.Contains(*r.Only, requester)
}
func (c Counterparts) admit(object CID) bool { return c.Any || slices.Contains(*c.Only, object) }
