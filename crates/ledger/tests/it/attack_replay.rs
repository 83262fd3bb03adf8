//! Everything that was signed for one network, taken to another one with the same keys.

use ledger::{Checked, Refusal};
use model::*;

use crate::world::*;

fn twin() -> World {
    World::with(|genesis| genesis.name = "another network with the same keys".into())
}

#[test]
fn no_transaction_counts_on_a_second_network() {
    let mut world = World::new();
    let mut twin = twin();
    let node = nodes()[0].clone();
    let object = world.published(&data_owner(), ObjectKind::Data, "other");
    let terms = world.terms(&data_owner(), object.manifest.object_id(), 1);
    let mut list = vec![
        world.transaction(&requester(), Action::TopUp { amount: 1 }),
        world.transaction(&requester(), Action::Transfer { to: stranger().id(), amount: 1 }),
        world.publish_action(&data_owner(), object, terms),
        world.attest(&node),
    ];
    let (program, data) = world.publish_both();
    list.push(world.set_terms(&data_owner(), data, |_| {}));
    list.push(world.submit_action(&world.ask(program, data)));
    let task = world.assigned(program, data);
    list.push(world.complete(&world.done(&task)));
    for transaction in list {
        Checked::from_bytes(&transaction, &world.network).unwrap();
        assert!(matches!(twin.refused(transaction), Refusal::Signature(_)));
    }
}

/// Signs the outside again for the second network: what is inside still is of the first.
fn resigned(twin: &World, sender: &Key, action: Action) -> Vec<u8> {
    twin.transaction(sender, action)
}

#[test]
fn nothing_signed_inside_counts_on_a_second_network() {
    let mut world = World::new();
    let mut twin = twin();
    let refused = |twin: &mut World, transaction: Vec<u8>, purpose: &str| match twin.refused(transaction) {
        Refusal::Signature(bad) => assert_eq!(bad.purpose, purpose),
        other => panic!("{purpose}: {other:?}"),
    };

    // A manifest.
    let object = world.published(&data_owner(), ObjectKind::Data, "other");
    let terms = Box::new(data_owner().sign(&twin.network, world.terms(&data_owner(), object.manifest.object_id(), 1)));
    let action = Action::Publish { object: Box::new(object), terms };
    let publish = resigned(&twin, &data_owner(), action);
    refused(&mut twin, publish, "manifest");

    // Deposit acknowledgements, then storage acknowledgements, then terms.
    let mut ours = twin.published(&data_owner(), ObjectKind::Data, "other");
    let theirs = world.publish_manifest(ours.manifest.clone());
    let terms = twin.terms(&data_owner(), ours.manifest.object_id(), 1);
    let ours_signed = std::mem::replace(&mut ours.deposit, theirs.deposit);
    let publish = twin.publish_action(&data_owner(), ours.clone(), terms.clone());
    refused(&mut twin, publish, "deposit");
    ours.deposit = ours_signed;
    ours.deposit_acks = theirs.deposit_acks;
    let publish = twin.publish_action(&data_owner(), ours.clone(), terms.clone());
    refused(&mut twin, publish, "deposit-ack");
    let mut ours = twin.with_acks(ours);
    ours.storage = theirs.storage;
    let publish = twin.publish_action(&data_owner(), ours, terms.clone());
    refused(&mut twin, publish, "storage-ack");
    let old = Box::new(data_owner().sign(&world.network, terms));
    let set = resigned(&twin, &data_owner(), Action::SetTerms { terms: old });
    refused(&mut twin, set, "terms");

    // Votes.
    world.pass(WINDOW_MS);
    twin.pass(WINDOW_MS);
    let node = nodes()[0].clone();
    let votes = world.attestation(&node);
    let attest = resigned(&twin, &node, Action::Attest(Box::new(votes)));
    refused(&mut twin, attest, "appraisal-vote");

    // Receipts and releases.
    let (program, data) = world.publish_both();
    let task = world.assigned(program, data);
    let completion = world.done(&task);
    let executor = world.executor(&task);
    let complete = resigned(&twin, &executor, Action::Complete(Box::new(completion.clone())));
    refused(&mut twin, complete, "receipt");
    let receipt = executor.sign(&twin.network, completion.receipt.unverified().clone());
    let action = Action::Complete(Box::new(Completion { receipt, ..completion.clone() }));
    let complete = resigned(&twin, &executor, action);
    refused(&mut twin, complete, "release");
    let custodian = nodes()[0].clone();
    let releases = completion.releases.iter().filter(|release| release.unverified().custodian == custodian.id());
    let action = Action::PostReleases { task, releases: releases.cloned().collect() };
    let post = resigned(&twin, &custodian, action);
    refused(&mut twin, post, "release");
}
