//! What a network starts from. Its digest is the network id.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Blob, Bytes96, Canonical, Digest, Limits, NetworkId, NodeId, Registration};

/// The public beginning of a network. Every node checks the digest out of band; it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Format version, 1.
    pub version: u32,
    /// A name for people, at most 64 bytes.
    pub name: String,
    /// When it was made, milliseconds since 1970. The first block is later.
    pub created_ms: u64,
    /// The threshold key under which every certificate verifies.
    pub network_key: Bytes96,
    /// The public polynomial of the committee's key shares, in the engine's encoding. Opaque here.
    pub sharing: Blob,
    /// The committee, ascending by node id.
    pub validators: Vec<Validator>,
    /// Who may vouch for a TPM.
    pub trust_anchors: TrustAnchors,
    /// What evidence must show, and for how long a verdict holds.
    pub appraisal: AppraisalPolicy,
    /// How shares of keys must be spread.
    pub custody: CustodyMode,
    /// What things cost besides the owners' prices.
    pub fees: FeeSchedule,
    /// What one task may ask for, and how many copies of content there must be.
    pub limits: NetworkLimits,
    /// Who owns the credits, ascending by account. Their sum is the supply and never changes.
    pub allocations: Vec<Allocation>,
    /// Most credits one `account top-up` may draw from [`AccountId::FAUCET`]; 0 on networks with real money.
    pub top_up_max: u64,
}

impl Genesis {
    /// The version this code knows.
    pub const VERSION: u32 = 1;
    /// Most bytes a genesis may have.
    pub const BYTES_MAX: usize = 1 << 20;

    /// The network id: the digest of the canonical bytes.
    pub fn network_id(&self) -> NetworkId {
        NetworkId(self.digest().0)
    }

    /// The validator with this node id.
    pub fn validator(&self, node: &NodeId) -> Option<&Validator> {
        self.validators.iter().find(|validator| validator.node == *node)
    }
}

/// A member of the committee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// Its key.
    pub node: NodeId,
    /// Who runs it, as approved by the founders; at most 64 bytes.
    pub operator: String,
    /// Where it stands, as approved by the founders; at most 64 bytes.
    pub region: String,
    /// SHA-256 of its endorsement certificate (DER).
    pub endorsement: Digest,
}

impl Validator {
    /// The first thing in which a registration differs from what the founders approved. The other keys of a node are its
    /// own: evidence vouches for them.
    pub fn differs(&self, registration: &Registration) -> Option<&'static str> {
        let Self { node, operator, region, endorsement } = self; // all of them: a further one does not compile without
        let differing = [
            ("node key", *node != registration.node),
            ("operator", *operator != registration.operator),
            ("region", *region != registration.region),
            ("endorsement certificate", *endorsement != registration.endorsement),
        ];
        differing.into_iter().find_map(|(what, differs)| differs.then_some(what))
    }
}

/// Roots that may endorse a TPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustAnchors {
    /// Root certificates (DER) of makers of hardware.
    pub hardware: Vec<Blob>,
    /// Root certificates (DER) of software TPMs. Not empty on simulated networks only, and every record says so.
    pub simulated: Vec<Blob>,
}

impl TrustAnchors {
    /// Whether this network accepts software TPMs.
    pub fn simulated(&self) -> bool {
        !self.simulated.is_empty()
    }
}

/// Appraisal policy for evidence (RFC 9334, 8.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppraisalPolicy {
    /// P-256 public key (SEC1, uncompressed, 65 bytes) that signs releases of the node binary.
    pub release_key: Blob,
    /// Oldest release counter that still passes.
    pub release_counter_min: u64,
    /// Platform registers (SHA-256 bank) a quote must cover exactly, ascending. 14 holds the launcher's measurements.
    pub pcrs: Vec<u32>,
    /// How long a verdict holds, milliseconds.
    pub verdict_ms: u64,
    /// Length of an appraisal window: appraisers are drawn per node and window. At most half of `verdict_ms`.
    pub window_ms: u64,
    /// How many appraisers are drawn per node and window, if there are as many validators besides the subject.
    pub appraisers: u32,
    /// How old, in ledger time, the block named in fresh evidence may be.
    pub evidence_age_ms_max: u64,
}

impl AppraisalPolicy {
    /// The appraisal window that ledger time `time_ms` is in.
    pub fn window_at(&self, time_ms: u64) -> u64 {
        time_ms / self.window_ms.max(1)
    }

    /// When a window begins, ledger time.
    pub fn window_begins_ms(&self, window: u64) -> u64 {
        window.saturating_mul(self.window_ms)
    }

    /// Whether votes for `window` count at ledger time `time_ms`: in it, and in the one after, since a node may have begun to
    /// ask for them just before the turn.
    pub fn may_vote_in(&self, window: u64, time_ms: u64) -> bool {
        let now = self.window_at(time_ms);
        window == now || window.checked_add(1) == Some(now)
    }

    /// Up to when, ledger time, evidence is fresh that names a block of `block_ms`.
    pub fn fresh_until_ms(&self, block_ms: u64) -> u64 {
        block_ms.saturating_add(self.evidence_age_ms_max)
    }

    /// Votes needed out of `drawn` appraisers: at least two thirds.
    pub fn votes_needed(drawn: usize) -> usize {
        (2 * drawn).div_ceil(3).max(1)
    }

    /// How many appraisers to draw among `validators`, so that the votes needed are more than the validators that
    /// consensus bears being corrupt (fewer than a third); 3 at least. Fewer would let some of those make a verdict in the
    /// windows in which enough of them are drawn.
    pub fn appraisers_for(validators: usize) -> usize {
        let corrupt = validators.saturating_sub(1) / 3;
        (3 * corrupt / 2 + 1).max(3)
    }
}

/// How shares of keys must be spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CustodyMode {
    /// No operator, vendor or region holds t shares; an executor is no custodian of its inputs.
    Strict,
    /// A few nodes on one machine: those rules are off, and every listing and proof says so.
    Development,
}

impl std::fmt::Display for CustodyMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Development => "development",
        })
    }
}

/// Fees in credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeSchedule {
    /// Each transaction.
    pub transaction: u64,
    /// Each started 1,024 bytes of a transaction.
    pub transaction_kib: u64,
    /// To each appraiser whose vote is in a verdict, paid by the appraised node.
    pub appraisal: u64,
    /// To the executor of a task, whatever it declares.
    pub executor: u64,
    /// To the executor, each started second of the declared run time.
    pub executor_second: u64,
    /// To the executor, each started 64 MiB of the declared memory.
    pub executor_64mib: u64,
    /// Shared among the custodians who released keys for the task, for each object.
    pub custodians: u64,
    /// To each node that acknowledged storage of the result.
    pub storage: u64,
    /// Shared among all validators, for each task.
    pub validators: u64,
}

/// Bounds of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkLimits {
    /// Most a task may declare.
    pub task: Limits,
    /// Most bytes of a program's ciphertext: executors open it into memory as a whole.
    pub program_bytes: u64,
    /// Tasks one node runs at a time.
    pub slots_per_node: u32,
    /// Storage acknowledgements an object or a result needs, from nodes other than the publisher.
    pub copies: u32,
    /// How long a node must acknowledge storage for, milliseconds.
    pub storage_ms: u64,
    /// Added to a task's declared run time, and to the time its bytes take on their way, for releasing keys and compiling,
    /// milliseconds.
    pub overhead_ms: u64,
}

/// Credits at the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// Whose.
    pub account: AccountId,
    /// How many credits.
    pub amount: u64,
}
