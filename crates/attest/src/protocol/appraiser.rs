//! The appraiser: judges the evidence of subjects it was drawn for.

use std::{collections::BTreeMap, sync::Arc};

use model::{AppraisalVote, BlockRef, Canonical, ContentId, Genesis, NetworkId, NodeId};

use super::{Activated, Answer, Challenger, Message, NoAnswer, Presentation, Refusal};
use crate::{
    AppraiseError, Appraised, ChallengeError, ClockSeen, Endorsement, EndorsementError, Expectation, appraise_endorsed,
};

/// What the ledger says about the message at hand; look up what [`Message::needs`] names.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The finalized block at that height, if this node knows it.
    pub block: Option<BlockRef>,
    /// The appraisers drawn for that subject and window.
    pub drawn: Vec<NodeId>,
}

/// What the shell shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppraiserAction {
    /// Send a message to a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Sign this vote with the node's key and send it to its subject as [`Message::Vote`].
    Vote(AppraisalVote),
}

/// Why an appraiser does not go along. What the subject gets to read.
#[derive(Debug, thiserror::Error)]
enum NoVote {
    #[error("evidence about {0} came from somebody else")]
    Relayed(NodeId),
    #[error("the committee has not approved this node")]
    Unknown,
    #[error("nobody appraises itself")]
    Oneself,
    #[error("not drawn for this node in window {0}")]
    NotDrawn(u64),
    #[error("window {window} is over or to come; it is window {now}")]
    OtherWindow { window: u64, now: u64 },
    #[error("this appraiser does not know block {0} (yet)")]
    UnknownBlock(u64),
    #[error("too much evidence in too short a time")]
    TooSoon,
    #[error(transparent)]
    Appraise(#[from] AppraiseError),
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    #[error(transparent)]
    Answer(#[from] NoAnswer),
}

impl From<EndorsementError> for NoVote {
    fn from(cause: EndorsementError) -> Self {
        Self::Appraise(cause.into())
    }
}

/// An appraiser. Its memory is bounded by the committee: at most one entry per member.
#[derive(Debug)]
pub struct Appraiser {
    genesis: Arc<Genesis>,
    network: NetworkId,
    me: NodeId,
    challenger: Challenger,
    known: BTreeMap<NodeId, Known>,
}

/// What an appraiser remembers of a subject.
#[derive(Debug, Default)]
struct Known {
    endorsement: Option<Endorsement>,
    last_seen: Option<ClockSeen>,
    vote: Option<AppraisalVote>,
    /// New evidence before that time is not looked at.
    not_before_ms: u64,
}

impl Appraiser {
    /// Between two different pieces of evidence of one subject, milliseconds.
    pub const EVIDENCE_GAP_MS: u64 = 1_000;

    /// The appraiser `me` of the network that begins with `genesis`.
    pub fn new(genesis: Arc<Genesis>, me: NodeId) -> Self {
        let network = genesis.network_id();
        Self { genesis, network, me, challenger: Challenger::new(), known: BTreeMap::new() }
    }

    /// Handles a message from an authenticated peer. `now_ms` is ledger time; `entropy` is 32 random bytes, used once.
    pub fn handle(
        &mut self,
        now_ms: u64,
        from: NodeId,
        message: Message,
        facts: &Facts,
        entropy: &[u8; 32],
    ) -> Vec<AppraiserAction> {
        let (evidence, outcome) = match message {
            Message::Evidence(presented) => {
                (presented.evidence.block_id(), self.consider(now_ms, from, &presented, facts, entropy))
            }
            Message::Answer(answer) => (answer.evidence, self.conclude(now_ms, from, &answer)),
            Message::Challenge(_) | Message::Vote(_) | Message::Refusal(_) => return Vec::new(),
        };
        vec![outcome.unwrap_or_else(|cause| refuse(from, evidence, &cause))]
    }

    fn consider(
        &mut self,
        now_ms: u64,
        from: NodeId,
        presented: &Presentation,
        facts: &Facts,
        entropy: &[u8; 32],
    ) -> Result<AppraiserAction, NoVote> {
        let evidence = &presented.evidence;
        self.admit(now_ms, from, presented, facts)?;
        let block = facts.block.ok_or(NoVote::UnknownBlock(evidence.block.height))?;
        let genesis = Arc::clone(&self.genesis);
        let mut expectation = Expectation::of_genesis(&genesis, self.network, &from, evidence.window, block, now_ms)
            .ok_or(NoVote::Unknown)?;
        let known = self.known.entry(from).or_default();
        // A vote that got lost is cast again; the subject need not prove anything twice.
        if let Some(vote) = known.vote.as_ref().filter(|vote| vote.evidence == evidence.block_id()) {
            return Ok(AppraiserAction::Vote(vote.clone()));
        }
        if now_ms < known.not_before_ms {
            return Err(NoVote::TooSoon);
        }
        known.not_before_ms = now_ms.saturating_add(Self::EVIDENCE_GAP_MS);
        expectation.last_seen = known.last_seen;
        let appraised = known.appraise(presented, &expectation)?;
        let challenge = self.challenger.challenge(now_ms, appraised, entropy)?;
        Ok(AppraiserAction::Send { to: from, message: Message::Challenge(challenge) })
    }

    /// What needs no cryptography.
    fn admit(&self, now_ms: u64, from: NodeId, presented: &Presentation, facts: &Facts) -> Result<(), NoVote> {
        let evidence = &presented.evidence;
        let (subject, window) = (evidence.registration.node, evidence.window);
        if subject != from {
            return Err(NoVote::Relayed(subject));
        }
        if self.genesis.validator(&subject).is_none() {
            return Err(NoVote::Unknown);
        }
        if subject == self.me {
            return Err(NoVote::Oneself);
        }
        if !facts.drawn.contains(&self.me) {
            return Err(NoVote::NotDrawn(window));
        }
        let policy = &self.genesis.appraisal;
        if !policy.may_vote_in(window, now_ms) {
            return Err(NoVote::OtherWindow { window, now: policy.window_at(now_ms) });
        }
        Ok(())
    }

    fn conclude(&mut self, now_ms: u64, from: NodeId, answer: &Answer) -> Result<AppraiserAction, NoVote> {
        let activated = self.challenger.answer(now_ms, &from, answer)?;
        let vote = self.vote(&activated);
        let known = self.known.entry(from).or_default();
        known.last_seen = Some(activated.appraised().clock());
        known.vote = Some(vote.clone());
        Ok(AppraiserAction::Vote(vote))
    }

    fn vote(&self, activated: &Activated) -> AppraisalVote {
        let appraised = activated.appraised();
        AppraisalVote {
            subject: appraised.registration().node,
            registration: appraised.registration().digest(),
            evidence: appraised.evidence_id(),
            window: appraised.evidence().window,
            result: appraised.result(),
            appraiser: self.me,
        }
    }
}

impl Known {
    /// Appraises, checking the endorsement only if it is not remembered.
    fn appraise(&mut self, presented: &Presentation, expectation: &Expectation<'_>) -> Result<Appraised, NoVote> {
        let chain = &presented.evidence.tpm.endorsement_chain;
        let remembered = self
            .endorsement
            .take()
            .filter(|endorsement| endorsement.covers(chain, expectation.anchors, expectation.now_ms));
        let endorsement = match remembered {
            Some(endorsement) => endorsement,
            None => Endorsement::check(chain, expectation.anchors, expectation.now_ms)?,
        };
        let appraised = appraise_endorsed(&presented.evidence, &presented.log, expectation, &endorsement);
        self.endorsement = Some(endorsement);
        Ok(appraised?)
    }
}

fn refuse(to: NodeId, evidence: ContentId, cause: &NoVote) -> AppraiserAction {
    let mut reason = cause.to_string();
    let end = reason.floor_char_boundary(Refusal::REASON_BYTES_MAX);
    reason.truncate(end);
    AppraiserAction::Send { to, message: Message::Refusal(Refusal { evidence, reason }) }
}
