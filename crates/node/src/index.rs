//! The node's view of the log of records: where each fact stands, and what is still open.
//!
//! Filled by replaying finalized blocks from the first one, so there is nothing to keep on disk and nothing to repair.
//! Whoever waits for a fact watches the height and asks again: that way a restart and a slow reader need no special
//! case. The index holds places in the log, not records; open tasks alone are held whole.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use model::{
    Assignment, Canonical, Digest, Fact, FailureClass, NodeId, ObjectId, ObjectKind, Record, Settlement, Task, TaskId,
    Verdict,
};
use tokio::sync::watch;

/// The index, shared between the task that fills it and everybody who asks.
pub(crate) struct Index {
    facts: RwLock<Facts>,
    tip: watch::Sender<Tip>,
}

/// The last block the index has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    /// Its height; 0 before the first.
    pub height: u64,
    /// Its ledger time, milliseconds.
    pub time_ms: u64,
}

/// A finalized block as the index reads it.
pub(crate) struct BlockFacts<'a> {
    /// Height.
    pub height: u64,
    /// Ledger time, milliseconds.
    pub time_ms: u64,
    /// Canonical bytes of its records, with their places in the log.
    pub records: &'a [(u64, Vec<u8>)],
}

impl Default for Index {
    fn default() -> Self {
        Self { facts: RwLock::default(), tip: watch::Sender::new(Tip::default()) }
    }
}

impl Index {
    /// Reads one more block; blocks come in order. Returns the records that could not be read, which is a fault of this
    /// build: the ledger writes only what the model decodes.
    pub(crate) fn read_block(&self, block: &BlockFacts<'_>) -> Vec<u64> {
        let mut unreadable = Vec::new();
        {
            let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
            for (index, bytes) in block.records {
                match Record::from_bytes(bytes, Record::BYTES_MAX) {
                    Ok(record) => facts.add(*index, &Digest::of(bytes), record),
                    Err(_) => unreadable.push(*index),
                }
            }
        }
        self.tip.send_replace(Tip { height: block.height, time_ms: block.time_ms });
        unreadable
    }

    /// What is known now. Not to be held across an await.
    pub(crate) fn facts(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last block read.
    pub(crate) fn tip(&self) -> Tip {
        *self.tip.borrow()
    }

    /// Waits until `holds` says yes after some block, at most `timeout`. Says whether it did.
    pub(crate) async fn until(&self, timeout: Duration, holds: impl Fn(&Facts) -> bool) -> bool {
        let mut blocks = self.watch();
        let wait = async {
            while !holds(&self.facts()) {
                if blocks.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(timeout, wait).await.unwrap_or(false)
    }

    /// Waits until the block at `height` is read, a few seconds at most.
    pub(crate) async fn until_height(&self, height: u64) {
        const PATIENCE: Duration = Duration::from_secs(5);
        // Whoever asked finds out by itself whether the block is here.
        let _ = tokio::time::timeout(PATIENCE, self.watch().wait_for(|tip| tip.height >= height)).await;
    }

    /// Changes with each block read.
    pub(crate) fn watch(&self) -> watch::Receiver<Tip> {
        self.tip.subscribe()
    }
}

/// Where each fact stands in the log.
#[derive(Default)]
pub(crate) struct Facts {
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

impl Facts {
    fn add(&mut self, index: u64, digest: &Digest, record: Record) {
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
}

#[cfg(test)]
mod tests {
    use model::{Blob, Bytes32, Bytes48, ContentId, Limits, Metering, NetworkId, Round, Seed};

    use super::*;

    const EXECUTOR: NodeId = model::AccountId([7; 32]);

    fn task(nonce: u64) -> Task {
        Task {
            requester: model::AccountId([1; 32]),
            nonce,
            program: ObjectId(ContentId::of_dag_cbor(b"program").0),
            inputs: Vec::new(),
            args: Vec::new(),
            limits: Limits { run_ms: 1, memory_bytes: 1, output_bytes: 1 },
            metering: Metering::None,
            seed: Bytes32([0; 32]),
            result_key: Blob(Vec::new()),
            price_max: 1,
        }
    }

    fn assignment(task: TaskId, attempt: u8, executor: NodeId) -> Assignment {
        Assignment {
            task,
            attempt,
            executor,
            seed: Seed { round: Round { epoch: 0, view: 1 }, signature: Bytes48([0; 48]) },
            eligible_root: Digest([0; 32]),
            eligible_size: 1,
            index: 0,
            path: Vec::new(),
            verdict: Digest([0; 32]),
            terms: Vec::new(),
            output_bytes_max: 1,
            deadline_ms: 1,
        }
    }

    fn settlement(task: TaskId) -> Settlement {
        Settlement { task, receipt: None, releases: Vec::new(), storage: Vec::new(), payments: Vec::new() }
    }

    /// Reads each fact as a block of its own; its place is its position.
    fn read(facts: Vec<Fact>) -> Index {
        let index = Index::default();
        for (place, fact) in facts.into_iter().enumerate() {
            let height = place as u64 + 1;
            let record = Record { network: NetworkId([0; 32]), height, time_ms: 10 * height, fact };
            let records = [(place as u64, record.to_bytes())];
            assert!(index.read_block(&BlockFacts { height, time_ms: 10 * height, records: &records }).is_empty());
        }
        index
    }

    #[test]
    fn a_task_is_its_executors_until_it_is_drawn_again_or_settled() {
        let asked = task(0);
        let id = asked.id();
        let drawn = |attempt, executor| Fact::Assignment(Box::new(assignment(id, attempt, executor)));
        let mut facts = vec![Fact::Task(Box::new(asked)), drawn(1, EXECUTOR)];
        let mine = |facts: &[Fact]| read(facts.to_vec()).facts().assigned_to(&EXECUTOR).len();
        assert_eq!(mine(&facts), 1);
        facts.push(drawn(2, model::AccountId([8; 32])));
        assert_eq!(mine(&facts), 0);
        facts.push(drawn(3, EXECUTOR));
        assert_eq!(mine(&facts), 1);
        facts.push(Fact::Settlement(Box::new(settlement(id))));
        assert_eq!(mine(&facts), 0);
        let index = read(facts);
        let entry = index.facts().task(&id).cloned().unwrap();
        assert_eq!(entry.records(), [0, 1, 2, 3, 4]);
        assert_eq!(entry.settlement.unwrap().failure, Some(FailureClass::Lapsed));
        assert_eq!((index.facts().open_count(), index.tip().height), (0, 5));
        assert_eq!(index.facts().for_custody(), [1, 2, 3, 4], "custodians watch its assignments and its settlement");
    }

    #[test]
    fn the_latest_tasks_come_first() {
        let index = read((0..3).map(|nonce| Fact::Task(Box::new(task(nonce)))).collect());
        let facts = index.facts();
        let order: Vec<TaskId> = facts.tasks().map(|(id, _)| *id).collect();
        assert_eq!(order, [task(2).id(), task(1).id(), task(0).id()]);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
        let index = Index::default();
        let record = Record { network: NetworkId([0; 32]), height: 1, time_ms: 1, fact: Fact::Task(Box::new(task(0))) };
        let records = [(0, b"nonsense".to_vec()), (1, record.to_bytes())];
        assert_eq!(index.read_block(&BlockFacts { height: 1, time_ms: 1, records: &records }), [0]);
        assert_eq!(index.facts().task(&task(0).id()).unwrap().task, 1);
    }

    #[test]
    fn whoever_waits_is_told_or_gives_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let index = read(vec![Fact::Task(Box::new(task(0)))]);
        let id = task(0).id();
        runtime.block_on(async {
            assert!(index.until(Duration::from_secs(5), |facts| facts.task(&id).is_some()).await);
            let settled = |facts: &Facts| facts.task(&id).is_some_and(|entry| entry.settlement.is_some());
            assert!(!index.until(Duration::from_millis(10), settled).await);
        });
    }
}
