//! Sealed objects: a file as ciphertext chunks that anybody may store and only a key holder can read.
//!
//! One ciphertext chunk is one IPFS leaf of 1 MiB, authentication tag included, so that any part of a file opens with one
//! leaf. A salted Merkle root over the plaintext stands in the public [`model::Seal`]: what was computed on stays named and
//! checkable, and can be guessed by nobody. `docs/spec/object.md` says every byte.
//!
//! * [`format`](self::format) has the parts that sealing and opening share;
//! * [`Sealer`] reads plaintext and gives ciphertext, one chunk in memory at a time;
//! * [`Opener`] opens any chunk, in any order.

#[cfg(test)]
mod dishonest;
mod format;
mod key;
mod open;
mod seal;
#[cfg(test)]
mod vectors;

pub use format::{CHUNK_BYTES, CHUNKS_MAX, PLAINTEXT_CHUNK_BYTES, TAG_BYTES, ciphertext_length, padded_length};
pub use key::ContentKey;
pub use open::{OpenError, Opener};
pub use seal::{SealError, Sealed, Sealer, plaintext_root, seal_bytes};
