//! Executors that never answer, networks that go dark: nothing stays stuck.

use ledger::{GAP_MS_MAX, WAIT_MS_MAX, state::TaskState};
use model::*;

use crate::world::*;

#[test]
fn a_killed_executor_leads_to_another_one_and_then_to_a_refund() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let before = world.balance(&requester().id());
    let ask_fee = {
        let task = world.ask(program, data);
        world.fee(&world.submit_action(&task))
    };
    let task = world.assigned(program, data);
    let first = world.executor(&task).id();
    let deadline = world.open(&task).assigned.unwrap().deadline_ms;

    world.time_ms = deadline - 100;
    assert_eq!(world.block(vec![]), [], "the deadline itself is still in time");
    assert_eq!(world.block(vec![]), [], "lapsed: back into the queue");
    assert!(world.node(&first).lapsed);
    assert_eq!((world.open(&task).attempt, world.open(&task).lapsed), (2, Some(first)));
    assert!(world.last.due.next_block);
    let second = assignment(&world.blocks(2));
    assert_ne!(second.executor, first);
    assert_eq!((second.attempt, second.eligible_size), (2, 3));
    assert_eq!(world.object(&data).uses, 1, "a retry spends no second use");

    let records = world.pass(second.deadline_ms - world.time_ms);
    let settled = settlement(&records);
    assert_eq!(settled.failure(), Some(FailureClass::Lapsed));
    assert_eq!(settled.receipt, None);
    assert_eq!(world.balance(&requester().id()), before - ask_fee, "all of the price is back");
    assert_eq!(world.balance(&AccountId::ESCROW), 0);
    assert!(matches!(world.task(&task), TaskState::Settled(_)));
    assert_eq!((world.node(&first).running, world.node(&second.executor).running), (0, 0));
}

#[test]
fn the_second_executor_is_paid_once() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let task = world.assigned(program, data);
    let late = world.done(&task);
    world.pass(60_000);
    world.blocks(2);
    let complete = world.complete(&world.done(&task));
    let settled = settlement(&world.block(vec![complete]));
    assert_eq!(settled.failure(), None);
    assert_eq!(settled.receipt.unwrap().unverified().attempt, 2);
    // The first one wakes up.
    let late = world.complete(&late);
    assert_eq!(world.refused(late), ledger::Refusal::TaskSettled { task });
}

/// A task drawn to a node whose verdict runs out long before its deadline, and that executor.
fn outliving() -> (World, TaskId, Key) {
    // A task of an hour; verdicts must last for a quarter of their length only.
    let mut world = World::with(|genesis| genesis.limits.task.run_ms = 3_600_000);
    let (program, data) = world.publish_both();
    let mut task = world.ask(program, data);
    task.limits.run_ms = 3_600_000;
    task.price_max = 10_000;
    let top_up = world.transaction(&requester(), Action::TopUp { amount: 5_000 });
    world.block(vec![top_up]);
    task.nonce += 1;
    let submit = world.submit_action(&task);
    world.block(vec![submit]);
    world.blocks(2);
    let executor = world.executor(&task.id());
    (world, task.id(), executor)
}

#[test]
fn an_executor_that_outlives_its_verdict_makes_room_for_another() {
    let (mut world, task, first) = outliving();
    let expires_ms = world.open(&task).assigned.unwrap().verdict_expires_ms;
    assert_eq!(expires_ms, world.node(&first.id()).expires_ms);
    world.pass(expires_ms - VERDICT_MS / 4 - world.time_ms);
    world.renew();
    // The node has a new verdict; the task was drawn with the old one, and that is what custodians look at.
    world.time_ms = expires_ms - 100;
    let no_keys = world.completion(&task, Outcome::Failed(FailureClass::Keys));
    let complete = world.complete(&no_keys);
    assert_eq!(world.block(vec![complete]), [], "no settlement and no other fact");
    let open = world.open(&task);
    assert_eq!((open.attempt, open.lapsed, open.assigned), (2, Some(first.id()), None));
    let state = world.node(&first.id());
    assert_eq!((state.running, state.lapsed), (0, false), "the slot is free, and nobody is to blame");
    assert!(world.last.due.next_block);

    let again = world.complete(&no_keys);
    assert!(matches!(world.refused(again), ledger::Refusal::Attempt { expected: 2, got: 1, .. }));
    let second = assignment(&world.blocks(2));
    assert_ne!(second.executor, first.id());
    assert_eq!(second.attempt, 2);
    let complete = world.complete(&world.done(&task));
    assert_eq!(settlement(&world.block(vec![complete])).failure(), None);
    assert_eq!(world.balance(&AccountId::ESCROW), 0);
}

#[test]
fn keys_that_fail_for_any_other_reason_end_the_task_with_a_refund() {
    // The verdict holds: too few custodians answer, and another executor would hear no more of them.
    let (mut world, task, _) = outliving();
    let locked = world.balance(&AccountId::ESCROW);
    let requesters = world.balance(&requester().id());
    let complete = world.complete(&world.completion(&task, Outcome::Failed(FailureClass::Keys)));
    let settled = settlement(&world.block(vec![complete]));
    assert_eq!(settled.failure(), Some(FailureClass::Keys));
    assert_eq!(world.balance(&requester().id()), requesters + locked);

    // The verdict has run out, and the second executor's as well: two attempts are enough.
    let (mut world, task, _) = outliving();
    let fail_after_the_verdict = |world: &mut World| {
        let expires_ms = world.open(&task).assigned.unwrap().verdict_expires_ms;
        world.pass(expires_ms - VERDICT_MS / 4 - world.time_ms);
        world.renew();
        world.time_ms = expires_ms;
        let complete = world.complete(&world.completion(&task, Outcome::Failed(FailureClass::Keys)));
        world.block(vec![complete])
    };
    assert_eq!(fail_after_the_verdict(&mut world), []);
    world.blocks(2);
    let settled = settlement(&fail_after_the_verdict(&mut world));
    assert_eq!(settled.failure(), Some(FailureClass::Keys));
    assert_eq!(world.balance(&AccountId::ESCROW), 0);

    // Any other failure is the end, whatever became of the verdict.
    let (mut world, task, _) = outliving();
    world.time_ms = world.open(&task).assigned.unwrap().verdict_expires_ms;
    let complete = world.complete(&world.completion(&task, Outcome::Failed(FailureClass::Node)));
    assert_eq!(settlement(&world.block(vec![complete])).failure(), Some(FailureClass::Node));
}

#[test]
fn custodians_without_a_verdict_may_still_release() {
    let (mut world, task, executor) = outliving();
    let expires_ms = world.open(&task).assigned.unwrap().verdict_expires_ms;
    world.pass(expires_ms - VERDICT_MS / 4 - world.time_ms);
    // Everybody but one custodian is appraised again: the store acknowledges, the executor is what it was.
    let gone = nodes().into_iter().take(2).find(|node| node.id() != executor.id()).unwrap();
    let renewals: Vec<_> =
        nodes().iter().filter(|node| node.id() != gone.id()).map(|node| world.attest(node)).collect();
    world.block(renewals);
    world.time_ms = expires_ms + 1;
    assert!(!world.node(&gone.id()).is_fresh(world.time_ms));
    let releases = world.releases(&task, 2);
    let own = releases.into_iter().filter(|release| release.unverified().custodian == gone.id()).collect();
    let post = world.transaction(&gone, Action::PostReleases { task, releases: own });
    assert_eq!(world.block(vec![post]).len(), 1);
}

#[test]
fn whoever_let_a_task_lapse_is_not_drawn_until_appraised_again() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let task = world.assigned(program, data);
    let lapsed = world.executor(&task);
    world.pass(60_000);
    for _ in 0..3 {
        let other = world.ask(program, data);
        let submit = world.submit_action(&other);
        world.block(vec![submit]);
    }
    world.blocks(3);
    assert_eq!(world.node(&lapsed.id()).running, 0);
    assert!(world.node(&lapsed.id()).lapsed);
    assert_eq!(world.schedule().waiting.len(), 1, "three nodes have a slot, four tasks ask");

    let attest = world.attest(&lapsed);
    world.block(vec![attest]);
    assert!(world.last.due.next_block);
    assert_eq!(assignment(&world.block(vec![])).executor, lapsed.id());
}

#[test]
fn a_network_that_was_dark_longer_than_a_verdict_lives_finishes_the_task() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let task = world.assigned(program, data);
    world.pass(7 * 24 * 3_600_000);
    assert_eq!(world.open(&task).attempt, 2);
    assert_eq!(world.blocks(3), [], "nobody is eligible, and nobody is refunded either");
    world.renew();
    assert!(world.last.due.next_block);
    let assigned = assignment(&world.block(vec![]));
    assert_eq!(assigned.task, task);
    let complete = world.complete(&world.done(&task));
    assert_eq!(settlement(&world.block(vec![complete])).failure(), None);
}

#[test]
fn a_task_that_nobody_can_run_is_refunded_after_a_bounded_wait() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    world.pass(VERDICT_MS + 1);
    let before = world.balance(&requester().id());
    let task = world.ask(program, data);
    let submit = world.submit_action(&task);
    let fee = world.fee(&submit);
    world.block(vec![submit]);
    let mut waited = 0;
    let records = loop {
        let at_ms = world.last.due.at_ms.expect("somebody waits");
        let records = world.pass(at_ms.saturating_sub(world.time_ms).max(GAP_MS_MAX));
        waited += 1;
        if !records.is_empty() {
            break records;
        }
    };
    assert!((29..=31).contains(&waited), "{waited} steps of {GAP_MS_MAX} ms make {WAIT_MS_MAX} ms");
    assert_eq!(settlement(&records).failure(), Some(FailureClass::Lapsed));
    assert_eq!(world.balance(&requester().id()), before - fee);
}

#[test]
fn a_block_deals_with_a_bounded_number_of_deadlines_and_the_next_goes_on() {
    let mut world = World::with(|genesis| genesis.limits.slots_per_node = 100);
    let (program, data) = world.publish_both();
    let first = world.ask(program, data);
    let mut list = Vec::new();
    // 300 tasks of 52 credits, and their fees.
    for key in (20..23).map(Key::new) {
        list.extend((0..2).map(|nonce| world.transaction_at(&key, nonce, Action::TopUp { amount: 5_000 })));
        list.extend((2..102).map(|nonce| {
            let task = Task { requester: key.id(), nonce, price_max: 52, ..first.clone() };
            world.transaction_at(&key, nonce, Action::Submit { task: Box::new(task) })
        }));
    }
    world.block(list);
    world.block(vec![]);
    let drawn = world.block(vec![]).len();
    assert_eq!(drawn, ledger::DUE_MAX);
    assert!(world.last.due.next_block, "44 draws are left");
    assert_eq!(world.block(vec![]).len(), 300 - ledger::DUE_MAX);

    world.pass(60_000);
    assert!(world.last.due.next_block);
    assert_eq!(world.schedule().deadlines.len(), 300 - ledger::DUE_MAX);
    world.block(vec![]);
    assert!(world.schedule().deadlines.is_empty());
}
