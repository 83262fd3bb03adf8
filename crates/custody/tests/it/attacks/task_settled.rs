//! R2. An executor that is done, or has failed, asks for the shares of its task once more: nothing is paid for them now, and
//! nobody waits for what it would do with them.

use custody::Refusal;
use finality::Finalized;
use model::{Blob, Fact, FailureClass, Outcome, Receipt, Record, ResultSeal, Settlement, TaskId};

use crate::world::{NETWORK, START_MS, Stage, World, finalized, released};

fn settlement(task: TaskId, world: &World, stage: &Stage, outcome: Option<Outcome>) -> Fact {
    let receipt = outcome.map(|outcome| {
        let assignment = stage.facts.assignment.digest();
        let executor = world.executor().node_id();
        world.executor().sign(&NETWORK, Receipt { task, attempt: 1, executor, assignment, outcome })
    });
    Fact::Settlement(Box::new(Settlement { task, receipt, releases: vec![], storage: vec![], payments: vec![] }))
}

fn result(world: &World) -> ResultSeal {
    let manifest = world.data.manifest.unverified();
    ResultSeal {
        ciphertext: manifest.ciphertext,
        ciphertext_bytes: manifest.ciphertext_bytes,
        leaves: manifest.leaves,
        seal: manifest.seal.clone(),
        wrapped_key: Blob(vec![]),
    }
}

/// Long before the deadline, the assignment is as it was, and the settlement of `task` is the newest record.
fn settled(world: &World, task: TaskId, outcome: Option<Outcome>) -> Stage {
    let mut stage = world.stage();
    let settlement = settlement(task, world, &stage, outcome);
    stage.chain.block(START_MS + 4_200, vec![settlement]);
    stage.facts = world.facts(&stage.chain, stage.chain.height());
    stage
}

fn is_settlement(record: &Finalized<Record>) -> bool {
    matches!(record.get().fact, Fact::Settlement(_))
}

#[track_caller]
fn assert_settled(refusal: &Refusal) {
    assert!(matches!(refusal, Refusal::Settled { settled_ms, .. } if *settled_ms == START_MS + 4_200), "{refusal}");
    assert_eq!(refusal.rule(), "R2");
}

#[test]
fn nothing_is_released_for_a_task_that_is_done_has_failed_or_was_given_back() {
    let world = World::new();
    let endings = [
        Some(Outcome::Done(Box::new(result(&world)))),
        Some(Outcome::Failed(FailureClass::Guest)),
        Some(Outcome::Failed(FailureClass::Keys)),
        // Lapsed, or refunded before.
        None,
    ];
    for outcome in endings {
        assert_settled(&settled(&world, world.task.id(), outcome).refusal(&world));
    }
}

#[test]
fn the_settlement_of_another_task_hinders_nobody() {
    let world = World::new();
    let stage = settled(&world, TaskId([9; 32]), None);
    let actions = stage.ask(&world, &mut world.custodian(0), 0, &world.collector(&stage)).unwrap();
    assert_eq!(released(&actions).len(), 2);
}

#[test]
fn who_was_given_shares_before_the_settlement_is_given_none_after_it() {
    let world = World::new();
    let before = world.stage();
    let mut custodian = world.custodian(0);
    let collector = world.collector(&before);
    assert_eq!(released(&before.ask(&world, &mut custodian, 0, &collector).unwrap()).len(), 2);
    // The very same key, to which shares have gone already.
    let after = settled(&world, world.task.id(), None);
    assert_settled(&after.ask(&world, &mut custodian, 0, &collector).unwrap_err());
}

#[test]
fn a_settlement_that_was_shown_counts_even_if_the_facts_leave_it_out() {
    let world = World::new();
    let mut stage = settled(&world, world.task.id(), None);
    let (head, records) = finalized(&stage.chain, stage.chain.height());
    let (settlement, others): (Vec<_>, Vec<_>) = records.into_iter().partition(is_settlement);
    stage.facts = world.facts_of(head, others.clone());

    let mut custodian = world.custodian(0);
    stage.show(&mut custodian, others);
    stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap();
    stage.show(&mut custodian, settlement);
    assert_settled(&stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err());
}
