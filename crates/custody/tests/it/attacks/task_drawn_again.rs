//! R2. An executor that let its attempt lapse asks for the shares while another one runs the task: two would know the data,
//! and one of them is trusted with nothing any more.

use custody::{Refusal, ReleaseFacts};
use finality::Finalized;
use model::{Fact, Record};

use crate::world::{START_MS, Stage, World, finalized, released};

/// A second attempt was drawn while the first one's deadline is still ahead. The facts are about the newest.
fn drawn_again(world: &World) -> Stage {
    let mut stage = world.stage();
    let mut assignment = stage.facts.assignment.get().clone();
    assignment.attempt = 2;
    stage.chain.block(START_MS + 4_200, vec![Fact::Assignment(Box::new(assignment))]);
    stage.facts = world.facts(&stage.chain, stage.chain.height());
    stage
}

/// The facts about the first attempt, out of those records that are left.
fn first_attempt(world: &World, stage: &Stage, left: impl Fn(&Finalized<Record>) -> bool) -> ReleaseFacts {
    let (head, records) = finalized(&stage.chain, stage.chain.height());
    let first = records.iter().find(|record| is_attempt(record, 1)).unwrap().digest();
    let records = records.into_iter().filter(left).collect();
    ReleaseFacts::from_records(head, world.task.id(), first, records).unwrap()
}

fn is_attempt(record: &Finalized<Record>, attempt: u8) -> bool {
    matches!(&record.get().fact, Fact::Assignment(assignment) if assignment.attempt == attempt)
}

#[track_caller]
fn assert_drawn_again(refusal: &Refusal) {
    assert!(matches!(refusal, Refusal::DrawnAgain { attempt: 1, newest: 2, .. }), "{refusal}");
    assert_eq!(refusal.rule(), "R2");
}

#[test]
fn the_first_executor_gets_nothing_once_another_attempt_was_drawn() {
    let world = World::new();
    let mut stage = drawn_again(&world);
    let newest = world.collector(&stage);
    assert_eq!(released(&stage.ask(&world, &mut world.custodian(0), 0, &newest).unwrap()).len(), 2);

    stage.facts = first_attempt(&world, &stage, |_| true);
    assert_drawn_again(&stage.refusal(&world));
}

#[test]
fn a_draw_that_was_shown_counts_even_if_the_facts_leave_it_out() {
    let world = World::new();
    let mut stage = drawn_again(&world);
    stage.facts = first_attempt(&world, &stage, |record| !is_attempt(record, 2));

    let (_, records) = finalized(&stage.chain, stage.chain.height());
    let (second, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| is_attempt(record, 2));
    let mut custodian = world.custodian(0);
    stage.show(&mut custodian, others);
    stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap();
    stage.show(&mut custodian, second);
    assert_drawn_again(&stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err());
}
