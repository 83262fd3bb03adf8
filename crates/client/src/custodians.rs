//! Who is given a share of a key: nodes whose verdicts and whose evidence were checked here, spread as the network demands.
//!
//! Nothing is left to the node that gives the list. What it shows is proven; what it leaves out, the live state tells; and
//! what the appraisers voted on is appraised again, so that no vote has to be believed either.

use std::time::Duration;

use attest::{AppraiseError, Appraised, Expectation};
use custody::Place;
use futures::StreamExt as _;
use ledger::state::{NodeState, Roster};
use model::{
    Canonical as _, ContentId, CustodyMode, Digest, EncodingError, EventLog, Evidence, Genesis, NetworkId, NodeId,
};

use crate::{
    client::{Client, read_state},
    error::{ClientError, Skipped},
    listing::NodeView,
    nodes::{Miss, Question, chain},
    progress::{Progress, Watch},
};

/// Shares needed, and shares dealt.
pub(crate) const THRESHOLD: u8 = 2;
pub(crate) const HOLDERS: usize = 3;

/// A verdict of a custodian must hold this much longer.
const VERDICT_MARGIN_MS: u64 = 2_000;

/// How long to wait for a network that has just been started.
const VERDICTS_WAIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long a node may take to say that it is there.
const HELLO_MS_MAX: u64 = 3_000;

/// Nodes whose evidence is fetched at a time.
const FETCHES_MAX: usize = 8;

/// Why a node with a verdict is given no share.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAppraised {
    /// Evidence or event log are none.
    #[error("its evidence cannot be read")]
    Malformed(#[from] EncodingError),
    /// The committee has not approved such a node.
    #[error("the committee has approved no such node")]
    NotApproved,
    /// The verdict does not follow from its evidence.
    #[error("its evidence is for another {0} than its verdict")]
    Other(&'static str),
    /// The evidence does not pass.
    #[error("its evidence does not pass")]
    Appraisal(#[from] AppraiseError),
}

/// Why it is not known where a node stands.
#[derive(Debug, thiserror::Error)]
enum NoPlace {
    #[error(transparent)]
    NotAppraised(#[from] NotAppraised),
    /// Nobody gives the evidence.
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
}

/// Nodes that can be given a share each, the first choice first.
pub(crate) struct Candidates {
    nodes: Vec<NodeView>,
    /// Where those stand whose evidence passed, in the order of `nodes`.
    places: Vec<Place>,
}

/// Whether a node answers; in the order in which they are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answers {
    Yes,
    Perhaps,
    No,
}

impl Candidates {
    /// As many as are needed, spread as the network demands. `replaced` are those that are none any more, and why.
    pub(crate) fn choose(&self, custody: CustodyMode, replaced: &[Skipped]) -> Result<Vec<NodeView>, ClientError> {
        if self.places.len() < HOLDERS {
            let refused = replaced.to_vec();
            return Err(ClientError::TooFewCustodians { found: self.places.len(), needed: HOLDERS, refused });
        }
        let holders = custody::choose_holders(custody, usize::from(THRESHOLD), HOLDERS, &self.places)
            .map_err(ClientError::Spread)?;
        Ok(self.nodes.iter().filter(|node| holders.contains(&node.id())).cloned().collect())
    }

    /// From now on this one is not chosen.
    pub(crate) fn remove(&mut self, id: &NodeId) {
        self.nodes.retain(|node| node.id() != *id);
        self.places.retain(|place| place.node != *id);
    }
}

impl Client {
    /// Nodes that can be given a share each, in the order in which they are taken: at random, those that answer first. A
    /// network that has just been started is waited for.
    pub(crate) async fn custodian_candidates(&self, watch: &dyn Watch) -> Result<Candidates, ClientError> {
        let genesis = self.genesis().await?;
        let mut nodes = self.candidates(watch).await?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|cause| ClientError::machine("get random numbers")(cause.to_string().into()))?;
        nodes.sort_by_key(|node| Digest::of_parts(&[&seed, &node.id().0]));
        let answering = futures::future::join_all(nodes.iter().map(|node| self.answers(node))).await;
        let mut ordered: Vec<_> = answering.into_iter().zip(nodes).collect();
        ordered.sort_by_key(|(answers, _)| *answers);
        let nodes: Vec<NodeView> = ordered.into_iter().map(|(_, node)| node).collect();
        let (places, refused) = self.appraised(genesis, &nodes).await;
        if places.len() < HOLDERS {
            return Err(ClientError::TooFewCustodians { found: places.len(), needed: HOLDERS, refused });
        }
        Ok(Candidates { nodes, places })
    }

    /// Whether a node answers at its own address. This only orders them: where no address is known, others hand things on.
    async fn answers(&self, node: &NodeView) -> Answers {
        let Some(api) = self.api_of(&node.id()) else { return Answers::Perhaps };
        let question = Question { timeout_ms: HELLO_MS_MAX, ..Question::get("/v1/status") };
        if self.nodes.ask_one(api, question).await.is_ok() { Answers::Yes } else { Answers::No }
    }

    /// Every node that could hold a share, at least as many as are needed.
    async fn candidates(&self, watch: &dyn Watch) -> Result<Vec<NodeView>, ClientError> {
        let end = tokio::time::Instant::now() + VERDICTS_WAIT;
        let mut told = false;
        loop {
            let (_, mut nodes) = self.nodes().await?;
            nodes.retain(|node| node.is_fresh(VERDICT_MARGIN_MS));
            let left_out = self.left_out(&nodes).await?;
            if nodes.len() >= HOLDERS && left_out.is_none() {
                return Ok(nodes);
            }
            if tokio::time::Instant::now() > end {
                return Err(match left_out {
                    Some(node) => ClientError::LeftOut { node },
                    None => ClientError::TooFewCustodians { found: nodes.len(), needed: HOLDERS, refused: Vec::new() },
                });
            }
            if left_out.is_some() {
                self.nodes.ask_another_first();
            }
            if !std::mem::replace(&mut told, true) {
                watch.see(Progress::Step("waiting until enough nodes have a verdict"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A node that could hold a share and is not among `nodes`. Whoever gives a list can leave out all but its friends, and
    /// so choose who holds the key; the live state leaves out nobody.
    async fn left_out(&self, nodes: &[NodeView]) -> Result<Option<NodeId>, ClientError> {
        let (_, roster) = self.state("the roster of nodes", ledger::key::roster()).await?;
        let roster: Roster = roster.map(|value| read_state(&value)).transpose()?.unwrap_or_default();
        for id in roster.nodes {
            if nodes.iter().any(|node| node.id() == id) {
                continue;
            }
            let (head, value) = self.state("a node", ledger::key::node(&id)).await?;
            let state: Option<NodeState> = value.map(|value| read_state(&value)).transpose()?;
            let could = |state: &NodeState| {
                state.is_fresh(head.time_ms() + VERDICT_MARGIN_MS) && (self.file.simulated || !state.result.simulated)
            };
            if state.as_ref().is_some_and(could) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Where those of `nodes` stand whose evidence passes here, in their order; and the others, with the reason.
    async fn appraised(&self, genesis: &Genesis, nodes: &[NodeView]) -> (Vec<Place>, Vec<Skipped>) {
        let judged = nodes.iter().map(|node| async move { (node, self.appraise(genesis, node).await) });
        let judged: Vec<_> = futures::stream::iter(judged).buffered(FETCHES_MAX).collect().await;
        let (mut places, mut refused) = (Vec::new(), Vec::new());
        for (node, outcome) in judged {
            match outcome {
                Ok(place) => places.push(place),
                Err(cause) => refused.push(Skipped { node: node.id().to_string(), why: chain(&cause) }),
            }
        }
        (places, refused)
    }

    async fn appraise(&self, genesis: &Genesis, node: &NodeView) -> Result<Place, NoPlace> {
        let evidence = self.block("its evidence", &node.verdict.evidence, Evidence::BYTES_MAX).await?;
        let evidence = Evidence::from_bytes(&evidence, Evidence::BYTES_MAX).map_err(NotAppraised::from)?;
        let log = self.block("its event log", &evidence.tpm.log, attest::launcher::LOG_BYTES_MAX).await?;
        let log = EventLog::from_bytes(&log, attest::launcher::LOG_BYTES_MAX).map_err(NotAppraised::from)?;
        let appraised = judge(genesis, &self.network.id, node, &evidence, &log)?;
        Ok(place(node, &appraised))
    }

    /// A DAG-CBOR block by its CID.
    async fn block(&self, what: &str, id: &ContentId, bytes_max: usize) -> Result<Vec<u8>, ClientError> {
        let path = format!("/ipfs/{id}?format=raw");
        let check = |bytes: Vec<u8>| {
            if ContentId::of_dag_cbor(&bytes) == *id {
                Ok(bytes)
            } else {
                Err(Miss::Disbelieved("it sent another block".to_owned()))
            }
        };
        let question = || Question { bytes_max, ..Question::get(&path) };
        self.nodes.ask(what, question, check).await
    }
}

/// Judges the evidence behind a node's verdict as its appraisers did, as of the last moment at which they may have voted.
///
/// # Errors
/// [`NotAppraised`].
pub fn judge(
    genesis: &Genesis,
    network: &NetworkId,
    node: &NodeView,
    evidence: &Evidence,
    log: &EventLog,
) -> Result<Appraised, NotAppraised> {
    let verdict = &node.verdict;
    if evidence.registration != node.registration {
        return Err(NotAppraised::Other("registration"));
    }
    if evidence.window != verdict.window {
        return Err(NotAppraised::Other("window"));
    }
    // The ledger ends a verdict so long after it became final.
    let verdict_ms = verdict.expires_ms.saturating_sub(genesis.appraisal.verdict_ms);
    let expectation = Expectation::of_verdict(genesis, *network, verdict, verdict_ms, evidence.block)
        .ok_or(NotAppraised::NotApproved)?;
    let appraised = attest::appraise(evidence, log, &expectation)?;
    if appraised.result() != verdict.result {
        return Err(NotAppraised::Other("outcome"));
    }
    Ok(appraised)
}

/// Where a node stands: operator and region as the committee has approved them, the maker of its TPM from the evidence.
fn place(node: &NodeView, appraised: &Appraised) -> Place {
    Place {
        node: node.id(),
        operator: node.registration.operator.clone(),
        vendor: appraised.vendor().to_owned(),
        region: node.registration.region.clone(),
    }
}
