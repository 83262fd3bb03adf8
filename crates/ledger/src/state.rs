//! The values of the state, as canonical DAG-CBOR. They are what execution needs and no more: facts stand in the log.

use model::{
    AccountId, AppraisalPolicy, AttestationResult, Digest, FailureClass, NodeId, ObjectKind, Seed, Task, TaskId,
};
use serde::{Deserialize, Serialize};

pub use crate::pages::Pages;

/// An account. An account that never was is the same as one with nothing and nonce 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountState {
    /// Credits.
    pub balance: u64,
    /// Nonce of its next transaction.
    pub nonce: u64,
}

/// A published object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectState {
    /// Data or program.
    pub kind: ObjectKind,
    /// Who is paid for its use.
    pub owner: AccountId,
    /// Length of its ciphertext, which every run of it fetches.
    pub ciphertext_bytes: u64,
    /// Epoch of the deposit that holds.
    pub epoch: u32,
    /// Shares needed.
    pub threshold: u8,
    /// Holders; position i holds share i + 1.
    pub custodians: Vec<NodeId>,
    /// Digest of its object record.
    pub record: Digest,
    /// Serial of the terms that hold.
    pub terms_serial: u64,
    /// Digest of those signed terms.
    pub terms_digest: Digest,
    /// Digest of their record.
    pub terms_record: Digest,
    /// Withdrawn for good.
    pub revoked: bool,
    /// Tasks that were assigned with it, over all versions of the terms.
    pub uses: u64,
}

/// A node that has, or had, a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// Who runs it.
    pub operator: String,
    /// Where it stands.
    pub region: String,
    /// SHA-256 of its endorsement certificate.
    pub endorsement: Digest,
    /// SHA-256 of the X-Wing key that shares are sealed to.
    pub sealing_key: Digest,
    /// Digest of its registration.
    pub registration: Digest,
    /// Digest of its latest verdict's record.
    pub verdict: Digest,
    /// Window of that verdict.
    pub window: u64,
    /// From this ledger time on it no longer holds.
    pub expires_ms: u64,
    /// What appraisal found.
    pub result: AttestationResult,
    /// It let a task lapse since; it is not drawn until it is appraised again.
    pub lapsed: bool,
    /// Tasks assigned to it that are not settled.
    pub running: u32,
}

impl NodeState {
    /// Whether its verdict holds at ledger time `time_ms`.
    pub fn is_fresh(&self, time_ms: u64) -> bool {
        time_ms < self.expires_ms
    }
}

/// Every node that ever had a verdict, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// The nodes.
    pub nodes: Vec<NodeId>,
}

/// The seeds of the present appraisal window and of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// The latest window that has a seed.
    pub current: Window,
    /// The one before it, if any.
    pub previous: Option<Window>,
}

/// One appraisal window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Ledger time divided by the window's length.
    pub number: u64,
    /// The seed of its first block that carries one.
    pub seed: Seed,
}

impl Windows {
    /// The seed of window `number`, if it is one of these two and votes for it count at ledger time `time_ms`.
    pub fn seed(&self, number: u64, policy: &AppraisalPolicy, time_ms: u64) -> Option<Seed> {
        let mut known = [Some(self.current), self.previous].into_iter().flatten();
        let window = known.find(|window| window.number == number)?;
        policy.may_vote_in(number, time_ms).then_some(window.seed)
    }
}

/// What the ledger does without a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Tasks that wait for an executor, in the order they asked.
    pub waiting: Pages<Waiting>,
    /// Deadlines of assigned tasks, ascending by (time, task).
    pub deadlines: Pages<Deadline>,
    /// The last ticket that was given to a task that waits.
    pub ticket: u64,
    /// Tasks that wait with a ticket up to this one were looked at, and nothing that could help them has changed since.
    pub looked: u64,
    /// Milliseconds the ledger was alive while tasks waited, gaps between blocks cut short ([`crate::GAP_MS_MAX`]).
    pub alive_ms: u64,
    /// Ledger time up to which `alive_ms` counts.
    pub counted_ms: u64,
}

/// A task that waits for an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Rises with each task that begins to wait.
    pub ticket: u64,
    /// Which.
    pub task: TaskId,
    /// Height of the block that asked for the draw.
    pub height: u64,
    /// [`Schedule::alive_ms`] at that block.
    pub since_alive_ms: u64,
}

/// When an assigned task lapses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// Ledger time after which it does.
    pub at_ms: u64,
    /// Which task.
    pub task: TaskId,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Paid for, not settled.
    Open(Box<OpenTask>),
    /// Settled: all else is in the record.
    Settled(SettledTask),
}

/// A task that is not settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenTask {
    /// What was asked for.
    pub task: Task,
    /// Locked for each owner, in the order of [`Task::objects`].
    pub owner_prices: Vec<u64>,
    /// Locked in all: the owners' prices and the network fee.
    pub locked: u64,
    /// How long an attempt may take.
    pub attempt_ms: u64,
    /// The attempt under way, or waited for: 1, or 2 after a re-draw.
    pub attempt: u8,
    /// Who did not finish attempt 1.
    pub lapsed: Option<NodeId>,
    /// Where it runs; `None` while it waits.
    pub assigned: Option<AssignedTask>,
    /// Custodians that have posted their releases for this attempt, ascending.
    pub released: Vec<NodeId>,
}

/// An assignment, as far as settling needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignedTask {
    /// Who was drawn.
    pub executor: NodeId,
    /// Digest of the assignment's record.
    pub record: Digest,
    /// Digests of the signed terms that were applied, in the order of [`Task::objects`].
    pub terms: Vec<Digest>,
    /// What those terms charge, never more than was locked.
    pub owner_prices: Vec<u64>,
    /// Most bytes that may leave.
    pub output_bytes_max: u64,
    /// From this ledger time on the verdict it was drawn with holds no more, and custodians release nothing to it.
    pub verdict_expires_ms: u64,
    /// Ledger time by which a receipt must be final.
    pub deadline_ms: u64,
}

/// A task that is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettledTask {
    /// Digest of the settlement's record.
    pub record: Digest,
    /// Why it failed; `None` for a success.
    pub failure: Option<FailureClass>,
}
