//! The run itself: the receipt, the releases it rests on, the copies of the result, the payments.

use finality::Finalized;
use ledger::Owed;
use model::{Completion, Genesis, NetworkId, Outcome, Receipt, Release, ResultSeal, Settlement};

use crate::{
    Link, ProofError,
    error::{same, signed},
    facts::Facts,
    objects::{Copies, check_copies},
};

/// Checks the receipt: signed by the executor, about this assignment, in time.
pub(crate) fn check_receipt(network: &NetworkId, facts: &Facts) -> Result<(), ProofError> {
    const LINK: Link = Link::Receipt;
    let receipt: &Receipt = signed(&facts.receipt, network, LINK)?;
    let assignment = facts.assignment.get();
    same(receipt.executor == assignment.executor, LINK, "who signed the receipt", "the executor that was drawn")?;
    same(receipt.attempt == assignment.attempt, LINK, "the receipt's attempt", "the assignment's")?;
    same(receipt.assignment == facts.assignment.digest(), LINK, "the receipt's assignment", "the one in the log")?;
    let in_time = facts.settlement.time_ms() <= assignment.deadline_ms;
    same(in_time, LINK, "the receipt", "final before the deadline")
}

/// Checks every release in the settlement, and that there are enough: each release by a custodian, of the share it holds,
/// to this executor, under the terms that were applied.
pub(crate) fn check_releases(network: &NetworkId, facts: &Facts) -> Result<(), ProofError> {
    const LINK: Link = Link::Releases;
    let releases = &facts.settlement.get().releases;
    let mut last = None;
    for release in releases {
        let release = signed(release, network, LINK)?;
        let position = facts.objects.iter().position(|object| object.id == release.object);
        let Some(position) = position else {
            return Err(ProofError::Share { object: release.object, index: release.index });
        };
        same(last < Some((position, release.index)), LINK, "the list of releases", "ascending, without repetition")?;
        last = Some((position, release.index));
        check_release(facts, release, position)?;
    }
    if !needs_keys(facts) {
        return Ok(());
    }
    for object in &facts.objects {
        let got = releases.iter().filter(|release| release.unverified().object == object.id).count();
        let needed = usize::from(object.object.get().deposit.unverified().threshold);
        if got < needed {
            return Err(ProofError::TooFew { link: LINK, what: "releases", got, needed });
        }
    }
    Ok(())
}

/// Whether the outcome cannot have come about without the keys.
fn needs_keys(facts: &Facts) -> bool {
    match &facts.receipt.unverified().outcome {
        Outcome::Done(_) => true,
        Outcome::Failed(class) => class.guest_at_fault(),
    }
}

fn check_release(facts: &Facts, release: &Release, position: usize) -> Result<(), ProofError> {
    const LINK: Link = Link::Releases;
    let assignment = facts.assignment.get();
    let deposit = facts.objects[position].object.get().deposit.unverified();
    let holder = usize::from(release.index).checked_sub(1).and_then(|at| deposit.custodians.get(at));
    let holds = holder.is_some_and(|holder| holder.node == release.custodian) && release.epoch == deposit.epoch;
    if !holds {
        return Err(ProofError::Share { object: release.object, index: release.index });
    }
    same(release.task == assignment.task, LINK, "a release's task", "this task")?;
    same(release.attempt == assignment.attempt, LINK, "a release's attempt", "this attempt")?;
    same(release.executor == assignment.executor, LINK, "a release's executor", "the one that was drawn")?;
    same(release.terms == assignment.terms[position].digest, LINK, "a release's terms", "those that were applied")
}

/// Checks that others store the result, and that no more left than may.
pub(crate) fn check_result(genesis: &Genesis, network: &NetworkId, facts: &Facts) -> Result<(), ProofError> {
    const LINK: Link = Link::Storage;
    let settlement = facts.settlement.get();
    let Outcome::Done(result) = &facts.receipt.unverified().outcome else {
        return same(settlement.storage.is_empty(), LINK, "the list of copies", "empty, for there is no result");
    };
    let result: &ResultSeal = result;
    let bytes_max = ledger::result_bytes_max(facts.assignment.get().output_bytes_max);
    same(result.ciphertext_bytes <= bytes_max, LINK, "the sealed result", "as small as the terms demand")?;
    let content = Copies {
        ciphertext: result.ciphertext,
        ciphertext_bytes: result.ciphertext_bytes,
        leaves: result.leaves,
        by: facts.assignment.get().executor,
    };
    check_copies(genesis, network, &content, &settlement.storage, LINK)
}

/// Computes every payment again, to the credit.
pub(crate) fn check_payments(genesis: &Genesis, facts: &Facts) -> Result<(), ProofError> {
    const LINK: Link = Link::Payments;
    let (task, settlement): (_, &Finalized<Settlement>) = (facts.task.get(), &facts.settlement);
    let owed: Vec<Owed> = facts
        .objects
        .iter()
        .map(|object| {
            let manifest = object.object.get().manifest.unverified();
            let price = object.terms.get().unverified().price;
            Owed { owner: manifest.owner, kind: manifest.kind, price }
        })
        .collect();
    let sum = settlement.get().payments.iter().try_fold(0u64, |sum, payment| sum.checked_add(payment.amount));
    let locked =
        sum.ok_or(ProofError::Mismatch { link: LINK, what: "the sum of payments", expected: "a number of credits" })?;
    let terms = facts.objects.iter().map(|object| object.terms.get().unverified());
    let price = ledger::quote(genesis, &task.limits, terms).map(|price| price.total).unwrap_or(u64::MAX);
    // An owner may have become cheaper between request and draw; never dearer.
    same(
        (price..=task.price_max).contains(&locked),
        LINK,
        "what was locked",
        "the price, and no more than was offered",
    )?;
    let completion = Completion {
        receipt: facts.receipt.clone(),
        releases: settlement.get().releases.clone(),
        storage: settlement.get().storage.clone(),
    };
    let expected = ledger::payments(genesis, task, locked, &owed, &completion);
    same(
        settlement.get().payments == expected,
        LINK,
        "the list of payments",
        "what the fee schedule and the terms give",
    )
}
