//! What can go wrong for an owner or a requester: whose fault it is, and what to do next.

use std::path::PathBuf;

use model::{AccountId, FailureClass, NodeId, ObjectId, TaskId};

use crate::{file::FileError, quote::OutputBound};

/// Why something could not be done. [`ClientError::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A file of the user cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The account key cannot be used.
    #[error("cannot use the account key")]
    Key(#[source] custody::KeyFileError),
    /// The network file names no node.
    #[error("the network file names no node")]
    NoNodes,
    /// No node gave an answer that passed the checks.
    #[error("no node gave an answer that can be believed about {what}: {}", list(tried))]
    NoAnswer {
        /// What was asked.
        what: String,
        /// Every node that was asked, and why its answer was not taken.
        tried: Vec<Skipped>,
    },
    /// No node can be reached.
    #[error("none of the nodes can be reached: {}", nodes.join(", "))]
    Nobody {
        /// Every node that was asked.
        nodes: Vec<String>,
    },
    /// Nodes answer, but what they prove is too old, or from the future.
    #[error("the network stands still, or this machine's clock is wrong: {}", list(tried))]
    StandsStill {
        /// Every node that was asked, and how old its newest block is.
        tried: Vec<Skipped>,
    },
    /// What is certified now contradicts what was certified before.
    #[error("this network shows two histories: {reason}")]
    OtherHistory {
        /// What does not fit together.
        reason: &'static str,
    },
    /// The network says no. Nothing shows that it has not kept what it was given.
    #[error("{error}")]
    Refused {
        /// What it says.
        error: String,
        /// What it advises.
        hint: String,
    },
    /// The network says that another transaction of the same account has the nonce, or had it.
    #[error("{error}")]
    NonceTaken {
        /// What it says.
        error: String,
        /// What it advises.
        hint: String,
    },
    /// All nodes agree that there is no such thing.
    #[error("this network knows no {what}")]
    Unknown {
        /// For example `task 5f…`.
        what: String,
    },
    /// Somebody else's object.
    #[error("{object} does not belong to this account")]
    NotOwner {
        /// Which.
        object: ObjectId,
    },
    /// A program that no node would run.
    #[error(
        "the program has {bytes} bytes; nodes of this network run at most {sealed_max}, padding and seals included"
    )]
    ProgramSize {
        /// What it has.
        bytes: u64,
        /// Most bytes of its ciphertext.
        sealed_max: u64,
    },
    /// Too few nodes can hold shares of the key.
    #[error("{found} nodes can hold shares of the key, {needed} are needed{}", but_not(refused))]
    TooFewCustodians {
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
        /// Nodes with a fresh verdict that does not stand up to a second look, and why.
        refused: Vec<Skipped>,
    },
    /// More custodians did not take their shares than can be down.
    #[error("shares of the key were not taken: {}", list(silent))]
    SilentCustodians {
        /// Who, and why.
        silent: Vec<Skipped>,
    },
    /// Custodians agree that they must not take their shares.
    #[error("custodian {node} refuses its share of the key: {error}")]
    DepositRefused {
        /// One of them.
        node: NodeId,
        /// What it says.
        error: String,
    },
    /// Nodes show lists that lack somebody.
    #[error(
        "the lists of nodes lack {node}, whose verdict holds; whoever gives them may want to choose the custodians"
    )]
    LeftOut {
        /// Who is missing.
        node: NodeId,
    },
    /// The shares of the key would be too close together.
    #[error("the shares of the key cannot be spread as this network demands")]
    Spread(#[source] custody::SpreadError),
    /// Too few nodes stored the content.
    #[error("{found} nodes have acknowledged copies of {what}, {needed} are needed: {}", list(tried))]
    TooFewCopies {
        /// Which part.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
        /// Those who did not, and why.
        tried: Vec<Skipped>,
    },
    /// The output folder, or the file to publish, is in use for something else.
    #[error("{reason}")]
    Folder {
        /// Why it cannot be used.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The transaction did not take effect in time.
    #[error("{what} was handed in, but is not final after {waited_s} s")]
    NotFinal {
        /// What was handed in.
        what: String,
        /// How long was waited, seconds.
        waited_s: u64,
    },
    /// Another transaction of the same account took its place.
    #[error("another transaction of this account was final first")]
    Overtaken,
    /// Another transaction of the same account has the nonce, and does not come to an end.
    #[error("another transaction of this account is under way, and still was after {waited_s} s")]
    OutOfTurn {
        /// How long was waited, seconds.
        waited_s: u64,
    },
    /// Too few credits for what was about to be done.
    #[error("{account} has {available} credits and needs {needed} or a few more")]
    Balance {
        /// Whose account.
        account: AccountId,
        /// What it has.
        available: u64,
        /// What it needs at least.
        needed: u64,
    },
    /// The task ended without a result.
    #[error("task {task} failed: {}", explain(*class))]
    TaskFailed {
        /// Which.
        task: TaskId,
        /// Why.
        class: FailureClass,
        /// Where the signed failure is proven, if the executor gave a word at all.
        proof: Option<PathBuf>,
        /// The terms that bound its output more than, or as much as, the task itself.
        bound: Option<OutputBound>,
    },
    /// The proof of a finished task does not hold.
    #[error("the proof of task {task} does not hold")]
    Proof {
        /// Which.
        task: TaskId,
        /// Which link is broken.
        #[source]
        cause: proof::ProofError,
    },
    /// The result is not what the proof says.
    #[error("the result of task {task} cannot be opened")]
    Result {
        /// Which.
        task: TaskId,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be sealed.
    #[error("cannot seal {what}")]
    Seal {
        /// Which.
        what: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This machine could not do its part.
    #[error("cannot {what}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ClientError {
    pub(crate) fn machine(what: &'static str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |cause| Self::Machine { what, cause }
    }

    /// What to do next, in one sentence.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::File(FileError::Read { .. }) => "is the path right?",
            Self::File(FileError::Write { .. }) => "is the folder there, and yours, and is there room on the disk?",
            Self::File(FileError::TooLong { .. }) => "shorten it",
            Self::File(FileError::Line { .. }) => "`samovar publish --help` shows the form of terms and descriptions",
            Self::File(_) => "name another file",
            Self::Key(_) => "`samovar keygen FILE` makes a key; --key or SAMOVAR_KEY names it",
            Self::NoNodes => "add [[nodes]] with id and api to it",
            Self::NoAnswer { .. } => "is this the right --network? The nodes' logs may say more",
            Self::OtherHistory { .. } => {
                "do not use this network until its operators have explained it; whoever stole keys of its past could do this"
            }
            Self::Refused { hint, .. } | Self::NonceTaken { hint, .. } | Self::Folder { hint, .. } => {
                return hint.clone();
            }
            Self::Nobody { .. } => {
                "start them (`samovar node --config DIR/node-0/node.toml` and so on), or name another network file with --network"
            }
            Self::StandsStill { .. } => {
                "it needs more than two thirds of its nodes: start those that are down, or set this machine's clock"
            }
            Self::Unknown { what } if what.starts_with("node ") => "`samovar nodes list` shows the nodes there are",
            Self::Unknown { .. } => "`samovar objects list` and `samovar tasks list` show what there is",
            Self::NotOwner { .. } => "name the key of its owner with --key",
            Self::ProgramSize { .. } => "make it smaller: strip it, and publish large tables as data; nothing was sent",
            Self::TooFewCustodians { .. } => "`samovar nodes list` shows verdicts; wait until more nodes have one",
            Self::SilentCustodians { .. } => {
                "start the nodes that are down, or name one you rely on with --node URL; nothing was paid"
            }
            Self::DepositRefused { .. } => {
                "`samovar account top-up` if credits are missing; what was given them for publications that were interrupted they forget after some minutes; nothing was paid"
            }
            Self::LeftOut { .. } => "name a node you rely on with --node URL; nothing was sent and nothing was paid",
            Self::Spread(_) => {
                "nothing was sent and nothing was paid; publish when nodes of other operators have joined"
            }
            Self::TooFewCopies { .. } => "run the same command again; nothing was paid",
            Self::NotFinal { .. } => "run the same command again: it goes on from here and pays once",
            Self::Overtaken => "run the same command again; do not use one key in two commands at the same time",
            Self::OutOfTurn { .. } => {
                "another command with this key is under way: wait for it, then run the same command again; it goes on from here and pays once"
            }
            Self::Balance { .. } => {
                "`samovar account top-up` on a development network, a transfer elsewhere; nothing was sent and nothing was paid"
            }
            Self::TaskFailed { class, proof, bound, .. } => {
                let proven = proof.as_ref().map(|proof| format!("; {} proves the failure", proof.display()));
                return advise(*class, bound.as_ref()) + &proven.unwrap_or_default();
            }
            Self::Proof { .. } => "do not rely on this result; keep the folder and tell the network's operators",
            Self::Result { .. } => "`samovar fetch TASK --out DIR` tries again; was it asked for with this --key?",
            Self::Seal { .. } | Self::Machine { .. } => {
                "this machine is at fault: has it room on its disk and in memory? SAMOVAR_STATE names where commands keep what they work on"
            }
        };
        hint.to_owned()
    }
}

fn explain(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Guest => {
            "the program crashed, is none that the sandbox runs, or an object is not what its seal says"
        }
        FailureClass::Limit => "the program reached a limit of time, memory or output",
        FailureClass::Keys => "the custodians did not release the keys",
        FailureClass::Content => "content could not be fetched, or is no file",
        FailureClass::Node => "the machine that ran it failed",
        FailureClass::Lapsed => {
            "no machine had a result before the deadline: machines failed, or compiling the program or fetching its data took longer than the network allows"
        }
    }
}

fn advise(class: FailureClass, bound: Option<&OutputBound>) -> String {
    let advice = match class {
        FailureClass::Guest => {
            "try the program with `samovar try`; the owners' prices came back, the network fee was kept"
        }
        FailureClass::Limit => {
            // Which limit it was is nobody's business but the guest's and its owners'; `samovar try` shows it on a sample.
            let kept = "the owners' prices came back, the network fee was kept";
            return match bound {
                None => format!("raise --time-limit, --memory-limit or --output-limit; {kept}"),
                Some(OutputBound { bytes, object }) => format!(
                    "raise --time-limit or --memory-limit; --output-limit cannot be raised: at most {bytes} bytes leave, bound by the terms of {object}; {kept}"
                ),
            };
        }
        FailureClass::Lapsed => {
            "the price came back; ask again with another --out; if that lapses too, look with `samovar try` how long the program takes to compile and run, and raise --time-limit"
        }
        _ => "the price came back; ask again with another --out",
    };
    advice.to_owned()
}

/// A node that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Base of its API.
    pub node: String,
    /// Why.
    pub why: String,
}

fn but_not(refused: &[Skipped]) -> String {
    if refused.is_empty() { String::new() } else { format!("; refused: {}", list(refused)) }
}

fn list(tried: &[Skipped]) -> String {
    tried.iter().map(|skipped| format!("{} ({})", skipped.node, skipped.why)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_what_helps() {
        let unknown = |what: &str| ClientError::Unknown { what: what.to_owned() }.hint();
        assert!(unknown("node did:key:z6Mk").contains("samovar nodes list"));
        assert!(unknown("task 5f").contains("samovar tasks list"));
    }

    #[test]
    fn where_terms_bind_nobody_is_told_to_raise_the_output() {
        let object = ObjectId::of_manifest(b"data");
        let (task, class) = (TaskId([1; 32]), FailureClass::Limit);
        let failed = |bound, proof: Option<&str>| {
            ClientError::TaskFailed { task, class, proof: proof.map(PathBuf::from), bound }.hint()
        };
        assert!(failed(None, None).starts_with("raise --time-limit, --memory-limit or --output-limit; the owners'"));
        let bound = failed(Some(OutputBound { bytes: 65_536, object }), Some("run-1/proof"));
        assert!(
            bound.contains("--output-limit cannot be raised: at most 65536 bytes leave, bound by the terms of bafy")
        );
        assert!(bound.contains("the network fee was kept; run-1/proof proves the failure"), "{bound}");
    }
}
