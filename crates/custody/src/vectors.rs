//! Pins what crosses between machines besides the object format: `docs/spec/vectors/share.json`. All randomness is given, so
//! this code must produce the file byte for byte. `SAMOVAR_BLESS=1` writes it anew, which is a change of format.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};
use model::{
    AccountId, Blob, Bytes32, Canonical as _, ContentId, Custodian, Deposit, Digest, NetworkId, ObjectId, Release,
    TaskId,
};
use serde::{Deserialize, Serialize};

use crate::{NodeIdentity, SealingKey, Share, custodian::release_info, share::share_info, wrap::seal_to};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    about: String,
    network: NetworkId,
    node_seed: Bytes32,
    node: AccountId,
    sealing_key: Blob,
    deposit: Deposit,
    deposit_dag_cbor: Blob,
    index: u8,
    share: Bytes32,
    share_info: Blob,
    sealed_share: Blob,
    ephemeral_seed: Bytes32,
    ephemeral_key: Blob,
    release: Release,
    release_info: Blob,
    released_share: Blob,
}

fn vector() -> Vector {
    let (network, node_seed) = (NetworkId([1; 32]), Bytes32([2; 32]));
    let identity = NodeIdentity::from_seed(&node_seed.0);
    let (owner, object) = (AccountId([3; 32]), ObjectId(ContentId::of_dag_cbor(b"a manifest").0));
    let share = Share::new(1, &[4; 32]).unwrap();
    let holder = Custodian {
        node: identity.node_id(),
        sealing_key: identity.sealing_digest(),
        commitment: share.commitment(&network, &object, &owner, 1),
    };
    let deposit = Deposit { object, owner, epoch: 1, threshold: 1, custodians: vec![holder] };
    let share_info = share_info(&network, &deposit, 1);
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let sealed_share = seal_to(&identity.sealing_public().0, &share_info, share.expose(), &mut rng).unwrap();

    let ephemeral_seed = Bytes32([6; 32]);
    let ephemeral = SealingKey::from_seed(&zeroize::Zeroizing::new(ephemeral_seed.0));
    let release = Release {
        task: TaskId([7; 32]),
        attempt: 1,
        object,
        epoch: 1,
        index: 1,
        custodian: identity.node_id(),
        executor: AccountId([8; 32]),
        ephemeral_key: ephemeral.public_digest(),
        terms: Digest([9; 32]),
    };
    let release_info = release_info(&network, &release);
    let released_share = seal_to(&ephemeral.public().0, &release_info, share.expose(), &mut rng).unwrap();
    Vector {
        about: "A node's keys from its seed; a share sealed to it; the same share released to an ephemeral key.".into(),
        network,
        node_seed,
        node: identity.node_id(),
        sealing_key: identity.sealing_public(),
        deposit_dag_cbor: Blob(deposit.to_bytes()),
        deposit,
        index: 1,
        share: Bytes32([4; 32]),
        share_info: Blob(share_info),
        sealed_share,
        ephemeral_seed,
        ephemeral_key: ephemeral.public(),
        release,
        release_info: Blob(release_info),
        released_share,
    }
}

#[test]
fn shares_are_sealed_as_the_committed_vector_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/vectors/share.json");
    let made = vector();
    if std::env::var_os("SAMOVAR_BLESS").is_some() {
        std::fs::write(file, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let committed: Vector = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(made, committed);

    let identity = NodeIdentity::from_seed(&committed.node_seed.0);
    let opened = identity.sealing().open(&committed.share_info.0, &committed.sealed_share.0).unwrap();
    assert_eq!(opened.as_slice(), committed.share.0);
}
