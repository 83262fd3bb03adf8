// Link `payments`: what was locked for a task, and who was given how much of it.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// treasury gets what nobody else is given.
var treasury = Account(bytes.Repeat([]byte{0xfe}, 32))

// sum adds and multiplies credits, and remembers that a result was too large.
type sum struct {
	of       uint64
	overflow bool
}

func (s *sum) add(amount, times uint64) {
	high, low := bits.Mul64(amount, times)
	total, carry := bits.Add64(s.of, low, 0)
	s.of, s.overflow = total, s.overflow || high != 0 || carry != 0
}

func divideUp(n, by uint64) uint64 {
	if n%by == 0 {
		return n / by
	}
	return n/by + 1
}

// purse gives away what was locked.
type purse struct {
	left     uint64
	payments []Payment
}

// give pays what is left of an amount, and says how much that was.
func (p *purse) give(to Account, amount uint64, reason string) uint64 {
	amount = min(amount, p.left)
	if amount == 0 {
		return 0
	}
	p.left -= amount
	for i := range p.payments {
		if p.payments[i].To == to && p.payments[i].Reason == reason {
			p.payments[i].Amount += amount
			return amount
		}
	}
	p.payments = append(p.payments, Payment{to, amount, reason})
	return amount
}

func (p *Proof) checkPayments() error {
	fees, limits := p.genesis.Fees, p.task.Value.Limits
	var locked, executor, network, price sum
	for _, payment := range p.settlement.Payments {
		locked.add(payment.Amount, 1)
	}
	executor.add(fees.Executor, 1)
	executor.add(fees.ExecutorSecond, divideUp(limits.RunMs, 1000))
	executor.add(fees.Executor64Mib, divideUp(limits.MemoryBytes, 1<<26))
	network = executor
	network.add(fees.Custodians, uint64(len(p.objects)))
	network.add(fees.Storage, uint64(p.genesis.Limits.Copies))
	network.add(fees.Validators, 1)
	price = network
	for _, object := range p.objects {
		price.add(object.applied().Price, 1)
	}
	if locked.overflow || price.overflow || price.of > locked.of || locked.of > p.task.Value.PriceMax {
		return fmt.Errorf("%d credits were paid; the price is %d, and at most %d were offered", locked.of, price.of, p.task.Value.PriceMax)
	}
	purse := purse{left: locked.of}
	if p.receipt.Outcome.Done != nil {
		p.payOwners(&purse)
	}
	if p.receipt.Outcome.usedTheKeys() {
		p.payNetwork(&purse, executor.of, network.of)
	}
	purse.give(p.task.Value.Requester, purse.left, "refund")
	if !slices.Equal(purse.payments, p.settlement.Payments) {
		return errors.New("they are not what terms and fees make of the outcome")
	}
	return nil
}

func (p *Proof) payOwners(purse *purse) {
	for i, object := range p.objects {
		reason := "data"
		if i == 0 {
			reason = "program"
		}
		purse.give(object.manifest().Owner, object.applied().Price, reason)
	}
}

func (p *Proof) payNetwork(purse *purse, executor, fee uint64) {
	fees := p.genesis.Fees
	fee -= purse.give(p.receipt.Executor, executor, "executor")
	for _, object := range p.objects {
		releases := p.releasesOf(object)
		for _, release := range releases {
			fee -= purse.give(release.Body.Value.Custodian, fees.Custodians/uint64(len(releases)), "custodian")
		}
	}
	if done := p.receipt.Outcome.Done; done != nil {
		copies := uint32(0)
		for _, ack := range p.settlement.Storage {
			if ack.Body.Value.Content == done.Ciphertext && copies < p.genesis.Limits.Copies {
				fee -= purse.give(ack.Body.Value.Node, fees.Storage, "storage")
				copies++
			}
		}
	}
	for _, validator := range p.genesis.Validators {
		fee -= purse.give(validator.Node, fees.Validators/uint64(len(p.genesis.Validators)), "validator")
	}
	purse.give(treasury, fee, "remainder")
}
