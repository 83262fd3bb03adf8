//! A custodian's own appraisal (rule R7): the evidence behind a verdict is judged again, and its TPM challenged again, so
//! that no vote of others has to be believed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use attest::{
    AppraiseError, Appraised, ChallengeError, Expectation, Fault,
    protocol::{Challenger, Message},
};
use finality::Finalized;
use model::{Canonical, ContentId, EncodingError, EventLog, Evidence, NodeId, Verdict};

use crate::{
    chain::{Chain, ChainError},
    handles::Handles,
    peers::{NoAnswer, Peers},
    progress::unix_ms,
    storage::Content,
};

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
    /// Its TPM cannot be challenged.
    #[error("the evidence names a TPM that cannot be challenged")]
    Challenge(#[from] ChallengeError),
    /// The node does not take up the challenge.
    #[error("the node does not answer the challenge to its TPM")]
    Silent(#[from] NoAnswer),
    /// It answers wrongly.
    #[error("the challenge to the TPM is not met")]
    NotActivated(#[from] attest::protocol::NoAnswer),
    /// No randomness.
    #[error("no randomness from the operating system")]
    Randomness(#[source] getrandom::Error),
}

impl NotAppraised {
    /// Who must act, if the evidence itself is at fault.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Appraisal(cause) => Some(cause.fault()),
            _ => None,
        }
    }
}

/// Judges evidence again that a verdict rests on.
#[derive(Clone)]
pub(crate) struct Reappraiser {
    me: NodeId,
    chain: Chain,
    content: Content,
    peers: Peers,
    challenger: Arc<Mutex<Challenger>>,
    turns: AppraisalTurns,
}

/// One appraisal of a node at a time: a challenge can be answered once. One for each node: whoever keeps silent must not hold up
/// the others.
#[derive(Clone, Default)]
struct AppraisalTurns(Arc<Mutex<BTreeMap<NodeId, Arc<tokio::sync::Mutex<()>>>>>);

impl AppraisalTurns {
    /// Waits until nobody else appraises `node`.
    async fn of(&self, node: NodeId) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default().clone();
        turn.lock_owned().await
    }
}

impl Reappraiser {
    pub(crate) fn new(handles: Handles) -> Self {
        let Handles { chain, content, peers, identity, .. } = handles;
        Self {
            me: identity.node_id(),
            chain,
            content,
            peers,
            challenger: Arc::default(),
            turns: AppraisalTurns::default(),
        }
    }

    /// Fetches the evidence behind a verdict, appraises it as of the moment of the votes, and challenges the TPM that it
    /// names.
    pub(crate) async fn reappraise(&self, verdict: &Finalized<Verdict>) -> Result<Appraised, NotAppraised> {
        let named = verdict.get();
        let _turn = self.turns.of(named.node).await;
        let evidence: Evidence = self.decoded(&named.evidence, Evidence::BYTES_MAX).await?;
        let log: EventLog = self.decoded(&evidence.tpm.log, attest::launcher::LOG_BYTES_MAX).await?;
        let block = self.chain.block_at(evidence.block.height).await?;
        let (genesis, network) = (self.chain.genesis(), *self.chain.network_id());
        let expectation = Expectation::of_verdict(genesis, network, named, verdict.time_ms(), block)
            .ok_or(NotAppraised::NotApproved(named.node))?;
        let appraised = attest::appraise(&evidence, &log, &expectation)?;
        if named.node == self.me {
            // This process has unsealed its identity from the very TPM.
            return Ok(appraised);
        }
        self.challenge(named.node, appraised).await
    }

    async fn challenge(&self, node: NodeId, appraised: Appraised) -> Result<Appraised, NotAppraised> {
        let lock = || self.challenger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(NotAppraised::Randomness)?;
        let challenge = lock().challenge(unix_ms(), appraised, &entropy)?;
        let answer = self.peers.appraisal(node, Message::Challenge(challenge).encode()).await?;
        let Ok(Message::Answer(answer)) = Message::decode(&answer) else {
            return Err(NoAnswer::Unexpected(node).into());
        };
        let activated = lock().answer(unix_ms(), &node, &answer)?;
        Ok(activated.into_appraised())
    }

    async fn decoded<T: Canonical>(&self, id: &ContentId, bytes_max: usize) -> Result<T, NotAppraised> {
        let block = self.content.block(id).await?;
        T::from_bytes(block.data(), bytes_max).map_err(|cause| NotAppraised::Malformed(*id, cause))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_node_is_appraised_once_at_a_time_and_a_silent_one_holds_up_itself_alone() {
        let turns = AppraisalTurns::default();
        let [silent, other] = [1, 2].map(|byte| model::AccountId([byte; 32]));
        let held = turns.of(silent).await;
        assert!(turns.of(silent).now_or_never().is_none(), "a second challenge would spoil the first");
        assert!(turns.clone().of(other).now_or_never().is_some(), "others are appraised meanwhile");
        drop(held);
        assert!(turns.clone().of(silent).now_or_never().is_some(), "clones share the turns");
    }
}
