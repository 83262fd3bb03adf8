//! Binds the files of a result to the receipt.
//!
//! The receipt commits to a salted root over the plaintext. Whoever opened the result keeps its [`ResultOpening`] beside the
//! files; with it, anybody can be shown that these very bytes came out of the proven run.

use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{Bytes32, Digest, PLAINTEXT_CHUNK_BYTES, log::Frontier, padded_length};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{ProofError, Verified};

/// Opens the commitment of one result: its length and the key of its leaf salts. Not needed to keep the result secret from
/// those who do not have its bytes; canonical DAG-CBOR in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultOpening {
    /// Bytes of the result archive.
    pub length: u64,
    /// Salts the leaves.
    pub leaf_key: Bytes32,
}

const CHUNK_BYTES: usize = PLAINTEXT_CHUNK_BYTES as usize;
const LEAF_DOMAIN: &[u8] = b"samovar/v1/leaf";

/// Checks that `archive` (the plaintext of the sealed result) is what the receipt commits to.
///
/// # Errors
/// [`ProofError::Result`].
pub fn check_result(verified: &Verified, opening: &ResultOpening, archive: &[u8]) -> Result<(), ProofError> {
    let result = verified.result().ok_or(ProofError::Result("the task failed, so there is none"))?;
    if archive.len() as u64 != opening.length {
        return Err(ProofError::Result("its length is not the one that was committed to"));
    }
    let padded = padded_length(opening.length)
        .and_then(|padded| usize::try_from(padded).ok())
        .ok_or(ProofError::Result("it is too long"))?;
    if (padded.div_ceil(CHUNK_BYTES).max(1)) as u64 != result.seal.chunks {
        return Err(ProofError::Result("it has another number of chunks"));
    }
    if plaintext_root(&opening.leaf_key, archive, padded) == result.seal.plaintext_root {
        Ok(())
    } else {
        Err(ProofError::Result("some of its bytes differ"))
    }
}

/// RFC 9162 root over `H("samovar/v1/leaf" ‖ u64 index ‖ salt ‖ chunk)`, salt = HMAC-SHA256(leaf key, u64 index), chunks padded
/// with zeros to `padded` bytes in all.
fn plaintext_root(leaf_key: &Bytes32, archive: &[u8], padded: usize) -> Digest {
    let mut frontier = Frontier::default();
    for (index, start) in (0..padded.max(1)).step_by(CHUNK_BYTES).enumerate() {
        let end = padded.min(start + CHUNK_BYTES);
        let bytes = archive.get(start..end.min(archive.len())).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(LEAF_DOMAIN);
        hash.update((index as u64).to_be_bytes());
        hash.update(salt(leaf_key, index as u64));
        hash.update(bytes);
        hash.update(vec![0; end - start - bytes.len()]);
        frontier.append(&Digest(hash.finalize().into()));
    }
    frontier.root()
}

fn salt(leaf_key: &Bytes32, index: u64) -> [u8; 32] {
    let mut salt = Hmac::<Sha256>::new_from_slice(&leaf_key.0).expect("HMAC takes keys of any length");
    salt.update(&index.to_be_bytes());
    salt.finalize().into_bytes().into()
}
