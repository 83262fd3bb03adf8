//! What the rest of the node holds of a running validator.

use std::sync::Arc;

use finality::Header;
use model::{
    BlockRef, Digest, Seed,
    api::{CertifiedHead, Extension, ProvenExtension, ProvenRecords, ProvenState, TransactionStatus},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Key, core::Core, journal::JournalError, mempool::SubmitError, service::Request};

/// The newest finalized block, as this validator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Height; 0 before the first block.
    pub height: u64,
    /// Ledger time, milliseconds since 1970.
    pub time_ms: u64,
    /// Digest of the header.
    pub digest: Digest,
    /// Records in the log.
    pub log_size: u64,
}

impl Tip {
    pub(crate) fn of(header: &Header) -> Self {
        let BlockRef { height, time_ms, digest } = header.block_ref();
        Self { height, time_ms, digest, log_size: header.log_size }
    }

    /// Height, time and digest.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { height: self.height, time_ms: self.time_ms, digest: self.digest }
    }
}

/// How much the live state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSize {
    /// Keys that have a value.
    pub values: u64,
    /// Bytes of the values; those that are equal count once.
    pub bytes: u64,
}

/// A finalized block, as far as others want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalizedBlock {
    /// Height, from 1.
    pub height: u64,
    /// Ledger time, milliseconds since 1970.
    pub time_ms: u64,
    /// Digest of the header.
    pub digest: Digest,
    /// Beacon of the parent's round.
    pub seed: Option<Seed>,
    /// Digests of the transactions, in order.
    pub transactions: Vec<Digest>,
    /// The records it appended to the log, with their indices.
    pub records: Vec<(u64, Vec<u8>)>,
}

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The engine has stopped; see the log.
    #[error("consensus has stopped on this node")]
    Stopped,
    /// Nothing was certified in time: too few validators are connected.
    #[error("no certified block covers this yet; the network may have lost its quorum")]
    NotCertified,
    /// There is no such record.
    #[error("there is no record {0} in the log")]
    NoRecord(u64),
    /// The indices are not ascending.
    #[error("indices of records must ascend")]
    NotAscending,
    /// The older log was longer.
    #[error("the log has {size} records, fewer than {old_size}")]
    Shorter {
        /// What the caller claims to have seen.
        old_size: u64,
        /// What there is.
        size: u64,
    },
    /// This node's disk failed.
    #[error("this node cannot read its own ledger")]
    Storage(#[source] JournalError),
}

/// A running validator. Clones are handles to the same one.
#[derive(Clone)]
pub struct Consensus {
    pub(crate) core: Arc<Core>,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) stop: Arc<watch::Sender<bool>>,
    pub(crate) ended: watch::Receiver<bool>,
}

impl Consensus {
    /// Takes a transaction into the mempool and passes it on to the other validators; returns its digest, which is its
    /// id. Giving it again is not an error.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit(&self, transaction: Vec<u8>) -> Result<Digest, SubmitError> {
        if *self.ended.borrow() {
            return Err(SubmitError::Stopped);
        }
        self.core.pool.submit(transaction)
    }

    /// Where a transaction stands.
    pub fn status(&self, transaction: &Digest) -> TransactionStatus {
        // Blocks reach the disk a moment before their state can be read; until then their transactions are pending.
        let tip = self.tip().height;
        match self.core.journal.height_of(transaction) {
            Some(height) if height <= tip => TransactionStatus::Final { height },
            Some(_) => TransactionStatus::Pending,
            None if self.core.pool.contains(transaction) => TransactionStatus::Pending,
            None => TransactionStatus::Unknown,
        }
    }

    /// The newest finalized block.
    pub fn tip(&self) -> Tip {
        *self.core.tip.borrow()
    }

    /// Follows the newest finalized block; skips blocks if the reader is slow.
    pub fn watch(&self) -> watch::Receiver<Tip> {
        self.core.tip.subscribe()
    }

    /// All finalized blocks from `from_height` (at least 1) on: first those on disk, then each as it is finalized.
    pub fn subscribe(&self, from_height: u64) -> Subscription {
        Subscription {
            core: self.core.clone(),
            next_height: from_height.max(1),
            tip: self.core.tip.subscribe(),
            ended: self.ended.clone(),
        }
    }

    /// Canonical bytes of one record.
    ///
    /// # Errors
    /// [`QueryError::NoRecord`], [`QueryError::Storage`].
    pub fn record(&self, index: u64) -> Result<Vec<u8>, QueryError> {
        self.core.journal.record(index).map_err(QueryError::Storage)?.ok_or(QueryError::NoRecord(index))
    }

    /// The newest block with a certificate of its own. Not every block has one.
    ///
    /// # Errors
    /// [`QueryError::NotCertified`] if there is none within a few seconds, [`QueryError::Stopped`].
    pub async fn certified(&self) -> Result<CertifiedHead, QueryError> {
        self.certified_at(0).await
    }

    /// A certified block whose log has at least `log_size` records; waits for it for a few seconds.
    ///
    /// # Errors
    /// As [`Consensus::certified`].
    pub async fn certified_at(&self, log_size: u64) -> Result<CertifiedHead, QueryError> {
        self.certificate(log_size).await.map(|(head, _)| head)
    }

    /// Proves records against a certified head. `indices` ascending; none is allowed and proves the head alone.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn prove(&self, indices: &[u64]) -> Result<ProvenRecords, QueryError> {
        if !indices.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(QueryError::NotAscending);
        }
        let needed = indices.last().map_or(0, |last| last + 1);
        if needed > self.core.journal.log_size() {
            return Err(QueryError::NoRecord(needed - 1));
        }
        let (head, header) = self.certificate(needed).await?;
        self.core.journal.prove(head, header.log_size, indices)
    }

    /// Shows that the log extends the one of `old_size` records that somebody has seen.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn prove_extension(&self, old_size: u64) -> Result<ProvenExtension, QueryError> {
        if old_size > self.core.journal.log_size() {
            return Err(QueryError::Shorter { old_size, size: self.core.journal.log_size() });
        }
        let (head, header) = self.certificate(old_size).await?;
        self.core.journal.prove_extension(head, old_size, header.log_size)
    }

    /// Shows that the log of `to` records extends the log of `from` records.
    ///
    /// # Errors
    /// [`QueryError::Shorter`] if this node's log has not that many.
    pub fn prove_growth(&self, from: u64, to: u64) -> Result<Extension, QueryError> {
        self.core.journal.prove_growth(from, to)
    }

    /// Values of the finalized state.
    ///
    /// # Errors
    /// [`QueryError::Stopped`], [`QueryError::Storage`].
    pub async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, QueryError> {
        let keys = keys.to_vec();
        self.ask(|reply| Request::Read { keys, reply }).await?
    }

    /// Proves what the live state holds under `key`, or that it holds nothing, at a certified head.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn prove_state(&self, key: Key) -> Result<ProvenState, QueryError> {
        self.ask(|reply| Request::ProveState { key, reply }).await?
    }

    /// How much the live state holds, now or a moment ago: measuring takes time, so it is not done anew for everybody who asks.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    pub async fn state_size(&self) -> Result<StateSize, QueryError> {
        self.ask(|reply| Request::StateSize { reply }).await?
    }

    /// Stops the validator and waits until its storage is free. Nothing is lost: everything final is on disk already.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        self.stopped().await;
    }

    /// Resolves once the engine has stopped, by [`Consensus::shutdown`] or by a failure that the log names.
    pub async fn stopped(&self) {
        let mut ended = self.ended.clone();
        // An error means that the sender is gone, which is an end as well.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Why the engine has stopped, if its ledger on this disk cannot be used any more.
    pub fn failure(&self) -> Option<&str> {
        self.core.failure.get().map(String::as_str)
    }

    async fn certificate(&self, log_size: u64) -> Result<(CertifiedHead, Header), QueryError> {
        self.ask(|reply| Request::Certified { log_size, reply }).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, QueryError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| QueryError::Stopped)?;
        answer.await.map_err(|_| QueryError::Stopped)
    }
}

/// Finalized blocks in order, without gaps.
pub struct Subscription {
    core: Arc<Core>,
    next_height: u64,
    tip: watch::Receiver<Tip>,
    ended: watch::Receiver<bool>,
}

impl Subscription {
    /// The next block; `None` once the validator has stopped and everything on disk was handed out. Cancelling loses
    /// nothing.
    ///
    /// # Errors
    /// [`QueryError::Storage`] if this node cannot read its own disk.
    pub async fn next(&mut self) -> Result<Option<FinalizedBlock>, QueryError> {
        loop {
            // As in `status`: what is on disk already is shown once its state can be read.
            let height = self.tip.borrow_and_update().height;
            if self.next_height <= height {
                let block = self.core.journal.block(self.next_height).map_err(QueryError::Storage)?;
                self.next_height += 1;
                return Ok(block);
            }
            if *self.ended.borrow() {
                return Ok(None);
            }
            tokio::select! {
                _ = self.tip.changed() => {}
                _ = self.ended.changed() => {}
            }
        }
    }
}
