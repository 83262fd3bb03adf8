//! What a custodian must never forget, as values that its node writes to disk and gives back after a restart.

use std::collections::BTreeMap;

use model::{Blob, Canonical, Deposit, Digest, ObjectId, Release, Signed, TaskId};
use serde::{Deserialize, Serialize};

use super::Action;

/// Most bytes of one stored value.
const VALUE_BYTES_MAX: usize = 1 << 20;
const HEIGHT: &str = "height";
const DEPOSIT: &str = "deposit-";
const TERMS: &str = "terms-";
const TASK: &str = "task-";

/// A stored value cannot be read: this node's disk is at fault. Nothing may be released before it is repaired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored custody value '{key}' is damaged or of another version")]
pub struct RestoreError {
    /// Which.
    pub key: String,
}

/// One deposited share, still sealed to this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    pub(super) deposit: Deposit,
    pub(super) index: u8,
    pub(super) sealed_share: Blob,
    /// When it came, by this node's clock.
    pub(super) received_ms: u64,
    /// Whether the ledger has published it.
    pub(super) published: bool,
}

/// The newest terms seen of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SerialSeen {
    pub(super) serial: u64,
    pub(super) revoked: bool,
}

/// What was released for one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskRecord {
    /// Afterwards nothing is released (R2), so the record is only history.
    pub(super) deadline_ms: u64,
    /// Attempt and SHA-256 of every ephemeral key that shares were sealed to.
    pub(super) ephemeral_keys: Vec<(u8, Digest)>,
    pub(super) releases: Vec<Signed<Release>>,
    /// Whether the ledger has the releases.
    pub(super) posted: bool,
}

/// Everything stored. Each change is a [`Action::Persist`] as well.
#[derive(Default)]
pub(super) struct State {
    height: u64,
    deposits: BTreeMap<Digest, Held>,
    serials: BTreeMap<ObjectId, SerialSeen>,
    tasks: BTreeMap<TaskId, TaskRecord>,
}

impl State {
    pub(super) fn restore(stored: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, RestoreError> {
        let mut state = Self::default();
        for (key, value) in stored {
            state.restore_one(&key, &value).ok_or(RestoreError { key })?;
        }
        Ok(state)
    }

    fn restore_one(&mut self, key: &str, value: &[u8]) -> Option<()> {
        if key == HEIGHT {
            self.height = decode(value)?;
        } else if let Some(name) = key.strip_prefix(DEPOSIT) {
            let held: Held = decode(value)?;
            let digest: Digest = name.parse().ok()?;
            (digest == held.deposit.digest()).then_some(())?;
            self.deposits.insert(digest, held);
        } else if let Some(name) = key.strip_prefix(TERMS) {
            self.serials.insert(name.parse().ok()?, decode(value)?);
        } else {
            let name = key.strip_prefix(TASK)?;
            self.tasks.insert(name.parse().ok()?, decode(value)?);
        }
        Some(())
    }

    pub(super) fn height(&self) -> u64 {
        self.height
    }

    pub(super) fn held(&self, deposit: &Digest) -> Option<&Held> {
        self.deposits.get(deposit)
    }

    pub(super) fn deposits(&self) -> impl Iterator<Item = (&Digest, &Held)> {
        self.deposits.iter()
    }

    pub(super) fn serial_seen(&self, object: &ObjectId) -> Option<SerialSeen> {
        self.serials.get(object).copied()
    }

    pub(super) fn task(&self, task: &TaskId) -> Option<&TaskRecord> {
        self.tasks.get(task)
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = (&TaskId, &TaskRecord)> {
        self.tasks.iter()
    }

    /// Notes a height; does nothing if it is not new.
    pub(super) fn raise_height(&mut self, height: u64) -> Option<Action> {
        (height > self.height).then(|| {
            self.height = height;
            persist(HEIGHT.to_owned(), &height)
        })
    }

    pub(super) fn put_deposit(&mut self, held: Held) -> Action {
        let digest = held.deposit.digest();
        let action = persist(format!("{DEPOSIT}{digest}"), &held);
        self.deposits.insert(digest, held);
        action
    }

    /// Forgets every deposit that `condemned` says to.
    pub(super) fn drop_deposits(&mut self, condemned: impl Fn(&Held) -> bool) -> Vec<Action> {
        let (gone, kept) = std::mem::take(&mut self.deposits).into_iter().partition(|(_, held)| condemned(held));
        self.deposits = kept;
        let gone: BTreeMap<Digest, Held> = gone;
        gone.into_keys().map(|digest| forget(format!("{DEPOSIT}{digest}"))).collect()
    }

    /// Notes terms; does nothing if they are not newer.
    pub(super) fn raise_serial(&mut self, object: ObjectId, seen: SerialSeen) -> Option<Action> {
        (self.serial_seen(&object).is_none_or(|known| known.serial < seen.serial)).then(|| {
            self.serials.insert(object, seen);
            persist(format!("{TERMS}{object}"), &seen)
        })
    }

    pub(super) fn put_task(&mut self, task: TaskId, record: TaskRecord) -> Action {
        let action = persist(format!("{TASK}{task}"), &record);
        self.tasks.insert(task, record);
        action
    }

    /// Forgets tasks whose deadline passed before `time_ms`.
    pub(super) fn drop_tasks_before(&mut self, time_ms: u64) -> Vec<Action> {
        let old: Vec<TaskId> =
            self.tasks.iter().filter(|(_, record)| record.deadline_ms < time_ms).map(|(task, _)| *task).collect();
        old.into_iter()
            .map(|task| {
                self.tasks.remove(&task);
                forget(format!("{TASK}{task}"))
            })
            .collect()
    }
}

fn decode<T: Canonical>(value: &[u8]) -> Option<T> {
    T::from_bytes(value, VALUE_BYTES_MAX).ok()
}

fn persist(key: String, value: &impl Canonical) -> Action {
    Action::Persist { key, value: Some(value.to_bytes()) }
}

fn forget(key: String) -> Action {
    Action::Persist { key, value: None }
}
