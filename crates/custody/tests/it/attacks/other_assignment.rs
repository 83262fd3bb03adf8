//! R2. An executor names an assignment that is not final, not of its task, or over.

use custody::Refusal;
use model::{Digest, TaskId};

use crate::world::{NETWORK, START_MS, Stage, World};

fn refused(world: &World, stage: &Stage, change: impl Fn(&mut model::ReleaseRequest)) {
    let mut custodian = world.custodian(0);
    stage.appraise(world, &mut custodian);
    let mut request = stage.signed_request(world, &mut custodian, 0, &world.collector(stage)).into_unverified();
    change(&mut request);
    let refusal = stage.send(&mut custodian, world.executor().sign(&NETWORK, request)).unwrap_err();
    assert!(matches!(refusal, Refusal::OtherAssignment { .. }) && refusal.rule() == "R2", "{refusal}");
}

#[test]
fn a_request_must_name_the_finalized_assignment() {
    let world = World::new();
    let stage = world.stage();
    refused(&world, &stage, |request| request.assignment = Digest([9; 32]));
    refused(&world, &stage, |request| request.task = TaskId([9; 32]));
    refused(&world, &stage, |request| request.attempt = 2);
}

#[test]
fn an_assignment_of_another_task_does_not_do() {
    let mut world = World::new();
    let stage = world.stage();
    world.edit_assignment = Box::new(|assignment| assignment.task = TaskId([9; 32]));
    let other = world.stage();
    let mut mixed = world.stage();
    mixed.facts = stage.facts.clone();
    mixed.facts.assignment = other.facts.assignment.clone();
    let mut custodian = world.custodian(0);
    stage.appraise(&world, &mut custodian);
    let request = stage.signed_request(&world, &mut custodian, 0, &world.collector(&stage));
    assert!(matches!(mixed.send(&mut custodian, request), Err(Refusal::OtherAssignment { .. })));
}

#[test]
fn nothing_is_released_after_the_deadline() {
    let mut world = World::new();
    world.edit_assignment = Box::new(|assignment| assignment.deadline_ms = START_MS + 4_000);
    let refusal = world.stage().refusal(&world);
    assert!(matches!(refusal, Refusal::DeadlinePassed { .. }) && refusal.rule() == "R2", "{refusal}");
}
