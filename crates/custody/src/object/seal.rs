//! Sealing: plaintext in, ciphertext chunks out, with one chunk and its successor in memory.

use std::io::{self, Read};

use model::{Blob, Bytes32, Digest, Seal, Suite, log::Frontier};
use zeroize::Zeroizing;

use super::{
    ContentKey,
    format::{
        CHUNK_BYTES, ChunkCipher, Core, FileKeys, Meta, PLAINTEXT_CHUNK_BYTES, TAG_BYTES, chunk_count, leaf,
        padded_length, plaintext_bytes,
    },
};
use crate::derive::{NoRandomness, Secret32, random};

/// Why a file was not sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The plaintext's fault.
    #[error("the file is longer than one sealed object can be (4 PiB)")]
    TooLong,
    /// The caller's fault.
    #[error("the file was not read to its end")]
    Unfinished,
    /// The plaintext could not be read.
    #[error("cannot read the file that is being sealed")]
    Read(#[source] io::Error),
    /// The ciphertext could not be written.
    #[error("cannot write the sealed file")]
    Write(#[source] io::Error),
    /// This machine's fault.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// What sealing a file leaves besides its ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The public half, for a manifest.
    pub seal: Seal,
    /// The list of leaf hashes, sealed: a second small file, stored beside the ciphertext. 32 bytes for each chunk and 16
    /// for each started MiB.
    pub leaves: Vec<u8>,
    /// Bytes of the ciphertext.
    pub ciphertext_bytes: u64,
}

/// Seals what it reads. It is itself a reader of the ciphertext, so it can stand between a file and an import.
///
/// Holds two chunks (2 MiB) and 32 bytes for each chunk sealed so far. Salt and leaf key come from the operating system.
pub struct Sealer<R> {
    source: R,
    keys: FileKeys,
    core: Core,
    meta: Meta,
    /// The padded length, once the end of the source was seen.
    padded: Option<u64>,
    /// The ciphertext chunk handed out last.
    current: Zeroizing<Vec<u8>>,
    /// Plaintext of the chunk after it.
    ahead: Zeroizing<Vec<u8>>,
    ahead_bytes: usize,
    leaves: Vec<u8>,
    root: Frontier,
    ciphertext_bytes: u64,
    finished: bool,
    /// What [`Read`] has yet to give out of `current`.
    unread: std::ops::Range<usize>,
}

impl<R: Read> Sealer<R> {
    /// Begins to seal `source` under `key`.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn new(source: R, key: &ContentKey) -> Result<Self, SealError> {
        Ok(Self::with_randomness(source, key, Bytes32(*random::<32>()?), random::<32>()?))
    }

    /// The salt must never come twice with the same key and another file.
    pub(super) fn with_randomness(source: R, key: &ContentKey, salt: Bytes32, leaf_key: Secret32) -> Self {
        let core = Core::new(key, salt);
        Self {
            source,
            keys: FileKeys::derive(key, &core),
            core,
            meta: Meta { length: 0, leaf_key },
            padded: None,
            current: Zeroizing::new(vec![0; CHUNK_BYTES]),
            ahead: Zeroizing::new(vec![0; CHUNK_BYTES]),
            ahead_bytes: 0,
            leaves: Vec::new(),
            root: Frontier::default(),
            ciphertext_bytes: 0,
            finished: false,
            unread: 0..0,
        }
    }

    /// The next ciphertext chunk; `None` after the last. It is overwritten by the following call.
    ///
    /// # Errors
    /// [`SealError::Read`], [`SealError::TooLong`].
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, SealError> {
        let bytes = self.advance()?;
        self.unread = 0..0;
        Ok((bytes > 0).then(|| &self.current[..bytes]))
    }

    /// What was sealed, once all chunks were taken.
    ///
    /// # Errors
    /// [`SealError::Unfinished`].
    pub fn finish(self) -> Result<Sealed, SealError> {
        if !self.finished || !self.unread.is_empty() {
            return Err(SealError::Unfinished);
        }
        let (chunks, root) = (self.root.size(), self.root.root());
        Ok(Sealed {
            seal: Seal {
                suite: Suite::Aes256GcmXWing,
                salt: self.core.salt,
                key_commitment: self.core.key_commitment,
                chunk_bytes: self.core.chunk_bytes,
                chunks,
                plaintext_root: root,
                sealed_meta: Blob(self.keys.seal_meta(&self.meta, chunks, &root)),
            },
            leaves: seal_leaves(&self.keys.leaves, &self.leaves),
            ciphertext_bytes: self.ciphertext_bytes,
        })
    }

    #[cfg(test)]
    pub(super) fn core_digest(&self) -> Digest {
        self.keys.core
    }

    #[cfg(test)]
    pub(super) fn leaf_digests(&self) -> Vec<Digest> {
        self.leaves.chunks(Digest::LEN).filter_map(Digest::from_slice).collect()
    }

    /// Makes the next chunk in `current` and says how long it is; 0 after the last.
    fn advance(&mut self) -> Result<usize, SealError> {
        if self.finished {
            return Ok(0);
        }
        let index = self.root.size();
        if index == 0 {
            self.read_ahead()?;
        }
        std::mem::swap(&mut self.current, &mut self.ahead);
        let filled = std::mem::take(&mut self.ahead_bytes);
        if self.padded.is_none() {
            // Whether this chunk is the last is known only when there is nothing behind it.
            self.read_ahead()?;
        }
        let plaintext = match self.padded {
            Some(padded) => plaintext_bytes(padded, index),
            None => PLAINTEXT_CHUNK_BYTES,
        };
        self.finished = self.padded.is_some_and(|padded| chunk_count(padded) == index + 1);
        self.current[filled..plaintext].fill(0);

        let leaf = leaf(&self.meta.leaf_key, index, &self.current[..plaintext]);
        self.root.append(&leaf);
        self.leaves.extend_from_slice(&leaf.0);
        let bytes = plaintext + TAG_BYTES;
        self.keys.chunks.seal(index, self.finished, &mut self.current[..bytes]);
        self.ciphertext_bytes += bytes as u64;
        Ok(bytes)
    }

    /// Fills `ahead`, and settles the padded length if the source ends in it.
    fn read_ahead(&mut self) -> Result<(), SealError> {
        self.ahead_bytes = fill(&mut self.source, &mut self.ahead[..PLAINTEXT_CHUNK_BYTES]).map_err(SealError::Read)?;
        self.meta.length += self.ahead_bytes as u64;
        let padded = padded_length(self.meta.length).ok_or(SealError::TooLong)?;
        if self.ahead_bytes < PLAINTEXT_CHUNK_BYTES {
            self.padded = Some(padded);
        }
        Ok(())
    }
}

impl<R: Read> Read for Sealer<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.unread.is_empty() {
            self.unread = 0..self.advance().map_err(io::Error::other)?;
        }
        let bytes = self.unread.len().min(buffer.len());
        let start = self.unread.start;
        buffer[..bytes].copy_from_slice(&self.current[start..start + bytes]);
        self.unread.start += bytes;
        Ok(bytes)
    }
}

impl<R> std::fmt::Debug for Sealer<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} chunks)", self.root.size())
    }
}

/// Seals a small file in memory: its ciphertext and the rest.
///
/// # Errors
/// [`SealError`].
pub fn seal_bytes(plaintext: &[u8], key: &ContentKey) -> Result<(Vec<u8>, Sealed), SealError> {
    let mut sealer = Sealer::new(plaintext, key)?;
    let mut ciphertext = Vec::with_capacity(plaintext.len() + plaintext.len() / 8 + 8192);
    while let Some(chunk) = sealer.next_chunk()? {
        ciphertext.extend_from_slice(chunk);
    }
    Ok((ciphertext, sealer.finish()?))
}

/// The salted root of a plaintext, as its seal names it. Whoever gets the leaf key with a plaintext can so check that it is
/// the one that was sealed, without any other key.
///
/// # Errors
/// [`SealError::Read`], [`SealError::TooLong`].
pub fn plaintext_root(source: impl Read, leaf_key: &Bytes32) -> Result<Digest, SealError> {
    // Which key encrypts does not matter for the root.
    let key = ContentKey::from_secret(Zeroizing::new([0; 32]));
    let mut sealer = Sealer::with_randomness(source, &key, Bytes32([0; 32]), Zeroizing::new(leaf_key.0));
    while sealer.advance()? > 0 {}
    Ok(sealer.root.root())
}

pub(super) fn seal_leaves(cipher: &ChunkCipher, leaves: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(leaves.len() + TAG_BYTES * (leaves.len() / PLAINTEXT_CHUNK_BYTES + 1));
    let last = leaves.len().div_ceil(PLAINTEXT_CHUNK_BYTES).saturating_sub(1);
    for (index, part) in leaves.chunks(PLAINTEXT_CHUNK_BYTES).enumerate() {
        let start = sealed.len();
        sealed.extend_from_slice(part);
        sealed.extend_from_slice(&[0; TAG_BYTES]);
        cipher.seal(index as u64, index == last, &mut sealed[start..]);
    }
    sealed
}

/// Reads until `buffer` is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}
