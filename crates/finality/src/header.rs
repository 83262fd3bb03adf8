//! The header of a block: what consensus signs is the SHA-256 of these bytes.
//!
//! The layout is fixed so that a verifier in any language needs no codec: integers are big-endian and of fixed width,
//! digests are 32 raw bytes, an option is `00` or `01` followed by the value. `docs/spec/proof.md` lists it again.

use model::{BlockRef, Bytes48, Digest, NodeId, Round, Seed};

/// What a committee certifies about one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Committee epoch and view in which the block was proposed.
    pub round: Round,
    /// Who proposed it.
    pub leader: NodeId,
    /// View of the parent; 0 if the parent is the genesis block or the last block of the epoch before.
    pub parent_view: u64,
    /// Digest of the parent's header.
    pub parent: Digest,
    /// Height; the genesis block has 0.
    pub height: u64,
    /// Ledger time, milliseconds since 1970; greater than the parent's.
    pub time_ms: u64,
    /// Root of the live state after this block.
    pub state_root: Digest,
    /// What a node that joins downloads: root and range of the state's operations.
    pub state_ops: StateOps,
    /// Digest over the block's transactions, in order.
    pub transactions: Digest,
    /// Records in the log after this block.
    pub log_size: u64,
    /// Root of the log after this block ([`model::log`]).
    pub log_root: Digest,
    /// Signature part of the seed of the parent's round; `None` exactly where `parent_view` is 0.
    pub parent_seed: Option<Bytes48>,
    /// Reserved for the committee's key ceremonies: digest of the block's extra payload.
    pub payload: Option<Digest>,
}

/// The operations that make up the state, as the engine stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOps {
    /// Root over all operations.
    pub root: Digest,
    /// First operation that still matters.
    pub start: u64,
    /// One past the last operation; greater than `start`.
    pub end: u64,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too short, too long, or an option tag other than 00 and 01.
    #[error("the bytes are not laid out as a header")]
    Layout,
    /// A version this code does not know.
    #[error("header version {0} is not known; a newer samovar may know it")]
    Version(u8),
    /// Fields that no honest block has together.
    #[error("the header contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl Header {
    /// The version this code writes and reads.
    pub const VERSION: u8 = 1;
    /// Most bytes of a header.
    pub const BYTES_MAX: usize = Self::BYTES_MIN + 48 + 32;
    const BYTES_MIN: usize = 1 + 8 * 8 + 6 * 32 + 2;

    /// The one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES_MAX);
        out.push(Self::VERSION);
        out.extend_from_slice(&self.round.epoch.to_be_bytes());
        out.extend_from_slice(&self.round.view.to_be_bytes());
        out.extend_from_slice(&self.leader.0);
        out.extend_from_slice(&self.parent_view.to_be_bytes());
        out.extend_from_slice(&self.parent.0);
        out.extend_from_slice(&self.height.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.state_root.0);
        out.extend_from_slice(&self.state_ops.root.0);
        out.extend_from_slice(&self.state_ops.start.to_be_bytes());
        out.extend_from_slice(&self.state_ops.end.to_be_bytes());
        out.extend_from_slice(&self.transactions.0);
        out.extend_from_slice(&self.log_size.to_be_bytes());
        out.extend_from_slice(&self.log_root.0);
        push_option(&mut out, self.parent_seed.as_ref().map(|seed| &seed.0[..]));
        push_option(&mut out, self.payload.as_ref().map(|digest| &digest.0[..]));
        out
    }

    /// Reads what [`Header::to_bytes`] writes, and nothing else.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader(bytes);
        let [version] = reader.array()?;
        if version != Self::VERSION {
            return Err(HeaderError::Version(version));
        }
        let header = Self {
            round: Round { epoch: reader.integer()?, view: reader.integer()? },
            leader: NodeId::from_slice(&reader.array::<32>()?).ok_or(HeaderError::Layout)?,
            parent_view: reader.integer()?,
            parent: reader.digest()?,
            height: reader.integer()?,
            time_ms: reader.integer()?,
            state_root: reader.digest()?,
            state_ops: StateOps { root: reader.digest()?, start: reader.integer()?, end: reader.integer()? },
            transactions: reader.digest()?,
            log_size: reader.integer()?,
            log_root: reader.digest()?,
            parent_seed: reader.option()?.map(Bytes48),
            payload: reader.option()?.map(Digest),
        };
        if !reader.0.is_empty() {
            return Err(HeaderError::Layout);
        }
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), HeaderError> {
        if self.state_ops.start >= self.state_ops.end {
            return Err(HeaderError::Contradiction("the range of state operations is empty"));
        }
        if self.parent_seed.is_some() != (self.parent_view != 0) {
            return Err(HeaderError::Contradiction("a seed stands exactly where the parent has a view"));
        }
        if self.round.view != 0 && self.parent_view >= self.round.view {
            return Err(HeaderError::Contradiction("the parent is not from an earlier view"));
        }
        Ok(())
    }

    /// SHA-256 of the bytes: what the committee signs and what the next block names as its parent.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Height, time and digest.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { height: self.height, time_ms: self.time_ms, digest: self.digest() }
    }

    /// The seed of the parent's round, the beacon this block may draw with.
    pub fn seed(&self) -> Option<Seed> {
        let round = Round { epoch: self.round.epoch, view: self.parent_view };
        self.parent_seed.map(|signature| Seed { round, signature })
    }
}

fn push_option(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(HeaderError::Layout)?;
        self.0 = rest;
        Ok(*head)
    }

    fn integer(&mut self) -> Result<u64, HeaderError> {
        self.array().map(u64::from_be_bytes)
    }

    fn digest(&mut self) -> Result<Digest, HeaderError> {
        self.array().map(Digest)
    }

    fn option<const N: usize>(&mut self) -> Result<Option<[u8; N]>, HeaderError> {
        match self.array()? {
            [0] => Ok(None),
            [1] => self.array().map(Some),
            _ => Err(HeaderError::Layout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            round: Round { epoch: 0, view: 9 },
            leader: NodeId::from_slice(&[1; 32]).unwrap(),
            parent_view: 8,
            parent: Digest::of(b"parent"),
            height: 7,
            time_ms: 1_790_000_000_000,
            state_root: Digest::of(b"state"),
            state_ops: StateOps { root: Digest::of(b"ops"), start: 3, end: 40 },
            transactions: Digest::of(b"transactions"),
            log_size: 5,
            log_root: Digest::of(b"log"),
            parent_seed: Some(Bytes48([7; 48])),
            payload: None,
        }
    }

    #[test]
    fn a_header_has_one_encoding() {
        for payload in [None, Some(Digest::of(b"payload"))] {
            let header = Header { payload, ..header() };
            let bytes = header.to_bytes();
            assert!(bytes.len() <= Header::BYTES_MAX);
            assert_eq!(Header::from_bytes(&bytes), Ok(header));
            // Whatever decodes encodes to the same bytes: no two byte strings are one header.
            for position in 0..bytes.len() {
                for bit in 0..8 {
                    let mut other = bytes.clone();
                    other[position] ^= 1 << bit;
                    if let Ok(decoded) = Header::from_bytes(&other) {
                        assert_eq!(decoded.to_bytes(), other);
                    }
                }
            }
            assert_eq!(Header::from_bytes(&bytes[..bytes.len() - 1]), Err(HeaderError::Layout));
            assert_eq!(Header::from_bytes(&[&bytes[..], &[0]].concat()), Err(HeaderError::Layout));
        }
        assert_eq!(Header::from_bytes(&[]), Err(HeaderError::Layout));
        assert_eq!(Header::from_bytes(&[2]), Err(HeaderError::Version(2)));
    }

    #[test]
    fn contradictions_are_refused() {
        let wrong = |header: Header| {
            assert!(matches!(Header::from_bytes(&header.to_bytes()), Err(HeaderError::Contradiction(_))));
        };
        wrong(Header { parent_seed: None, ..header() });
        wrong(Header { parent_view: 0, ..header() });
        wrong(Header { parent_view: 9, ..header() });
        wrong(Header { state_ops: StateOps { root: Digest::of(b"ops"), start: 40, end: 40 }, ..header() });
    }
}
