//! State in memory, for tests and for dry runs.

use std::collections::BTreeMap;

use crate::{Executed, Key, Reads};

/// All values, present at once.
#[derive(Clone, Debug, Default)]
pub struct MemoryState {
    values: BTreeMap<Key, Vec<u8>>,
}

impl MemoryState {
    /// Applies what a block changes.
    pub fn apply(&mut self, executed: &Executed) {
        for (key, value) in &executed.writes {
            self.set(*key, value.clone());
        }
    }

    /// Sets or removes one value.
    pub fn set(&mut self, key: Key, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.values.insert(key, value),
            None => self.values.remove(&key),
        };
    }

    /// How many values there are, and how many bytes they take, keys included.
    pub fn size(&self) -> (usize, usize) {
        (self.values.len(), self.values.values().map(|value| value.len() + size_of::<Key>()).sum())
    }
}

impl Reads for MemoryState {
    fn read(&self, key: &Key) -> Option<Option<Vec<u8>>> {
        Some(self.values.get(key).cloned())
    }
}
