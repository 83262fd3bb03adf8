//! The bundle as it is written to a file.

use model::{Blob, Canonical, ContentId, EncodingError, Fact, Record, Task, TaskId, api::ProvenRecords};
use serde::{Deserialize, Serialize};

/// A proof as it travels: canonical DAG-CBOR, nothing in it believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Format version, 1.
    pub version: u32,
    /// Canonical bytes of the network's [`model::Genesis`].
    pub genesis: Blob,
    /// A certified head and, proven against it: the object and the applied terms of the program and of each input, the
    /// executor's registration and verdict, the task, the assignment that led to the receipt, the settlement.
    pub proven: ProvenRecords,
    /// Canonical bytes of the [`model::Evidence`] that the verdict names.
    pub evidence: Blob,
    /// Canonical bytes of the [`model::EventLog`] that the evidence names; may be left out and given separately.
    pub event_log: Option<Blob>,
}

impl Proof {
    /// The version this code writes and reads.
    pub const VERSION: u32 = 1;
    /// Most bytes of a proof.
    pub const BYTES_MAX: usize = 8 << 20;
    /// Most records: two for each object, and five.
    pub const RECORDS_MAX: usize = 2 * (1 + Task::INPUTS_MAX) + 5;

    /// Puts a bundle together from what a node has. Nothing is checked.
    pub fn assemble(genesis: Vec<u8>, proven: ProvenRecords, evidence: Vec<u8>, event_log: Option<Vec<u8>>) -> Self {
        Self {
            version: Self::VERSION,
            genesis: Blob(genesis),
            proven,
            evidence: Blob(evidence),
            event_log: event_log.map(Blob),
        }
    }

    /// Decodes; nothing is checked but the encoding.
    ///
    /// # Errors
    /// [`EncodingError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        Self::from_bytes(bytes, Self::BYTES_MAX)
    }

    /// Which of a task's records belong into its proof, by index, ascending. `records` are the records around the task in
    /// any order, with their indices: all versions of terms, all attempts; what is not needed is left out. `None` if
    /// something is missing, or if the task ended without a receipt.
    pub fn select(task: &TaskId, records: &[(u64, Record)]) -> Option<Vec<u64>> {
        let find = |wanted: &dyn Fn(&Fact) -> bool| records.iter().find(|(_, record)| wanted(&record.fact));
        let (settlement_at, settlement) = find(&|fact| matches!(fact, Fact::Settlement(it) if it.task == *task))?;
        let Fact::Settlement(settlement) = &settlement.fact else { return None };
        let attempt = settlement.receipt.as_ref()?.unverified().attempt;
        let of_attempt =
            |fact: &Fact| matches!(fact, Fact::Assignment(it) if it.task == *task && it.attempt == attempt);
        let (assignment_at, assignment) = find(&of_attempt)?;
        let Fact::Assignment(assignment) = &assignment.fact else { return None };
        let (task_at, _) = find(&|fact| matches!(fact, Fact::Task(it) if it.id() == *task))?;
        let (verdict_at, verdict) = records.iter().find(|(_, record)| record.digest() == assignment.verdict)?;
        let Fact::Verdict(verdict) = &verdict.fact else { return None };
        let registered = |fact: &Fact| matches!(fact, Fact::Registration(it) if it.digest() == verdict.registration);
        let (registration_at, _) = find(&registered)?;
        let mut indices = vec![*settlement_at, *assignment_at, *task_at, *verdict_at, *registration_at];
        for applied in &assignment.terms {
            let object = |fact: &Fact| matches!(fact, Fact::Object(it) if it.manifest.object_id() == applied.object);
            let terms = |fact: &Fact| matches!(fact, Fact::Terms(it) if it.digest() == applied.digest);
            indices.extend([find(&object)?.0, find(&terms)?.0]);
        }
        indices.sort_unstable();
        indices.dedup();
        Some(indices)
    }

    /// The block that holds the event log which this proof's evidence names, if the evidence can be read.
    pub fn event_log_block(&self) -> Option<ContentId> {
        let evidence = model::Evidence::from_bytes(&self.evidence.0, model::Evidence::BYTES_MAX).ok()?;
        Some(evidence.tpm.log)
    }
}
