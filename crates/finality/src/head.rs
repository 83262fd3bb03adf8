//! Facts that only a check can make: [`Head`] and [`Finalized`].

use model::{BlockRef, Digest, NetworkId};

use crate::Header;

/// A header that the network's committee has certified as final. Only [`crate::Network`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub(crate) network: NetworkId,
    pub(crate) header: Header,
    pub(crate) digest: Digest,
}

impl Head {
    /// Whose committee certified it.
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// Height of the block.
    pub fn height(&self) -> u64 {
        self.header.height
    }

    /// Ledger time of the block, milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.header.time_ms
    }

    /// SHA-256 of the header.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Records in the log.
    pub fn log_size(&self) -> u64 {
        self.header.log_size
    }

    /// Root of the log.
    pub fn log_root(&self) -> Digest {
        self.header.log_root
    }

    /// Root of the live state.
    pub fn state_root(&self) -> Digest {
        self.header.state_root
    }

    /// Height, time and digest.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { height: self.header.height, time_ms: self.header.time_ms, digest: self.digest }
    }

    /// Everything that was certified.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

/// Something the ledger has finalized, and where. Only the checks of this crate make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalized<T> {
    pub(crate) value: T,
    pub(crate) height: u64,
    pub(crate) time_ms: u64,
    pub(crate) index: u64,
    pub(crate) digest: Digest,
}

impl<T> Finalized<T> {
    /// What was finalized.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// What was finalized, by value; the knowledge that it was is given up.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Height of the block that accepted it.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Ledger time of that block, milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Index of its record in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Digest of its record: the leaf of the log.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Narrows the fact to a part of it, for example a record to the task in it. `narrow` must only select: what it
    /// returns is then taken for finalized.
    ///
    /// # Errors
    /// What `narrow` says.
    pub fn try_map<U, E>(self, narrow: impl FnOnce(T) -> Result<U, E>) -> Result<Finalized<U>, E> {
        let Self { value, height, time_ms, index, digest } = self;
        narrow(value).map(|value| Finalized { value, height, time_ms, index, digest })
    }
}
