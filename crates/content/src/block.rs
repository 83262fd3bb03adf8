//! A block: some bytes together with the CID they hash to.

use bytes::Bytes;
use cid::{Cid, Version};
use model::{ContentId, Digest};

/// Multicodec of a raw block (a UnixFS leaf).
pub(crate) const RAW: u64 = 0x55;
/// Multicodec of dag-pb (an inner vertex of a UnixFS file).
pub(crate) const DAG_PB: u64 = 0x70;
/// Multicodec of dag-cbor (a record).
pub(crate) const DAG_CBOR: u64 = 0x71;
/// Multihash code of sha2-256, the only hash used here.
pub(crate) const SHA2_256: u64 = 0x12;
/// Longest binary CID accepted: version, codec, and a sha2-256 multihash take 36 bytes; other hashes up to 64 bytes.
pub(crate) const CID_BYTES_MAX: usize = 96;

/// Why bytes are not a block.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// Larger than any peer has to accept.
    #[error("a block of {bytes} bytes, at most {} are allowed", Block::BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Whoever sent these bytes sent something else than what the CID names.
    #[error("the bytes do not hash to {cid}")]
    WrongHash {
        /// What was asked for.
        cid: ContentId,
    },
    /// A CID of another version, codec or hash than the ones used here.
    #[error("not a CID of version 1 with sha2-256 and codec raw, dag-pb or dag-cbor")]
    ForeignCid,
}

/// Bytes that hash to their CID. Nothing else can be made into this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    cid: ContentId,
    data: Bytes,
}

impl Block {
    /// Most bytes of a block, as in the bitswap specification.
    pub const BYTES_MAX: usize = 2 << 20;

    /// Takes `data` if it hashes to `cid`.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`] and [`BlockError::WrongHash`]: whoever sent the bytes is at fault.
    pub fn check(cid: ContentId, data: Bytes) -> Result<Self, BlockError> {
        bounded(&data)?;
        if Digest::of(&data) == cid.hash() { Ok(Self { cid, data }) } else { Err(BlockError::WrongHash { cid }) }
    }

    /// `data` as a raw block.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`].
    pub fn raw(data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let data = data.into();
        bounded(&data)?;
        Ok(Self { cid: ContentId::of_raw(&data), data })
    }

    /// `data`, which is canonical DAG-CBOR, as a dag-cbor block.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`].
    pub fn dag_cbor(data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let data = data.into();
        bounded(&data)?;
        Ok(Self { cid: ContentId::of_dag_cbor(&data), data })
    }

    /// For callers in this crate that have just computed the CID from the bytes.
    pub(crate) fn already_hashed(cid: ContentId, data: Bytes) -> Self {
        Self { cid, data }
    }

    /// Its name.
    pub fn cid(&self) -> &ContentId {
        &self.cid
    }

    /// Its bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Its bytes, without the name.
    pub fn into_data(self) -> Bytes {
        self.data
    }
}

fn bounded(data: &Bytes) -> Result<(), BlockError> {
    if data.len() > Block::BYTES_MAX { Err(BlockError::TooLarge { bytes: data.len() }) } else { Ok(()) }
}

/// The CID as one of ours.
pub(crate) fn content_id(cid: Cid) -> Result<ContentId, BlockError> {
    let ours = cid.version() == Version::V1
        && [RAW, DAG_PB, DAG_CBOR].contains(&cid.codec())
        && cid.hash().code() == SHA2_256
        && usize::from(cid.hash().size()) == Digest::LEN;
    if ours { Ok(ContentId(cid)) } else { Err(BlockError::ForeignCid) }
}

/// The digest a CID of any version and codec names, if its hash is sha2-256. Blocks are stored under it, as Kubo does.
pub(crate) fn sha2_256_of(cid: &[u8]) -> Option<Digest> {
    if cid.len() > CID_BYTES_MAX {
        return None;
    }
    let cid = Cid::try_from(cid).ok()?;
    (cid.hash().code() == SHA2_256).then(|| Digest::from_slice(cid.hash().digest())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_another_hash_are_refused() {
        let cid = ContentId::of_raw(b"one");
        assert_eq!(Block::check(cid, Bytes::from_static(b"two")), Err(BlockError::WrongHash { cid }));
        assert!(Block::check(cid, Bytes::from_static(b"one")).is_ok());
    }

    #[test]
    fn a_block_above_the_limit_is_refused() {
        let bytes = Block::BYTES_MAX + 1;
        assert_eq!(Block::raw(vec![0; bytes]), Err(BlockError::TooLarge { bytes }));
    }

    #[test]
    fn cids_of_other_hashes_are_not_ours() {
        let hash = cid::multihash::Multihash::wrap(0x13, &[0; 64]).unwrap();
        assert_eq!(content_id(Cid::new_v1(RAW, hash)), Err(BlockError::ForeignCid));
        assert_eq!(sha2_256_of(&Cid::new_v1(RAW, hash).to_bytes()), None);
    }
}
