//! Tasks: asked for, assigned, given keys, run, receipted, settled.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Blob, Bytes32, Bytes48, Canonical, ContentId, Digest, NodeId, ObjectId, Seal, Signable, Signed,
    StorageAck, TaskId, Terms,
};

/// A request to run a program on data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Who asks, pays and gets the result.
    pub requester: AccountId,
    /// The requester's transaction nonce: makes every task's id unique.
    pub nonce: u64,
    /// What to run.
    pub program: ObjectId,
    /// On what, ascending by name, 1 to 16.
    pub inputs: Vec<Input>,
    /// Arguments after the program's name. Public. At most 64, 4 KiB in all.
    pub args: Vec<String>,
    /// What it may use at most.
    pub limits: Limits,
    /// How the guest is metered.
    pub metering: Metering,
    /// Seeds the guest's random numbers. Public.
    pub seed: Bytes32,
    /// X-Wing public key (1,216 bytes) that the result is sealed to; derives from the account key.
    pub result_key: Blob,
    /// Most credits it may cost, transaction fees apart.
    pub price_max: u64,
}

impl Task {
    /// Most bytes of a task.
    pub const BYTES_MAX: usize = 32 << 10;
    /// Most inputs.
    pub const INPUTS_MAX: usize = 16;

    /// The task's id.
    pub fn id(&self) -> TaskId {
        TaskId(self.digest().0)
    }

    /// Program first, then the inputs' objects in order: everything whose terms apply and whose key is needed.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        std::iter::once(self.program).chain(self.inputs.iter().map(|input| input.object))
    }
}

/// One input: the guest reads it at `/data/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// 1 to 64 of `a-z A-Z 0-9 . _ -`, not beginning with a dot.
    pub name: String,
    /// Which data.
    pub object: ObjectId,
}

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Wall time of the guest, milliseconds.
    pub run_ms: u64,
    /// Linear memory of the guest, bytes.
    pub memory_bytes: u64,
    /// Standard output and files together, bytes.
    pub output_bytes: u64,
}

impl Limits {
    /// Most bytes that may leave a run with these limits on objects with these terms: the strictest bound of all.
    pub fn output_bytes_max<'a>(&self, terms: impl IntoIterator<Item = &'a Terms>) -> u64 {
        terms.into_iter().filter_map(|terms| terms.output_bytes_max).fold(self.output_bytes, u64::min)
    }
}

/// What is counted while a guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metering {
    /// Nothing: the run-time limit alone ends a loop. Costs nothing.
    None,
    /// Instructions (fuel); a deterministic end.
    Fuel,
    /// Fuel, and canonical NaNs: the same bits on every machine.
    FuelNan,
}

/// Epoch and view of the consensus round whose seed is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Committee epoch.
    pub epoch: u64,
    /// View within it.
    pub view: u64,
}

/// The random beacon of a round: a unique threshold signature that nobody can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// Of which round.
    pub round: Round,
    /// The signature; verifies under the network key.
    pub signature: Bytes48,
}

/// Which executor a task got, and how it was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Which task.
    pub task: TaskId,
    /// 1, or 2 after a re-draw.
    pub attempt: u8,
    /// Who was drawn.
    pub executor: NodeId,
    /// The seed it was drawn with.
    pub seed: Seed,
    /// RFC 9162 root over the sorted list of eligible nodes (leaf data = node id).
    pub eligible_root: Digest,
    /// Length of that list.
    pub eligible_size: u32,
    /// Position of the executor in it.
    pub index: u32,
    /// Inclusion path of the executor, leaf to root.
    pub path: Vec<Digest>,
    /// Digest of the executor's [`crate::Verdict`] record (the log leaf).
    pub verdict: Digest,
    /// The terms that hold, in the order of [`Task::objects`].
    pub terms: Vec<TermsApplied>,
    /// Most bytes that may leave ([`Limits::output_bytes_max`]).
    pub output_bytes_max: u64,
    /// Ledger time by which a receipt must be final.
    pub deadline_ms: u64,
}

/// One version of one object's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsApplied {
    /// Whose.
    pub object: ObjectId,
    /// Serial of the terms.
    pub serial: u64,
    /// Digest of the signed terms.
    pub digest: Digest,
}

/// What an executor asks a custodian: signed with the key its verdict vouches for (rule R8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// For which task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u8,
    /// Digest of the assignment's record.
    pub assignment: Digest,
    /// Who asks.
    pub executor: NodeId,
    /// Whom it asks.
    pub custodian: NodeId,
    /// X-Wing public key made for this task alone.
    pub ephemeral_key: Blob,
    /// What the custodian sent, so that an old request is worth nothing.
    pub nonce: Bytes32,
}

impl Signable for ReleaseRequest {
    const PURPOSE: &'static str = "release-request";
    fn signer(&self) -> AccountId {
        self.executor
    }
}

/// A custodian has handed its share of one object's key to one executor for one task. Written to disk before it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// For which task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u8,
    /// Whose key.
    pub object: ObjectId,
    /// Epoch of the deposit.
    pub epoch: u32,
    /// Index of the share, from 1.
    pub index: u8,
    /// Who released.
    pub custodian: NodeId,
    /// To whom.
    pub executor: NodeId,
    /// SHA-256 of the ephemeral key it was sealed to.
    pub ephemeral_key: Digest,
    /// Digest of the signed terms that were applied.
    pub terms: Digest,
}

impl Signable for Release {
    const PURPOSE: &'static str = "release";
    fn signer(&self) -> AccountId {
        self.custodian
    }
}

/// The executor's claim about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Which task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u8,
    /// Who claims.
    pub executor: NodeId,
    /// Digest of the assignment's record.
    pub assignment: Digest,
    /// What happened. Nothing else about the run is public: no fuel, no time, no memory.
    pub outcome: Outcome,
}

impl Signable for Receipt {
    const PURPOSE: &'static str = "receipt";
    fn signer(&self) -> AccountId {
        self.executor
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The guest ended by itself, with whatever exit code; it is in the sealed result.
    Done(Box<ResultSeal>),
    /// It did not.
    Failed(FailureClass),
}

/// A result, sealed to the requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultSeal {
    /// Root of the ciphertext.
    pub ciphertext: ContentId,
    /// Bytes of the ciphertext.
    pub ciphertext_bytes: u64,
    /// Root of the sealed list of leaf hashes.
    pub leaves: ContentId,
    /// How it is sealed.
    pub seal: Seal,
    /// The result's content key, sealed to the task's result key with X-Wing HPKE (encapsulated key ‖ ciphertext).
    pub wrapped_key: Blob,
}

/// Why a task failed; all that the public learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// The guest trapped, or is no module this sandbox runs; or an object of the task, once opened, is not what its seal says. The
    /// requester, who chose them, pays the network fee.
    Guest,
    /// The guest reached a limit it had declared. The requester pays the network fee.
    Limit,
    /// Too few custodians released their shares.
    Keys,
    /// Content could not be fetched, or is no file.
    Content,
    /// The executor itself failed.
    Node,
    /// Nobody answered before the deadline.
    Lapsed,
}

impl FailureClass {
    /// Whether the guest is at fault, so that the network fee is kept.
    pub fn guest_at_fault(self) -> bool {
        matches!(self, Self::Guest | Self::Limit)
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Guest => "guest",
            Self::Limit => "limit",
            Self::Keys => "keys",
            Self::Content => "content",
            Self::Node => "node",
            Self::Lapsed => "lapsed",
        })
    }
}

/// The end of a task: the receipt, what it rests on, and who got what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// Which task.
    pub task: TaskId,
    /// The executor's claim; `None` if the deadline passed.
    pub receipt: Option<Signed<Receipt>>,
    /// The releases behind a success: at least t for each object. Ascending by (object position, index).
    pub releases: Vec<Signed<Release>>,
    /// Who stores the result, ascending by (content, node).
    pub storage: Vec<Signed<StorageAck>>,
    /// Where the escrowed credits went, in the order they were paid. Their sum is what was escrowed.
    pub payments: Vec<Payment>,
}

impl Settlement {
    /// How the task ended, seen from outside.
    pub fn failure(&self) -> Option<FailureClass> {
        match self.receipt.as_ref().map(|receipt| &receipt.unverified().outcome) {
            None => Some(FailureClass::Lapsed),
            Some(Outcome::Failed(class)) => Some(*class),
            Some(Outcome::Done(_)) => None,
        }
    }
}

/// One payment out of a task's escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// To whom.
    pub to: AccountId,
    /// Credits.
    pub amount: u64,
    /// What for: `program`, `data`, `executor`, `custodian`, `storage`, `validator`, `remainder` or `refund`.
    pub reason: String,
}
