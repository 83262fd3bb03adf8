//! The engine's own types that cross into this crate. `consensus` makes them, this crate reads them; nobody else needs
//! them. They are named here once, so that both sides agree on every parameter.

use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Error};
use commonware_consensus::{
    simplex::{self, scheme::bls12381_threshold::vrf},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Sha256,
    bls12381::primitives::variant::{MinSig, Variant},
    ed25519, sha256,
};
use commonware_storage::{
    mmr,
    qmdb::{
        any::value::FixedEncoding,
        current::ordered::proof::constant::{ExclusionProof, KeyValueProof},
    },
};
use model::NetworkId;

/// Threshold BLS signatures with a random beacon; 48-byte signatures, a 96-byte key.
pub type Scheme = vrf::Scheme<ed25519::PublicKey, MinSig>;
/// The threshold key of a network.
pub type Identity = <MinSig as Variant>::Public;
/// One signature under it.
pub type Signature = <MinSig as Variant>::Signature;
/// The certificate that a proposal is final.
pub type Finalization = simplex::types::Finalization<Scheme, sha256::Digest>;
/// Digests as the engine holds them.
pub type EngineDigest = sha256::Digest;

/// Bytes of one chunk of the state's activity bitmap; part of what a state root means.
pub const CHUNK_BYTES: usize = 32;
/// Most digests in one proof about the state; part of the proof's format.
pub const STATE_DIGESTS_MAX: usize = 122;
/// Most bytes of a finalization certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 158;

/// That a key has a value.
pub type Presence = KeyValueProof<mmr::Family, sha256::Digest, sha256::Digest, CHUNK_BYTES>;
/// That a key has none.
pub type Absence =
    ExclusionProof<mmr::Family, sha256::Digest, FixedEncoding<sha256::Digest>, sha256::Digest, CHUNK_BYTES>;
/// Hash of the state's tree.
pub type StateHasher = Sha256;
/// How the state's tree holds values: as 32-byte digests.
pub type StateValue = FixedEncoding<sha256::Digest>;

/// The namespace of everything the committee of `network` signs.
pub fn namespace(network: &NetworkId) -> Vec<u8> {
    model::domain(network, "consensus").into_bytes()
}

/// The engine's form of a round.
pub fn round(round: &model::Round) -> Round {
    Round::new(Epoch::new(round.epoch), View::new(round.view))
}

/// The engine's form of a digest.
pub fn digest(digest: &model::Digest) -> sha256::Digest {
    sha256::Digest::from(digest.0)
}

/// Reads a network key; refuses points outside the group and infinity.
///
/// # Errors
/// What the codec says.
pub fn identity(key: &model::Bytes96) -> Result<Identity, Error> {
    Identity::decode(Bytes::copy_from_slice(&key.0))
}

/// Reads a signature; refuses points outside the group and infinity.
///
/// # Errors
/// What the codec says.
pub fn signature(bytes: &model::Bytes48) -> Result<Signature, Error> {
    Signature::decode(Bytes::copy_from_slice(&bytes.0))
}
