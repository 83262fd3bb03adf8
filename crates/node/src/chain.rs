//! The ledger as the rest of the node sees it: rules from `ledger`, order and storage from `consensus`, and every fact
//! passed through the checker of `finality` before a domain crate gets it.

use std::{collections::HashMap, sync::Arc};

use consensus::Consensus;
use finality::{Finalized, Head};
use ledger::state::{AccountState, Windows};
use model::{AccountId, BlockRef, Canonical, Digest, Genesis, NetworkId, NodeId, Record, api};
use serde::de::DeserializeOwned;

/// Most bytes of one value of the state.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Rounds of fetching before an admission is given up; each round fetches what the one before found missing.
const READ_ROUNDS_MAX: usize = 16;

/// The ledger of one network.
#[derive(Clone)]
pub(crate) struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    consensus: Consensus,
    genesis: Arc<Genesis>,
    network: finality::Network,
}

/// Why the ledger did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChainError {
    /// The engine has no answer: it is stopping, or the place in the log does not exist.
    #[error("the ledger engine does not answer")]
    Engine(#[from] consensus::QueryError),
    /// Nobody has finalized it, or this node has not heard of it.
    #[error("there is no finalized block at height {0}")]
    NoBlock(u64),
    /// This node's own engine says what its own network key does not confirm. A fault of this build or this disk.
    #[error("this node's ledger is not what the network finalized")]
    Finality(#[from] finality::FinalityError),
    /// A value of the state does not decode: a fault of this build or this disk.
    #[error("a value of the state is damaged")]
    Damaged(#[from] model::EncodingError),
}

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Inadmissible {
    /// The rules forbid it; whoever signed it can read why.
    #[error(transparent)]
    Refused(#[from] ledger::Refusal),
    /// The ledger does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The rules do not come to an end with it.
    #[error("this transaction cannot be judged")]
    Unforeseen(#[source] ledger::Stop),
    /// The rules ask for ever more of the state.
    #[error("this transaction reads too much of the state")]
    Endless,
}

impl Chain {
    /// The ledger of `genesis`, run by `consensus`.
    pub(crate) fn new(consensus: Consensus, genesis: Arc<Genesis>) -> Self {
        let network = finality::Network { id: genesis.network_id(), key: genesis.network_key };
        Self { inner: Arc::new(Inner { consensus, genesis, network }) }
    }

    /// The network's id.
    pub(crate) fn network_id(&self) -> &NetworkId {
        &self.inner.network.id
    }

    /// What the network started from.
    pub(crate) fn genesis(&self) -> &Arc<Genesis> {
        &self.inner.genesis
    }

    /// The engine.
    pub(crate) fn consensus(&self) -> &Consensus {
        &self.inner.consensus
    }

    /// Sends a transaction to the validators.
    ///
    /// # Errors
    /// The engine does not take it.
    pub(crate) fn submit(&self, bytes: Vec<u8>) -> Result<Digest, consensus::SubmitError> {
        self.inner.consensus.submit(bytes)
    }

    /// Whether the rules would take a transaction now.
    ///
    /// # Errors
    /// [`Inadmissible`], with the rule.
    pub(crate) async fn admit(&self, bytes: &[u8]) -> Result<(), Inadmissible> {
        let checked = ledger::Checked::from_bytes(bytes, self.network_id())?;
        let tip = self.inner.consensus.tip();
        let mut state = Fetched::default();
        for _ in 0..READ_ROUNDS_MAX {
            // The next block is the first that can take it.
            let height = tip.height + 1;
            match ledger::dry_run(self.genesis(), self.network_id(), &checked, &state, height, tip.time_ms) {
                Ok(verdict) => return Ok(verdict?),
                Err(ledger::Stop::Missing(keys)) => self.fetch(&mut state, keys).await?,
                Err(stop) => return Err(Inadmissible::Unforeseen(stop)),
            }
        }
        Err(Inadmissible::Endless)
    }

    async fn fetch(&self, state: &mut Fetched, keys: Vec<ledger::Key>) -> Result<(), ChainError> {
        let values = self.inner.consensus.read(&keys).await?;
        state.0.extend(keys.into_iter().zip(values));
        Ok(())
    }

    /// One value of the finalized state.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn value<T: DeserializeOwned + Canonical>(
        &self,
        key: ledger::Key,
    ) -> Result<Option<T>, ChainError> {
        let value = self.inner.consensus.read(&[key]).await?.pop().flatten();
        value.map(|bytes| T::from_bytes(&bytes, VALUE_BYTES_MAX)).transpose().map_err(ChainError::from)
    }

    /// An account.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn account(&self, id: &AccountId) -> Result<AccountState, ChainError> {
        Ok(self.value(ledger::key::account(id)).await?.unwrap_or_default())
    }

    /// The appraisers drawn for a node in a window; nobody while that window has no seed, or no more.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn drawn(&self, subject: &NodeId, window: u64) -> Result<Vec<NodeId>, ChainError> {
        let policy = &self.genesis().appraisal;
        let windows: Option<Windows> = self.value(ledger::key::windows()).await?;
        let now_ms = self.inner.consensus.tip().time_ms;
        let Some(seed) = windows.and_then(|windows| windows.seed(window, policy, now_ms)) else {
            return Ok(Vec::new());
        };
        Ok(ledger::appraisers(self.genesis(), &seed, subject))
    }

    /// Records in the log.
    pub(crate) fn log_size(&self) -> u64 {
        self.inner.consensus.tip().log_size
    }

    /// The latest certified head.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn certified(&self) -> Result<api::CertifiedHead, ChainError> {
        Ok(self.inner.consensus.certified().await?)
    }

    /// That the log extends the one of `old_size` records.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn prove_extension(&self, old_size: u64) -> Result<api::ProvenExtension, ChainError> {
        Ok(self.inner.consensus.prove_extension(old_size).await?)
    }

    /// That the log of `to` records extends the log of `from` records.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) fn prove_growth(&self, from: u64, to: u64) -> Result<api::Extension, ChainError> {
        Ok(self.inner.consensus.prove_growth(from, to)?)
    }

    /// One value of the live state or its absence, with its proof.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn prove_state(&self, key: ledger::Key) -> Result<api::ProvenState, ChainError> {
        Ok(self.inner.consensus.prove_state(key).await?)
    }

    /// The finalized block at a height.
    ///
    /// # Errors
    /// [`ChainError`]; also if there is no such block yet.
    pub(crate) async fn block_at(&self, height: u64) -> Result<BlockRef, ChainError> {
        if height == 0 || height > self.inner.consensus.tip().height {
            return Err(ChainError::NoBlock(height));
        }
        let block = self.inner.consensus.subscribe(height).next().await?.ok_or(ChainError::NoBlock(height))?;
        Ok(BlockRef { height: block.height, time_ms: block.time_ms, digest: block.digest })
    }

    /// One record, by its place in the log.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) fn record(&self, index: u64) -> Result<Record, ChainError> {
        Ok(Record::from_bytes(&self.inner.consensus.record(index)?, Record::BYTES_MAX)?)
    }

    /// Records with their proof, for whoever does not believe this node.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn prove(&self, indices: &[u64]) -> Result<api::ProvenRecords, ChainError> {
        Ok(self.inner.consensus.prove(indices).await?)
    }

    /// Records as checked facts, in the order of their places, for the domain crates of this node.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn finalized(&self, indices: &[u64]) -> Result<(Head, Vec<Finalized<Record>>), ChainError> {
        let mut sorted = indices.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let proven = self.prove(&sorted).await?;
        Ok(self.inner.network.check_proven(&proven)?)
    }
}

/// Values fetched so far.
#[derive(Default)]
struct Fetched(HashMap<ledger::Key, Option<Vec<u8>>>);

impl ledger::Reads for Fetched {
    fn read(&self, key: &ledger::Key) -> Option<Option<Vec<u8>>> {
        self.0.get(key).cloned()
    }
}
