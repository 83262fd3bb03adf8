//! R1. A requester wants an object that its owner has withdrawn, or whose published deposit is another than the one held.

use custody::{Message, Refusal};
use model::Fact;

use crate::world::{START_MS, World, deposit, finalized, holders_of};

#[test]
fn a_revoked_object_gets_no_share() {
    let revocations: [fn(&mut World); 2] =
        [|world| world.data_terms.revoked = true, |world| world.program_terms.revoked = true];
    for revoke in revocations {
        let mut world = World::new();
        revoke(&mut world);
        let refusal = world.stage().refusal(&world);
        assert!(matches!(refusal, Refusal::Revoked { .. }) && refusal.rule() == "R1", "{refusal}");
    }
}

#[test]
fn a_revocation_seen_before_counts_even_if_the_ledger_forgets_it() {
    let mut world = World::new();
    let stage = world.stage();
    world.data_terms.revoked = true;
    world.data_terms.serial = 2;
    let revoked = world.stage();

    let mut custodian = world.custodian(0);
    let (_, records) = finalized(&revoked.chain, revoked.chain.height());
    let terms = |record: &finality::Finalized<model::Record>| matches!(record.get().fact, Fact::Terms(_));
    let mut removed = 0;
    for record in records.into_iter().filter(terms) {
        let actions = custodian.handle(START_MS, Message::Final(Box::new(record))).unwrap();
        removed += actions.iter().filter(|a| matches!(a, custody::Action::Persist { value: None, .. })).count();
    }
    assert_eq!(removed, 1, "the data's share is deleted");
    let refusal = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::Revoked { object } if object == world.data.id()), "{refusal}");

    let again = deposit(world.data.requests[0].clone());
    assert!(matches!(custodian.handle(START_MS, again), Err(Refusal::DepositRevoked { .. })));
}

#[test]
fn a_share_of_another_epoch_is_not_released() {
    let mut world = World::new();
    let held = world.custodian(0);
    // The ledger knows the second epoch; this custodian slept through the resharing.
    let holders = holders_of(&world.nodes[..3]);
    world.data.deal_again(&world.data_owner, 2, 2, &holders);
    let stage = world.stage();
    let mut custodian = held;
    let refusal = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::OtherDeposit { epoch: 2, .. }) && refusal.rule() == "R1", "{refusal}");
}

#[test]
fn a_deposit_nobody_published_is_not_released() {
    let mut world = World::new();
    let mut custodian = world.custodian(0);
    // Same epoch and holders, other shares.
    let holders = holders_of(&world.nodes[..3]);
    world.data.deal_again(&world.data_owner, 1, 2, &holders);
    let stage = world.stage();
    let refusal = stage.ask(&world, &mut custodian, 0, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::OtherDeposit { epoch: 1, .. }), "{refusal}");
}

#[test]
fn a_node_that_holds_nothing_says_so() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.empty_custodian(3);
    let refusal = stage.ask(&world, &mut custodian, 3, &world.collector(&stage)).unwrap_err();
    assert!(matches!(refusal, Refusal::NothingHeld { .. }) && refusal.rule() == "node", "{refusal}");
}
