//! Which blocks may go when room is needed, and which of them go first.
//!
//! Blocks that somebody was promised lie under `blocks`; all others under `cache`, where the time of a file says when it was last
//! used. Whoever is at work on blocks has a [`Hold`] on them. Before the first block goes, the records of all cached roots do: so
//! a record never claims more than is there, whenever the machine stops.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use model::{ContentId, Digest};

use super::{Store, StoreError, digest_of_path, files_in, folders_in, io_error, on_disk, remove_if_there, sync};

/// How exact the time of the last use is: reading a file again within it writes nothing.
const USE_STEP: Duration = Duration::from_secs(60);

/// What the cache keeps in mind.
#[derive(Default)]
pub(super) struct Cache {
    holds: Mutex<HashMap<Digest, usize>>,
    /// Held by whoever makes room, and by whoever records that a cached root is whole.
    pub(super) evicting: Mutex<Evicted>,
}

/// What making room has come to.
#[derive(Default)]
pub(super) struct Evicted {
    /// How often blocks have gone.
    pub(super) times: u64,
    /// Everything else was in use: there is no use in looking again before the cache has grown to this.
    not_below_bytes: u64,
}

/// Keeps blocks in their store for as long as it lives. Clones share it.
#[derive(Clone)]
pub struct Hold(Arc<Held>);

struct Held {
    store: Store,
    digests: Mutex<HashSet<Digest>>,
}

impl Hold {
    /// Holds one more block; it need not be here yet.
    pub fn add(&self, cid: &ContentId) {
        self.add_digest(cid.hash());
    }

    pub(super) fn add_digest(&self, digest: Digest) {
        if self.0.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(digest) {
            *self.0.store.holds().entry(digest).or_default() += 1;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holds = self.store.holds();
        for digest in self.digests.get_mut().unwrap_or_else(PoisonError::into_inner).drain() {
            if let Some(count) = holds.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    holds.remove(&digest);
                }
            }
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold({} blocks)", self.0.digests.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}

/// A file that may go.
struct Candidate {
    used: SystemTime,
    digest: Digest,
}

impl Store {
    /// A hold on nothing yet.
    pub fn hold(&self) -> Hold {
        Hold(Arc::new(Held { store: self.clone(), digests: Mutex::default() }))
    }

    fn holds(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.0.cache.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn evicting(&self) -> MutexGuard<'_, Evicted> {
        self.0.cache.evicting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a cached block was used now.
    pub(super) fn used_now(&self, file: &File) {
        let now = SystemTime::now();
        let used = file.metadata().and_then(|meta| meta.modified());
        if used.is_ok_and(|used| now.duration_since(used).is_ok_and(|ago| ago > USE_STEP)) {
            let _ = file.set_modified(now); // it goes a little earlier than it should
        }
    }

    /// Makes room if there is more in the cache than may be: what was used longest ago goes, until an eighth is free.
    pub(super) fn make_room(&self) -> Result<(), StoreError> {
        let bytes_max = self.0.cache_bytes_max;
        if self.cached_bytes() <= bytes_max {
            return Ok(());
        }
        let mut evicted = match self.0.cache.evicting.try_lock() {
            Ok(evicted) => evicted,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()), // somebody else does
        };
        if self.cached_bytes() < evicted.not_below_bytes {
            return Ok(());
        }
        let mut candidates = self.candidates()?;
        if !candidates.is_empty() {
            candidates.sort_unstable_by_key(|candidate| candidate.used);
            evicted.times += 1;
            self.forget_cached_roots()?;
            for candidate in candidates {
                if self.cached_bytes() <= bytes_max - bytes_max / 8 {
                    break;
                }
                self.evict(&candidate.digest)?;
            }
        }
        let cached = self.cached_bytes();
        evicted.not_below_bytes = if cached > bytes_max { cached + bytes_max / 16 } else { 0 };
        Ok(())
    }

    /// Cached blocks that nobody holds now.
    fn candidates(&self) -> Result<Vec<Candidate>, StoreError> {
        let mut candidates = Vec::new();
        for folder in folders_in(&self.0.dir.join("cache"))? {
            for path in files_in(&folder)? {
                let Some(digest) = digest_of_path(&path) else { continue };
                // A file that has gone meanwhile is none.
                let Ok(used) = fs::metadata(&path).and_then(|meta| meta.modified()) else { continue };
                if !self.holds().contains_key(&digest) {
                    candidates.push(Candidate { used, digest });
                }
            }
        }
        Ok(candidates)
    }

    fn evict(&self, digest: &Digest) -> Result<(), StoreError> {
        let holds = self.holds(); // and nobody takes hold of it meanwhile
        if holds.contains_key(digest) {
            return Ok(());
        }
        if let Some(bytes) = remove_if_there(&self.cache_path(digest))? {
            self.release(bytes);
            self.release_cached(bytes);
        }
        Ok(())
    }

    /// Which of them are still whole is found out when somebody asks.
    fn forget_cached_roots(&self) -> Result<(), StoreError> {
        let roots = self.0.dir.join("roots");
        let mut forgotten = false;
        for path in files_in(&roots)? {
            let Some(root) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            if self.read_root(&root)?.is_some_and(|record| !record.is_pinned()) {
                remove_if_there(&path)?;
                forgotten = true;
            }
        }
        if forgotten { sync(&roots) } else { Ok(()) }
    }

    /// Moves blocks from the cache to those that stay. Returns the folders that have changed.
    pub(super) fn pin_blocks(&self, digests: impl IntoIterator<Item = Digest>) -> Result<Vec<PathBuf>, StoreError> {
        let mut folders = HashSet::new();
        for digest in digests {
            let (from, to) = (self.cache_path(&digest), self.block_path(&digest));
            let Some(bytes) = fs::metadata(&from).ok().map(|meta| meta.len()) else { continue };
            let twice = to.is_file();
            match super::rename_making_folder(&from, &to) {
                Ok(()) => self.release_cached(bytes),
                // somebody else has pinned it meanwhile
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && to.is_file() => continue,
                Err(cause) => return Err(io_error("move into place", &to, cause)),
            }
            if twice {
                self.release(bytes);
            }
            folders.extend(to.parent().map(PathBuf::from));
        }
        if !folders.is_empty() {
            folders.insert(self.0.dir.join("blocks")); // it may have new folders
        }
        Ok(folders.into_iter().collect())
    }

    /// Bytes of the disk that blocks take which may go, staged ones included.
    pub fn cached_bytes(&self) -> u64 {
        self.0.cached.load(Ordering::Relaxed)
    }

    /// How many of those there may be.
    pub fn cache_bytes_max(&self) -> u64 {
        self.0.cache_bytes_max
    }

    pub(super) fn release_cached(&self, bytes: u64) {
        let left = |cached: u64| Some(cached.saturating_sub(on_disk(bytes)));
        let _ = self.0.cached.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left); // it always has a value
    }
}
