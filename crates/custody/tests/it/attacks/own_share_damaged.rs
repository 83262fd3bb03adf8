//! R10. A custodian's disk, or somebody at it, has changed the share it holds.

use custody::{Action, Custodian, Refusal};
use model::Canonical as _;

use crate::world::{START_MS, World, deposit};

#[test]
fn a_damaged_share_is_not_released() {
    let world = World::new();
    let stage = world.stage();
    let mut source = world.empty_custodian(0);
    let mut stored = Vec::new();
    for object in [&world.program, &world.data] {
        for action in source.handle(START_MS, deposit(object.requests[0].clone())).unwrap() {
            if let Action::Persist { key, value: Some(value) } = action {
                stored.push((key, value));
            }
        }
    }
    // One bit inside the sealed share of the data.
    let sealed = &world.data.requests[0].sealed_share.0;
    let (_, value) = stored
        .iter_mut()
        .find(|(key, _)| key.ends_with(&world.data.requests[0].deposit.unverified().digest().to_string()))
        .unwrap();
    let at = value.windows(sealed.len()).position(|window| window == sealed).unwrap();
    value[at + 1130] ^= 1;

    let mut custodian = Custodian::restore(world.config(), world.nodes[0].clone(), [5; 32], stored).unwrap();
    let refusal = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::OwnShare { object, .. } if object == world.data.id()), "{refusal}");
    assert_eq!(refusal.rule(), "R10");
}
