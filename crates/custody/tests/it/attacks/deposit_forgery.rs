//! Somebody deposits in another's name, an owner deposits nonsense, or a stranger fills a custodian's disk.

use std::sync::Arc;

use custody::{
    AccountKey, DepositError, Holder, Message, NodeIdentity, Refusal, check_deposit, open_share, split_deposit,
};
use model::{Blob, Digest, Signed};

use crate::world::{NETWORK, START_MS, World, holders_of, node_seed};

#[test]
fn only_the_owner_deposits() {
    let world = World::new();
    let forger = AccountKey::generate().unwrap();
    let body = world.data.manifest.unverified().clone();
    let signature = *forger.sign(&NETWORK, body.clone()).signature();
    let forged = Signed::assemble(body, signature);
    let holders = holders_of(&world.nodes[..3]);
    assert!(matches!(
        split_deposit(&NETWORK, &forged, &world.data.key, 1, 2, &holders),
        Err(DepositError::Manifest(_))
    ));
    let mut request = world.data.requests[0].clone();
    request.manifest = forged;
    assert!(matches!(open_share(&NETWORK, &world.nodes[0], &request), Err(DepositError::Manifest(_))));
}

#[test]
fn another_key_than_the_seals_is_not_dealt() {
    let world = World::new();
    let holders = holders_of(&world.nodes[..3]);
    let result = split_deposit(&NETWORK, &world.data.manifest, &world.program.key, 1, 2, &holders);
    assert!(matches!(result, Err(DepositError::Key(_))));
}

#[test]
fn deposits_that_no_owner_would_make_are_refused() {
    let world = World::new();
    let malformed = |change: &dyn Fn(&mut model::Deposit)| {
        let mut deposit = world.data.requests[0].deposit.clone();
        change(&mut deposit);
        assert!(matches!(check_deposit(&NETWORK, &world.data.manifest, &deposit), Err(DepositError::Malformed(_))));
    };
    malformed(&|deposit| deposit.object = world.program.id());
    malformed(&|deposit| deposit.owner = world.program_owner.account());
    malformed(&|deposit| deposit.epoch = 0);
    malformed(&|deposit| deposit.threshold = 0);
    malformed(&|deposit| deposit.threshold = 4);
    malformed(&|deposit| deposit.custodians.clear());
    malformed(&|deposit| deposit.custodians[1] = deposit.custodians[0].clone());
    malformed(&|deposit| deposit.custodians[1].sealing_key = deposit.custodians[0].sealing_key);
    malformed(&|deposit| deposit.custodians = vec![deposit.custodians[0].clone(); 17]);
}

#[test]
fn holders_and_thresholds_that_do_not_go_together_are_refused() {
    let world = World::new();
    let all = holders_of(&world.nodes);
    let split = |threshold, holders: &[Holder]| {
        split_deposit(&NETWORK, &world.data.manifest, &world.data.key, 1, threshold, holders).map(|_| ())
    };
    assert!(matches!(split(0, &all), Err(DepositError::Malformed(_))));
    assert!(matches!(split(5, &all), Err(DepositError::Malformed(_))));
    assert!(matches!(split(1, &[]), Err(DepositError::Malformed(_))));
    let broken = Holder { sealing_key: Blob(vec![0xff; 1216]), ..all[0].clone() };
    assert!(matches!(split(2, &[broken, all[1].clone()]), Err(DepositError::SealingKey { .. })));
    let many: Vec<_> = (1..=17).map(|number| Arc::new(NodeIdentity::from_seed(&node_seed(number)))).collect();
    assert!(split(9, &holders_of(&many[..16])).is_ok());
    assert!(matches!(split(9, &holders_of(&many)), Err(DepositError::Malformed(_))));
}

#[test]
fn a_share_other_than_committed_to_is_noticed_at_the_deposit() {
    let world = World::new();
    let mut request = world.data.requests[0].clone();
    request.deposit.custodians[0].commitment = Digest([0; 32]);
    // The seal binds the commitment too, so it does not even open.
    assert!(matches!(open_share(&NETWORK, &world.nodes[0], &request), Err(DepositError::DoesNotOpen { .. })));
}

#[test]
fn deposits_that_are_never_published_have_a_bound() {
    let world = World::new();
    let mut custodian = world.empty_custodian(0);
    let mut refused = 0;
    // Cheap to tell apart: one share, dealt again for one epoch after another.
    for epoch in 1..=516 {
        let requests =
            split_deposit(&NETWORK, &world.data.manifest, &world.data.key, epoch, 1, &holders_of(&world.nodes[..1]));
        let message = Message::Deposit(Box::new(requests.unwrap().remove(0)));
        match custodian.handle(START_MS, message) {
            Ok(_) => {}
            Err(Refusal::TooManyPending { pending: 512 }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 4);
}
