//! Something sealed or signed for one place is brought to another: network, task, object, owner, epoch, index, custodian.

use custody::{DepositError, Fault, Refusal, open_share, split_deposit};
use model::{Deposit, NetworkId, api::DepositRequest};

use crate::world::{NETWORK, START_MS, World, altered, deposit, holders_of, released};

#[test]
fn a_share_released_for_one_task_does_not_open_for_another() {
    let mut world = World::new();
    let stage = world.stage();
    let collector = world.collector(&stage);
    let shares = released(&stage.ask(&world, &mut world.custodian(0), 0, &collector).unwrap());

    world.task.nonce += 1;
    let other = world.stage();
    let mut collector = world.collector(&other);
    assert_eq!(collector.accept(world.nodes[0].node_id(), shares), 0);
    assert!(collector.liars().iter().all(|liar| liar.fault == Fault::Release));
}

#[test]
fn a_share_released_to_one_key_does_not_open_with_another() {
    let world = World::new();
    let stage = world.stage();
    let first = world.collector(&stage);
    let mut second = world.collector(&stage);
    let shares = released(&stage.ask(&world, &mut world.custodian(0), 0, &first).unwrap());
    assert_eq!(second.accept(world.nodes[0].node_id(), shares), 0);
}

#[test]
fn a_deposit_of_one_network_is_refused_on_another() {
    let world = World::new();
    let other = NetworkId([1; 32]);
    assert!(matches!(open_share(&other, &world.nodes[0], &world.data.requests[0]), Err(DepositError::Signature(_))));

    // Even if the owner publishes the same file on both.
    let manifest = world.data_owner.sign(&other, world.data.manifest.unverified().clone());
    let mut request = world.data.requests[0].clone();
    request.manifest = manifest.clone();
    let signature = |request: &DepositRequest| open_share(&other, &world.nodes[0], request).unwrap_err();
    assert!(matches!(signature(&request), DepositError::Signature(cause) if cause.purpose == "deposit"));
    request = altered(&other, &world.data_owner, &request, |deposit| deposit.object = manifest.object_id());
    assert!(matches!(open_share(&other, &world.nodes[0], &request), Err(DepositError::DoesNotOpen { .. })));
}

#[test]
fn a_share_of_one_object_is_refused_for_another() {
    let world = World::new();
    let mut request = world.program.requests[0].clone();
    request.sealed_share = world.data.requests[0].sealed_share.clone();
    assert!(matches!(open_share(&NETWORK, &world.nodes[0], &request), Err(DepositError::DoesNotOpen { index: 1 })));
}

#[test]
fn a_share_of_one_epoch_threshold_or_index_is_refused_for_another() {
    let world = World::new();
    let opens = |request: &DepositRequest| open_share(&NETWORK, &world.nodes[0], request).map(|_| ());
    let original = &world.data.requests[0];
    assert!(opens(original).is_ok());

    let altered = |change: &dyn Fn(&mut Deposit)| altered(&NETWORK, &world.data_owner, original, change);
    let request = altered(&|deposit| deposit.epoch = 2);
    assert!(matches!(opens(&request), Err(DepositError::DoesNotOpen { .. })));
    let request = altered(&|deposit| deposit.threshold = 1);
    assert!(matches!(opens(&request), Err(DepositError::DoesNotOpen { .. })));
    let request = altered(&|deposit| {
        deposit.custodians.pop();
    });
    assert!(matches!(opens(&request), Err(DepositError::DoesNotOpen { .. })));
    let mut request = altered(&|deposit| deposit.custodians.swap(0, 1));
    request.index = 2;
    assert!(matches!(opens(&request), Err(DepositError::DoesNotOpen { .. })));
}

#[test]
fn a_share_for_one_custodian_is_refused_by_another() {
    let world = World::new();
    let error = open_share(&NETWORK, &world.nodes[1], &world.data.requests[0]).unwrap_err();
    assert!(matches!(error, DepositError::NotForThisNode { index: 1 }));
    let message = deposit(world.data.requests[0].clone());
    let refusal = world.empty_custodian(1).handle(START_MS, message).unwrap_err();
    assert!(matches!(refusal, Refusal::Deposit(_)) && refusal.rule() == "deposit");
}

#[test]
fn shares_of_two_epochs_do_not_combine() {
    let world = World::new();
    let stage = world.stage();
    let mut renewed = World { data_owner: copy(&world), ..World::new() };
    let holders = holders_of(&world.nodes[..3]);
    renewed.data = world_data(&world);
    let (owner, manifest, key) = (&world.data_owner, &world.data.manifest, &world.data.key);
    renewed.data.requests = split_deposit(&NETWORK, owner, manifest, key, 2, 2, &holders).unwrap();
    renewed.data_terms.object = renewed.data.id();
    renewed.data_terms.owner = world.data.manifest.unverified().owner;
    renewed.task.inputs[0].object = renewed.data.id();
    let later = renewed.stage();

    let mut collector = world.collector(&stage);
    collector.accept(
        world.nodes[0].node_id(),
        released(&stage.ask(&world, &mut world.custodian(0), 0, &collector).unwrap()),
    );
    let newer = released(&later.ask(&renewed, &mut renewed.custodian(1), 1, &renewed.collector(&later)).unwrap());
    assert_eq!(collector.accept(world.nodes[1].node_id(), newer), 0);
    assert!(!collector.is_complete());
}

/// The same owner once more: keys do not clone, so it goes through its file.
fn copy(world: &World) -> custody::AccountKey {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("owner.key");
    world.data_owner.save(&file).unwrap();
    custody::AccountKey::load(&file).unwrap()
}

fn world_data(world: &World) -> crate::world::Object {
    crate::world::Object {
        key: custody::ContentKey::generate().unwrap(),
        ciphertext: world.data.ciphertext.clone(),
        sealed: world.data.sealed.clone(),
        manifest: world.data.manifest.clone(),
        requests: vec![],
    }
}
