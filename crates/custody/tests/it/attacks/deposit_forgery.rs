//! Somebody deposits in another's name, an owner deposits nonsense, or a stranger fills a custodian's disk.

use std::sync::Arc;

use custody::{
    AccountKey, Action, DepositError, Holder, Message, NodeIdentity, PENDING_PER_OWNER_MAX, Refusal, Standing,
    check_deposit, open_share, split_deposit,
};
use model::{BadSignature, Blob, Digest, Signed, api::DepositRequest};

use crate::world::{NETWORK, Object, START_MS, World, altered, deposit, holders_of, node_seed};

#[test]
fn only_the_owner_deposits() {
    let world = World::new();
    let forger = AccountKey::generate().unwrap();
    let body = world.data.manifest.unverified().clone();
    let signature = *forger.sign(&NETWORK, body.clone()).signature();
    let forged = Signed::assemble(body, signature);
    let holders = holders_of(&world.nodes[..3]);
    assert!(matches!(
        split_deposit(&NETWORK, &forger, &forged, &world.data.key, 1, 2, &holders),
        Err(DepositError::Signature(_))
    ));
    let mut request = world.data.requests[0].clone();
    request.manifest = forged;
    assert!(matches!(open_share(&NETWORK, &world.nodes[0], &request), Err(DepositError::Signature(_))));
}

#[test]
fn whoever_has_read_a_manifest_cannot_deal_shares_in_its_owners_name() {
    let world = World::new();
    let forger = AccountKey::generate().unwrap();
    // With shares of the forger's own making: the key itself is not known to it.
    let holders = holders_of(&world.nodes[..3]);
    let dealt = split_deposit(&NETWORK, &forger, &world.data.manifest, &world.data.key, 1, 2, &holders);
    assert!(matches!(dealt, Err(DepositError::Signature(_))));
    let honest = &world.data.requests[0];
    let body = honest.deposit.unverified().clone();
    let signature = *forger.sign(&NETWORK, body.clone()).signature();
    let forged = DepositRequest { deposit: Signed::assemble(body, signature), ..honest.clone() };
    let refusal = world.empty_custodian(0).handle(START_MS, deposit(forged)).unwrap_err();
    let of_deposit = |cause: &BadSignature| cause.purpose == "deposit";
    assert!(matches!(&refusal, Refusal::Deposit(DepositError::Signature(cause)) if of_deposit(cause)), "{refusal}");
    // Under the forger's own name it belongs to another owner than the manifest.
    let renamed = altered(&NETWORK, &forger, honest, |deposit| deposit.owner = forger.account());
    let refusal = world.empty_custodian(0).handle(START_MS, deposit(renamed)).unwrap_err();
    assert!(matches!(&refusal, Refusal::Deposit(DepositError::Malformed(_))), "{refusal}");
}

#[test]
fn whoever_cannot_pay_for_the_publication_deposits_nothing() {
    let world = World::new();
    let handle = |balance, needed| {
        let standing = Standing { balance, needed, observed_ms: START_MS };
        let request = Box::new(world.data.requests[0].clone());
        world.empty_custodian(0).handle(START_MS, Message::Deposit { request, standing })
    };
    assert!(matches!(handle(9, 10), Err(Refusal::OwnerCannotPay { balance: 9, needed: 10, .. })));
    assert!(handle(10, 10).is_ok());
    // Where transactions cost nothing, an account must still have something.
    assert!(matches!(handle(0, 0), Err(Refusal::OwnerCannotPay { balance: 0, needed: 1, .. })));
    assert!(handle(1, 0).is_ok());
}

#[test]
fn another_key_than_the_seals_is_not_dealt() {
    let world = World::new();
    let holders = holders_of(&world.nodes[..3]);
    let result = split_deposit(&NETWORK, &world.data_owner, &world.data.manifest, &world.program.key, 1, 2, &holders);
    assert!(matches!(result, Err(DepositError::Key(_))));
}

#[test]
fn deposits_that_no_owner_would_make_are_refused() {
    let world = World::new();
    let malformed = |change: &dyn Fn(&mut model::Deposit)| {
        let deposit = altered(&NETWORK, &world.data_owner, &world.data.requests[0], change).deposit;
        assert!(matches!(check_deposit(&NETWORK, &world.data.manifest, &deposit), Err(DepositError::Malformed(_))));
    };
    malformed(&|deposit| deposit.object = world.program.id());
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
        let (manifest, key) = (&world.data.manifest, &world.data.key);
        split_deposit(&NETWORK, &world.data_owner, manifest, key, 1, threshold, holders).map(|_| ())
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
    let request = altered(&NETWORK, &world.data_owner, &world.data.requests[0], |deposit| {
        deposit.custodians[0].commitment = Digest([0; 32]);
    });
    // The seal binds the commitment too, so it does not even open.
    assert!(matches!(open_share(&NETWORK, &world.nodes[0], &request), Err(DepositError::DoesNotOpen { .. })));
}

#[test]
fn deposits_that_are_never_published_have_a_bound() {
    let world = World::new();
    let mut custodian = world.empty_custodian(0);
    let holders = holders_of(&world.nodes[..1]);
    // Cheap to tell apart: one share, dealt again for one epoch after another.
    let dealt = |owner, object: &Object, epoch| {
        split_deposit(&NETWORK, owner, &object.manifest, &object.key, epoch, 1, &holders).unwrap().remove(0)
    };
    let limit = u32::try_from(PENDING_PER_OWNER_MAX).unwrap();
    for epoch in 1..=limit {
        custodian.handle(START_MS, deposit(dealt(&world.data_owner, &world.data, epoch))).unwrap();
    }
    let refusal = custodian.handle(START_MS, deposit(dealt(&world.data_owner, &world.data, limit + 1))).unwrap_err();
    assert!(matches!(refusal, Refusal::OwnersPending { pending: PENDING_PER_OWNER_MAX, .. }), "{refusal}");
    // Other owners are not kept out.
    custodian.handle(START_MS, deposit(dealt(&world.program_owner, &world.program, 1))).unwrap();
}

#[test]
fn a_deposit_takes_little_of_the_disk() {
    let world = World::new();
    let many: Vec<_> = (1..=16).map(|number| Arc::new(NodeIdentity::from_seed(&node_seed(number)))).collect();
    let (manifest, key) = (&world.data.manifest, &world.data.key);
    let requests = split_deposit(&NETWORK, &world.data_owner, manifest, key, 1, 9, &holders_of(&many)).unwrap();
    let actions = world.empty_custodian(0).handle(START_MS, deposit(requests[0].clone())).unwrap();
    let Action::Persist { value: Some(value), .. } = &actions[0] else { panic!("{actions:?}") };
    assert!(value.len() <= 4096, "{} bytes", value.len());
}
