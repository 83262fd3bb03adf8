//! Why a transaction is refused: one variant per rule, with a sentence for people and what to do next.

use model::{AccountId, BadSignature, Digest, EncodingError, NodeId, NotAdmitted, ObjectId, ObjectKind, TaskId};

/// A rule that a transaction breaks. Nothing is changed and no fee is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    // --- form: the sender's software is at fault ---
    /// Not a canonical signed transaction, or too long.
    #[error("not a transaction: {0}")]
    Encoding(String),
    /// A signature in it does not verify on this network.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A field is outside its bounds.
    #[error("{what}: {rule}")]
    Bounds {
        /// Which field.
        what: &'static str,
        /// Its bound.
        rule: &'static str,
    },
    /// Two parts that must agree do not.
    #[error("{what} does not match: {rule}")]
    Mismatch {
        /// Which part.
        what: &'static str,
        /// What it must agree with.
        rule: &'static str,
    },
    /// A list that must be strictly ascending is not.
    #[error("{what} must be in ascending order, without repetition")]
    Order {
        /// Which list.
        what: &'static str,
    },

    // --- accounts and money: the sender ---
    /// Accounts without a key cannot send or be sent to.
    #[error("{account} is an account of the ledger itself")]
    Reserved {
        /// Which account.
        account: AccountId,
    },
    /// Replayed, or out of turn.
    #[error("the next nonce of {account} is {expected}, not {got}")]
    Nonce {
        /// Whose.
        account: AccountId,
        /// What the ledger expects.
        expected: u64,
        /// What the transaction says.
        got: u64,
    },
    /// Not enough credits.
    #[error("{account} has {available} credits and needs {needed}")]
    Balance {
        /// Whose.
        account: AccountId,
        /// What it has.
        available: u64,
        /// What it needs.
        needed: u64,
    },
    /// A sum is larger than any balance can be.
    #[error("{what} is larger than 2^64 - 1 credits")]
    Overflow {
        /// Which sum.
        what: &'static str,
    },
    /// More free credits than this network gives at a time.
    #[error("one top-up gives 1 to {max} credits on this network, not {amount}")]
    TopUp {
        /// What was asked for.
        amount: u64,
        /// What is given.
        max: u64,
    },

    // --- objects and terms: the owner ---
    /// Published before.
    #[error("{object} is published already")]
    ObjectKnown {
        /// Which.
        object: ObjectId,
    },
    /// Never published.
    #[error("no object {object} is published on this network")]
    ObjectUnknown {
        /// Which.
        object: ObjectId,
    },
    /// A program that no node would run.
    #[error("the program's ciphertext has {bytes} bytes, nodes of this network run at most {bytes_max}")]
    ProgramSize {
        /// What it has.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
    },
    /// Somebody else's.
    #[error("{object} belongs to {owner}, not to {sender}")]
    NotOwner {
        /// Which object.
        object: ObjectId,
        /// Whose it is.
        owner: AccountId,
        /// Who sent the transaction.
        sender: AccountId,
    },
    /// Withdrawn; that is final.
    #[error("{object} is withdrawn for good")]
    Revoked {
        /// Which object.
        object: ObjectId,
    },
    /// Terms are replaced one by one.
    #[error("the next serial of these terms is {expected}, not {got}")]
    TermsSerial {
        /// What the ledger expects.
        expected: u64,
        /// What the terms say.
        got: u64,
    },
    /// A node that must be attested is not.
    #[error("{node} has no verdict that holds now, so it cannot {what}")]
    NoVerdict {
        /// Which node.
        node: NodeId,
        /// What for.
        what: &'static str,
    },
    /// A share was sealed to another key than the one that is attested.
    #[error("the share of {node} was sealed to another key than the one it has registered")]
    SealingKey {
        /// Which node.
        node: NodeId,
    },
    /// Too few copies.
    #[error("{what} has {got} of {needed} acknowledged copies on other nodes")]
    Copies {
        /// Of what.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A copy is promised for too short a time.
    #[error("{node} promises to store until {until_ms} ms, at least {needed_ms} ms are needed")]
    StorageTime {
        /// Which node.
        node: NodeId,
        /// What it promises.
        until_ms: u64,
        /// What is needed.
        needed_ms: u64,
    },
    /// The publisher's, or the executor's, own copy does not count.
    #[error("{node} cannot acknowledge its own content")]
    OwnCopy {
        /// Which node.
        node: NodeId,
    },
    /// Strict custody: too much in one hand.
    #[error("shares are not spread enough: {rule}")]
    Spread {
        /// Which rule.
        rule: String,
    },

    // --- nodes ---
    /// Not a member of the committee.
    #[error("{node} is not an approved node of this network")]
    NotApproved {
        /// Which node.
        node: NodeId,
    },
    /// Says something else than what the committee has approved.
    #[error("the registration's {what} is not what the committee has approved for {node}")]
    ApprovedOtherwise {
        /// Which node.
        node: NodeId,
        /// Which field.
        what: &'static str,
    },
    /// Votes are for a window that is over, or not there yet.
    #[error("the votes are for appraisal window {window}; it is window {now}")]
    Window {
        /// What the votes say.
        window: u64,
        /// What it is.
        now: u64,
    },
    /// One verdict per node and window.
    #[error("{node} has a verdict for window {window} already")]
    AlreadyAppraised {
        /// Which node.
        node: NodeId,
        /// Which window.
        window: u64,
    },
    /// Not one of the appraisers that the beacon drew.
    #[error("{appraiser} was not drawn to appraise {node} in window {window}")]
    NotDrawn {
        /// Who voted.
        appraiser: NodeId,
        /// About whom.
        node: NodeId,
        /// In which window.
        window: u64,
    },
    /// Too few votes.
    #[error("{got} of {needed} votes needed from the {drawn} appraisers drawn")]
    VotesNeeded {
        /// How many there are.
        got: usize,
        /// How many are needed.
        needed: usize,
        /// How many were drawn.
        drawn: usize,
    },

    // --- asking for tasks: the requester ---
    /// The same task again.
    #[error("task {task} was submitted before")]
    TaskKnown {
        /// Which.
        task: TaskId,
    },
    /// A program where data belongs, or the other way round.
    #[error("{object} is no {expected} object")]
    Kind {
        /// Which object.
        object: ObjectId,
        /// What it should be.
        expected: ObjectKind,
    },
    /// More than the network runs.
    #[error("the task asks for {asked} of {what}; this network allows {max}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// What the task asks for.
        asked: u64,
        /// What is allowed.
        max: u64,
    },
    /// An owner's terms do not admit it.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The owner allows no further use.
    #[error("all {uses_max} uses of {object} are spent")]
    UsesSpent {
        /// Which object.
        object: ObjectId,
        /// How many there were.
        uses_max: u64,
    },
    /// Dearer than the requester wants.
    #[error("the task costs {price} credits, at most {price_max} are offered")]
    Price {
        /// What it costs.
        price: u64,
        /// What is offered.
        price_max: u64,
    },
    /// Too many tasks wait.
    #[error("{waiting} tasks wait for an executor already")]
    Busy {
        /// How many.
        waiting: usize,
    },

    /// Too many tasks of one requester wait.
    #[error("{waiting} tasks of {requester} wait for an executor already")]
    RequesterBusy {
        /// Whose.
        requester: AccountId,
        /// How many.
        waiting: u32,
    },

    // --- ending tasks: executors and custodians ---
    /// Never submitted.
    #[error("there is no task {task}")]
    TaskUnknown {
        /// Which.
        task: TaskId,
    },
    /// Over.
    #[error("task {task} is settled already")]
    TaskSettled {
        /// Which.
        task: TaskId,
    },
    /// Still waiting for an executor.
    #[error("task {task} has no executor yet")]
    NotAssigned {
        /// Which.
        task: TaskId,
    },
    /// Somebody else's task.
    #[error("task {task} is assigned to {executor}, not to {sender}")]
    NotExecutor {
        /// Which task.
        task: TaskId,
        /// Whose it is.
        executor: NodeId,
        /// Who claims.
        sender: NodeId,
    },
    /// About an earlier attempt.
    #[error("attempt {expected} of task {task} is under way, not attempt {got}")]
    Attempt {
        /// Which task.
        task: TaskId,
        /// Which is under way.
        expected: u8,
        /// What was claimed.
        got: u8,
    },
    /// Names another assignment record.
    #[error("the receipt names assignment {got}, the ledger's is {expected}")]
    Assignment {
        /// The ledger's.
        expected: Digest,
        /// The receipt's.
        got: Digest,
    },
    /// Too late.
    #[error("the deadline was ledger time {deadline_ms} ms, it is {time_ms} ms")]
    Late {
        /// The deadline.
        deadline_ms: u64,
        /// Ledger time.
        time_ms: u64,
    },
    /// A release that is not for this run.
    #[error("a release of {custodian} is not for this run: its {what} differs")]
    Release {
        /// Whose.
        custodian: NodeId,
        /// Which field.
        what: &'static str,
    },
    /// Not a holder of the share it says it released.
    #[error("{custodian} does not hold share {index} of {object}")]
    NotCustodian {
        /// Who.
        custodian: NodeId,
        /// Of which object.
        object: ObjectId,
        /// Which share.
        index: u8,
    },
    /// Too few releases.
    #[error("{object} needs releases of {needed} shares, {got} are there")]
    ReleasesNeeded {
        /// Which object.
        object: ObjectId,
        /// How many there are.
        got: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Only the ledger says that a task lapsed.
    #[error("'lapsed' is what the ledger says when nobody answers; an executor cannot claim it")]
    LapsedClaimed,
    /// More left the sandbox than may.
    #[error("the sealed result has {bytes} bytes, at most {bytes_max} may leave")]
    Output {
        /// What the result has.
        bytes: u64,
        /// What is allowed, padding and frame included.
        bytes_max: u64,
    },
}

impl From<EncodingError> for Refusal {
    fn from(cause: EncodingError) -> Self {
        Self::Encoding(cause.to_string())
    }
}

impl Refusal {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Encoding(_)
            | Self::Signature(_)
            | Self::Mismatch { .. }
            | Self::Order { .. }
            | Self::Bounds { .. } => {
                "the software that made this transaction is at fault, or it was made for another network"
            }
            Self::Reserved { .. } => "use an account that has a key",
            Self::Nonce { .. } => "ask for the account's nonce again; the transaction may have gone through already",
            Self::Balance { .. } => "`samovar account top-up` on a development network; a transfer elsewhere",
            Self::Overflow { .. } => "choose smaller amounts",
            Self::TopUp { .. } => "top up several times, or by less; networks with real money have no top-ups",
            Self::ObjectKnown { .. } => "nothing to do; use `samovar objects show` with this id",
            Self::ObjectUnknown { .. } => "check the id and the network; `samovar objects list` shows what there is",
            Self::ProgramSize { .. } => "make the program smaller: strip it, and publish large tables as data",
            Self::NotOwner { .. } => "only the owner's key can do this",
            Self::Revoked { .. } => "publish the file again as a new object",
            Self::TermsSerial { .. } => "fetch the present terms and count from them",
            Self::NoVerdict { .. } => {
                "choose another node, or wait until it is appraised; `samovar nodes list` shows verdicts"
            }
            Self::SealingKey { .. } => "fetch the node's registration again and make a new deposit",
            Self::Copies { .. } | Self::StorageTime { .. } | Self::OwnCopy { .. } => {
                "ask further nodes to fetch and acknowledge the content"
            }
            Self::Spread { .. } => "choose custodians of other operators and regions",
            Self::NotApproved { .. } | Self::ApprovedOtherwise { .. } => {
                "the network's committee must approve this node as it is"
            }
            Self::Window { .. } | Self::AlreadyAppraised { .. } => "ask the appraisers of the present window",
            Self::NotDrawn { .. } | Self::VotesNeeded { .. } => "collect votes of the appraisers that were drawn",
            Self::TaskKnown { .. } => "nothing to do; wait for its result",
            Self::Kind { .. } => "check which id is the program and which the data",
            Self::Limit { .. } => "ask for less",
            Self::NotAdmitted(NotAdmitted::Revoked { .. }) => {
                "it was withdrawn for good, no run can use it any more; choose another object"
            }
            Self::NotAdmitted(_) | Self::UsesSpent { .. } => "ask the owner to change the terms",
            Self::Price { .. } => "offer more with `--max-price`",
            Self::Busy { .. } => "try again in a moment",
            Self::RequesterBusy { .. } => "wait until some of your tasks have begun, then ask for more",
            Self::TaskUnknown { .. } => "check the task's id and the network",
            Self::TaskSettled { .. } | Self::Attempt { .. } | Self::Late { .. } => "it is over; nothing can be added",
            Self::NotAssigned { .. } => "wait for the draw",
            Self::NotExecutor { .. } => "only the executor that was drawn can end this task",
            Self::Assignment { .. } | Self::Release { .. } | Self::NotCustodian { .. } => {
                "collect releases for the present assignment"
            }
            Self::ReleasesNeeded { .. } => "ask further custodians, or end the task as failed for lack of keys",
            Self::LapsedClaimed => "name another failure class, or do nothing",
            Self::Output { .. } => "end the task as failed at its limit",
        }
    }
}
