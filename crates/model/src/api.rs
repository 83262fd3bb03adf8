//! What nodes and clients say to each other over HTTP, besides the records themselves.
//!
//! Nothing here is believed: each answer carries what is needed to check it against the network key.

use serde::{Deserialize, Serialize};

use crate::{Blob, ContentId, Deposit, Digest, Manifest, NodeId, Signed, TaskId};

/// A certified header: `finality` checks it against the network key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedHead {
    /// Finalization certificate, `docs/spec/proof.md`.
    pub certificate: Blob,
    /// The header it certifies.
    pub header: Blob,
}

/// A record and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedRecord {
    /// Index of the leaf.
    pub index: u64,
    /// Canonical bytes of the [`crate::Record`].
    pub record: Blob,
}

/// Records with one proof that all of them are in the log of one certified head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenRecords {
    /// The head.
    pub head: CertifiedHead,
    /// The records, ascending by index.
    pub records: Vec<IndexedRecord>,
    /// The proof ([`crate::log::check_many`]).
    pub digests: Vec<Digest>,
}

/// A value of the live state, or its absence, at one certified head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenState {
    /// The head.
    pub head: CertifiedHead,
    /// Which value.
    pub key: Digest,
    /// The value; `None` shows absence.
    pub value: Option<Blob>,
    /// Engine-specific; versioned with the network, not part of any published format.
    pub proof: Blob,
}

/// That the log of a later head extends an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenExtension {
    /// The later head.
    pub head: CertifiedHead,
    /// The proof ([`crate::log::check_consistency`]).
    pub digests: Vec<Digest>,
}

/// That the log of `to` records extends the log of `from` records. It carries no head: whoever asks has one of each.
/// `docs/spec/proof.md` has it as a file beside a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Records in the shorter log.
    pub from: u64,
    /// Records in the longer log.
    pub to: u64,
    /// The proof ([`crate::log::check_consistency`]).
    pub digests: Vec<Digest>,
}

impl Extension {
    /// Most bytes of one: a log of 2^64 records needs 65 digests.
    pub const BYTES_MAX: usize = 4096;

    /// Whether it shows that of the two logs, each a size and a root, the longer extends the shorter.
    pub fn links(&self, one: (u64, Digest), other: (u64, Digest)) -> bool {
        let (old, new) = if one.0 <= other.0 { (one, other) } else { (other, one) };
        (self.from, self.to) == (old.0, new.0)
            && crate::log::check_consistency(old.0, &old.1, new.0, &new.1, &self.digests)
    }
}

/// An owner hands a custodian its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepositRequest {
    /// Whose key it is part of.
    pub manifest: Signed<Manifest>,
    /// The whole deposit.
    pub deposit: Signed<Deposit>,
    /// This custodian's index, from 1.
    pub index: u8,
    /// The share, sealed to the custodian's registered key (encapsulated key ‖ ciphertext).
    pub sealed_share: Blob,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status", deny_unknown_fields)]
pub enum TransactionStatus {
    /// Accepted by this node, not yet in a block.
    Pending,
    /// In a finalized block.
    Final {
        /// Which.
        height: u64,
    },
    /// Not known to this node (any more).
    Unknown,
}

/// Where a task stands. The order is the order of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Both owners' terms admit the task.
    Checked,
    /// The price is locked.
    Paid,
    /// An executor was drawn.
    Drawn,
    /// Its verdict was checked.
    Attested,
    /// Custodians have released enough shares.
    Released,
    /// Ciphertexts are there.
    Fetched,
    /// The program runs.
    Running,
    /// The result is sealed and stored by others.
    Sealed,
    /// The receipt is final and everybody is paid.
    Finalized,
    /// The task failed and is settled.
    Failed,
}

/// One step of a task, as one node sees it. For showing only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEvent {
    /// Which task.
    pub task: TaskId,
    /// How far it is.
    pub phase: Phase,
    /// A few words for people.
    pub detail: String,
    /// When, by the node's clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// How a node introduces itself. For showing only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeStatus {
    /// Its key.
    pub node: NodeId,
    /// Version of its software.
    pub version: String,
    /// Height it has finalized.
    pub height: u64,
    /// Ledger time of that block, milliseconds.
    pub time_ms: u64,
    /// Until when its verdict holds, if it has one.
    pub verdict_expires_ms: Option<u64>,
    /// Peers it is connected to.
    pub peers: u32,
    /// Tasks it runs now.
    pub running: u32,
}

/// A node could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// What happened.
    pub error: String,
    /// What to do next.
    pub hint: String,
}

/// What was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uploaded {
    /// Root of the uploaded CAR.
    pub root: ContentId,
    /// Blocks of it that this node did not have yet.
    pub blocks: u64,
    /// Bytes of the file under that root.
    pub bytes: u64,
}
