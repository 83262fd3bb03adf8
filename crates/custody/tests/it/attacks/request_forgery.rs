//! R8. Somebody without the attested key asks in the executor's name, or passes an executor's request on.

use custody::{Refusal, SealingKey};
use model::{Blob, Bytes32, NetworkId, ReleaseRequest, Signed};

use crate::world::{NETWORK, Stage, World, stranger};

fn refusal(world: &World, stage: &Stage, forge: impl Fn(ReleaseRequest) -> Signed<ReleaseRequest>) -> Refusal {
    let mut custodian = world.custodian(0);
    stage.appraise(world, &mut custodian);
    let request = stage.signed_request(world, &mut custodian, 0, &world.collector(stage)).into_unverified();
    let refusal = stage.send(&mut custodian, forge(request)).unwrap_err();
    assert_eq!(refusal.rule(), "R8", "{refusal}");
    refusal
}

#[test]
fn another_key_than_the_attested_one_gets_no_share() {
    let world = World::new();
    let stage = world.stage();
    let refusal = refusal(&world, &stage, |request| {
        let signature = *stranger().sign(&NETWORK, request.clone()).signature();
        Signed::assemble(request, signature)
    });
    assert!(matches!(refusal, Refusal::RequestSignature(_)), "{refusal}");
}

#[test]
fn an_ephemeral_key_put_in_by_somebody_else_gets_no_share() {
    let world = World::new();
    let stage = world.stage();
    let mine = SealingKey::generate().unwrap();
    let refusal = refusal(&world, &stage, |request| {
        let signature = *world.executor().sign(&NETWORK, request.clone()).signature();
        Signed::assemble(ReleaseRequest { ephemeral_key: mine.public(), ..request }, signature)
    });
    assert!(matches!(refusal, Refusal::RequestSignature(_)), "{refusal}");
}

#[test]
fn a_request_of_another_network_gets_no_share() {
    let world = World::new();
    let stage = world.stage();
    let refusal = refusal(&world, &stage, |request| world.executor().sign(&NetworkId([1; 32]), request));
    assert!(matches!(refusal, Refusal::RequestSignature(_)), "{refusal}");
}

#[test]
fn a_request_to_another_custodian_cannot_be_passed_on() {
    let world = World::new();
    let stage = world.stage();
    let other = world.nodes[1].node_id();
    let refusal = refusal(&world, &stage, |request| {
        world.executor().sign(&NETWORK, ReleaseRequest { custodian: other, ..request })
    });
    assert!(matches!(refusal, Refusal::OtherCustodian { custodian } if custodian == other), "{refusal}");
}

#[test]
fn a_nonce_must_be_the_custodians_own_and_fresh() {
    let world = World::new();
    let stage = world.stage();
    let refusal = refusal(&world, &stage, |request| {
        world.executor().sign(&NETWORK, ReleaseRequest { nonce: Bytes32([1; 32]), ..request })
    });
    assert!(matches!(refusal, Refusal::Nonce), "{refusal}");

    // Given an hour ago, or before the custodian started again.
    let mut custodian = world.custodian(0);
    stage.appraise(&world, &mut custodian);
    let mut early = world.stage();
    early.now_ms -= 3_600_000;
    let old = early.signed_request(&world, &mut custodian, 0, &world.collector(&stage));
    assert!(matches!(stage.send(&mut custodian, old), Err(Refusal::Nonce)));
    let before = stage.signed_request(&world, &mut world.custodian(1), 0, &world.collector(&stage));
    assert!(matches!(stage.send(&mut custodian, before), Err(Refusal::Nonce)));
}

#[test]
fn bytes_that_are_no_key_get_no_share() {
    let world = World::new();
    let stage = world.stage();
    for bytes in [vec![], vec![0xff; 1216], vec![1; 4000]] {
        let refusal = refusal(&world, &stage, |request| {
            world.executor().sign(&NETWORK, ReleaseRequest { ephemeral_key: Blob(bytes.clone()), ..request })
        });
        assert!(matches!(refusal, Refusal::EphemeralKey), "{refusal}");
    }
}
