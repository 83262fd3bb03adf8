//! Which link of the chain broke.

use model::{AccountId, BadSignature, EncodingError, NotAdmitted, ObjectId};

/// The links of the chain, in the order they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// The file itself.
    Bundle,
    /// The genesis: the network's rules.
    Genesis,
    /// The certificate, the header, the log.
    Finality,
    /// The set of records.
    Records,
    /// Manifests, deposits, stored copies.
    Objects,
    /// The owners' terms.
    Terms,
    /// The draw of the executor.
    Draw,
    /// The executor's verdict and registration.
    Verdict,
    /// The evidence behind the verdict.
    Evidence,
    /// The executor's receipt.
    Receipt,
    /// The custodians' releases.
    Releases,
    /// The stored copies of the result.
    Storage,
    /// Who was paid.
    Payments,
    /// The result files beside the proof.
    Result,
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bundle => "bundle",
            Self::Genesis => "genesis",
            Self::Finality => "finality",
            Self::Records => "records",
            Self::Objects => "objects",
            Self::Terms => "terms",
            Self::Draw => "draw",
            Self::Verdict => "verdict",
            Self::Evidence => "evidence",
            Self::Receipt => "receipt",
            Self::Releases => "releases",
            Self::Storage => "storage",
            Self::Payments => "payments",
            Self::Result => "result",
        })
    }
}

/// Why a proof does not hold. Whoever made or changed the file is at fault, except where a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Not a proof, or not in its one form.
    #[error("the {link} cannot be read")]
    Encoding {
        /// Where.
        link: Link,
        /// Why.
        #[source]
        cause: EncodingError,
    },
    /// A version this code does not know.
    #[error("proof version {0} is not known; a newer samovar may know it")]
    Version(u32),
    /// Made on another network, or for another key.
    #[error("the proof is of another network than the network file names")]
    OtherNetwork,
    /// Software TPMs, and the network file does not allow them.
    #[error("the network uses simulated TPMs, and the network file does not say `simulated = true`")]
    Simulated,
    /// The certificate, the header or the log proof does not verify.
    #[error("the head or the log does not verify under the network key")]
    Finality(#[from] finality::FinalityError),
    /// The head contradicts the checkpoint that the network file pins.
    #[error("the head does not agree with the checkpoint in the network file")]
    Checkpoint,
    /// A record that must be there is not, is there twice, or does not belong.
    #[error("the proof has {found} {what}, {expected} are needed")]
    Records {
        /// Which kind.
        what: &'static str,
        /// How many are needed.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A signature inside a record does not verify.
    #[error("in the {link}: {cause}")]
    Signature {
        /// Where.
        link: Link,
        /// Which.
        cause: BadSignature,
    },
    /// Two things that must agree do not.
    #[error("in the {link}: {what} is not {expected}")]
    Mismatch {
        /// Where.
        link: Link,
        /// What differs.
        what: &'static str,
        /// From what.
        expected: &'static str,
    },
    /// An owner's terms do not admit the task.
    #[error("the terms do not admit the task")]
    NotAdmitted(#[from] NotAdmitted),
    /// Too few of something that a rule counts.
    #[error("in the {link}: {got} of {needed} {what}")]
    TooFew {
        /// Where.
        link: Link,
        /// Of what.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Somebody who may not, did.
    #[error("in the {link}: {who} {what}")]
    Stranger {
        /// Where.
        link: Link,
        /// Who.
        who: AccountId,
        /// What they may not do.
        what: &'static str,
    },
    /// A share of this object was released that its deposit does not know.
    #[error("a release names share {index} of {object}, which its custodian does not hold")]
    Share {
        /// Which object.
        object: ObjectId,
        /// Which share.
        index: u8,
    },
    /// The committee has not approved the executor as it is, or its votes are no verdict.
    #[error("the ledger would have refused the executor's verdict")]
    Verdict(#[source] ledger::Refusal),
    /// The evidence does not pass when judged again.
    #[error("the evidence behind the verdict does not pass appraisal")]
    Evidence(#[source] attest::AppraiseError),
    /// The event log is neither in the proof nor beside it.
    #[error("the event log behind the evidence is missing; give it with --evidence FILE.car")]
    EventLog,
    /// The result files are not what the receipt commits to.
    #[error("the result is not the one the receipt commits to: {0}")]
    Result(&'static str),
}

impl ProofError {
    /// Which link broke.
    pub fn link(&self) -> Link {
        match self {
            Self::Encoding { link, .. }
            | Self::Signature { link, .. }
            | Self::Mismatch { link, .. }
            | Self::TooFew { link, .. }
            | Self::Stranger { link, .. } => *link,
            Self::Version(_) => Link::Bundle,
            Self::OtherNetwork | Self::Simulated => Link::Genesis,
            Self::Finality(_) | Self::Checkpoint => Link::Finality,
            Self::Records { .. } => Link::Records,
            Self::NotAdmitted(_) => Link::Terms,
            Self::Share { .. } => Link::Releases,
            Self::Verdict(_) => Link::Verdict,
            Self::Evidence(_) | Self::EventLog => Link::Evidence,
            Self::Result(_) => Link::Result,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherNetwork => "use the network file of the network the task ran on",
            Self::Simulated => "only accept this if you know the network is for development: set `simulated = true`",
            Self::Version(_) => "use a newer samovar",
            Self::Checkpoint => {
                "the network's committee may have signed two histories: ask its operators, believe neither"
            }
            Self::EventLog => "fetch the block with `ipfs dag export` or from any node and pass it with --evidence",
            Self::Result(_) => "fetch the result again with `samovar fetch`",
            _ => "fetch the proof again from any node; if it still fails, do not rely on the result",
        }
    }
}

/// `Ok` if two things agree.
pub(crate) fn same(holds: bool, link: Link, what: &'static str, expected: &'static str) -> Result<(), ProofError> {
    if holds { Ok(()) } else { Err(ProofError::Mismatch { link, what, expected }) }
}

/// Checks the signature on a record.
pub(crate) fn signed<'a, T: model::Signable>(
    signed: &'a model::Signed<T>,
    network: &model::NetworkId,
    link: Link,
) -> Result<&'a T, ProofError> {
    signed.verify(network).map_err(|cause| ProofError::Signature { link, cause })
}
