//! Programs that were compiled lately. In memory only: a program is somebody's secret, and so is its native code.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::job::Metering;
use crate::sandbox::Compiled;

/// Most programs, however small.
const PROGRAMS_MAX: usize = 64;

/// What native code depends on, inside of one process: the engine and its other settings are linked in. Whoever has no plaintext
/// of a program finds nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    module: [u8; 32],
    metering: Metering,
}

impl Key {
    pub(crate) fn of(module: &[u8], metering: Metering) -> Self {
        Self { module: Sha256::digest(module).into(), metering }
    }
}

pub(crate) struct Cache {
    bytes_max: u64,
    /// The one used longest ago first.
    programs: Mutex<VecDeque<(Key, Compiled)>>,
}

impl Cache {
    /// Holds native code of at most `bytes_max` bytes in all.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, programs: Mutex::default() }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Compiled> {
        let mut programs = self.programs();
        let at = programs.iter().position(|(other, _)| other == key)?;
        let used = programs.remove(at)?;
        let compiled = used.1.clone();
        programs.push_back(used);
        Some(compiled)
    }

    /// Keeps a program, and forgets those used longest ago if there are too many. A run that still uses one keeps it alive.
    pub(crate) fn put(&self, key: Key, compiled: Compiled) {
        if compiled.bytes() > self.bytes_max {
            return;
        }
        let mut programs = self.programs();
        programs.retain(|(other, _)| *other != key);
        programs.push_back((key, compiled));
        let bytes = |programs: &VecDeque<(Key, Compiled)>| programs.iter().map(|(_, it)| it.bytes()).sum::<u64>();
        while programs.len() > PROGRAMS_MAX || bytes(&programs) > self.bytes_max {
            programs.pop_front();
        }
    }

    fn programs(&self) -> MutexGuard<'_, VecDeque<(Key, Compiled)>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(bytes: u64) -> Compiled {
        Compiled::of_bytes(bytes)
    }

    fn key(name: &str) -> Key {
        Key::of(name.as_bytes(), Metering::None)
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::new(100);
        cache.put(key("a"), program(40));
        cache.put(key("b"), program(40));
        assert!(cache.get(&key("a")).is_some());
        cache.put(key("c"), program(40));
        assert!(cache.get(&key("b")).is_none(), "used longest ago");
        assert!(cache.get(&key("a")).is_some() && cache.get(&key("c")).is_some());
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let cache = Cache::new(100);
        cache.put(key("large"), program(101));
        assert!(cache.get(&key("large")).is_none());
        cache.put(key("again"), program(60));
        cache.put(key("again"), program(60));
        assert!(cache.get(&key("again")).is_some(), "the same program counts once");
        (0..2 * PROGRAMS_MAX).for_each(|number| cache.put(key(&number.to_string()), program(0)));
        assert_eq!(cache.programs().len(), PROGRAMS_MAX);
    }

    #[test]
    fn another_metering_is_another_program() {
        let cache = Cache::new(100);
        cache.put(key("a"), program(1));
        assert!(cache.get(&Key::of(b"a", Metering::Fuel)).is_none());
    }
}
