//! Who is drawn, and who never is.

use ledger::{appraisers, draw_index, key};
use model::*;

use crate::world::*;

fn submit(world: &mut World, program: ObjectId, data: ObjectId) -> TaskId {
    let task = world.ask(program, data);
    let submit = world.submit_action(&task);
    world.block(vec![submit]);
    task.id()
}

#[test]
fn a_node_without_a_fresh_verdict_is_never_drawn() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    // All verdicts run out; one node renews its own.
    world.pass(VERDICT_MS + 1);
    let fresh = nodes()[2].clone();
    let attest = world.attest(&fresh);
    world.block(vec![attest]);
    let task = submit(&mut world, program, data);
    let assigned = assignment(&world.blocks(2));
    assert_eq!((assigned.executor, assigned.eligible_size), (fresh.id(), 1));
    assert_eq!(assigned.task, task);
}

#[test]
fn a_verdict_must_last_until_the_deadline() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    // 22 s are needed: 2 s of run time and 20 s around it.
    let expires_ms = world.node(&nodes()[0].id()).expires_ms;
    world.pass(expires_ms - 10_000 - world.time_ms);
    let long = nodes()[1].clone();
    let attest = world.attest(&long);
    world.block(vec![attest]);
    submit(&mut world, program, data);
    assert_eq!(assignment(&world.blocks(2)).executor, long.id());
}

#[test]
fn the_deadline_allows_for_the_bytes_that_are_fetched_and_handed_on() {
    let mut world = World::new();
    let (program, small) = world.publish_both();
    let mut manifest = world.manifest(&data_owner(), ObjectKind::Data, "large");
    (manifest.ciphertext_bytes, manifest.seal.chunks) = (3 << 30, 3 << 10);
    let object = world.publish_manifest(data_owner().sign(&world.network, manifest));
    let large = object.manifest.object_id();
    let terms = world.terms(&data_owner(), large, 5);
    let publish = world.publish_action(&data_owner(), object, terms);
    world.block(vec![publish]);
    let mut time = |data| {
        submit(&mut world, program, data);
        assignment(&world.blocks(2)).deadline_ms - world.time_ms
    };
    // 2 s of run time, 20 s around it, and a millisecond for each 8 KiB of program, data and 1,000 bytes of output.
    assert_eq!(time(small), 22_000 + 1);
    assert_eq!(time(large), 22_000 + (3 << 17));
}

#[test]
fn a_task_waits_for_a_free_slot_and_gets_it_when_one_is_settled() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let tasks: Vec<_> = (0..5).map(|_| submit(&mut world, program, data)).collect();
    world.blocks(2);
    let mut executors: Vec<_> = tasks[..4].iter().map(|task| world.executor(task).id()).collect();
    executors.sort_unstable();
    assert_eq!(executors, nodes().iter().map(Key::id).collect::<Vec<_>>(), "one slot each");
    assert!(world.open(&tasks[4]).assigned.is_none());
    assert!(!world.last.due.next_block, "nothing to do at once");
    assert!(world.last.due.at_ms.is_some());

    let complete = world.complete(&world.done(&tasks[1]));
    world.block(vec![complete]);
    assert!(world.last.due.next_block, "a slot is free for the task that waits");
    let assigned = assignment(&world.block(vec![]));
    assert_eq!((assigned.task, assigned.eligible_size), (tasks[4], 1));
}

#[test]
fn the_draw_follows_the_seed_alone() {
    let (task, other) = (TaskId([1; 32]), TaskId([2; 32]));
    let first = draw_index(&seed(5), &task, 1, 1000);
    assert_eq!(first, draw_index(&seed(5), &task, 1, 1000));
    let others = [
        draw_index(&seed(6), &task, 1, 1000),
        draw_index(&seed(5), &other, 1, 1000),
        draw_index(&seed(5), &task, 2, 1000),
    ];
    assert!(others.iter().all(|index| *index != first));
    let mut counts = [0; 4];
    for height in 0..4_000 {
        counts[draw_index(&seed(height), &task, 1, 4) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
}

#[test]
fn appraisers_are_others_and_change_with_the_window() {
    let mut genesis = World::unattested(|genesis| genesis.appraisal.appraisers = 5).genesis;
    let template = genesis.validators[0].clone();
    genesis.validators = (0..20).map(|index| Validator { node: node_key(index).id(), ..template.clone() }).collect();
    let subject = genesis.validators[0].node;
    let draw = |height| appraisers(&genesis, &seed(height), &subject);
    let first = draw(1);
    assert_eq!(first.len(), 5);
    assert!(!first.contains(&subject) && first.windows(2).all(|pair| pair[0] < pair[1]));
    assert!((2..10).any(|height| draw(height) != first));
    genesis.validators.truncate(3);
    assert_eq!(appraisers(&genesis, &seed(1), &subject).len(), 2);
}

#[test]
fn in_strict_custody_no_custodian_runs_the_task_and_an_operator_counts_once() {
    let mut world = World::with(|genesis| {
        genesis.limits.slots_per_node = 10;
        for (at, validator) in genesis.validators.iter_mut().enumerate() {
            validator.operator = if at == 3 { "a".into() } else { format!("operator {at}") };
        }
    });
    let (program, data) = world.publish_both();
    // The rules of publishing are tested elsewhere: here only the draw is strict.
    world.genesis.custody = CustodyMode::Strict;
    for _ in 0..6 {
        submit(&mut world, program, data);
        let assigned = assignment(&world.blocks(2));
        assert_eq!(assigned.eligible_size, 1);
        assert_eq!(assigned.executor, nodes()[3].id(), "the only one that holds no share");
    }
}

#[test]
fn several_nodes_on_one_tpm_are_one_entry() {
    let mut world = World::with(|genesis| {
        genesis.limits.slots_per_node = 10;
        for validator in &mut genesis.validators {
            validator.operator = "one".into();
            validator.endorsement = Digest::of(b"one TPM");
        }
    });
    let (program, data) = world.publish_both();
    submit(&mut world, program, data);
    assert_eq!(assignment(&world.blocks(2)).eligible_size, 1);
}

#[test]
fn terms_that_no_longer_admit_the_task_refund_it_at_the_draw() {
    let changes: [fn(&mut Terms); 4] = [
        |terms| terms.revoked = true,
        |terms| terms.requesters = Allow::Only(vec![]),
        |terms| terms.expires_ms = Some(1),
        |terms| terms.price += 1,
    ];
    for change in changes {
        let mut world = World::new();
        let (program, data) = world.publish_both();
        let before = world.balance(&requester().id());
        let submit_fee = {
            let task = world.ask(program, data);
            world.fee(&world.submit_action(&task))
        };
        submit(&mut world, program, data);
        let terms = world.set_terms(&data_owner(), data, change);
        world.block(vec![terms]);
        let settled = settlement(&world.block(vec![]));
        assert_eq!(settled.failure(), Some(FailureClass::Lapsed));
        assert_eq!(world.balance(&requester().id()), before - submit_fee);
        assert_eq!(world.object(&data).uses, 0);
    }
}

#[test]
fn the_last_use_goes_to_the_first_drawn() {
    let mut world = World::new();
    let program = world.publish(&program_owner(), ObjectKind::Program, "program", |_| {});
    let data = world.publish(&data_owner(), ObjectKind::Data, "data", |terms| terms.uses_max = Some(1));
    let first = world.ask(program, data);
    let second = Task { nonce: first.nonce + 1, ..first.clone() };
    let both = vec![world.submit_action(&first), world.submit_action(&second)];
    world.block(both);
    let records = world.blocks(2);
    assert_eq!(assignment(&records).task, first.id());
    let settled = settlement(&records);
    assert_eq!((settled.task, settled.failure()), (second.id(), Some(FailureClass::Lapsed)));
    assert_eq!(world.object(&data).uses, 1);
    assert!(world.get::<ledger::state::TaskState>(&key::task(&second.id())).is_some());
}
