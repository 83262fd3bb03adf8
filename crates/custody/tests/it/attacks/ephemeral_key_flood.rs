//! R9. An executor asks for the same shares under one key after another, to hand them to friends.

use custody::{EPHEMERAL_KEYS_MAX, Refusal};

use crate::world::World;

#[test]
fn a_task_uses_few_ephemeral_keys() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.custodian(0);
    let first = world.collector(&stage);
    stage.ask(&world, &mut custodian, 0, &first).unwrap();
    for _ in 1..EPHEMERAL_KEYS_MAX {
        stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap();
    }
    let refusal = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::TooManyKeys { .. }) && refusal.rule() == "R9", "{refusal}");
    stage.ask(&world, &mut custodian, 0, &first).unwrap();
}
