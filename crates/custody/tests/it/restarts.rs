//! A custodian is killed at any point and started again from what it had written.

use std::collections::BTreeMap;

use custody::{Action, Custodian, EPHEMERAL_KEYS_MAX, Message, Refusal};
use model::{Fact, Release, Releases, Signed};

use crate::world::{START_MS, Stage, World, deposit as hand_over, finalized, released};

/// What a node's folder holds. Killing a custodian after n actions keeps the first n of them.
#[derive(Clone, Default)]
struct Disk(BTreeMap<String, Vec<u8>>);

impl Disk {
    fn write(&mut self, actions: &[Action]) {
        for action in actions {
            match action.clone() {
                Action::Persist { key, value: Some(value) } => {
                    assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
                    self.0.insert(key, value);
                }
                Action::Persist { key, value: None } => {
                    self.0.remove(&key);
                }
                _ => {}
            }
        }
    }

    fn start(&self, world: &World, position: usize) -> Custodian {
        Custodian::restore(world.config(), world.nodes[position].clone(), [77; 32], self.0.clone()).unwrap()
    }
}

fn deposit(world: &World, custodian: &mut Custodian, position: usize) -> Vec<Action> {
    let deposits = [&world.program, &world.data].map(|object| object.requests[position].clone());
    deposits.into_iter().flat_map(|request| custodian.handle(START_MS, hand_over(request)).unwrap()).collect()
}

/// A disk with both shares on it.
fn disk(world: &World, position: usize) -> Disk {
    let mut disk = Disk::default();
    disk.write(&deposit(world, &mut world.empty_custodian(position), position));
    disk
}

#[test]
fn whatever_was_acknowledged_is_there_after_a_kill() {
    let world = World::new();
    let actions = deposit(&world, &mut world.empty_custodian(0), 0);
    for kept in 0..=actions.len() {
        let mut disk = Disk::default();
        disk.write(&actions[..kept]);
        let acknowledged = actions[..kept].iter().filter(|action| matches!(action, Action::Acknowledge(_))).count();
        assert!(disk.0.len() >= acknowledged, "killed after {kept} actions");
        // The owner, having heard nothing, sends again.
        let mut custodian = disk.start(&world, 0);
        let again = deposit(&world, &mut custodian, 0);
        assert_eq!(again.iter().filter(|action| matches!(action, Action::Acknowledge(_))).count(), 2);
    }
}

#[test]
fn every_share_that_left_has_its_release_on_disk_whenever_the_kill_came() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = disk(&world, 0).start(&world, 0);
    let actions = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap();
    for kept in 0..=actions.len() {
        let mut disk = disk(&world, 0);
        disk.write(&actions[..kept]);
        let left = actions[..kept].iter().any(|action| matches!(action, Action::Release(_)));
        let again = disk.start(&world, 0);
        let posts = again.resume(stage.now_ms);
        assert!(!left || posts.len() == 1, "killed after {kept} actions: a share left without a record");

        // The executor, having heard nothing or not, asks again and gets its shares.
        let mut again = again;
        let collector = world.collector(&stage);
        assert_eq!(released(&stage.ask(&world, &mut again, 0, &collector).unwrap()).len(), 2);
    }
}

#[test]
fn all_custodians_killed_and_started_again_still_give_the_keys() {
    let world = World::new();
    let stage = world.stage();
    let disks: Vec<Disk> = (0..3).map(|position| disk(&world, position)).collect();
    let mut collector = world.collector(&stage);
    for (position, disk) in disks.iter().enumerate() {
        let actions = stage.ask(&world, &mut disk.start(&world, position), position, &collector).unwrap();
        collector.accept(world.nodes[position].node_id(), released(&actions));
    }
    assert!(collector.finish().is_ok());
}

#[test]
fn a_restart_does_not_reset_the_count_of_keys() {
    let world = World::new();
    let stage = world.stage();
    let mut disk = disk(&world, 0);
    for _ in 0..EPHEMERAL_KEYS_MAX {
        let actions = stage.ask(&world, &mut disk.start(&world, 0), 0, &world.collector(&stage)).unwrap();
        disk.write(&actions);
    }
    let refusal = stage.ask(&world, &mut disk.start(&world, 0), 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::TooManyKeys { .. }), "{refusal}");
}

#[test]
fn a_restart_forgets_neither_height_nor_terms() {
    let mut world = World::new();
    let old = world.stage();
    world.data_terms.serial = 2;
    let mut new = world.stage();
    new.chain.block(new.now_ms, vec![]);
    new.facts = world.facts(&new.chain, new.chain.height());
    let mut disk = disk(&world, 0);
    let actions = new.ask(&world, &mut disk.start(&world, 0), 0, &world.collector(&new)).unwrap();
    disk.write(&actions);

    let ask = |stage: &Stage| stage.ask(&world, &mut disk.start(&world, 0), 0, &world.collector(stage)).unwrap_err();
    assert!(matches!(ask(&old), Refusal::HeadRolledBack { .. }));
    let mut grown = old;
    grown.chain.block(grown.now_ms, vec![]);
    grown.facts = world.facts(&grown.chain, grown.chain.height());
    assert!(matches!(ask(&grown), Refusal::TermsOutdated { .. }));
}

#[test]
fn a_restart_forgets_no_revocation() {
    let mut world = World::new();
    let stage = world.stage();
    world.data_terms.revoked = true;
    world.data_terms.serial = 2;
    let revoked = world.stage();
    let mut disk = disk(&world, 0);
    let mut custodian = disk.start(&world, 0);
    for record in finalized(&revoked.chain, revoked.chain.height()).1 {
        disk.write(&custodian.handle(START_MS, Message::Final(Box::new(record))).unwrap());
    }
    assert!(
        !disk.0.contains_key(&format!(
            "deposit-{}",
            model::Canonical::digest(world.data.requests[0].deposit.unverified())
        ))
    );
    let refusal = stage.ask(&world, &mut disk.start(&world, 0), 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal}");
}

#[test]
fn releases_are_posted_until_the_ledger_has_them() {
    let world = World::new();
    let stage = world.stage();
    let mut disk = disk(&world, 0);
    let mut custodian = disk.start(&world, 0);
    let actions = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap();
    disk.write(&actions);

    let posts = disk.start(&world, 0).resume(stage.now_ms);
    let [Action::Post { task, releases }] = &posts[..] else { panic!("{posts:?}") };
    assert_eq!((*task, releases.len()), (world.task.id(), 2));
    assert!(disk.start(&world, 0).resume(START_MS + 60_000).is_empty(), "not after the deadline");

    let record = posted(&stage, &world, releases.clone());
    disk.write(&custodian.handle(stage.now_ms, record).unwrap());
    assert!(custodian.resume(stage.now_ms).is_empty());
    assert!(disk.start(&world, 0).resume(stage.now_ms).is_empty());
}

fn posted(stage: &Stage, world: &World, releases: Vec<Signed<Release>>) -> Message {
    let mut chain = stage.chain.clone();
    let fact = Fact::Releases(Box::new(Releases { task: world.task.id(), releases }));
    let indices = chain.block(stage.now_ms, vec![fact]);
    let (_, mut records) = chain.network().check_proven(&chain.prove(&indices)).unwrap();
    Message::Final(Box::new(records.remove(0)))
}

#[test]
fn old_tasks_are_forgotten_in_time() {
    let mut world = World::new();
    let stage = world.stage();
    let mut disk = disk(&world, 0);
    let mut custodian = disk.start(&world, 0);
    disk.write(&stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap());
    let key = format!("task-{}", world.task.id());
    assert!(disk.0.contains_key(&key));

    world.task.nonce += 1;
    world.edit_assignment = Box::new(|assignment| assignment.deadline_ms += 3 * 24 * 3_600_000);
    world.edit_verdict = Box::new(|verdict| verdict.expires_ms += 3 * 24 * 3_600_000);
    let mut later = world.stage();
    later.now_ms += 2 * 24 * 3_600_000;
    later.chain.block(later.now_ms, vec![]);
    later.facts = world.facts(&later.chain, later.chain.height());
    disk.write(&later.ask(&world, &mut custodian, 0, &world.collector(&later)).unwrap());
    assert!(!disk.0.contains_key(&key));
}
