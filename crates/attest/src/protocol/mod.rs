//! How a node becomes appraised: messages between a subject and its drawn appraisers, and the two machines that handle
//! them. No I/O, no clock, no randomness: the shell carries messages between authenticated peers, signs, and drives the
//! TPM.
//!
//! ```text
//! subject                                   appraiser (each one drawn for this subject and window)
//!    | -- Evidence (evidence, event log) ---> |   appraise
//!    | <------------------------- Challenge - |   credential for endorsement key and attestation key
//!    | -- Answer ---------------------------> |   compare
//!    | <------------------------------ Vote - |   signed
//! ```
//!
//! With the votes of two thirds the subject goes to the ledger. A custodian that wants to see for itself (rule R7) uses
//! [`Challenger`]; the same subject answers it, for as long as [`Subjects`] holds it.

mod appraiser;
mod challenger;
mod round;
mod subject;
mod subjects;

use model::{AppraisalVote, Bytes32, Canonical, ContentId, EncodingError, EventLog, Evidence, NodeId, Signed};
use serde::{Deserialize, Serialize};

pub use appraiser::{Appraiser, AppraiserAction, Facts};
pub use challenger::{Activated, Challenger, NoAnswer};
pub use round::{Held, is_voted_on, window_due};
pub use subject::{Subject, SubjectAction};
pub use subjects::Subjects;

use crate::{Challenge, launcher};

/// What subjects and appraisers say to each other. Peers are authenticated by whoever carries the messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// Subject: please appraise this.
    Evidence(Box<Presentation>),
    /// Appraiser or custodian: show that your attestation key is in that TPM.
    Challenge(Challenge),
    /// Subject: the secret of the credential.
    Answer(Answer),
    /// Appraiser: my word on it.
    Vote(Box<Signed<AppraisalVote>>),
    /// Appraiser: no, and why.
    Refusal(Refusal),
}

/// Evidence with the log behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presentation {
    /// The evidence.
    pub evidence: Evidence,
    /// The log it names.
    pub log: EventLog,
}

/// The answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The evidence that the challenge was about.
    pub evidence: ContentId,
    /// What the TPM recovered.
    pub secret: Bytes32,
}

/// Why there will be no vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// For which evidence.
    pub evidence: ContentId,
    /// For the operator's log; at most [`Refusal::REASON_BYTES_MAX`].
    pub reason: String,
}

impl Refusal {
    /// Most bytes of a reason.
    pub const REASON_BYTES_MAX: usize = 512;
}

/// What an appraiser must look up before it handles a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Whose drawn appraisers…
    pub subject: NodeId,
    /// …in which window,
    pub window: u64,
    /// and the finalized block at which height.
    pub height: u64,
}

impl Message {
    /// Most bytes of a message.
    pub const BYTES_MAX: usize = Evidence::BYTES_MAX + launcher::LOG_BYTES_MAX + 1024;

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.to_bytes()
    }

    /// Reads a message from a peer.
    ///
    /// # Errors
    /// [`EncodingError`], also if a part is longer than it may be.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        let message = Self::from_bytes(bytes, Self::BYTES_MAX)?;
        if message.is_bounded() {
            Ok(message)
        } else {
            Err(EncodingError::TooLong { bytes: bytes.len(), bytes_max: Self::BYTES_MAX })
        }
    }

    /// What must be looked up before [`Appraiser::handle`] can judge this; `None` if nothing.
    pub fn needs(&self) -> Option<Needs> {
        let Self::Evidence(presented) = self else { return None };
        let evidence = &presented.evidence;
        Some(Needs { subject: evidence.registration.node, window: evidence.window, height: evidence.block.height })
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::Evidence(presented) => {
                presented.log.entries.len() <= launcher::ENTRIES_MAX
                    && presented.evidence.to_bytes().len() <= Evidence::BYTES_MAX
            }
            Self::Challenge(challenge) => challenge.is_bounded(),
            Self::Refusal(refusal) => refusal.reason.len() <= Refusal::REASON_BYTES_MAX,
            Self::Answer(_) | Self::Vote(_) => true,
        }
    }
}
