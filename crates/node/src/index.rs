//! The node's view of the log of records: where each fact stands, and what is still open.
//!
//! Filled by replaying finalized blocks from the first one, so there is nothing to keep on disk and nothing to repair.
//! Whoever waits for a fact watches the height and asks again: that way a restart and a slow reader need no special
//! case. The index holds places in the log, not records; open tasks alone are held whole.

use std::{
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use model::{Canonical, Digest, Record};
use tokio::sync::watch;

use crate::places::Places;

/// The index, shared between the task that fills it and everybody who asks.
pub(crate) struct Index {
    places: RwLock<Places>,
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
        Self { places: RwLock::default(), tip: watch::Sender::new(Tip::default()) }
    }
}

impl Index {
    /// Reads one more block; blocks come in order. Returns the records that could not be read, which is a fault of this
    /// build: the ledger writes only what the model decodes.
    pub(crate) fn read_block(&self, block: &BlockFacts<'_>) -> Vec<u64> {
        let mut unreadable = Vec::new();
        {
            let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
            for (index, bytes) in block.records {
                match Record::from_bytes(bytes, Record::BYTES_MAX) {
                    Ok(record) => places.add(*index, &Digest::of(bytes), record),
                    Err(_) => unreadable.push(*index),
                }
            }
        }
        self.tip.send_replace(Tip { height: block.height, time_ms: block.time_ms });
        unreadable
    }

    /// What is known now. Not to be held across an await.
    pub(crate) fn places(&self) -> RwLockReadGuard<'_, Places> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last block read.
    pub(crate) fn tip(&self) -> Tip {
        *self.tip.borrow()
    }

    /// Whether the last block read is older, by this machine's clock, than any custodian accepts: this node is catching up, or the
    /// network stands still. What it knows of tasks and of windows is no longer so.
    pub(crate) fn is_behind(&self) -> bool {
        crate::progress::unix_ms().saturating_sub(self.tip().time_ms) > custody::HEAD_AGE_MS_MAX
    }

    /// Waits until `holds` says yes after some block, at most `timeout`. Says whether it did.
    pub(crate) async fn until(&self, timeout: Duration, holds: impl Fn(&Places) -> bool) -> bool {
        let mut blocks = self.watch();
        let wait = async {
            while !holds(&self.places()) {
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

#[cfg(test)]
mod tests {
    use model::{
        Assignment, Blob, Bytes32, Bytes48, ContentId, Fact, FailureClass, Limits, Metering, NetworkId, NodeId,
        ObjectId, Round, Seed, Settlement, Task, TaskId,
    };

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
        let mine = |facts: &[Fact]| read(facts.to_vec()).places().assigned_to(&EXECUTOR).len();
        assert_eq!(mine(&facts), 1);
        facts.push(drawn(2, model::AccountId([8; 32])));
        assert_eq!(mine(&facts), 0);
        facts.push(drawn(3, EXECUTOR));
        assert_eq!(mine(&facts), 1);
        facts.push(Fact::Settlement(Box::new(settlement(id))));
        assert_eq!(mine(&facts), 0);
        let index = read(facts);
        let entry = index.places().task(&id).cloned().unwrap();
        assert_eq!(entry.records(), [0, 1, 2, 3, 4]);
        assert_eq!(entry.settlement.unwrap().failure, Some(FailureClass::Lapsed));
        assert_eq!((index.places().open_count(), index.tip().height), (0, 5));
        assert_eq!(index.places().for_custody(), [1, 2, 3, 4], "custodians watch its assignments and its settlement");
    }

    #[test]
    fn the_latest_tasks_come_first() {
        let index = read((0..3).map(|nonce| Fact::Task(Box::new(task(nonce)))).collect());
        let places = index.places();
        let order: Vec<TaskId> = places.tasks().map(|(id, _)| *id).collect();
        assert_eq!(order, [task(2).id(), task(1).id(), task(0).id()]);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
        let index = Index::default();
        let record = Record { network: NetworkId([0; 32]), height: 1, time_ms: 1, fact: Fact::Task(Box::new(task(0))) };
        let records = [(0, b"nonsense".to_vec()), (1, record.to_bytes())];
        assert_eq!(index.read_block(&BlockFacts { height: 1, time_ms: 1, records: &records }), [0]);
        assert_eq!(index.places().task(&task(0).id()).unwrap().task, 1);
    }

    #[test]
    fn whoever_waits_is_told_or_gives_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let index = read(vec![Fact::Task(Box::new(task(0)))]);
        let id = task(0).id();
        runtime.block_on(async {
            assert!(index.until(Duration::from_secs(5), |places| places.task(&id).is_some()).await);
            let settled = |places: &Places| places.task(&id).is_some_and(|entry| entry.settlement.is_some());
            assert!(!index.until(Duration::from_millis(10), settled).await);
        });
    }
}
