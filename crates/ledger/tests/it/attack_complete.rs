//! Executors and custodians that want to be paid for something else than was done.

use ledger::Refusal;
use model::*;

use crate::world::*;

fn running() -> (World, TaskId) {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let task = world.assigned(program, data);
    (world, task)
}

fn send(world: &mut World, completion: &Completion) -> Refusal {
    let transaction = world.complete(completion);
    world.refused(transaction)
}

/// The completion of a success, with one release changed and signed again by its custodian.
fn with_release(world: &World, task: &TaskId, at: usize, change: impl FnOnce(&mut Release)) -> Completion {
    let mut completion = world.done(task);
    let mut body = completion.releases[at].unverified().clone();
    change(&mut body);
    completion.releases[at] = world.sign_as(&body.custodian).sign(&world.network, body);
    completion
}

#[test]
fn only_the_executor_that_was_drawn_ends_the_task() {
    let (mut world, task) = running();
    let executor = world.executor(&task).id();
    let other = nodes().into_iter().find(|node| node.id() != executor).unwrap();
    let receipt = Receipt { executor: other.id(), ..world.receipt(&task, Outcome::Done(Box::new(result()))) };
    let stolen = Completion { receipt: other.sign(&world.network, receipt), ..world.done(&task) };
    assert_eq!(send(&mut world, &stolen), Refusal::NotExecutor { task, executor, sender: other.id() });
    // The executor's receipt, sent by somebody else.
    let relayed = world.transaction(&other, Action::Complete(Box::new(world.done(&task))));
    assert!(matches!(world.refused(relayed), Refusal::Mismatch { what: "receipt", .. }));
    // A receipt under the executor's name with another's signature.
    let forged = other.sign(&world.network, world.receipt(&task, Outcome::Done(Box::new(result()))));
    let forged = Completion { receipt: forged, ..world.done(&task) };
    assert!(matches!(send(&mut world, &forged), Refusal::Signature(_)));
}

#[test]
fn a_receipt_names_its_task_attempt_and_assignment() {
    let (mut world, task) = running();
    let executor = world.executor(&task);
    let mut attempt = |change: fn(&mut Receipt)| {
        let mut receipt = world.receipt(&task, Outcome::Done(Box::new(result())));
        change(&mut receipt);
        let completion = Completion { receipt: executor.sign(&world.network, receipt), ..world.done(&task) };
        send(&mut world, &completion)
    };
    assert!(matches!(attempt(|receipt| receipt.assignment = Digest::of(b"other")), Refusal::Assignment { .. }));
    assert_eq!(attempt(|receipt| receipt.attempt = 2), Refusal::Attempt { task, expected: 1, got: 2 });
    let unknown = TaskId([9; 32]);
    assert_eq!(attempt(|receipt| receipt.task = TaskId([9; 32])), Refusal::TaskUnknown { task: unknown });
    assert_eq!(attempt(|receipt| receipt.outcome = Outcome::Failed(FailureClass::Lapsed)), Refusal::LapsedClaimed);
}

#[test]
fn a_task_without_an_executor_cannot_be_ended() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let done = world.assigned(program, data);
    let completion = world.done(&done);
    let waiting = world.ask(program, data);
    let submit = world.submit_action(&waiting);
    world.block(vec![submit]);
    let node = world.executor(&done);
    let receipt = Receipt { task: waiting.id(), ..completion.receipt.unverified().clone() };
    let completion = Completion { receipt: node.sign(&world.network, receipt), ..completion };
    assert_eq!(send(&mut world, &completion), Refusal::NotAssigned { task: waiting.id() });
}

#[test]
fn a_task_ends_once() {
    let (mut world, task) = running();
    let completion = world.done(&task);
    let first = world.complete(&completion);
    world.block(vec![first]);
    assert_eq!(send(&mut world, &completion), Refusal::TaskSettled { task });
    let failed = Completion { releases: vec![], storage: vec![], ..completion };
    assert_eq!(send(&mut world, &failed), Refusal::TaskSettled { task });
}

#[test]
fn a_receipt_after_the_deadline_is_too_late() {
    let (mut world, task) = running();
    let completion = world.done(&task);
    let deadline_ms = world.open(&task).assigned.unwrap().deadline_ms;
    world.time_ms = deadline_ms;
    // The block that brings the receipt is the one in which the task lapses.
    assert_eq!(send_late(&mut world, &completion), Refusal::Attempt { task, expected: 2, got: 1 });
}

fn send_late(world: &mut World, completion: &Completion) -> Refusal {
    let transaction = world.complete(completion);
    let (_, mut refused) = world.propose(vec![transaction]);
    refused.remove(0).1
}

#[test]
fn fewer_than_t_releases_of_any_object_pay_nobody() {
    let (mut world, task) = running();
    for at in 0..4 {
        let mut completion = world.done(&task);
        completion.releases.remove(at);
        assert!(matches!(send(&mut world, &completion), Refusal::ReleasesNeeded { got: 1, needed: 2, .. }));
    }
    let none = Completion { releases: vec![], ..world.done(&task) };
    assert!(matches!(send(&mut world, &none), Refusal::ReleasesNeeded { got: 0, .. }));
    // A fault of the guest is not believed either without the keys it takes to run one.
    let guest = Completion { releases: vec![], ..world.completion(&task, Outcome::Failed(FailureClass::Guest)) };
    assert!(matches!(send(&mut world, &guest), Refusal::ReleasesNeeded { got: 0, .. }));
}

#[test]
fn releases_must_be_for_this_run() {
    let (mut world, task) = running();
    let other = nodes().iter().map(Key::id).find(|id| *id != world.executor(&task).id()).unwrap();
    let changes: [(fn(&mut Release), &str); 4] = [
        (|release| release.task = TaskId([1; 32]), "task"),
        (|release| release.attempt = 2, "attempt"),
        (|release| release.epoch = 2, "epoch"),
        (|release| release.terms = Digest::of(b"older terms"), "terms"),
    ];
    for (change, what) in changes {
        let completion = with_release(&world, &task, 0, change);
        assert!(matches!(send(&mut world, &completion), Refusal::Release { what: found, .. } if found == what));
    }
    let completion = with_release(&world, &task, 0, |release| release.executor = other);
    assert!(matches!(send(&mut world, &completion), Refusal::Release { what: "executor", .. }));
    let completion = with_release(&world, &task, 0, |release| release.object = ObjectId::of_manifest(b"x"));
    assert!(matches!(send(&mut world, &completion), Refusal::Release { what: "object", .. }));
}

#[test]
fn releases_must_be_of_shares_their_custodians_hold() {
    let (mut world, task) = running();
    let outsider = nodes()[3].id();
    let completion = with_release(&world, &task, 0, |release| release.custodian = outsider);
    assert!(matches!(send(&mut world, &completion), Refusal::NotCustodian { index: 1, .. }));
    for index in [0, 3, 4, 255] {
        let completion = with_release(&world, &task, 1, |release| release.index = index);
        assert!(
            matches!(send(&mut world, &completion), Refusal::NotCustodian { .. } | Refusal::Order { .. }),
            "{index}"
        );
    }
    let mut twice = world.done(&task);
    twice.releases[1] = twice.releases[0].clone();
    assert_eq!(send(&mut world, &twice), Refusal::Order { what: "releases" });
    let mut forged = world.done(&task);
    let body = forged.releases[0].unverified().clone();
    forged.releases[0] = world.executor(&task).sign(&world.network, body.clone());
    if body.custodian != world.executor(&task).id() {
        assert!(matches!(send(&mut world, &forged), Refusal::Signature(_)));
    }
}

#[test]
fn a_result_that_others_do_not_store_is_not_paid() {
    let (mut world, task) = running();
    let executor = world.executor(&task);
    for at in 0..4 {
        let mut completion = world.done(&task);
        completion.storage.remove(at);
        assert!(matches!(send(&mut world, &completion), Refusal::Copies { got: 1, needed: 2, .. }));
    }
    let mut own = world.done(&task);
    let body = StorageAck { node: executor.id(), ..own.storage[0].unverified().clone() };
    own.storage[0] = executor.sign(&world.network, body);
    own.storage.sort_by_key(|ack| (ack.unverified().content, ack.unverified().node));
    assert_eq!(send(&mut world, &own), Refusal::OwnCopy { node: executor.id() });
    let failed = Completion {
        storage: world.done(&task).storage,
        ..world.completion(&task, Outcome::Failed(FailureClass::Node))
    };
    assert!(matches!(send(&mut world, &failed), Refusal::Bounds { what: "storage", .. }));
}

#[test]
fn no_more_leaves_than_may() {
    let (mut world, task) = running();
    let allowed = ledger::result_bytes_max(1_000);
    // 64 and 24 for each of 1,000 files that could be there, padded, and one tag.
    assert_eq!(allowed, 25_600 + 16);
    assert_eq!(ledger::result_bytes_max(0), 4_096 + 16);
    assert_eq!(ledger::result_bytes_max(u64::MAX), u64::MAX);
    let mut large = result();
    large.ciphertext_bytes = allowed + 1;
    large.seal.chunks = large.ciphertext_bytes.div_ceil(1 << 20);
    let completion = world.completion(&task, Outcome::Done(Box::new(large)));
    assert_eq!(send(&mut world, &completion), Refusal::Output { bytes: allowed + 1, bytes_max: allowed });
}

#[test]
fn releases_are_posted_by_their_custodian_once() {
    let (mut world, task) = running();
    let custodian = nodes()[0].clone();
    let of = |world: &World, node: &Key| -> Vec<Signed<Release>> {
        world.releases(&task, 2).into_iter().filter(|release| release.unverified().custodian == node.id()).collect()
    };
    let releases = of(&world, &custodian);
    let stolen = world.transaction(&nodes()[1], Action::PostReleases { task, releases: releases.clone() });
    assert!(matches!(world.refused(stolen), Refusal::Mismatch { what: "release", .. }));
    let none = world.transaction(&custodian, Action::PostReleases { task, releases: vec![] });
    assert!(matches!(world.refused(none), Refusal::Bounds { .. }));
    let other = TaskId([9; 32]);
    let elsewhere = world.transaction(&custodian, Action::PostReleases { task: other, releases: releases.clone() });
    assert!(matches!(world.refused(elsewhere), Refusal::Mismatch { .. }));

    let post = world.transaction(&custodian, Action::PostReleases { task, releases: releases.clone() });
    world.block(vec![post]);
    let again = world.transaction(&custodian, Action::PostReleases { task, releases: releases.clone() });
    changes_nothing(&mut world, &task, &custodian, again);

    let complete = world.complete(&world.done(&task));
    let late = of(&world, &nodes()[1]);
    world.block(vec![complete]);
    let late = world.transaction(&nodes()[1], Action::PostReleases { task, releases: late });
    changes_nothing(&mut world, &task, &nodes()[1], late);
    // Nobody ever asked for this one.
    let releases = releases.iter().map(|release| Release { task: other, ..release.unverified().clone() });
    let releases = releases.map(|release| custodian.sign(&world.network, release)).collect();
    let unknown = world.transaction(&custodian, Action::PostReleases { task: other, releases });
    assert_eq!(world.refused(unknown), Refusal::TaskUnknown { task: other });
}

#[test]
fn releases_for_an_attempt_that_is_over_come_too_late() {
    let (mut world, task) = running();
    let custodian = nodes()[0].clone();
    let releases = world.releases(&task, 1);
    let post = |world: &World| world.transaction(&custodian, Action::PostReleases { task, releases: releases.clone() });
    world.pass(60_000);
    assert_eq!((world.open(&task).attempt, &world.open(&task).assigned), (2, &None));
    let waiting = post(&world);
    changes_nothing(&mut world, &task, &custodian, waiting);
    world.blocks(2);
    let drawn_again = post(&world);
    changes_nothing(&mut world, &task, &custodian, drawn_again);
    // Of an attempt that there is not yet, nothing can have been released.
    let early: Vec<_> = releases
        .iter()
        .map(|release| custodian.sign(&world.network, Release { attempt: 3, ..release.unverified().clone() }))
        .collect();
    let early = world.transaction(&custodian, Action::PostReleases { task, releases: early });
    assert_eq!(world.refused(early), Refusal::Attempt { task, expected: 2, got: 3 });
}

/// The transaction takes its sender's turn and fee; no fact, no other credit and no task is touched.
fn changes_nothing(world: &mut World, task: &TaskId, sender: &Key, transaction: Vec<u8>) {
    let (fee, account, state) = (world.fee(&transaction), world.account(&sender.id()), world.task(task));
    let treasury = world.balance(&AccountId::TREASURY);
    assert_eq!(world.block(vec![transaction]), []);
    let after = world.account(&sender.id());
    assert_eq!((after.nonce, after.balance), (account.nonce + 1, account.balance - fee));
    assert_eq!((world.balance(&AccountId::TREASURY), world.task(task)), (treasury + fee, state));
}
