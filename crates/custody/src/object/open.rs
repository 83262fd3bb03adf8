//! Opening: any chunk, in any order, each checked against the seal's plaintext root.

use std::io::{Read, Write};

use model::{Bytes32, Digest, Seal, log::Frontier};
use zeroize::Zeroizing;

use super::{
    ContentKey,
    format::{
        CHUNK_BYTES, CHUNKS_MAX, ChunkCipher, Core, FileKeys, Meta, PLAINTEXT_CHUNK_BYTES, TAG_BYTES, chunk_count,
        leaf, padded_length, plaintext_bytes,
    },
};

/// Why a sealed file does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not the key the seal commits to: the holder of the key, or whoever split it, is at fault.
    #[error("this is not the key that the seal commits to")]
    WrongKey,
    /// The owner's fault: the seal does not say what an honest sealer would.
    #[error("the seal contradicts itself: {0}")]
    Seal(&'static str),
    /// The list of leaf hashes beside the ciphertext is not the sealed one.
    #[error("the list of leaf hashes is not the one that was sealed")]
    Leaves,
    /// The caller's fault.
    #[error("there is no chunk {index}; the file has {chunks}")]
    NoSuchChunk {
        /// Which was asked for.
        index: u64,
        /// How many there are.
        chunks: u64,
    },
    /// Changed on its way, moved from elsewhere, or cut.
    #[error("chunk {index} is not the one that was sealed")]
    Chunk {
        /// Which.
        index: u64,
    },
    /// The owner's fault: the chunk decrypts, and is not what the plaintext root says.
    #[error("chunk {index} decrypts to something else than the seal's plaintext root commits to")]
    Plaintext {
        /// Which.
        index: u64,
    },
    /// The ciphertext goes on where the file ends.
    #[error("there is more ciphertext than the seal says")]
    TooMuch,
    /// Ciphertext could not be read or plaintext not be written.
    #[error("cannot read the ciphertext or write the plaintext")]
    Io(#[source] std::io::Error),
}

/// Opens the chunks of one sealed file. Making one checks everything about the seal but the chunks themselves.
pub struct Opener {
    chunks: ChunkCipher,
    meta: Meta,
    padded: u64,
    leaves: Vec<Digest>,
}

impl Opener {
    /// Checks `key` against `seal`, and the sealed list of leaf hashes against the plaintext root.
    ///
    /// # Errors
    /// [`OpenError::WrongKey`], [`OpenError::Seal`], [`OpenError::Leaves`].
    pub fn new(key: &ContentKey, seal: &Seal, leaves: &[u8]) -> Result<Self, OpenError> {
        if seal.chunk_bytes as usize != CHUNK_BYTES {
            return Err(OpenError::Seal("chunks are not of 1 MiB"));
        }
        if seal.chunks == 0 || seal.chunks > CHUNKS_MAX {
            return Err(OpenError::Seal("there is no such number of chunks"));
        }
        key.check(seal)?;
        let keys = FileKeys::derive(key, &Core::new(key, seal.salt));
        let meta = keys
            .open_meta(&seal.sealed_meta.0, seal.chunks, &seal.plaintext_root)
            .ok_or(OpenError::Seal("its encrypted part belongs to another seal"))?;
        let padded = padded_length(meta.length)
            .filter(|padded| chunk_count(*padded) == seal.chunks)
            .ok_or(OpenError::Seal("length and number of chunks differ"))?;
        let leaves = open_leaves(&keys.leaves, seal.chunks, leaves).ok_or(OpenError::Leaves)?;
        if root_of(&leaves) != seal.plaintext_root {
            return Err(OpenError::Leaves);
        }
        Ok(Self { chunks: keys.chunks, meta, padded, leaves })
    }

    /// True length of the plaintext in bytes.
    pub fn length(&self) -> u64 {
        self.meta.length
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Bytes of ciphertext in chunk `index`, tag included; 0 if there is no such chunk.
    pub fn ciphertext_chunk_bytes(&self, index: u64) -> usize {
        if index < self.chunks() { plaintext_bytes(self.padded, index) + TAG_BYTES } else { 0 }
    }

    /// Opens chunk `index` in place. The answer is the front of `chunk`, without padding: it begins at plaintext offset
    /// `index` × [`PLAINTEXT_CHUNK_BYTES`], and may be empty where there is only padding. On an error `chunk` holds nothing
    /// of use.
    ///
    /// # Errors
    /// [`OpenError::NoSuchChunk`], [`OpenError::Chunk`], [`OpenError::Plaintext`].
    pub fn open_in_place<'a>(&self, index: u64, chunk: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let chunks = self.chunks();
        let expected = usize::try_from(index).ok().and_then(|at| self.leaves.get(at));
        let expected = expected.ok_or(OpenError::NoSuchChunk { index, chunks })?;
        if chunk.len() != self.ciphertext_chunk_bytes(index) {
            return Err(OpenError::Chunk { index });
        }
        let last = index + 1 == chunks;
        let plaintext = self.chunks.open(index, last, chunk).ok_or(OpenError::Chunk { index })?;
        if leaf(&self.meta.leaf_key, index, plaintext) != *expected {
            plaintext.fill(0);
            return Err(OpenError::Plaintext { index });
        }
        let (content, padding) = plaintext.split_at_mut(plaintext_bytes(self.meta.length, index));
        // An owner could hide a second meaning there.
        if padding.iter().any(|byte| *byte != 0) {
            content.fill(0);
            return Err(OpenError::Plaintext { index });
        }
        Ok(content)
    }

    /// Opens chunk `index`, taking the buffer that its ciphertext is in.
    ///
    /// # Errors
    /// As [`Self::open_in_place`].
    pub fn open_chunk(&self, index: u64, ciphertext: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut chunk = Zeroizing::new(ciphertext);
        let length = self.open_in_place(index, &mut chunk)?.len();
        chunk.truncate(length);
        Ok(chunk)
    }

    /// Opens a whole file from front to back, one chunk in memory.
    ///
    /// # Errors
    /// As [`Self::open_in_place`]; [`OpenError::TooMuch`], [`OpenError::Io`].
    pub fn open_all(&self, mut ciphertext: impl Read, mut plaintext: impl Write) -> Result<(), OpenError> {
        let mut buffer = Zeroizing::new(vec![0; CHUNK_BYTES]);
        for index in 0..self.chunks() {
            let chunk = &mut buffer[..self.ciphertext_chunk_bytes(index)];
            ciphertext.read_exact(chunk).map_err(OpenError::Io)?;
            plaintext.write_all(self.open_in_place(index, chunk)?).map_err(OpenError::Io)?;
        }
        match ciphertext.read(&mut buffer[..1]).map_err(OpenError::Io)? {
            0 => Ok(()),
            _ => Err(OpenError::TooMuch),
        }
    }

    /// The key that salts the leaves. Handing it out with a plaintext lets others recompute the plaintext root
    /// ([`crate::plaintext_root`]); it opens nothing by itself.
    pub fn leaf_key(&self) -> Bytes32 {
        Bytes32(*self.meta.leaf_key)
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opener({} chunks)", self.chunks())
    }
}

/// Opens the sealed list; `None` if it is not the one of a file of `chunks` chunks under this key.
fn open_leaves(cipher: &ChunkCipher, chunks: u64, sealed: &[u8]) -> Option<Vec<Digest>> {
    let list_bytes = usize::try_from(chunks).ok()?.checked_mul(Digest::LEN)?;
    let parts = list_bytes.div_ceil(PLAINTEXT_CHUNK_BYTES);
    // Checked before anything is allocated, so that the seal's word costs no memory.
    if sealed.len() != list_bytes.checked_add(parts.checked_mul(TAG_BYTES)?)? {
        return None;
    }
    let mut list = Vec::with_capacity(list_bytes);
    for (index, part) in sealed.chunks(CHUNK_BYTES).enumerate() {
        let mut part = part.to_vec();
        list.extend_from_slice(cipher.open(index as u64, index + 1 == parts, &mut part)?);
    }
    list.chunks(Digest::LEN).map(Digest::from_slice).collect()
}

fn root_of(leaves: &[Digest]) -> Digest {
    let mut root = Frontier::default();
    for leaf in leaves {
        root.append(leaf);
    }
    root.root()
}
