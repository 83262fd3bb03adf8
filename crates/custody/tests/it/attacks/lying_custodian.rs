//! A custodian sends a wrong share, somebody else's, or none that opens: it is named, and the others suffice.

use custody::{Fault, Liar, wire::ReleasedShare};
use model::{Blob, Digest, Release};

use crate::world::{NETWORK, Stage, World, released, stranger};

/// What an honest custodian sends to `collector`.
fn honest(world: &World, stage: &Stage, position: usize, collector: &custody::ReleaseCollector) -> Vec<ReleasedShare> {
    released(&stage.ask(world, &mut world.custodian(position), position, collector).unwrap())
}

fn fault(change: impl Fn(&World, &mut ReleasedShare)) -> Fault {
    let world = World::new();
    let stage = world.stage();
    let mut collector = world.collector(&stage);
    let mut shares = honest(&world, &stage, 0, &collector);
    change(&world, &mut shares[1]);
    assert_eq!(collector.accept(world.nodes[0].node_id(), shares), 1, "the other share is good");
    let [Liar { custodian, object, fault }] = *collector.liars() else { panic!("{:?}", collector.liars()) };
    assert_eq!((custodian, object), (world.nodes[0].node_id(), Some(world.data.id())));

    for position in [1, 2] {
        let shares = honest(&world, &stage, position, &collector);
        collector.accept(world.nodes[position].node_id(), shares);
    }
    assert!(collector.finish().is_ok(), "two honest custodians are enough");
    fault
}

/// The custodian signs whatever it likes.
fn resign(world: &World, share: &mut ReleasedShare, change: impl Fn(&mut Release)) {
    let mut release = share.release.unverified().clone();
    change(&mut release);
    share.release = world.nodes[0].sign(&NETWORK, release);
}

#[test]
fn a_share_that_does_not_open_names_its_sender() {
    assert_eq!(fault(|_, share| share.sealed_share.0[1125] ^= 1), Fault::DoesNotOpen);
    assert_eq!(fault(|_, share| share.sealed_share = Blob(vec![])), Fault::DoesNotOpen);
}

#[test]
fn a_share_of_another_object_names_its_sender() {
    let world = World::new();
    let stage = world.stage();
    let mut collector = world.collector(&stage);
    let mut shares = honest(&world, &stage, 0, &collector);
    shares[1].sealed_share = shares[0].sealed_share.clone();
    collector.accept(world.nodes[0].node_id(), shares);
    assert_eq!(collector.liars()[0].fault, Fault::DoesNotOpen);
}

#[test]
fn a_release_that_says_something_else_names_its_sender() {
    let changes: [fn(&mut Release); 7] = [
        |release| release.task.0[0] ^= 1,
        |release| release.attempt = 2,
        |release| release.epoch = 2,
        |release| release.executor = stranger().node_id(),
        |release| release.ephemeral_key = Digest([0; 32]),
        |release| release.terms = Digest([0; 32]),
        |release| release.custodian = stranger().node_id(),
    ];
    for change in changes {
        assert_eq!(fault(|world, share| resign(world, share, change)), Fault::Release);
    }
    assert_eq!(
        fault(|_, share| share.release = stranger().sign(&NETWORK, share.release.unverified().clone())),
        Fault::Release,
        "signed by somebody else"
    );
}

#[test]
fn nobody_sends_a_share_of_another_holder() {
    assert_eq!(fault(|world, share| resign(world, share, |release| release.index = 2)), Fault::NotAHolder);
    assert_eq!(fault(|world, share| resign(world, share, |release| release.index = 0)), Fault::NotAHolder);
    assert_eq!(fault(|world, share| resign(world, share, |release| release.index = 200)), Fault::NotAHolder);
}

#[test]
fn a_stranger_that_relays_shares_is_named_itself() {
    let world = World::new();
    let stage = world.stage();
    let mut collector = world.collector(&stage);
    let shares = honest(&world, &stage, 0, &collector);
    assert_eq!(collector.accept(stranger().node_id(), shares), 0);
    assert!(collector.liars().iter().all(|liar| liar.custodian == stranger().node_id()));
}

#[test]
fn a_flood_of_shares_is_cut_short() {
    let world = World::new();
    let stage = world.stage();
    let mut collector = world.collector(&stage);
    let share = honest(&world, &stage, 0, &collector)[0].clone();
    let bad = ReleasedShare { sealed_share: Blob(vec![]), ..share };
    collector.accept(world.nodes[0].node_id(), vec![bad; 10_000]);
    assert_eq!(collector.liars().len(), 2, "one for each object at most");
}
