//! Tasks that an owner, or the network, does not allow.

use ledger::{Refusal, WAITING_MAX};
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
    let first = world.ask(program, data);
    let tasks = (0..=WAITING_MAX as u64).map(|at| Task { nonce: first.nonce + at, ..first.clone() });
    let list: Vec<_> = tasks.map(|task| world.submit_action(&task)).collect();
    let (_, refused) = world.propose(list);
    assert_eq!(refused, [(WAITING_MAX, Refusal::Busy { waiting: WAITING_MAX })]);
}
