//! What sealing and opening share: the sizes, the keys, the chunk cipher, the padding and the salted leaves.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
};
use hkdf::hmac::{Hmac, KeyInit as _, Mac as _};
use model::{Bytes32, Canonical as _, Digest, Suite};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    ContentKey,
    derive::{Secret32, derive},
};

/// Bytes of a full ciphertext chunk: one leaf of the UnixFS profile `unixfs-v1-2025`.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of the authentication tag at the end of every chunk.
pub const TAG_BYTES: usize = 16;
/// Bytes of plaintext in a full chunk.
pub const PLAINTEXT_CHUNK_BYTES: usize = CHUNK_BYTES - TAG_BYTES;
/// Most chunks of one file: the counter in the nonce has 32 bits.
pub const CHUNKS_MAX: u64 = 1 << 32;

pub(super) const INFO_COMMITMENT: &[u8] = b"samovar/v1/kc";
pub(super) const INFO_CHUNK: &[u8] = b"samovar/v1/chunk";
pub(super) const INFO_LEAVES: &[u8] = b"samovar/v1/leaves";
const INFO_META: &[u8] = b"samovar/v1/meta";
const LEAF_DOMAIN: &[u8] = b"samovar/v1/leaf";

/// Length after padding ([`model::padded_length`]). `None` if no file can be that long.
pub fn padded_length(length: u64) -> Option<u64> {
    model::padded_length(length).filter(|padded| chunk_count(*padded) <= CHUNKS_MAX)
}

/// Length of the ciphertext of a file of `length` bytes. `None` if no file can be that long.
pub fn ciphertext_length(length: u64) -> Option<u64> {
    let padded = padded_length(length)?;
    Some(padded + chunk_count(padded) * TAG_BYTES as u64)
}

/// How many chunks hold `padded` bytes, at least one.
pub(super) fn chunk_count(padded: u64) -> u64 {
    padded.div_ceil(PLAINTEXT_CHUNK_BYTES as u64).max(1)
}

/// Bytes of plaintext in chunk `index` of a file of `padded` bytes.
pub(super) fn plaintext_bytes(padded: u64, index: u64) -> usize {
    let start = index.saturating_mul(PLAINTEXT_CHUNK_BYTES as u64);
    // At most PLAINTEXT_CHUNK_BYTES, so it fits.
    padded.saturating_sub(start).min(PLAINTEXT_CHUNK_BYTES as u64) as usize
}

/// The public parameters that every chunk is bound to.
#[derive(Serialize, Deserialize)]
pub(super) struct Core {
    pub(super) chunk_bytes: u32,
    pub(super) key_commitment: Bytes32,
    pub(super) salt: Bytes32,
    pub(super) suite: Suite,
}

impl Core {
    pub(super) fn new(key: &ContentKey, salt: Bytes32) -> Self {
        Self {
            chunk_bytes: CHUNK_BYTES as u32,
            key_commitment: key.commitment(&salt),
            salt,
            suite: Suite::Aes256GcmXWing,
        }
    }
}

/// The keys of one sealed file.
pub(super) struct FileKeys {
    pub(super) core: Digest,
    pub(super) chunks: ChunkCipher,
    pub(super) leaves: ChunkCipher,
    meta: LessSafeKey,
}

impl FileKeys {
    pub(super) fn derive(key: &ContentKey, core: &Core) -> Self {
        let digest = core.digest();
        let cipher = |info: &[u8]| aes_256_gcm(&derive(key.expose(), &core.salt.0, &[info, &digest.0]));
        Self {
            core: digest,
            chunks: ChunkCipher { key: cipher(INFO_CHUNK), core: digest },
            leaves: ChunkCipher { key: cipher(INFO_LEAVES), core: digest },
            meta: cipher(INFO_META),
        }
    }

    /// Seals length and leaf key. The key is used once, so the nonce is zero.
    pub(super) fn seal_meta(&self, meta: &Meta, chunks: u64, root: &Digest) -> Vec<u8> {
        let mut bytes = Zeroizing::new([0; Meta::BYTES]);
        bytes[..8].copy_from_slice(&meta.length.to_be_bytes());
        bytes[8..].copy_from_slice(meta.leaf_key.as_ref());
        let tag = self
            .meta
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key([0; 12]),
                self.meta_aad(chunks, root),
                bytes.as_mut(),
            )
            .expect("40 bytes are fewer than the 64 GiB one nonce is good for");
        [bytes.as_slice(), tag.as_ref()].concat()
    }

    /// Opens what [`Self::seal_meta`] made for the same number of chunks and the same root.
    pub(super) fn open_meta(&self, sealed: &[u8], chunks: u64, root: &Digest) -> Option<Meta> {
        let mut bytes = Zeroizing::new(<[u8; Meta::BYTES + TAG_BYTES]>::try_from(sealed).ok()?);
        let opened = self
            .meta
            .open_in_place(Nonce::assume_unique_for_key([0; 12]), self.meta_aad(chunks, root), bytes.as_mut())
            .ok()?;
        let (length, leaf_key) = opened.split_first_chunk()?;
        Some(Meta { length: u64::from_be_bytes(*length), leaf_key: Zeroizing::new(leaf_key.try_into().ok()?) })
    }

    fn meta_aad(&self, chunks: u64, root: &Digest) -> Aad<[u8; 32]> {
        Aad::from(Digest::of_parts(&[&self.core.0, &chunks.to_be_bytes(), &root.0]).0)
    }
}

/// What a seal keeps secret about its file.
pub(super) struct Meta {
    /// True length of the plaintext.
    pub(super) length: u64,
    /// Salts the leaves. Random and not derived from the content key, so that the root survives sealing again.
    pub(super) leaf_key: Secret32,
}

impl Meta {
    const BYTES: usize = 40;
}

/// Encrypts chunks in place: nonce = 7 zero bytes ‖ u32 index ‖ last flag, associated data = digest of [`Core`]. This is the
/// STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, 2015), so chunks cannot be reordered, dropped or added.
pub(super) struct ChunkCipher {
    key: LessSafeKey,
    core: Digest,
}

impl ChunkCipher {
    /// Encrypts `buffer` but its last [`TAG_BYTES`], which it fills with the tag. `index` is below [`CHUNKS_MAX`].
    pub(super) fn seal(&self, index: u64, last: bool, buffer: &mut [u8]) {
        let (plaintext, tag) = buffer.split_at_mut(buffer.len() - TAG_BYTES);
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce(index, last), Aad::from(self.core.0), plaintext)
            .expect("a chunk is shorter than the 64 GiB one nonce is good for");
        tag.copy_from_slice(sealed.as_ref());
    }

    /// Decrypts in place; `None` if any bit, the position or the file differs from what was sealed.
    pub(super) fn open<'a>(&self, index: u64, last: bool, buffer: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.key.open_in_place(nonce(index, last), Aad::from(self.core.0), buffer).ok()
    }
}

fn nonce(index: u64, last: bool) -> Nonce {
    let index = u32::try_from(index).expect("callers check CHUNKS_MAX before they come here");
    let mut bytes = [0; 12];
    bytes[7..11].copy_from_slice(&index.to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

fn aes_256_gcm(key: &Secret32) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("AES-256 takes any 32 bytes"))
}

/// The leaf data of one plaintext chunk, padding included: `H("samovar/v1/leaf" ‖ u64 index ‖ salt ‖ chunk)` with
/// salt = HMAC(leaf key, u64 index).
pub(super) fn leaf(leaf_key: &Secret32, index: u64, chunk: &[u8]) -> Digest {
    let mut salt = Hmac::<Sha256>::new_from_slice(leaf_key.as_ref()).expect("HMAC takes keys of any length");
    salt.update(&index.to_be_bytes());
    // The bulk of all hashing: AWS-LC's SHA-256 is the fastest at hand.
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(LEAF_DOMAIN);
    hash.update(&index.to_be_bytes());
    hash.update(&salt.finalize().into_bytes());
    hash.update(chunk);
    Digest::from_slice(hash.finish().as_ref()).expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_padme() {
        for (length, padded) in [
            (0, 4096),
            (1, 4096),
            (4096, 4096),
            (4097, 4352),
            (8191, 8192),
            (8192, 8192),
            (100_000, 100_352),
            (1_048_559, 1_048_576),
            (1_048_560, 1_048_576),
            (1_048_576, 1_048_576),
            (1_000_000_000, 1_006_632_960),
        ] {
            assert_eq!(padded_length(length), Some(padded), "{length}");
        }
    }

    #[test]
    fn padding_adds_less_than_an_eighth_and_is_idempotent() {
        for length in (12..50).flat_map(|bits| [(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1, 3 << (bits - 1)]) {
            let padded = padded_length(length).unwrap();
            assert!(padded >= length && padded - length <= length / 8, "{length}");
            assert_eq!(padded_length(padded), Some(padded));
        }
    }

    #[test]
    fn files_beyond_the_counter_are_refused() {
        let most = CHUNKS_MAX * PLAINTEXT_CHUNK_BYTES as u64;
        assert!(padded_length(most / 2).is_some());
        assert_eq!(padded_length(most), None, "its padding needs one chunk more");
        assert_eq!(padded_length(u64::MAX), None);
        assert_eq!(nonce(CHUNKS_MAX - 1, true).as_ref(), &[0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1]);
    }

    #[test]
    fn the_last_chunk_opens_only_as_the_last() {
        let key = ContentKey::from_secret(Zeroizing::new([7; 32]));
        let keys = FileKeys::derive(&key, &Core::new(&key, Bytes32([1; 32])));
        let index = CHUNKS_MAX - 1;
        let mut sealed = vec![9; 100 + TAG_BYTES];
        keys.chunks.seal(index, true, &mut sealed);
        assert!(keys.chunks.open(index, false, &mut sealed.clone()).is_none());
        assert!(keys.chunks.open(0, true, &mut sealed.clone()).is_none());
        assert!(keys.leaves.open(index, true, &mut sealed.clone()).is_none());
        assert_eq!(keys.chunks.open(index, true, &mut sealed).unwrap(), &[9; 100]);
    }
}
