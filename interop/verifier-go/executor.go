// The executor: drawn by the seed of a round, with a verdict that held.

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

func (p *Proof) checkDraw() error {
	a, task := p.assignment, p.task.Value
	if a.Attempt != 1 && a.Attempt != 2 || a.EligibleSize < 1 {
		return errors.New("the attempt is neither 1 nor 2, or nobody was eligible")
	}
	drawn := parts([]byte("draw"), a.Seed.Signature[:], a.Task[:], []byte{a.Attempt})
	if uint64(a.Index) != binary.BigEndian.Uint64(drawn[:8])%uint64(a.EligibleSize) {
		return errors.New("the index is not the one that the seed gives")
	}
	root, err := inclusionRoot(leafHash(a.Executor[:]), uint64(a.Index), uint64(a.EligibleSize), a.Path)
	if err != nil {
		return err
	}
	output, moved := task.Limits.OutputBytes, task.Limits.OutputBytes
	for _, object := range p.objects {
		moved = saturatingAdd(moved, object.manifest().CiphertextBytes)
		if most := object.applied().OutputBytesMax; most != nil {
			output = min(output, *most)
		}
	}
	deadline := saturatingAdd(p.places.assignment.TimeMs, task.Limits.RunMs, p.genesis.Limits.OverheadMs, moved/8192)
	switch {
	case root != a.EligibleRoot:
		return errors.New("the executor is not the one at the index")
	case p.places.assignment.Height < saturatingAdd(p.places.task.Height, 2):
		return errors.New("the task was drawn too early: its maker could have known the seed")
	case a.OutputBytesMax != output:
		return errors.New("the output's limit is not the least of task and terms")
	case a.DeadlineMs != deadline:
		return errors.New("the deadline is another one")
	}
	if p.genesis.Custody != "strict" {
		return nil
	}
	for _, object := range p.objects {
		for _, custodian := range object.deposit().Custodians {
			if custodian.Node == a.Executor {
				return errors.New("the executor holds a share of an object's key")
			}
		}
	}
	return nil
}

func (p *Proof) checkVerdict() error {
	v, at := p.verdict, p.places.verdict
	policy := p.genesis.Appraisal
	window := at.TimeMs / max(policy.WindowMs, 1)
	switch {
	case p.assignment.Verdict != at.digest:
		return errors.New("the assignment rests on another verdict")
	case v.Node != p.assignment.Executor:
		return errors.New("it is about another node")
	case v.ExpiresMs != saturatingAdd(at.TimeMs, policy.VerdictMs) || v.ExpiresMs <= p.places.assignment.TimeMs:
		return errors.New("it had expired, or expires at another time than the genesis says")
	case v.Window > window || window-v.Window > 1:
		return errors.New("it is of another window")
	case v.Registration != p.registration.Digest():
		return errors.New("it is of another registration")
	}
	if err := p.checkVotes(); err != nil {
		return err
	}
	registration := p.registration.Value
	for _, validator := range p.genesis.Validators {
		if validator.Node == v.Node {
			approved := Validator{registration.Node, registration.Operator, registration.Region, registration.Endorsement}
			if approved != validator {
				return errors.New("the registration is not what the genesis approved")
			}
			return nil
		}
	}
	return errors.New("the executor is no validator of the genesis")
}

// appraisers are those whom the seed of the window draws to appraise the executor, in ascending order.
func (p *Proof) appraisers() []Account {
	v := p.verdict
	var others []Account
	for _, validator := range p.genesis.Validators {
		if validator.Node != v.Node {
			others = append(others, validator.Node)
		}
	}
	slices.SortFunc(others, func(a, b Account) int {
		left, right := p.lot(a), p.lot(b)
		return bytes.Compare(left[:], right[:])
	})
	drawn := others[:min(int(p.genesis.Appraisal.Appraisers), len(others))]
	slices.SortFunc(drawn, func(a, b Account) int { return bytes.Compare(a[:], b[:]) })
	return drawn
}

// lot is what a validator draws in the window of the verdict; the smallest lots appraise.
func (p *Proof) lot(validator Account) Digest {
	return parts([]byte("appraisers"), p.verdict.Seed.Signature[:], p.verdict.Node[:], validator[:])
}

func (p *Proof) checkVotes() error {
	v := p.verdict
	if !v.Seed.Round.before(p.assignment.Seed.Round) {
		return errors.New("the seed of its window is not older than the seed of the draw")
	}
	if !slices.Equal(v.Drawn, p.appraisers()) {
		return errors.New("the appraisers are not those whom the seed of the window draws")
	}
	var voters []Account
	for i := range v.Votes {
		vote := v.Votes[i].Body.Value
		said := AppraisalVote{v.Node, v.Registration, v.Evidence, v.Window, v.Result, vote.Appraiser}
		if vote != said {
			return errors.New("a vote says something else than the verdict")
		}
		if !slices.Contains(v.Drawn, vote.Appraiser) {
			return errors.New("a vote is by somebody who was not drawn")
		}
		if err := v.Votes[i].verify(p.network.ID); err != nil {
			return err
		}
		voters = append(voters, vote.Appraiser)
	}
	if !ascending(voters) {
		return errors.New("the votes are not in order")
	}
	if needed := max(1, (2*len(v.Drawn)+2)/3); len(voters) < needed {
		return fmt.Errorf("%d votes where %d are needed", len(voters), needed)
	}
	return nil
}

func (r Round) before(other Round) bool {
	return r.Epoch < other.Epoch || r.Epoch == other.Epoch && r.View < other.View
}

func ascending(accounts []Account) bool {
	for i := range accounts[min(1, len(accounts)):] {
		if bytes.Compare(accounts[i][:], accounts[i+1][:]) >= 0 {
			return false
		}
	}
	return true
}
