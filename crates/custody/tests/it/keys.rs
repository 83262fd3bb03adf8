//! Keys of accounts and nodes: what they derive, and for whom.

use custody::{AccountKey, LocalSealError, NodeIdentity};
use model::{Bytes32, NetworkId, ReleaseRequest, Signed, TaskId};

use crate::world::{NETWORK, World};

#[test]
fn an_account_key_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.key");
    let key = AccountKey::generate().unwrap();
    key.save(&file).unwrap();
    let again = AccountKey::load(&file).unwrap();
    assert_eq!(again.account(), key.account());
    assert_eq!(again.result_key(&NETWORK).public(), key.result_key(&NETWORK).public());
    assert!(key.account().to_string().starts_with("did:key:z6Mk"));
}

#[test]
fn result_keys_differ_by_network_and_account() {
    let (key, other) = (AccountKey::generate().unwrap(), AccountKey::generate().unwrap());
    let elsewhere = NetworkId([1; 32]);
    assert_ne!(key.result_key(&NETWORK).public(), key.result_key(&elsewhere).public());
    assert_ne!(key.result_key(&NETWORK).public(), other.result_key(&NETWORK).public());
    assert_eq!(key.result_key(&NETWORK).public().0.len(), custody::PUBLIC_KEY_BYTES);
}

#[test]
fn signatures_verify_on_their_network_only() {
    let world = World::new();
    let manifest: &Signed<_> = &world.data.manifest;
    assert!(manifest.verify(&NETWORK).is_ok());
    assert!(manifest.verify(&NetworkId([1; 32])).is_err());
}

#[test]
fn a_node_is_its_seed() {
    let (one, same, other) =
        (NodeIdentity::from_seed(&[1; 32]), NodeIdentity::from_seed(&[1; 32]), NodeIdentity::from_seed(&[2; 32]));
    assert_eq!(one.node_id(), same.node_id());
    assert_eq!(one.sealing_public(), same.sealing_public());
    assert_ne!(one.node_id(), other.node_id());
    assert_ne!(one.sealing_public(), other.sealing_public());
    let request = ReleaseRequest {
        task: TaskId([0; 32]),
        attempt: 1,
        assignment: model::Digest([0; 32]),
        executor: one.node_id(),
        custodian: other.node_id(),
        ephemeral_key: model::Blob(vec![]),
        nonce: Bytes32([0; 32]),
    };
    assert!(same.sign(&NETWORK, request.clone()).verify(&NETWORK).is_ok());
    assert!(other.sign(&NETWORK, request).verify(&NETWORK).is_err());
}

#[test]
fn a_nodes_files_open_on_that_node_for_their_purpose_only() {
    let (one, other) = (NodeIdentity::from_seed(&[1; 32]), NodeIdentity::from_seed(&[2; 32]));
    let sealed = one.seal_local("bls-share", b"a share").unwrap();
    assert_eq!(one.open_local("bls-share", &sealed).unwrap().as_slice(), b"a share");
    assert_ne!(sealed, one.seal_local("bls-share", b"a share").unwrap(), "every nonce is fresh");

    assert_eq!(one.open_local("other", &sealed), Err(LocalSealError::DoesNotOpen));
    assert_eq!(other.open_local("bls-share", &sealed), Err(LocalSealError::DoesNotOpen));
    for length in [0, 11, 12, 27, sealed.len() - 1] {
        assert_eq!(one.open_local("bls-share", &sealed[..length]), Err(LocalSealError::DoesNotOpen));
    }
}
