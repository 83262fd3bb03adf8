//! R3. A custodian's operator shows it an old ledger: stopped, or put back to a copy from before a revocation.

use custody::{HEAD_AGE_MS_MAX, Refusal};

use crate::world::{World, released};

#[test]
fn an_old_head_releases_nothing() {
    let world = World::new();
    let mut stage = world.stage();
    stage.now_ms = stage.facts.head.time_ms() + HEAD_AGE_MS_MAX + 1;
    let refusal = stage.refusal(&world);
    assert!(matches!(refusal, Refusal::HeadStale { .. }) && refusal.rule() == "R3", "{refusal}");

    stage.now_ms -= 1;
    stage.ask(&world, &mut world.custodian(0), 0, &world.collector(&stage)).unwrap();
}

#[test]
fn a_head_below_one_seen_before_releases_nothing() {
    let world = World::new();
    let stage = world.stage();
    let mut later = world.stage();
    later.chain.block(later.now_ms, vec![]);
    later.facts = world.facts(&later.chain, later.chain.height());

    let mut custodian = world.custodian(0);
    let actions = later.ask(&world, &mut custodian, 0, &world.collector(&later)).unwrap();
    assert_eq!(released(&actions).len(), 2);
    let refusal = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::HeadRolledBack { height: 5, height_seen: 6 }), "{refusal}");
    assert_eq!(refusal.rule(), "R3");
}
