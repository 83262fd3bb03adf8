//! All evidence of one node that somebody may still ask about: of its rounds, and behind its verdict.

use std::collections::VecDeque;

use model::{Bytes32, ContentId, NetworkId, NodeId};

use super::{Message, Presentation, Subject, SubjectAction};

/// One node's rounds. A custodian may challenge what a verdict rests on for as long as the verdict holds (rule R7), also when
/// later rounds have failed, and when the node was killed before it saw its own verdict: then [`Subjects::misses`] says that
/// the shell should look for it and [`Subjects::take_up`] it.
#[derive(Debug)]
pub struct Subjects {
    network: NetworkId,
    committee: Vec<NodeId>,
    /// The latest first.
    rounds: VecDeque<Subject>,
    verdict: Option<Subject>,
}

impl Subjects {
    /// Most rounds whose evidence is still answered for: a verdict may come late, and its assignments outlive it.
    pub const ROUNDS_MAX: usize = 4;

    /// No round yet. Any of `committee` may challenge.
    pub fn new(network: NetworkId, committee: impl IntoIterator<Item = NodeId>) -> Self {
        Self { network, committee: committee.into_iter().collect(), rounds: VecDeque::new(), verdict: None }
    }

    /// Begins a round: `drawn` are to appraise the presentation.
    pub fn begin(&mut self, presentation: Presentation, drawn: impl IntoIterator<Item = NodeId>) {
        self.rounds.push_front(Subject::new(self.network, presentation, drawn, self.committee.iter().copied()));
        self.rounds.truncate(Self::ROUNDS_MAX);
    }

    /// The round under way.
    pub fn round(&self) -> Option<&Subject> {
        self.rounds.front()
    }

    /// [`Subject::tick`] of the round under way.
    pub fn tick(&mut self, now_ms: u64) -> Vec<SubjectAction> {
        self.rounds.front_mut().map(|round| round.tick(now_ms)).unwrap_or_default()
    }

    /// Whether nothing here is about this evidence.
    pub fn misses(&self, evidence: &ContentId) -> bool {
        self.of(evidence).is_none()
    }

    /// Answers from now on for what the present verdict rests on, in place of what an earlier one rested on.
    pub fn take_up(&mut self, presentation: Presentation) {
        self.verdict = Some(Subject::new(self.network, presentation, [], self.committee.iter().copied()));
    }

    /// Handles a message from an authenticated peer. A subject reacts to one message with one action at most, and only if it is
    /// about its evidence.
    pub fn handle(&mut self, from: NodeId, message: &Message) -> Option<SubjectAction> {
        let all = self.rounds.iter_mut().chain(&mut self.verdict);
        all.filter_map(|subject| subject.handle(from, message.clone()).pop()).next()
    }

    /// The TPM has answered the challenge of `from` about `evidence`.
    pub fn activated(&self, from: NodeId, evidence: &ContentId, secret: Bytes32) -> Option<SubjectAction> {
        self.of(evidence)?.activated(from, secret).pop()
    }

    fn of(&self, evidence: &ContentId) -> Option<&Subject> {
        self.rounds.iter().chain(&self.verdict).find(|subject| subject.evidence_id() == *evidence)
    }
}
