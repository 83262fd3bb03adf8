//! Challenges under way, at most one per subject.

use std::collections::BTreeMap;

use model::NodeId;

use super::Answer;
use crate::{Appraised, Challenge, ChallengeError, Expected};

/// Evidence that passed, from a TPM that has answered our challenge. Only [`Challenger::answer`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated(Appraised);

impl Activated {
    /// What appraisal found.
    pub fn appraised(&self) -> &Appraised {
        &self.0
    }

    /// The same, by value.
    pub fn into_appraised(self) -> Appraised {
        self.0
    }
}

/// Why an answer counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// There is no challenge for this node and evidence, or it has lapsed.
    #[error("there is no challenge that this answers")]
    NotAsked,
    /// The secret is another one: the attestation key is not in the endorsed TPM.
    #[error("the answer is wrong: the attestation key is not shown to be in the endorsed TPM")]
    Wrong,
}

/// Makes challenges for appraised evidence and judges the answers.
#[derive(Debug, Default)]
pub struct Challenger {
    open: BTreeMap<NodeId, Open>,
}

#[derive(Debug)]
struct Open {
    appraised: Appraised,
    challenge: Challenge,
    expected: Expected,
    until_ms: u64,
}

impl Challenger {
    /// How long an answer may take, milliseconds. A hardware TPM needs seconds.
    pub const ANSWER_MS_MAX: u64 = 60_000;
    /// Most challenges at a time; the one that lapses first gives way.
    pub const OPEN_MAX: usize = 256;

    /// None under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// A challenge for this evidence; the same one again while it is open. `entropy` is 32 random bytes, used once.
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn challenge(
        &mut self,
        now_ms: u64,
        appraised: Appraised,
        entropy: &[u8; 32],
    ) -> Result<Challenge, ChallengeError> {
        let subject = appraised.registration().node;
        if let Some(open) = self.reopen(now_ms, &subject, &appraised) {
            return Ok(open);
        }
        self.make_room(now_ms);
        let (challenge, expected) = Challenge::for_appraised(&appraised, entropy)?;
        let until_ms = now_ms.saturating_add(Self::ANSWER_MS_MAX);
        self.open.insert(subject, Open { appraised, challenge: challenge.clone(), expected, until_ms });
        Ok(challenge)
    }

    fn reopen(&self, now_ms: u64, subject: &NodeId, appraised: &Appraised) -> Option<Challenge> {
        let open = self.open.get(subject)?;
        (open.until_ms > now_ms && open.appraised == *appraised).then(|| open.challenge.clone())
    }

    fn make_room(&mut self, now_ms: u64) {
        self.open.retain(|_, open| open.until_ms > now_ms);
        if self.open.len() >= Self::OPEN_MAX
            && let Some(first) = self.open.iter().min_by_key(|(_, open)| open.until_ms).map(|(node, _)| *node)
        {
            self.open.remove(&first);
        }
    }

    /// Judges an answer. A challenge can be answered once.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn answer(&mut self, now_ms: u64, from: &NodeId, answer: &Answer) -> Result<Activated, NoAnswer> {
        let asked = self
            .open
            .get(from)
            .is_some_and(|open| open.until_ms > now_ms && open.appraised.evidence_id() == answer.evidence);
        let Some(open) = asked.then(|| self.open.remove(from)).flatten() else { return Err(NoAnswer::NotAsked) };
        if open.expected.is(&answer.secret) { Ok(Activated(open.appraised)) } else { Err(NoAnswer::Wrong) }
    }
}
