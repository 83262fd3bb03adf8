//! Why a custodian refuses, and whose fault that is.

use model::{AccountId, BadSignature, ContentId, NodeId, NotAdmitted, ObjectId, TaskId};

use crate::{DepositError, custodian::FactsError};

/// A refusal. The custodian's state is as before, and nothing may be sent but the refusal itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    // Deposits.
    /// The depositor's fault.
    #[error(transparent)]
    Deposit(#[from] DepositError),
    /// The depositor is late.
    #[error("object {object} was revoked; its key is not kept any more")]
    DepositRevoked {
        /// Which.
        object: ObjectId,
    },
    /// The depositor's fault, or this node is a block behind.
    #[error("{owner} has {balance} credits; publishing what is deposited costs {needed} at least")]
    OwnerCannotPay {
        /// Who.
        owner: AccountId,
        /// What it has.
        balance: u64,
        /// What it needs.
        needed: u64,
    },
    /// The depositor's fault: publish them, or wait until they are forgotten.
    #[error(
        "this custodian keeps {pending} deposits of {owner} that were never published, and takes no more within the hour"
    )]
    OwnersPending {
        /// Who.
        owner: AccountId,
        /// How many.
        pending: usize,
    },
    /// Nobody's fault: try again later, or another node.
    #[error("this custodian keeps {pending} deposits that were never published, and takes no more for now")]
    TooManyPending {
        /// How many.
        pending: usize,
    },

    // Releases: this node.
    /// This node is behind, or was asked for another task.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The executor asked the wrong node.
    #[error("this node holds no share for task {task}")]
    NothingHeld {
        /// Which task.
        task: TaskId,
    },

    // R1
    /// The share here is of another deposit than the published one: another epoch, or a deposit nobody published.
    #[error("the share held for {object} is not of its published deposit, epoch {epoch}")]
    OtherDeposit {
        /// Which object.
        object: ObjectId,
        /// Epoch of the published deposit.
        epoch: u32,
    },
    /// The owner has withdrawn it.
    #[error("object {object} is revoked")]
    Revoked {
        /// Which.
        object: ObjectId,
    },

    // R2
    /// The executor's fault.
    #[error("the request does not name the finalized assignment of task {task}")]
    OtherAssignment {
        /// Which task.
        task: TaskId,
    },
    /// The executor is late: the task is done, has failed, or was given back.
    #[error("task {task} was settled at {settled_ms}")]
    Settled {
        /// Which task.
        task: TaskId,
        /// When, ledger time.
        settled_ms: u64,
    },
    /// The executor is late: the task was drawn again.
    #[error("attempt {attempt} at task {task} is over, attempt {newest} was drawn")]
    DrawnAgain {
        /// Which task.
        task: TaskId,
        /// The attempt that is asked for.
        attempt: u8,
        /// The newest one.
        newest: u8,
    },
    /// The executor is late.
    #[error("the deadline of the task passed at {deadline_ms}, ledger time is {time_ms}")]
    DeadlinePassed {
        /// Deadline of the assignment.
        deadline_ms: u64,
        /// Time of this node's head.
        time_ms: u64,
    },

    // R3
    /// This node is behind, or the network stands still.
    #[error("the newest block known here is {age_ms} ms old, at most {age_ms_max} are allowed")]
    HeadStale {
        /// Age by this node's clock.
        age_ms: u64,
        /// What is allowed.
        age_ms_max: u64,
    },
    /// This node's ledger was rolled back: its operator's fault.
    #[error("the newest block known here has height {height}, but height {height_seen} was seen before")]
    HeadRolledBack {
        /// Height now.
        height: u64,
        /// Height stored.
        height_seen: u64,
    },

    // R4
    /// The executor's fault.
    #[error("{executor} is not the executor that task was assigned to")]
    NotAssigned {
        /// Who asked.
        executor: NodeId,
    },
    /// Strict custody (D2).
    #[error("executor {executor} itself holds a share of {object}")]
    ExecutorHoldsShare {
        /// Who asked.
        executor: NodeId,
        /// Of which object.
        object: ObjectId,
    },
    /// Strict custody (D2).
    #[error("executor {executor} has the same operator as this custodian, '{operator}'")]
    SameOperator {
        /// Who asked.
        executor: NodeId,
        /// Who runs both.
        operator: String,
    },

    // R5
    /// The ledger's fault: no owner signed these terms.
    #[error("the terms of {object} are not signed by its owner")]
    TermsSignature {
        /// Whose.
        object: ObjectId,
        /// What is wrong; `None` if they are somebody else's.
        #[source]
        cause: Option<BadSignature>,
    },
    /// The ledger's fault, or the owner changed the terms since.
    #[error("terms {serial} of {object} do not hold any more: {serial_seen} were seen")]
    TermsOutdated {
        /// Whose.
        object: ObjectId,
        /// Serial that is to apply.
        serial: u64,
        /// Highest serial seen.
        serial_seen: u64,
    },
    /// The ledger's fault, or the owner changed the terms since.
    #[error("the assignment applies other terms of {object} than hold now")]
    TermsNotApplied {
        /// Whose.
        object: ObjectId,
    },
    /// The ledger's fault.
    #[error("object {object} is not what the task uses it as")]
    WrongKind {
        /// Which.
        object: ObjectId,
    },
    /// The terms say no.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The ledger's fault.
    #[error("{bytes} bytes may leave by the assignment, the strictest rule says {bytes_max}")]
    OutputCap {
        /// What the assignment says.
        bytes: u64,
        /// What it may say.
        bytes_max: u64,
    },

    // R7
    /// Not yet: appraise this evidence and ask again.
    #[error("this custodian has not appraised the evidence {evidence} itself")]
    NotAppraised {
        /// The block that holds it.
        evidence: ContentId,
    },
    /// The appraisers' fault: the evidence does not carry their verdict.
    #[error("the verdict about {executor} says something else than its evidence")]
    VerdictDiffers {
        /// About whom.
        executor: NodeId,
    },
    /// The executor must be appraised again.
    #[error("the verdict about {executor} ended at {expires_ms}, ledger time is {time_ms}")]
    VerdictEnded {
        /// About whom.
        executor: NodeId,
        /// When.
        expires_ms: u64,
        /// Time of this node's head.
        time_ms: u64,
    },

    // R8
    /// The executor's fault, or somebody else's in its name.
    #[error(transparent)]
    RequestSignature(BadSignature),
    /// The executor's fault.
    #[error("the request is addressed to {custodian}")]
    OtherCustodian {
        /// To whom.
        custodian: NodeId,
    },
    /// The executor is late, or replays.
    #[error("the nonce is not one that this custodian gave for this task in the last minute")]
    Nonce,
    /// The executor's fault.
    #[error("the ephemeral key is not an X-Wing key")]
    EphemeralKey,

    // R9
    /// The executor's fault.
    #[error("this attempt at task {task} has used {keys_max} ephemeral keys already")]
    TooManyKeys {
        /// Which task.
        task: TaskId,
        /// What is allowed.
        keys_max: usize,
    },

    // R10
    /// This node's fault: its stored share is damaged.
    #[error("the share of {object} held here is damaged")]
    OwnShare {
        /// Of which object.
        object: ObjectId,
        /// What is wrong with it.
        #[source]
        cause: DepositError,
    },
}

impl Refusal {
    /// The rule behind it, `R1` to `R10` (docs/spec/custody.md), `deposit`, or `node` if this node is not ready.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Deposit(_)
            | Self::DepositRevoked { .. }
            | Self::OwnerCannotPay { .. }
            | Self::OwnersPending { .. }
            | Self::TooManyPending { .. } => "deposit",
            Self::Facts(_) | Self::NothingHeld { .. } => "node",
            Self::OtherDeposit { .. } | Self::Revoked { .. } => "R1",
            Self::OtherAssignment { .. }
            | Self::Settled { .. }
            | Self::DrawnAgain { .. }
            | Self::DeadlinePassed { .. } => "R2",
            Self::HeadStale { .. } | Self::HeadRolledBack { .. } => "R3",
            Self::NotAssigned { .. } | Self::ExecutorHoldsShare { .. } | Self::SameOperator { .. } => "R4",
            Self::TermsSignature { .. }
            | Self::TermsOutdated { .. }
            | Self::TermsNotApplied { .. }
            | Self::WrongKind { .. }
            | Self::NotAdmitted(_)
            | Self::OutputCap { .. } => "R5",
            Self::NotAppraised { .. } | Self::VerdictDiffers { .. } | Self::VerdictEnded { .. } => "R7",
            Self::RequestSignature(_) | Self::OtherCustodian { .. } | Self::Nonce | Self::EphemeralKey => "R8",
            Self::TooManyKeys { .. } => "R9",
            Self::OwnShare { .. } => "R10",
        }
    }
}
