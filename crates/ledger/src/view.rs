//! What execution sees: the state before the block, under what the block has changed so far.
//!
//! A step (a due task, a transaction) works on a staged layer that is kept or dropped as a whole.

use std::collections::{BTreeMap, BTreeSet};

use model::{Canonical, Digest, Fact, NetworkId, Record};

use crate::{Key, Reads, Refusal, key, state::Schedule};

/// Why a step did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Halt {
    /// A value was not fetched; the view remembers which.
    Missing,
    /// A rule forbids it.
    Refused(Box<Refusal>),
    /// A stored value is not what the ledger writes.
    Damaged(Key),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

type Writes = BTreeMap<Key, Option<Vec<u8>>>;

pub(crate) struct View<'a> {
    base: &'a dyn Reads,
    network: NetworkId,
    height: u64,
    time_ms: u64,
    kept: Writes,
    staged: Writes,
    kept_records: Vec<Vec<u8>>,
    staged_records: Vec<Vec<u8>>,
    missing: BTreeSet<Key>,
    /// The schedule is read and changed by many steps of a block, so it is kept decoded.
    schedule: Option<Schedule>,
    staged_schedule: Option<Schedule>,
    schedule_changed: bool,
}

impl<'a> View<'a> {
    pub(crate) fn new(base: &'a dyn Reads, network: NetworkId, height: u64, time_ms: u64) -> Self {
        Self {
            base,
            network,
            height,
            time_ms,
            kept: Writes::new(),
            staged: Writes::new(),
            kept_records: Vec::new(),
            staged_records: Vec::new(),
            missing: BTreeSet::new(),
            schedule: None,
            staged_schedule: None,
            schedule_changed: false,
        }
    }

    /// Height of the block being executed.
    pub(crate) fn height(&self) -> u64 {
        self.height
    }

    /// Ledger time of the block being executed.
    pub(crate) fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The value at `key`, decoded.
    pub(crate) fn get<T: Canonical>(&mut self, key: &Key) -> Result<Option<T>, Halt> {
        let bytes = match self.staged.get(key).or_else(|| self.kept.get(key)) {
            Some(bytes) => bytes.clone(),
            None => match self.base.read(key) {
                Some(bytes) => bytes,
                None => {
                    self.missing.insert(*key);
                    return Err(Halt::Missing);
                }
            },
        };
        bytes.map(|bytes| T::from_bytes(&bytes, usize::MAX)).transpose().map_err(|_| Halt::Damaged(*key))
    }

    /// Asks for several keys at once, so that one fetch brings them all.
    pub(crate) fn expect(&mut self, keys: impl IntoIterator<Item = Key>) -> Result<(), Halt> {
        let mut complete = Ok(());
        for key in keys {
            let known = self.staged.contains_key(&key) || self.kept.contains_key(&key);
            if !known && self.base.read(&key).is_none() {
                self.missing.insert(key);
                complete = Err(Halt::Missing);
            }
        }
        complete
    }

    /// What the ledger does without a transaction.
    pub(crate) fn schedule(&mut self) -> Result<&Schedule, Halt> {
        if self.staged_schedule.is_none() && self.schedule.is_none() {
            self.schedule = Some(self.get(&key::schedule())?.unwrap_or_default());
        }
        self.staged_schedule.as_ref().or(self.schedule.as_ref()).ok_or(Halt::Damaged(key::schedule()))
    }

    /// The same, to be changed: staged like any other value.
    pub(crate) fn schedule_mut(&mut self) -> Result<&mut Schedule, Halt> {
        if self.staged_schedule.is_none() {
            self.staged_schedule = Some(self.schedule()?.clone());
        }
        self.staged_schedule.as_mut().ok_or(Halt::Damaged(key::schedule()))
    }

    /// Stages a value.
    pub(crate) fn put<T: Canonical>(&mut self, key: Key, value: &T) {
        self.staged.insert(key, Some(value.to_bytes()));
    }

    /// Stages the removal of a value.
    pub(crate) fn remove(&mut self, key: Key) {
        self.staged.insert(key, None);
    }

    /// Stages a record and returns its digest, the leaf of the log.
    pub(crate) fn record(&mut self, fact: Fact) -> Digest {
        let record = Record { network: self.network, height: self.height, time_ms: self.time_ms, fact };
        let bytes = record.to_bytes();
        let digest = Digest::of(&bytes);
        self.staged_records.push(bytes);
        digest
    }

    /// Keeps what the step has staged.
    pub(crate) fn keep(&mut self) {
        self.kept.append(&mut self.staged);
        self.kept_records.append(&mut self.staged_records);
        if let Some(schedule) = self.staged_schedule.take() {
            self.schedule = Some(schedule);
            self.schedule_changed = true;
        }
    }

    /// Forgets what the step has staged.
    pub(crate) fn drop_staged(&mut self) {
        self.staged.clear();
        self.staged_records.clear();
        self.staged_schedule = None;
    }

    /// Runs one step: keeps all of it, or nothing.
    pub(crate) fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Halt>) -> Result<T, Halt> {
        let outcome = step(self);
        match outcome {
            Ok(_) => self.keep(),
            Err(_) => self.drop_staged(),
        }
        outcome
    }

    /// Keys that were asked for in vain.
    pub(crate) fn missing(&self) -> Vec<Key> {
        self.missing.iter().copied().collect()
    }

    /// Everything kept: writes ascending by key, records in order.
    pub(crate) fn finish(mut self) -> (Vec<(Key, Option<Vec<u8>>)>, Vec<Vec<u8>>) {
        if let Some(schedule) = self.schedule.filter(|_| self.schedule_changed) {
            self.kept.insert(key::schedule(), Some(schedule.to_bytes()));
        }
        (self.kept.into_iter().collect(), self.kept_records)
    }
}
