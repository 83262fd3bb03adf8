//! Records: facts that the ledger has accepted, each written once.

use serde::{Deserialize, Serialize};

use crate::{
    Assignment, Canonical, Digest, NetworkId, PublishedObject, Registration, Release, Settlement, Signed, Task, TaskId,
    Terms, Verdict,
};

/// One fact with its place in time. The digest of its canonical bytes is a leaf of the log ([`crate::log`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// On which network.
    pub network: NetworkId,
    /// Height of the block that accepted it.
    pub height: u64,
    /// Ledger time of that block, milliseconds.
    pub time_ms: u64,
    /// What was accepted.
    pub fact: Fact,
}

impl Record {
    /// Most bytes of a record.
    pub const BYTES_MAX: usize = 192 << 10;
}

/// What the ledger has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fact {
    /// An object became active.
    Object(Box<PublishedObject>),
    /// Terms came into force.
    Terms(Box<Signed<Terms>>),
    /// A node's keys.
    Registration(Box<Registration>),
    /// A verdict about a node.
    Verdict(Box<Verdict>),
    /// A task was asked for and its price locked.
    Task(Box<Task>),
    /// A task got an executor.
    Assignment(Box<Assignment>),
    /// A custodian's releases for a task.
    Releases(Box<Releases>),
    /// A task ended.
    Settlement(Box<Settlement>),
}

/// What one custodian has released for one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Releases {
    /// For which task.
    pub task: TaskId,
    /// Its releases.
    pub releases: Vec<Signed<Release>>,
}

/// The kinds of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactKind {
    /// [`Fact::Object`]
    Object,
    /// [`Fact::Terms`]
    Terms,
    /// [`Fact::Registration`]
    Registration,
    /// [`Fact::Verdict`]
    Verdict,
    /// [`Fact::Task`]
    Task,
    /// [`Fact::Assignment`]
    Assignment,
    /// [`Fact::Releases`]
    Releases,
    /// [`Fact::Settlement`]
    Settlement,
}

impl Fact {
    /// Which kind.
    pub fn kind(&self) -> FactKind {
        match self {
            Self::Object(_) => FactKind::Object,
            Self::Terms(_) => FactKind::Terms,
            Self::Registration(_) => FactKind::Registration,
            Self::Verdict(_) => FactKind::Verdict,
            Self::Task(_) => FactKind::Task,
            Self::Assignment(_) => FactKind::Assignment,
            Self::Releases(_) => FactKind::Releases,
            Self::Settlement(_) => FactKind::Settlement,
        }
    }

    /// What makes the fact unique within its kind: a second fact with the same kind and id is refused.
    ///
    /// Objects by object id; terms by object and serial; registrations by their digest; verdicts by node and window;
    /// tasks by task id; assignments by task and attempt; releases by task and custodian; settlements by task.
    pub fn id(&self) -> Digest {
        let kind = format!("{:?}", self.kind());
        let id = |parts: &[&[u8]]| {
            let mut all: Vec<&[u8]> = vec![kind.as_bytes()];
            all.extend_from_slice(parts);
            Digest::of_parts(&all)
        };
        match self {
            Self::Object(object) => id(&[object.manifest.object_id().0.to_bytes().as_slice()]),
            Self::Terms(terms) => {
                let terms = terms.unverified();
                id(&[terms.object.0.to_bytes().as_slice(), &terms.serial.to_be_bytes()])
            }
            Self::Registration(registration) => id(&[&registration.digest().0]),
            Self::Verdict(verdict) => id(&[&verdict.node.0, &verdict.window.to_be_bytes()]),
            Self::Task(task) => id(&[&task.id().0]),
            Self::Assignment(assignment) => id(&[&assignment.task.0, &[assignment.attempt]]),
            Self::Releases(releases) => {
                let first = releases.releases.first().map_or([0; 32], |release| release.unverified().custodian.0);
                let attempt = releases.releases.first().map_or(0, |release| release.unverified().attempt);
                id(&[&releases.task.0, &first, &[attempt]])
            }
            Self::Settlement(settlement) => id(&[&settlement.task.0]),
        }
    }
}

/// A record holds a fact of another kind than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record holds another kind of fact: {0:?}")]
pub struct OtherFact(pub FactKind);

/// The fact in a record, for whoever knows its kind. It only selects, as `finality::Finalized::try_map` asks.
macro_rules! facts {
    ($($kind:ident: $fact:ty),* $(,)?) => {$(
        impl TryFrom<Record> for $fact {
            type Error = OtherFact;
            fn try_from(record: Record) -> Result<Self, OtherFact> {
                match record.fact {
                    Fact::$kind(fact) => Ok(*fact),
                    other => Err(OtherFact(other.kind())),
                }
            }
        }
    )*};
}

facts! {
    Object: PublishedObject,
    Terms: Signed<Terms>,
    Registration: Registration,
    Verdict: Verdict,
    Task: Task,
    Assignment: Assignment,
    Releases: Releases,
    Settlement: Settlement,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_its_own_fact_and_no_other() {
        let releases = Releases { task: TaskId([1; 32]), releases: Vec::new() };
        let fact = Fact::Releases(Box::new(releases.clone()));
        let record = Record { network: NetworkId([0; 32]), height: 1, time_ms: 1, fact };
        assert_eq!(Releases::try_from(record.clone()), Ok(releases));
        assert_eq!(Task::try_from(record), Err(OtherFact(FactKind::Releases)));
    }
}
