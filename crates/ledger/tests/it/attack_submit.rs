//! Tasks that an owner, or the network, does not allow.

use ledger::{GAP_MS_MAX, Refusal, WAITING_MAX, WAITING_PER_REQUESTER_MAX};
use model::*;

use crate::world::*;

fn attempt(world: &mut World, program: ObjectId, data: ObjectId, change: impl FnOnce(&mut Task)) -> Refusal {
    let mut task = world.ask(program, data);
    change(&mut task);
    let submit = world.submit_action(&task);
    world.refused(submit)
}

#[test]
fn both_owners_lists_must_allow_the_other_object() {
    let mut world = World::new();
    let listed = world.publish(&program_owner(), ObjectKind::Program, "listed", |_| {});
    let data = world.publish(&data_owner(), ObjectKind::Data, "data", |terms| {
        terms.counterparts = Allow::Only(vec![listed]);
    });
    let choosy = world.publish(&program_owner(), ObjectKind::Program, "choosy", |terms| {
        terms.counterparts = Allow::Only(vec![listed]);
    });
    let other = world.publish(&data_owner(), ObjectKind::Data, "other", |_| {});
    let refusal = attempt(&mut world, choosy, data, |_| {});
    assert_eq!(refusal, NotAdmitted::Counterpart { object: choosy, counterpart: data }.into());
    let refusal = attempt(&mut world, choosy, other, |_| {});
    assert_eq!(refusal, NotAdmitted::Counterpart { object: choosy, counterpart: other }.into());
    let unlisted = world.publish(&program_owner(), ObjectKind::Program, "unlisted", |_| {});
    let refusal = attempt(&mut world, unlisted, data, |_| {});
    assert_eq!(refusal, NotAdmitted::Counterpart { object: data, counterpart: unlisted }.into());
    // Every input counts.
    let both = |task: &mut Task| task.inputs.push(Input { name: "z".into(), object: data });
    let refusal = attempt(&mut world, unlisted, other, both);
    assert_eq!(refusal, NotAdmitted::Counterpart { object: data, counterpart: unlisted }.into());
    world.assigned(listed, data);
}

#[test]
fn requesters_expiry_and_withdrawal_are_checked() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let (object, requester_id) = (data, requester().id());
    let only = world.set_terms(&data_owner(), data, |terms| terms.requesters = Allow::Only(vec![stranger().id()]));
    world.block(vec![only]);
    let refusal = attempt(&mut world, program, data, |_| {});
    assert_eq!(refusal, NotAdmitted::Requester { object, requester: requester_id }.into());

    let expires_ms = world.time_ms + 500;
    let brief = world.set_terms(&data_owner(), data, |terms| {
        terms.requesters = Allow::Any;
        terms.expires_ms = Some(expires_ms);
    });
    world.block(vec![brief]);
    world.time_ms = expires_ms - 100;
    let refusal = attempt(&mut world, program, data, |_| {});
    assert_eq!(refusal, NotAdmitted::Expired { object, expires_ms, time_ms: expires_ms }.into());

    let gone = world.set_terms(&data_owner(), data, |terms| terms.revoked = true);
    world.block(vec![gone]);
    assert_eq!(attempt(&mut world, program, data, |_| {}), NotAdmitted::Revoked { object }.into());
}

#[test]
fn uses_are_counted_over_all_versions_of_the_terms() {
    let mut world = World::with(|genesis| genesis.limits.slots_per_node = 10);
    let program = world.publish(&program_owner(), ObjectKind::Program, "program", |_| {});
    let data = world.publish(&data_owner(), ObjectKind::Data, "data", |terms| terms.uses_max = Some(2));
    world.assigned(program, data);
    world.assigned(program, data);
    let spent = Refusal::UsesSpent { object: data, uses_max: 2 };
    assert_eq!(attempt(&mut world, program, data, |_| {}), spent);
    let same = world.set_terms(&data_owner(), data, |terms| terms.price = 1);
    world.block(vec![same]);
    assert_eq!(attempt(&mut world, program, data, |_| {}), spent);
    let more = world.set_terms(&data_owner(), data, |terms| terms.uses_max = Some(3));
    world.block(vec![more]);
    world.assigned(program, data);
}

#[test]
fn a_program_is_no_data_and_data_no_program() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let swapped = attempt(&mut world, data, program, |_| {});
    assert_eq!(swapped, Refusal::Kind { object: data, expected: ObjectKind::Program });
    let other = world.publish(&program_owner(), ObjectKind::Program, "other", |_| {});
    let refusal = attempt(&mut world, program, other, |_| {});
    assert_eq!(refusal, Refusal::Kind { object: other, expected: ObjectKind::Data });
    let unknown = ObjectId::of_manifest(b"unknown");
    assert_eq!(attempt(&mut world, program, unknown, |_| {}), Refusal::ObjectUnknown { object: unknown });
    assert_eq!(attempt(&mut world, unknown, data, |_| {}), Refusal::ObjectUnknown { object: unknown });
}

#[test]
fn limits_and_price_are_what_was_agreed() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    for change in [
        (|task: &mut Task| task.limits.run_ms = 60_001) as fn(&mut Task),
        |task| task.limits.memory_bytes = (1 << 30) + 1,
        |task| task.limits.output_bytes = (1 << 20) + 1,
        |task| task.limits.run_ms = u64::MAX,
    ] {
        assert!(matches!(attempt(&mut world, program, data, change), Refusal::Limit { .. }));
    }
    let cheap = attempt(&mut world, program, data, |task| task.price_max = 51);
    assert_eq!(cheap, Refusal::Price { price: 52, price_max: 51 });
    let poor = world.publish(&data_owner(), ObjectKind::Data, "dear", |terms| terms.price = 50_000);
    let refusal = attempt(&mut world, program, poor, |task| task.price_max = u64::MAX);
    assert!(matches!(refusal, Refusal::Balance { account, .. } if account == requester().id()));
}

#[test]
fn a_task_is_submitted_once() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let task = world.ask(program, data);
    let submit = world.submit_action(&task);
    world.block(vec![submit.clone()]);
    world.blocks(2);
    assert!(matches!(world.refused(submit), Refusal::Nonce { .. }));
    // The nonce inside the task makes a second one another task.
    let again = world.transaction(&requester(), Action::Submit { task: Box::new(task) });
    assert!(matches!(world.refused(again), Refusal::Mismatch { what: "nonce", .. }));
}

#[test]
fn the_queue_is_bounded() {
    let mut world = World::unattested(|genesis| {
        genesis.fees.transaction = 0;
        genesis.fees.transaction_kib = 0;
        genesis.fees.executor = 0;
        genesis.fees.executor_second = 0;
        genesis.fees.executor_64mib = 0;
        genesis.fees.custodians = 0;
        genesis.fees.storage = 0;
        genesis.fees.validators = 0;
    });
    world.attest_all();
    let program = world.publish(&program_owner(), ObjectKind::Program, "program", |terms| terms.price = 0);
    let data = world.publish(&data_owner(), ObjectKind::Data, "data", |terms| terms.price = 0);
    world.pass(VERDICT_MS + 1);
    let each = u64::from(WAITING_PER_REQUESTER_MAX);
    let first = world.ask(program, data);
    let ask = |world: &World, key: &Key, nonce| {
        let task = Task { requester: key.id(), nonce, ..first.clone() };
        world.transaction_at(key, nonce, Action::Submit { task: Box::new(task) })
    };
    // One requester does not fill it ...
    let one = Key::new(20);
    let list: Vec<_> = (0..=each).map(|nonce| ask(&world, &one, nonce)).collect();
    let (_, refused) = world.propose(list);
    let waiting = WAITING_PER_REQUESTER_MAX;
    assert_eq!(refused, [(each as usize, Refusal::RequesterBusy { requester: one.id(), waiting })]);
    // ... and all together do not make it longer.
    let others: Vec<Key> = (21..21 + (WAITING_MAX as u64 / each) as u8 - 1).map(Key::new).collect();
    for key in &others {
        world.block((0..each).map(|nonce| ask(&world, key, nonce)).collect());
    }
    assert_eq!(world.schedule().waiting.len(), WAITING_MAX);
    let late = ask(&world, &Key::new(90), 0);
    assert_eq!(world.refused(late), Refusal::Busy { waiting: WAITING_MAX });

    // When they stop waiting, there is room again, and nothing is left of the long queue.
    let mut steps = 0;
    while !world.schedule().waiting.is_empty() {
        world.pass(GAP_MS_MAX);
        steps += 1;
        assert!(steps < 60, "a task waits for ever");
    }
    let again = ask(&world, &one, each);
    world.block(vec![again]);
    assert_eq!(world.schedule().waiting.len(), 1);
}

#[test]
fn a_long_queue_costs_a_block_no_more_than_a_short_one() {
    let cost = |world: &World| -> usize {
        world.last.writes.iter().map(|(_, value)| value.as_ref().map_or(0, Vec::len)).sum()
    };
    let mut world = World::with(|genesis| genesis.fees.executor = 0);
    let (program, data) = world.publish_both();
    let keys: Vec<Key> = (20..28).map(Key::new).collect();
    for key in &keys {
        let top_ups = (0..3).map(|nonce| world.transaction_at(key, nonce, Action::TopUp { amount: 5_000 }));
        let top_ups = top_ups.collect();
        world.block(top_ups);
    }
    world.pass(VERDICT_MS + 1);
    let ask = |world: &World, key: &Key, nonce| {
        let task = Task { requester: key.id(), nonce, ..world.ask(program, data) };
        world.transaction_at(key, nonce, Action::Submit { task: Box::new(task) })
    };
    let first = ask(&world, &keys[0], 3);
    world.block(vec![first]);
    let short = cost(&world);
    for key in &keys[1..] {
        world.block((3..103).map(|nonce| ask(&world, key, nonce)).collect());
    }
    assert!(world.schedule().waiting.len() > 700);
    let last = ask(&world, &keys[0], 4);
    world.block(vec![last]);
    let long = cost(&world);
    // The head of the list grows by an entry for each page; a page is at most 32 tasks.
    assert!(
        long < short + 12_000,
        "{short} bytes for one task, {long} with {} waiting",
        world.schedule().waiting.len()
    );
    // A block in which nothing happens to them only counts the time.
    world.block(vec![]);
    assert!(cost(&world) < 6_000, "{} bytes", cost(&world));
}
