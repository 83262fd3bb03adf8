//! Where each fact stands in the log of records, what is still open, and which records belong together.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use model::{
    Assignment, Canonical, Digest, Fact, FailureClass, NodeId, ObjectId, ObjectKind, Record, Settlement, Task, TaskId,
    Verdict,
};

/// Where each fact stands in the log.
#[derive(Default)]
pub(crate) struct Places {
    objects: BTreeMap<ObjectId, ObjectEntry>,
    nodes: BTreeMap<NodeId, NodeEntry>,
    registrations: HashMap<Digest, u64>,
    verdicts: HashMap<Digest, VerdictPlace>,
    tasks: HashMap<TaskId, TaskEntry>,
    task_order: Vec<TaskId>,
    open: BTreeMap<TaskId, OpenTask>,
    custody: Vec<u64>,
}

/// An object's places in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectEntry {
    /// Data or program.
    pub kind: ObjectKind,
    /// The object record.
    pub object: u64,
    /// Its terms records, by serial.
    pub terms: BTreeMap<u64, u64>,
}

impl ObjectEntry {
    /// The object record and its latest terms.
    pub(crate) fn latest(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.object).chain(self.terms.values().next_back().copied())
    }
}

/// A node's places in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeEntry {
    /// Its latest registration.
    pub registration: u64,
    /// Its latest verdict.
    pub verdict: Option<VerdictEntry>,
}

/// A node's latest verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VerdictEntry {
    /// Its record.
    pub index: u64,
    /// In which window.
    pub window: u64,
    /// When it was accepted, ledger time in milliseconds.
    pub from_ms: u64,
    /// From when on it no longer holds.
    pub expires_ms: u64,
}

/// The records behind a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VerdictPlace {
    /// The verdict record.
    pub verdict: u64,
    /// The record of the registration it vouches for.
    pub registration: u64,
    /// From when on it no longer holds.
    pub expires_ms: u64,
}

/// A task's places in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskEntry {
    /// The task record.
    pub task: u64,
    /// Its assignments, by attempt.
    pub assignments: BTreeMap<u8, u64>,
    /// Posted releases.
    pub releases: Vec<u64>,
    /// Its settlement.
    pub settlement: Option<SettlementEntry>,
}

/// A task's settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SettlementEntry {
    /// Its record.
    pub index: u64,
    /// Why the task failed; `None` for a success.
    pub failure: Option<FailureClass>,
}

impl TaskEntry {
    /// All records about the task, ascending.
    pub(crate) fn records(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.progress().collect();
        all.extend(&self.releases);
        all.sort_unstable();
        all
    }

    /// How far the task is: its record, all its assignments, its settlement.
    pub(crate) fn progress(&self) -> impl Iterator<Item = u64> + '_ {
        let settlement = self.settlement.map(|settlement| settlement.index);
        std::iter::once(self.task).chain(self.assignments.values().copied()).chain(settlement)
    }
}

/// A task that is not settled.
#[derive(Clone, Debug)]
pub(crate) struct OpenTask {
    /// The task.
    pub task: Arc<Task>,
    /// Its latest assignment.
    pub assignment: Option<OpenAssignment>,
}

/// The assignment under which a task may run now.
#[derive(Clone, Debug)]
pub(crate) struct OpenAssignment {
    /// The assignment.
    pub assignment: Arc<Assignment>,
    /// Digest of its record.
    pub digest: Digest,
}

impl Places {
    /// Takes note of one more record; they come in order.
    pub(crate) fn add(&mut self, index: u64, digest: &Digest, record: Record) {
        let for_custody = match &record.fact {
            Fact::Object(_) | Fact::Terms(_) | Fact::Assignment(_) | Fact::Releases(_) | Fact::Settlement(_) => true,
            Fact::Registration(_) | Fact::Verdict(_) | Fact::Task(_) => false,
        };
        if for_custody {
            self.custody.push(index);
        }
        match record.fact {
            Fact::Object(object) => {
                let kind = object.manifest.unverified().kind;
                let entry = ObjectEntry { kind, object: index, terms: BTreeMap::new() };
                self.objects.insert(object.manifest.object_id(), entry);
            }
            Fact::Terms(terms) => {
                let terms = terms.unverified();
                if let Some(object) = self.objects.get_mut(&terms.object) {
                    object.terms.insert(terms.serial, index);
                }
            }
            Fact::Registration(registration) => {
                self.registrations.insert(registration.digest(), index);
                let entry = self.nodes.entry(registration.node);
                entry.or_insert(NodeEntry { registration: index, verdict: None }).registration = index;
            }
            Fact::Verdict(verdict) => self.add_verdict(index, digest, record.time_ms, &verdict),
            Fact::Task(task) => self.add_task(index, *task),
            Fact::Assignment(assignment) => self.add_assignment(index, digest, *assignment),
            Fact::Releases(releases) => {
                if let Some(task) = self.tasks.get_mut(&releases.task) {
                    task.releases.push(index);
                }
            }
            Fact::Settlement(settlement) => self.settle(index, &settlement),
        }
    }

    fn add_verdict(&mut self, index: u64, digest: &Digest, from_ms: u64, verdict: &Verdict) {
        // The ledger records a registration before the first verdict about it.
        let Some(registration) = self.registrations.get(&verdict.registration).copied() else { return };
        let place = VerdictPlace { verdict: index, registration, expires_ms: verdict.expires_ms };
        self.verdicts.insert(*digest, place);
        if let Some(node) = self.nodes.get_mut(&verdict.node) {
            let entry = VerdictEntry { index, window: verdict.window, from_ms, expires_ms: verdict.expires_ms };
            *node = NodeEntry { registration, verdict: Some(entry) };
        }
    }

    fn add_task(&mut self, index: u64, task: Task) {
        let id = task.id();
        self.tasks.insert(id, TaskEntry { task: index, ..TaskEntry::default() });
        self.task_order.push(id);
        self.open.insert(id, OpenTask { task: Arc::new(task), assignment: None });
    }

    fn add_assignment(&mut self, index: u64, digest: &Digest, assignment: Assignment) {
        if let Some(task) = self.tasks.get_mut(&assignment.task) {
            task.assignments.insert(assignment.attempt, index);
        }
        if let Some(open) = self.open.get_mut(&assignment.task) {
            open.assignment = Some(OpenAssignment { assignment: Arc::new(assignment), digest: *digest });
        }
    }

    fn settle(&mut self, index: u64, settlement: &Settlement) {
        if let Some(task) = self.tasks.get_mut(&settlement.task) {
            task.settlement = Some(SettlementEntry { index, failure: settlement.failure() });
        }
        self.open.remove(&settlement.task);
    }

    /// An object's places.
    pub(crate) fn object(&self, id: &ObjectId) -> Option<&ObjectEntry> {
        self.objects.get(id)
    }

    /// Objects after `after`, of one kind or all, in order of id.
    pub(crate) fn objects(
        &self,
        kind: Option<ObjectKind>,
        after: Option<ObjectId>,
    ) -> impl Iterator<Item = (&ObjectId, &ObjectEntry)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.objects
            .range((start, Bound::Unbounded))
            .filter(move |(_, entry)| kind.is_none_or(|kind| entry.kind == kind))
    }

    /// A node's places.
    pub(crate) fn node(&self, id: &NodeId) -> Option<&NodeEntry> {
        self.nodes.get(id)
    }

    /// All nodes ever registered, in order of id.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&NodeId, &NodeEntry)> {
        self.nodes.iter()
    }

    /// The places of the verdict record with this digest.
    pub(crate) fn verdict(&self, digest: &Digest) -> Option<VerdictPlace> {
        self.verdicts.get(digest).copied()
    }

    /// Objects, terms, assignments, releases and settlements, ascending: what custodians watch.
    pub(crate) fn for_custody(&self) -> &[u64] {
        &self.custody
    }

    /// A task's places.
    pub(crate) fn task(&self, id: &TaskId) -> Option<&TaskEntry> {
        self.tasks.get(id)
    }

    /// Tasks, the latest first.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (&TaskId, &TaskEntry)> {
        self.task_order.iter().rev().filter_map(|id| Some((id, self.tasks.get(id)?)))
    }

    /// A task that is not settled.
    pub(crate) fn open_task(&self, id: &TaskId) -> Option<&OpenTask> {
        self.open.get(id)
    }

    /// What `node` should be running.
    pub(crate) fn assigned_to(&self, node: &NodeId) -> Vec<OpenTask> {
        let is_executor =
            |open: &&OpenTask| open.assignment.as_ref().is_some_and(|current| current.assignment.executor == *node);
        self.open.values().filter(is_executor).cloned().collect()
    }

    /// How many tasks are not settled.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }
    /// Places of everything that an assignment rests on: task, assignment, verdict, registration, and of each object its
    /// record and the terms applied. `None` if this node does not have all of it yet.
    pub(crate) fn behind(&self, task: &Task, assignment: &Assignment) -> Option<Vec<u64>> {
        let entry = self.task(&assignment.task)?;
        let verdict = self.verdict(&assignment.verdict)?;
        let mut places =
            vec![entry.task, *entry.assignments.get(&assignment.attempt)?, verdict.verdict, verdict.registration];
        for id in task.objects() {
            places.push(self.object(&id)?.object);
        }
        for applied in &assignment.terms {
            places.push(*self.object(&applied.object)?.terms.get(&applied.serial)?);
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// [`Self::behind`], the terms that hold now, and how far the task is, be it over or not: what a custodian decides by.
    pub(crate) fn behind_now(&self, task: &Task, assignment: &Assignment) -> Option<Vec<u64>> {
        let mut places = self.behind(task, assignment)?;
        places.extend(self.task(&assignment.task)?.progress());
        for id in task.objects() {
            places.extend(self.object(&id)?.latest());
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }
}

#[cfg(test)]
mod tests {
    use model::{
        AccountId, Blob, Bytes32, Bytes48, Bytes64, ContentId, Deposit, Limits, Manifest, Metering, NetworkId,
        PublishedObject, Registration, Round, Seal, Seed, Signed, Suite,
    };

    use super::*;
    use crate::index::{BlockFacts, Index};

    const NODE: AccountId = AccountId([1; 32]);

    fn seed() -> Seed {
        Seed { round: Round { epoch: 0, view: 1 }, signature: Bytes48([0; 48]) }
    }

    fn program() -> PublishedObject {
        let nothing = ContentId::of_raw(b"");
        let seal = Seal {
            suite: Suite::Aes256GcmXWing,
            salt: Bytes32([0; 32]),
            key_commitment: Bytes32([0; 32]),
            chunk_bytes: 1,
            chunks: 1,
            plaintext_root: Digest([0; 32]),
            sealed_meta: Blob(Vec::new()),
        };
        let manifest = Manifest {
            kind: ObjectKind::Program,
            owner: NODE,
            ciphertext: nothing,
            ciphertext_bytes: 1,
            leaves: nothing,
            seal,
            description: None,
            sample: None,
        };
        let manifest = Signed::assemble(manifest, Bytes64([0; 64]));
        let deposit =
            Deposit { object: manifest.object_id(), owner: NODE, epoch: 1, threshold: 1, custodians: Vec::new() };
        let deposit = Signed::assemble(deposit, Bytes64([0; 64]));
        PublishedObject { manifest, deposit, deposit_acks: Vec::new(), storage: Vec::new() }
    }

    fn task(program: &PublishedObject) -> Task {
        Task {
            requester: NODE,
            nonce: 1,
            program: program.manifest.object_id(),
            inputs: Vec::new(),
            args: Vec::new(),
            limits: Limits { run_ms: 1, memory_bytes: 1, output_bytes: 1 },
            metering: Metering::None,
            seed: Bytes32([0; 32]),
            result_key: Blob(Vec::new()),
            price_max: 1,
        }
    }

    fn registration() -> Registration {
        Registration {
            node: NODE,
            sealing_key: Blob(Vec::new()),
            operator: String::new(),
            region: String::new(),
            endorsement: Digest([0; 32]),
            attestation_key: Blob(Vec::new()),
        }
    }

    fn verdict(registration: &Registration) -> Verdict {
        Verdict {
            node: NODE,
            registration: registration.digest(),
            evidence: ContentId::of_raw(b""),
            window: 1,
            result: model::AttestationResult { simulated: true, self_measured: true, release_counter: 1 },
            seed: seed(),
            drawn: Vec::new(),
            votes: Vec::new(),
            expires_ms: 1,
        }
    }

    fn assignment(task: TaskId, attempt: u8, verdict: Digest) -> Assignment {
        Assignment {
            task,
            attempt,
            executor: NODE,
            seed: seed(),
            eligible_root: Digest([0; 32]),
            eligible_size: 1,
            index: 0,
            path: Vec::new(),
            verdict,
            terms: Vec::new(),
            output_bytes_max: 1,
            deadline_ms: 1,
        }
    }

    /// Reads a fact as the block and the record number `place`. Returns the digest of its record.
    fn read(index: &Index, place: u64, fact: Fact) -> Digest {
        let record = Record { network: NetworkId([0; 32]), height: place, time_ms: place, fact }.to_bytes();
        let digest = Digest::of(&record);
        let records = [(place, record)];
        assert!(index.read_block(&BlockFacts { height: place, time_ms: place, records: &records }).is_empty());
        digest
    }

    #[test]
    fn a_custodian_is_given_all_attempts_and_the_settlement_whichever_attempt_it_is_asked_for() {
        let index = Index::default();
        let (program, registration) = (program(), registration());
        let task = task(&program);
        let id = task.id();
        let vouched = verdict(&registration);
        read(&index, 1, Fact::Object(Box::new(program)));
        read(&index, 2, Fact::Registration(Box::new(registration)));
        let verdict = read(&index, 3, Fact::Verdict(Box::new(vouched)));
        read(&index, 4, Fact::Task(Box::new(task.clone())));
        let first = assignment(id, 1, verdict);
        read(&index, 5, Fact::Assignment(Box::new(first.clone())));
        assert_eq!(index.places().behind_now(&task, &first).unwrap(), [1, 2, 3, 4, 5]);
        read(&index, 6, Fact::Assignment(Box::new(assignment(id, 2, verdict))));
        assert_eq!(index.places().behind_now(&task, &first).unwrap(), [1, 2, 3, 4, 5, 6]);
        let lapsed =
            Settlement { task: id, receipt: None, releases: Vec::new(), storage: Vec::new(), payments: Vec::new() };
        read(&index, 7, Fact::Settlement(Box::new(lapsed)));
        assert_eq!(index.places().behind_now(&task, &first).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    }
}
