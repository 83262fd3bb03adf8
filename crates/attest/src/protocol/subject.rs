//! The subject: presents its evidence, answers challenges, collects votes.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    AppraisalPolicy, AppraisalVote, Attestation, AttestationResult, Bytes32, Canonical, ContentId, Digest, NetworkId,
    NodeId, Signed,
};

use super::{Answer, Message, Presentation};
use crate::Challenge;

/// What the shell shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectAction {
    /// Send a message to a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Let the TPM answer ([`crate::Attester::activate`]), then call [`Subject::activated`]. If the TPM refuses, do
    /// nothing: the challenge was not for it.
    Activate {
        /// Who asks.
        from: NodeId,
        /// What it asks.
        challenge: Challenge,
    },
    /// Enough votes: take this to the ledger. Comes once.
    Submit(Box<Attestation>),
}

/// One round of being appraised. It goes on answering challenges about its evidence for as long as it is kept.
#[derive(Debug)]
pub struct Subject {
    network: NetworkId,
    presentation: Presentation,
    evidence: ContentId,
    registration: Digest,
    drawn: BTreeSet<NodeId>,
    challengers: BTreeSet<NodeId>,
    votes: BTreeMap<NodeId, Signed<AppraisalVote>>,
    refusals: BTreeMap<NodeId, String>,
    /// Challenges taken on, by challenger: a TPM's time is scarce.
    challenges: BTreeMap<NodeId, u32>,
    next_round_ms: u64,
    submitted: bool,
}

impl Subject {
    /// Between two rounds of asking those who have not voted, milliseconds.
    pub const ROUND_MS: u64 = 2_000;
    /// Most challenges of one peer about one piece of evidence.
    pub const CHALLENGES_MAX: u32 = 16;

    /// Wants `presentation` appraised by `drawn`. The committee may challenge it: `committee` holds its members.
    pub fn new(
        network: NetworkId,
        presentation: Presentation,
        drawn: impl IntoIterator<Item = NodeId>,
        committee: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let drawn: BTreeSet<NodeId> = drawn.into_iter().collect();
        let challengers = drawn.iter().copied().chain(committee).collect();
        Self {
            network,
            evidence: presentation.evidence.block_id(),
            registration: presentation.evidence.registration.digest(),
            presentation,
            drawn,
            challengers,
            votes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            challenges: BTreeMap::new(),
            next_round_ms: 0,
            submitted: false,
        }
    }

    /// Presents the evidence to everybody who has not voted, at most once in [`Subject::ROUND_MS`]. Call it now and then.
    pub fn tick(&mut self, now_ms: u64) -> Vec<SubjectAction> {
        if self.submitted || now_ms < self.next_round_ms {
            return Vec::new();
        }
        self.next_round_ms = now_ms.saturating_add(Self::ROUND_MS);
        let missing = self.drawn.iter().filter(|appraiser| !self.votes.contains_key(appraiser));
        missing
            .map(|to| SubjectAction::Send { to: *to, message: Message::Evidence(Box::new(self.presentation.clone())) })
            .collect()
    }

    /// Handles a message from an authenticated peer.
    pub fn handle(&mut self, from: NodeId, message: Message) -> Vec<SubjectAction> {
        match message {
            Message::Challenge(challenge) => self.challenged(from, challenge),
            Message::Vote(vote) => self.voted(from, *vote),
            Message::Refusal(refusal) => {
                if self.drawn.contains(&from) && refusal.evidence == self.evidence {
                    self.refusals.insert(from, refusal.reason);
                }
                Vec::new()
            }
            Message::Evidence(_) | Message::Answer(_) => Vec::new(),
        }
    }

    fn challenged(&mut self, from: NodeId, challenge: Challenge) -> Vec<SubjectAction> {
        if !self.challengers.contains(&from) || challenge.evidence != self.evidence || !challenge.is_bounded() {
            return Vec::new();
        }
        let taken = self.challenges.entry(from).or_default();
        if *taken >= Self::CHALLENGES_MAX {
            return Vec::new();
        }
        *taken += 1;
        vec![SubjectAction::Activate { from, challenge }]
    }

    /// The TPM has answered the challenge of `from`.
    pub fn activated(&self, from: NodeId, secret: Bytes32) -> Vec<SubjectAction> {
        vec![SubjectAction::Send { to: from, message: Message::Answer(Answer { evidence: self.evidence, secret }) }]
    }

    fn voted(&mut self, from: NodeId, vote: Signed<AppraisalVote>) -> Vec<SubjectAction> {
        if !self.is_ours(from, &vote) {
            return Vec::new();
        }
        let result = vote.unverified().result;
        self.refusals.remove(&from);
        self.votes.insert(from, vote);
        let agreeing = self.agreeing(result);
        if self.submitted || agreeing.len() < AppraisalPolicy::votes_needed(self.drawn.len()) {
            return Vec::new();
        }
        self.submitted = true;
        let registration = self.presentation.evidence.registration.clone();
        vec![SubjectAction::Submit(Box::new(Attestation { registration, votes: agreeing }))]
    }

    /// A drawn appraiser's own, signed word about exactly this evidence.
    fn is_ours(&self, from: NodeId, vote: &Signed<AppraisalVote>) -> bool {
        let Ok(said) = vote.verify(&self.network) else { return false };
        let evidence = &self.presentation.evidence;
        self.drawn.contains(&from)
            && said.appraiser == from
            && said.subject == evidence.registration.node
            && said.registration == self.registration
            && said.evidence == self.evidence
            && said.window == evidence.window
    }

    /// Votes with this result, ascending by appraiser.
    fn agreeing(&self, result: AttestationResult) -> Vec<Signed<AppraisalVote>> {
        self.votes.values().filter(|vote| vote.unverified().result == result).cloned().collect()
    }

    /// The evidence this is about.
    pub fn evidence_id(&self) -> ContentId {
        self.evidence
    }

    /// Whether there were enough votes.
    pub fn is_done(&self) -> bool {
        self.submitted
    }

    /// Who refused, and why: for the operator.
    pub fn refusals(&self) -> &BTreeMap<NodeId, String> {
        &self.refusals
    }
}
