//! Transactions: what accounts ask the ledger to do.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, AppraisalVote, Canonical, Digest, PublishedObject, Receipt, Registration, Release, Signable, Signed,
    StorageAck, Task, TaskId, Terms,
};

/// One request to the ledger, signed by the account that pays its fee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// Who asks and pays.
    pub account: AccountId,
    /// The account's next nonce: 0, 1, 2, …
    pub nonce: u64,
    /// What to do.
    pub action: Action,
}

impl Transaction {
    /// Most bytes of a signed transaction.
    pub const BYTES_MAX: usize = 128 << 10;
}

impl Signable for Transaction {
    const PURPOSE: &'static str = "transaction";
    fn signer(&self) -> AccountId {
        self.account
    }
}

impl Signed<Transaction> {
    /// The transaction's id: the digest of its canonical bytes.
    pub fn id(&self) -> Digest {
        self.digest()
    }
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Development networks: draw free credits. The fee is taken out of them.
    TopUp {
        /// Credits.
        amount: u64,
    },
    /// Move credits.
    Transfer {
        /// To whom.
        to: AccountId,
        /// Credits.
        amount: u64,
    },
    /// Make an object usable, with its first terms.
    Publish {
        /// The object.
        object: Box<PublishedObject>,
        /// Terms with serial 1.
        terms: Box<Signed<Terms>>,
    },
    /// Replace an object's terms, or revoke it.
    SetTerms {
        /// Terms with the next serial.
        terms: Box<Signed<Terms>>,
    },
    /// A node presents the votes of its appraisers.
    Attest(Box<Attestation>),
    /// Ask for a task; locks its price.
    Submit {
        /// The task; its nonce is the transaction's.
        task: Box<Task>,
    },
    /// A custodian posts what it has released for a task.
    PostReleases {
        /// For which task.
        task: TaskId,
        /// Its own releases.
        releases: Vec<Signed<Release>>,
    },
    /// An executor ends its task.
    Complete(Box<Completion>),
}

/// A node's registration, with the votes for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The evidence's public part: what the votes are about.
    pub registration: Registration,
    /// Votes of drawn appraisers, ascending by appraiser.
    pub votes: Vec<Signed<AppraisalVote>>,
}

/// A receipt, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The claim.
    pub receipt: Signed<Receipt>,
    /// For a success: at least t releases for each object of the task.
    pub releases: Vec<Signed<Release>>,
    /// For a success: at least `copies` acknowledgements for the result's ciphertext and leaves each.
    pub storage: Vec<Signed<StorageAck>>,
}

impl Action {
    /// The name of the action, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TopUp { .. } => "top-up",
            Self::Transfer { .. } => "transfer",
            Self::Publish { .. } => "publish",
            Self::SetTerms { .. } => "set-terms",
            Self::Attest(_) => "attest",
            Self::Submit { .. } => "submit",
            Self::PostReleases { .. } => "post-releases",
            Self::Complete(_) => "complete",
        }
    }
}
