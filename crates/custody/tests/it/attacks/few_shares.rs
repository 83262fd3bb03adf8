//! Fewer custodians than the threshold, together with the executor, want the key.

use custody::CollectError;

use crate::world::{World, released};

#[test]
fn fewer_than_t_shares_open_nothing() {
    let world = World::new();
    let stage = world.stage();
    for positions in [&[][..], &[2]] {
        let mut collector = world.collector(&stage);
        for position in positions {
            let actions = stage.ask(&world, &mut world.custodian(*position), *position, &collector).unwrap();
            collector.accept(world.nodes[*position].node_id(), released(&actions));
        }
        let Err(CollectError::TooFewShares { shares, threshold: 2, .. }) = collector.finish() else {
            panic!("{positions:?} opened it");
        };
        assert_eq!(shares, positions.len());
    }
}
