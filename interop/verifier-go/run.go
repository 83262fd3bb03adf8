// The run: the receipt, the releases it rests on, the copies of the result.

package main

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

func (p *Proof) checkReceipt() error {
	r := p.receipt
	if err := p.settlement.Receipt.verify(p.network.ID); err != nil {
		return err
	}
	switch {
	case r.Task != p.taskID:
		return errors.New("it is about another task")
	case r.Executor != p.assignment.Executor || r.Attempt != p.assignment.Attempt:
		return errors.New("it is by another executor, or for another attempt")
	case r.Assignment != p.places.assignment.digest:
		return errors.New("it is for another assignment")
	case p.places.settlement.TimeMs > p.assignment.DeadlineMs:
		return errors.New("it came after the deadline")
	}
	return nil
}

// usedTheKeys says whether the guest ran, so that shares must have been released.
func (o Outcome) usedTheKeys() bool {
	return o.Done != nil || *o.Failed == "guest" || *o.Failed == "limit"
}

// releasesOf are the releases of one object's key.
func (p *Proof) releasesOf(object object) (of []*Signed[Release]) {
	for i := range p.settlement.Releases {
		if release := &p.settlement.Releases[i]; release.Body.Value.Object == object.id {
			of = append(of, release)
		}
	}
	return of
}

func (p *Proof) checkReleases() error {
	checked := 0
	for i, object := range p.objects {
		releases := p.releasesOf(object)
		for j, release := range releases {
			// Ascending by object: those of this object stand right after those of the objects before it.
			if release != &p.settlement.Releases[checked+j] {
				return errors.New("they are not in the order of the objects")
			}
			if j > 0 && release.Body.Value.Index <= releases[j-1].Body.Value.Index {
				return errors.New("they are not in the order of the shares")
			}
			if err := p.checkRelease(release, object, p.assignment.Terms[i].Digest); err != nil {
				return err
			}
		}
		if threshold := int(object.deposit().Threshold); p.receipt.Outcome.usedTheKeys() && len(releases) < threshold {
			return fmt.Errorf("%d releases of the key of object %d, where %d are needed", len(releases), i, threshold)
		}
		checked += len(releases)
	}
	if checked != len(p.settlement.Releases) {
		return errors.New("there is one of an object that is not the task's")
	}
	return nil
}

func (p *Proof) checkRelease(signed *Signed[Release], object object, terms Digest) error {
	release, deposit := signed.Body.Value, object.deposit()
	if release.Index < 1 || int(release.Index) > len(deposit.Custodians) {
		return errors.New("there is no such share")
	}
	said := Release{
		p.taskID, p.assignment.Attempt, object.id, deposit.Epoch, release.Index,
		deposit.Custodians[release.Index-1].Node, p.assignment.Executor, release.EphemeralKey, terms,
	}
	if release != said {
		return errors.New("one is for something else than the assignment")
	}
	return signed.verify(p.network.ID)
}

func (p *Proof) checkStorage() error {
	done := p.receipt.Outcome.Done
	if done == nil {
		if len(p.settlement.Storage) != 0 {
			return errors.New("a failed task has no result to store")
		}
		return nil
	}
	if done.CiphertextBytes > mostSealed(p.assignment.OutputBytesMax) {
		return errors.New("the result is larger than its limit allows")
	}
	return p.checkCopies(p.settlement.Storage, p.receipt.Executor, done.Ciphertext, done.CiphertextBytes, done.Leaves)
}

// mostSealed is the length of the longest ciphertext of a result of which `most` bytes may leave: they, the frame of an
// archive of at most 4096 files, padding, and a tag for each chunk.
func mostSealed(most uint64) uint64 {
	padded := paddedLength(saturatingAdd(most, 64, 24*min(most, 4096)))
	return saturatingAdd(padded, 16*((padded-1)/chunkBytes+1))
}

func saturatingMul(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

func saturatingAdd(terms ...uint64) (sum uint64) {
	for _, term := range terms {
		if sum+term < sum {
			return math.MaxUint64
		}
		sum += term
	}
	return sum
}
