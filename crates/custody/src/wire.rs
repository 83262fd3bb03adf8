//! What an executor and a custodian say to each other. The messages are canonical DAG-CBOR; how they travel is not known here.
//!
//! ```text
//! executor   -> custodian   Hello            I run this task
//! custodian  -> executor    Nonce            then sign this
//! executor   -> custodian   Request          signed: task, assignment, ephemeral key, nonce
//! custodian  -> executor    Released         its shares, sealed to the ephemeral key; or Refused, with the rule
//! ```

use model::{AccountId, Blob, Bytes32, Release, ReleaseRequest, Signed, TaskId};
use serde::{Deserialize, Serialize};

/// The first word of an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// For which task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u8,
    /// Who asks.
    pub executor: AccountId,
}

/// What an executor sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToCustodian {
    /// Asks for a nonce.
    Hello(Hello),
    /// Asks for shares.
    Request(Box<Signed<ReleaseRequest>>),
}

impl ToCustodian {
    /// Most bytes of one message.
    pub const BYTES_MAX: usize = 4 << 10;
}

/// What a custodian answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromCustodian {
    /// To be signed within a minute.
    Nonce(Bytes32),
    /// One share for each object of the task whose key this custodian helps to hold, in the order of the task's objects.
    Released(Vec<ReleasedShare>),
    /// It does not release.
    Refused {
        /// Which rule says so, `R1` to `R10`, or what else.
        rule: String,
        /// In words.
        reason: String,
    },
}

impl FromCustodian {
    /// Most bytes of one message: 17 objects of a task, and room.
    pub const BYTES_MAX: usize = 64 << 10;
}

/// One share on its way to an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedShare {
    /// The custodian's word, which the receipt will carry.
    pub release: Signed<Release>,
    /// The share, sealed to the ephemeral key; bound to every field of the release.
    pub sealed_share: Blob,
}
