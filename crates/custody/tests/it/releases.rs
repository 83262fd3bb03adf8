//! The story as it should go: deposits, acknowledgements, releases, keys.

use custody::{Action, CollectError, Message, Opener, Standing, check_acks};
use model::{Allow, Fact};

use crate::world::{self, NETWORK, SECRET, START_MS, World, ack, released};

#[test]
fn any_two_of_three_custodians_give_the_executor_both_keys() {
    let world = World::new();
    let stage = world.stage();
    for pair in [[0, 1], [0, 2], [1, 2], [2, 0]] {
        let mut collector = world.collector(&stage);
        for position in pair {
            assert!(!collector.is_complete());
            let actions = stage.ask(&world, &mut world.custodian(position), position, &collector).unwrap();
            assert_eq!(collector.accept(world.nodes[position].node_id(), released(&actions)), 2);
        }
        assert!(collector.is_complete() && collector.liars().is_empty());
        let keys = collector.finish().unwrap();
        assert_eq!(keys.releases.len(), 4);
        let opener =
            Opener::new(keys.key(&world.data.id()).unwrap(), &world.data.sealed.seal, &world.data.sealed.leaves)
                .unwrap();
        assert_eq!(opener.open_chunk(0, world.data.ciphertext.clone()).unwrap().as_slice(), SECRET);
    }
}

#[test]
fn releases_are_on_disk_before_they_are_posted_and_posted_before_they_leave() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.custodian(1);
    let actions = stage.ask(&world, &mut custodian, 1, &world.collector(&stage)).unwrap();

    let (persisted, rest) = actions.split_at(actions.len() - 2);
    assert!(persisted.iter().all(|action| matches!(action, Action::Persist { value: Some(_), .. })));
    let record = format!("task-{}", world.task.id());
    assert!(persisted.iter().any(|action| matches!(action, Action::Persist { key, .. } if *key == record)));
    let [Action::Post { task, releases }, Action::Release(shares)] = rest else { panic!("{rest:?}") };
    assert_eq!(*task, world.task.id());
    assert_eq!(releases.len(), 2);
    for (release, share) in releases.iter().zip(shares) {
        assert_eq!(release, &share.release);
        let release = release.verify(&NETWORK).unwrap();
        assert_eq!(release.executor, world.executor().node_id());
    }
    // In the order of the task: program, then data.
    assert_eq!(releases[0].unverified().object, world.program.id());
    assert_eq!(releases[1].unverified().object, world.data.id());
}

#[test]
fn asking_again_with_the_same_key_gives_the_same_releases() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.custodian(0);
    let mut collector = world.collector(&stage);
    let first = released(&stage.ask(&world, &mut custodian, 0, &collector).unwrap());
    let second = released(&stage.ask(&world, &mut custodian, 0, &collector).unwrap());
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.release, second.release);
        assert_ne!(first.sealed_share, second.sealed_share, "every seal is fresh");
    }
    assert_eq!(collector.accept(world.nodes[0].node_id(), first), 2);
    assert_eq!(collector.accept(world.nodes[0].node_id(), second), 2);
    assert!(!collector.is_complete(), "one custodian is one custodian, however often it sends");
    assert!(matches!(collector.finish(), Err(CollectError::TooFewShares { shares: 1, threshold: 2, .. })));
}

#[test]
fn the_collector_asks_only_those_who_can_still_help() {
    let world = World::new();
    let stage = world.stage();
    let mut collector = world.collector(&stage);
    assert_eq!(collector.custodians().len(), 3);
    let actions = stage.ask(&world, &mut world.custodian(1), 1, &collector).unwrap();
    collector.accept(world.nodes[1].node_id(), released(&actions));
    assert_eq!(collector.custodians().len(), 2);
    assert!(!collector.custodians().contains(&world.nodes[1].node_id()));
}

#[test]
fn narrow_terms_that_admit_the_task_do_not_hinder() {
    let mut world = World::new();
    world.data_terms.requesters = Allow::Only(vec![world.requester.account()]);
    world.data_terms.counterparts = Allow::Only(vec![world.program.id()]);
    world.data_terms.output_bytes_max = Some(100);
    world.data_terms.expires_ms = Some(START_MS + 3_001);
    world.program_terms.counterparts = Allow::Only(vec![world.data.id()]);
    let stage = world.stage();
    stage.ask(&world, &mut world.custodian(0), 0, &world.collector(&stage)).unwrap();
}

#[test]
fn one_holder_of_the_whole_key_is_the_same_code() {
    let mut world = World::new();
    let nodes = world.nodes.clone();
    world.data = crate::world::publish(&world.data_owner, model::ObjectKind::Data, SECRET, &nodes[..1], 1);
    world.program = crate::world::publish(&world.program_owner, model::ObjectKind::Program, b"p", &nodes[..1], 1);
    world.data_terms.object = world.data.id();
    world.program_terms.object = world.program.id();
    world.task.program = world.program.id();
    world.task.inputs[0].object = world.data.id();
    let stage = world.stage();
    let mut collector = world.collector(&stage);
    let actions = stage.ask(&world, &mut world.custodian(0), 0, &collector).unwrap();
    collector.accept(world.nodes[0].node_id(), released(&actions));
    assert!(collector.finish().unwrap().key(&world.data.id()).unwrap().check(&world.data.sealed.seal).is_ok());
}

#[test]
fn a_deposit_is_acknowledged_by_everybody_or_not_at_all() {
    let world = World::new();
    let deposit = world.data.requests[0].deposit.unverified();
    let mut acks = Vec::new();
    for position in 0..3 {
        assert!(check_acks(&NETWORK, deposit, &acks).is_err(), "{position} of 3 are too few");
        let request = world.data.requests[position].clone();
        let actions = world.empty_custodian(position).handle(START_MS, world::deposit(request)).unwrap();
        let [Action::Persist { .. }, Action::Acknowledge(ack)] = &actions[..] else { panic!("{actions:?}") };
        acks.push(ack.clone());
    }
    check_acks(&NETWORK, deposit, &acks).unwrap();

    acks.swap(0, 1);
    assert!(check_acks(&NETWORK, deposit, &acks).is_err(), "in another order");
    acks.swap(0, 1);
    acks[2] = ack(&world.program, &world.nodes[2], 3);
    assert!(check_acks(&NETWORK, deposit, &acks).is_err(), "of another deposit");
}

#[test]
fn a_deposit_sent_twice_is_acknowledged_twice_and_stored_once() {
    let world = World::new();
    let mut custodian = world.empty_custodian(0);
    let deposit = || world::deposit(world.data.requests[0].clone());
    assert_eq!(custodian.handle(START_MS, deposit()).unwrap().len(), 2);
    let again = custodian.handle(START_MS + 5, deposit()).unwrap();
    assert!(matches!(again[..], [Action::Acknowledge(_)]));
}

#[test]
fn published_deposits_stay_and_abandoned_ones_go() {
    let world = World::new();
    let stage = world.stage();
    let (_, records) = crate::world::finalized(&stage.chain, stage.chain.height());
    let mut custodian = world.custodian(0);
    assert_eq!(custodian.objects().count(), 0);
    let object = |record: &&finality::Finalized<model::Record>| matches!(&record.get().fact, Fact::Object(o) if o.manifest == world.data.manifest);
    let record = Box::new(records.iter().find(object).unwrap().clone());
    assert_eq!(custodian.handle(START_MS, Message::Final(record)).unwrap().len(), 1);
    assert_eq!(custodian.objects().collect::<Vec<_>>(), [world.data.id()]);

    // Two hours later another deposit comes. A node that has not read the ledger since drops nothing.
    let another = |plaintext| {
        let other = world::publish(&world.data_owner, model::ObjectKind::Data, plaintext, &world.nodes[..3], 2);
        Box::new(other.requests[0].clone())
    };
    let later_ms = START_MS + 2 * 3_600_000;
    let mut deposit = |plaintext, observed_ms| {
        let standing = Standing { balance: 100, needed: 10, observed_ms };
        custodian.handle(later_ms, Message::Deposit { request: another(plaintext), standing }).unwrap()
    };
    let actions = deposit(b"x", START_MS);
    assert!(matches!(actions[..], [Action::Persist { value: Some(_), .. }, Action::Acknowledge(_)]));
    // One that has, drops the program, which nobody published here.
    let actions = deposit(b"y", later_ms);
    assert!(matches!(
        &actions[..],
        [Action::Persist { value: None, .. }, Action::Persist { value: Some(_), .. }, Action::Acknowledge(_)]
    ));
}
