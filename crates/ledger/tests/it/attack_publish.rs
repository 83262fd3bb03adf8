//! Objects whose key nobody could release, whose content nobody stores, whose terms are somebody else's.

use ledger::{ACK_AGE_MS_MAX, Refusal};
use model::*;

use crate::world::*;

fn attempt(world: &mut World, change: impl FnOnce(&World, &mut PublishedObject), resign: bool) -> Refusal {
    let mut object = world.published(&data_owner(), ObjectKind::Data, "data");
    change(world, &mut object);
    let object = if resign { world.with_acks(object) } else { object };
    let terms = world.terms(&data_owner(), object.manifest.object_id(), 5);
    let transaction = world.publish_action(&data_owner(), object, terms);
    world.refused(transaction)
}

fn mismatch(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Mismatch { what, .. } | Refusal::Bounds { what, .. } | Refusal::Order { what } => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_object_is_published_once() {
    let mut world = World::new();
    let object = world.publish(&data_owner(), ObjectKind::Data, "data", |_| {});
    let again = attempt(&mut world, |_, _| {}, false);
    assert_eq!(again, Refusal::ObjectKnown { object });
}

#[test]
fn a_manifest_of_somebody_else_is_refused() {
    let mut world = World::new();
    let object = world.published(&data_owner(), ObjectKind::Data, "data");
    let terms = world.terms(&stranger(), object.manifest.object_id(), 5);
    let stolen = world.publish_action(&requester(), object.clone(), terms.clone());
    assert_eq!(mismatch(&world.refused(stolen)), "manifest");
    // Under the owner's name, but not with the owner's signature.
    let forged = requester().sign(&world.network, object.manifest.unverified().clone());
    let object = world.publish_manifest(forged);
    let terms = world.terms(&data_owner(), object.manifest.object_id(), 5);
    let forged = world.publish_action(&data_owner(), object, terms);
    assert!(matches!(world.refused(forged), Refusal::Signature(_)));
}

#[test]
fn a_program_that_no_node_would_run_is_refused() {
    let mut world = World::with(|genesis| genesis.limits.program_bytes = 4_999);
    let object = world.published(&program_owner(), ObjectKind::Program, "program");
    let terms = world.terms(&program_owner(), object.manifest.object_id(), 5);
    let large = world.publish_action(&program_owner(), object, terms);
    assert_eq!(world.refused(large), Refusal::ProgramSize { bytes: 5_000, bytes_max: 4_999 });
    // Data is opened chunk by chunk.
    world.publish(&data_owner(), ObjectKind::Data, "data", |_| {});
    let mut world = World::with(|genesis| genesis.limits.program_bytes = 5_000);
    world.publish(&program_owner(), ObjectKind::Program, "program", |_| {});
}

#[test]
fn a_deposit_for_another_object_owner_or_epoch_is_refused() {
    let mut world = World::new();
    let changes: [fn(&mut Deposit); 3] = [
        |deposit| deposit.object = ObjectId::of_manifest(b"other"),
        |deposit| deposit.owner = stranger().id(),
        |deposit| deposit.epoch = 2,
    ];
    for change in changes {
        let refusal = attempt(&mut world, |world, object| world.redeposit(object, change), true);
        assert_eq!(mismatch(&refusal), "deposit");
    }
}

#[test]
fn a_deposit_that_its_owner_has_not_signed_is_refused() {
    let mut world = World::new();
    let forge = |world: &World, object: &mut PublishedObject| {
        let body = object.deposit.unverified().clone();
        let signature = *stranger().sign(&world.network, body.clone()).signature();
        object.deposit = Signed::assemble(body, signature);
    };
    let refusal = attempt(&mut world, forge, true);
    assert!(matches!(refusal, Refusal::Signature(cause) if cause.purpose == "deposit"));
}

#[test]
fn thresholds_and_custodians_are_checked() {
    let mut world = World::new();
    let changes: [(fn(&mut Deposit), &str); 5] = [
        (|deposit| deposit.threshold = 0, "threshold"),
        (|deposit| deposit.threshold = 4, "threshold"),
        (|deposit| deposit.custodians.clear(), "custodians"),
        (|deposit| deposit.custodians[1] = deposit.custodians[0].clone(), "custodians"),
        (|deposit| deposit.custodians = vec![deposit.custodians[0].clone(); 17], "custodians"),
    ];
    for (change, what) in changes {
        let refusal = attempt(&mut world, |world, object| world.redeposit(object, change), true);
        assert_eq!(mismatch(&refusal), what);
    }
}

#[test]
fn a_share_sealed_to_another_key_than_the_attested_one_is_refused() {
    let mut world = World::new();
    let other_key = |deposit: &mut Deposit| deposit.custodians[1].sealing_key = Digest::of(b"mine");
    let refusal = attempt(&mut world, |world, object| world.redeposit(object, other_key), true);
    assert_eq!(refusal, Refusal::SealingKey { node: nodes()[1].id() });
}

#[test]
fn every_custodian_must_have_acknowledged_this_very_deposit() {
    let mut world = World::new();
    let missing = attempt(
        &mut world,
        |_, object| {
            object.deposit_acks.pop();
        },
        false,
    );
    assert_eq!(mismatch(&missing), "deposit_acks");
    let swapped = attempt(&mut world, |_, object| object.deposit_acks.swap(0, 1), false);
    assert_eq!(mismatch(&swapped), "deposit_ack");
    let other_share = |deposit: &mut Deposit| deposit.custodians[0].commitment = Digest::of(b"new");
    let earlier = attempt(&mut world, |world, object| world.redeposit(object, other_share), false);
    assert_eq!(mismatch(&earlier), "deposit_ack");
    let forged = attempt(
        &mut world,
        |world, object| {
            let body = object.deposit_acks[0].unverified().clone();
            object.deposit_acks[0] = stranger().sign(&world.network, body);
        },
        false,
    );
    assert!(matches!(forged, Refusal::Signature(_)));
}

#[test]
fn a_custodian_or_store_without_a_verdict_does_not_count() {
    let mut world = World::new();
    world.pass(VERDICT_MS + 1);
    let refusal = attempt(&mut world, |_, _| {}, false);
    assert!(matches!(refusal, Refusal::NoVerdict { what: "hold a share", .. }));
    // The custodians come back, another store does not.
    for node in &nodes()[..3] {
        let attest = world.attest(node);
        world.block(vec![attest]);
    }
    let gone = nodes()[3].clone();
    let stored_by = |world: &World, object: &mut PublishedObject| {
        let body = StorageAck { node: gone.id(), ..object.storage[0].unverified().clone() };
        object.storage.push(gone.sign(&world.network, body));
    };
    let refusal = attempt(&mut world, stored_by, true);
    assert_eq!(refusal, Refusal::NoVerdict { node: gone.id(), what: "acknowledge storage" });
}

#[test]
fn copies_are_counted_per_content_and_by_others() {
    let mut world = World::new();
    let refusal = attempt(
        &mut world,
        |_, object| {
            object.storage.pop();
        },
        false,
    );
    assert!(matches!(refusal, Refusal::Copies { got: 1, needed: 2, .. }));
    let refusal = attempt(&mut world, |_, object| object.storage.clear(), false);
    assert!(matches!(refusal, Refusal::Copies { got: 0, needed: 2, .. }));
    let twice = attempt(&mut world, |_, object| object.storage[1] = object.storage[0].clone(), false);
    assert_eq!(mismatch(&twice), "storage acknowledgements");
    let other = |change: fn(&mut StorageAck)| {
        move |world: &World, object: &mut PublishedObject| {
            let mut body = object.storage[0].unverified().clone();
            change(&mut body);
            object.storage[0] = world.sign_as(&body.node).sign(&world.network, body);
        }
    };
    let elsewhere = attempt(&mut world, other(|ack| ack.content = ContentId::of_raw(b"x")), true);
    assert_eq!(mismatch(&elsewhere), "storage acknowledgement");
    let shorter = attempt(&mut world, other(|ack| ack.bytes -= 1), true);
    assert_eq!(mismatch(&shorter), "storage acknowledgement");
    let brief = attempt(&mut world, other(|ack| ack.until_ms -= ACK_AGE_MS_MAX + 1_000), true);
    assert!(matches!(brief, Refusal::StorageTime { .. }));
}

#[test]
fn a_node_that_publishes_cannot_count_its_own_copy() {
    let mut world = World::new();
    let owner = nodes()[0].clone();
    let mut object = world.published(&owner, ObjectKind::Data, "its own");
    let body = StorageAck { node: owner.id(), ..object.storage[0].unverified().clone() };
    object.storage[0] = owner.sign(&world.network, body);
    let object = world.with_acks(object);
    let terms = world.terms(&owner, object.manifest.object_id(), 5);
    let publish = world.publish_action(&owner, object, terms);
    assert_eq!(world.refused(publish), Refusal::OwnCopy { node: owner.id() });
}

#[test]
fn first_terms_are_the_owners_for_this_object_with_serial_one() {
    let mut world = World::new();
    let changes: [(fn(&mut Terms), bool); 3] = [
        (|terms| terms.serial = 2, true),
        (|terms| terms.serial = 0, true),
        (|terms| terms.object = ObjectId::of_manifest(b"other"), false),
    ];
    for (change, serial) in changes {
        let object = world.published(&data_owner(), ObjectKind::Data, "data");
        let mut terms = world.terms(&data_owner(), object.manifest.object_id(), 5);
        change(&mut terms);
        let publish = world.publish_action(&data_owner(), object, terms);
        match world.refused(publish) {
            Refusal::TermsSerial { expected: 1, .. } => assert!(serial),
            Refusal::Mismatch { what: "terms", .. } => assert!(!serial),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn terms_are_replaced_by_the_owner_one_by_one_until_withdrawn() {
    let mut world = World::new();
    let (_, data) = world.publish_both();
    for (serial, expected) in [(1, 2), (3, 2), (0, 2), (u64::MAX, 2)] {
        let skip = world.set_terms(&data_owner(), data, |terms| terms.serial = serial);
        assert_eq!(world.refused(skip), Refusal::TermsSerial { expected, got: serial });
    }
    let (owner, sender) = (data_owner().id(), requester().id());
    let stolen = world.set_terms(&requester(), data, |terms| terms.owner = sender);
    assert_eq!(world.refused(stolen), Refusal::NotOwner { object: data, owner, sender });
    let unknown = ObjectId::of_manifest(b"unknown");
    let nothing = world.set_terms(&data_owner(), data, |terms| terms.object = unknown);
    assert_eq!(world.refused(nothing), Refusal::ObjectUnknown { object: unknown });

    let withdraw = world.set_terms(&data_owner(), data, |terms| terms.revoked = true);
    world.block(vec![withdraw]);
    let back = world.set_terms(&data_owner(), data, |terms| terms.revoked = false);
    assert_eq!(world.refused(back), Refusal::Revoked { object: data });
}

#[test]
fn strict_custody_refuses_what_is_not_spread() {
    // Four nodes of four operators: spread, but too few nodes for 2-of-3.
    let mut world = World::with(|genesis| genesis.custody = CustodyMode::Strict);
    let refusal = attempt(&mut world, |_, _| {}, false);
    assert!(
        refusal.to_string().contains("3 shares need 7 attested nodes of 3 operators, there are 4 of 4"),
        "{refusal}"
    );

    // Two custodians of one operator, or in one region, would hold the two shares that open the object.
    let same: [(fn(&mut Validator), &str); 2] =
        [(|one| one.operator = "one".into(), "operator"), (|one| one.region = "one".into(), "region")];
    for (same, what) in same {
        let mut world = World::with(|genesis| {
            genesis.custody = CustodyMode::Strict;
            genesis.validators.iter_mut().take(2).for_each(same);
        });
        let refusal = attempt(&mut world, |_, _| {}, false);
        assert!(refusal.to_string().contains(&format!("one {what} would hold 2 shares")), "{refusal}");
    }

    // One share that opens everything is always in one hand.
    let mut world = World::with(|genesis| genesis.custody = CustodyMode::Strict);
    let open_to_one = |deposit: &mut Deposit| deposit.threshold = 1;
    let refusal = attempt(&mut world, |world, object| world.redeposit(object, open_to_one), true);
    assert!(matches!(refusal, Refusal::Spread { .. }));
}
