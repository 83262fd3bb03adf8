//! The block store: one file per block, named by its hash.
//!
//! ```text
//! DIR/lock            held while the store is open
//! DIR/staged/N        written, not yet synced; emptied when the store is opened
//! DIR/blocks/xy/HEX   one block that stays; HEX is its sha2-256, xy are the two digits before the last (as Kubo's flatfs)
//! DIR/cache/xy/HEX    one block that may go when room is needed
//! DIR/roots/CID       a record that every block under CID is here; written last
//! ```
//!
//! A block is first written under `staged`, then the file system is synced once for the whole batch, then every file is
//! renamed into place, the root record last. So a file under `blocks` or `cache` is never torn, whenever the machine loses power,
//! and a root record never claims more than is there. Bytes are hashed again whenever they are read.
//!
//! Every block comes into the cache. Pinning moves it to those that stay; nothing moves back. So whoever looks for a block looks
//! at what is staged, then at the cache, then at what stays, and cannot miss one that moves meanwhile.

mod cache;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use model::{ContentId, Digest};

use self::cache::Cache;
pub use self::cache::Hold;
use crate::Block;

/// Staged bytes at which a writer should flush.
pub(crate) const FLUSH_BYTES: u64 = 64 << 20;
/// Up to this many files are synced one by one; beyond it the whole file system is, once.
const SINGLE_SYNCS_MAX: usize = 8;
/// Bytes of the disk that bulk writes leave free, or a twentieth of a small disk: the ledger, the shares and this store's own
/// records are on it as well, and a node whose disk is full stands still.
const DISK_FREE_BYTES: u64 = 512 << 20;
/// Bytes of the store that bulk writes leave free, for the few blocks that a node must be able to write.
const OWN_BYTES: u64 = 64 << 20;
/// What a file takes on the disk at least, and how finely it grows there. Blocks are counted in such pages: else whoever
/// sends blocks of one byte fills a disk, and the list of what is staged, long before the store is full.
const PAGE_BYTES: u64 = 4 << 10;
/// A root record is a decimal number and a word.
const ROOT_RECORD_BYTES_MAX: u64 = 64;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder belongs to a process that still runs.
    #[error("the block store {} is open in another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The disk or the file system.
    #[error("the block store could not {doing} {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The block would not fit.
    #[error("the block store is full: {used_bytes} of {bytes_max} bytes are used")]
    Full {
        /// Bytes used.
        used_bytes: u64,
        /// Bytes allowed.
        bytes_max: u64,
    },
    /// The disk itself is nearly full; what is left is not for bulk.
    #[error("the disk of the block store has {free_bytes} bytes left, and {kept_bytes} are kept free")]
    DiskFull {
        /// Bytes left.
        free_bytes: u64,
        /// Bytes that bulk does not get.
        kept_bytes: u64,
    },
    /// The file has changed on disk. It has been removed, so that the block can be fetched again.
    #[error("block {cid} was damaged on disk and has been removed")]
    Damaged {
        /// Which block.
        cid: ContentId,
    },
}

/// A store of blocks. Clones share it. All methods block: call them from a blocking thread.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    bytes_max: u64,
    cache_bytes_max: u64,
    used: AtomicU64,
    /// The part of it that may go.
    cached: AtomicU64,
    cache: Cache,
    staged: Mutex<Staged>,
    /// Held by whoever moves staged blocks into place: one at a time.
    flushing: Mutex<()>,
    next_name: AtomicU64,
    _lock: File,
}

#[derive(Default)]
struct Staged {
    files: HashMap<Digest, StagedFile>,
    bytes: u64,
}

/// Whether a commit also syncs the folders, or leaves that to the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Synced,
    SyncedLater,
}

#[derive(Clone)]
struct StagedFile {
    name: u64,
    bytes: u64,
}

impl Store {
    /// Opens the store in `dir`, which is created if need be. It will take at most `bytes_max` bytes of the disk, counted in
    /// pages of 4 KiB.
    ///
    /// What an interrupted batch left behind is removed.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open; [`StoreError::Io`].
    pub fn open(dir: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        Self::open_with_cache(dir, bytes_max, u64::MAX)
    }

    /// The same, and of what is not pinned it keeps at most `cache_bytes_max` bytes: beyond it, what was used longest ago goes.
    /// What somebody holds ([`Store::hold`]) stays, and makes the cache larger if it must.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_cache(dir: &Path, bytes_max: u64, cache_bytes_max: u64) -> Result<Self, StoreError> {
        for sub in ["", "blocks", "cache", "roots", "staged"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(|cause| io_error("create", &path, cause))?;
        }
        let lock = lock(dir)?;
        let staged = dir.join("staged");
        for path in files_in(&staged)? {
            fs::remove_file(&path).map_err(|cause| io_error("remove", &path, cause))?;
        }
        let store = Self(Arc::new(Inner {
            dir: dir.to_path_buf(),
            bytes_max,
            cache_bytes_max,
            used: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            cache: Cache::default(),
            staged: Mutex::default(),
            flushing: Mutex::new(()),
            next_name: AtomicU64::new(0),
            _lock: lock,
        }));
        let (pinned, cached) = (store.bytes_under("blocks")?, store.bytes_under("cache")?);
        store.0.used.store(pinned + cached, Ordering::Relaxed);
        store.0.cached.store(cached, Ordering::Relaxed);
        store.make_room()?;
        Ok(store)
    }

    /// The block named `cid`, or `None` if it is not here.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the bytes on disk have another hash; [`StoreError::Io`].
    pub fn get(&self, cid: &ContentId) -> Result<Option<Block>, StoreError> {
        let digest = cid.hash();
        let Some(data) = self.read(&digest)? else { return Ok(None) };
        match Block::check(*cid, data) {
            Ok(block) => Ok(Some(block)),
            Err(_) => {
                self.remove(&digest)?;
                Err(StoreError::Damaged { cid: *cid })
            }
        }
    }

    /// Whether a block is here. Does not read it.
    pub fn has(&self, cid: &ContentId) -> bool {
        self.size(cid).is_some()
    }

    /// How many bytes a block has, or `None` if it is not here. Does not read it.
    pub fn size(&self, cid: &ContentId) -> Option<u64> {
        self.size_of(&cid.hash())
    }

    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        if let Some(file) = self.staged().files.get(digest) {
            return Some(file.bytes);
        }
        let size = |path: PathBuf| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
        size(self.cache_path(digest)).or_else(|| size(self.block_path(digest)))
    }

    /// Stores blocks durably, with one sync for all of them. Blocks that are here already cost nothing. For a node's own
    /// few blocks: they may use what [`Store::stage`] leaves free, and they stay.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn put_batch(&self, blocks: &[Block]) -> Result<(), StoreError> {
        let hold = self.hold();
        for block in blocks {
            hold.add(block.cid());
            self.stage_within(block, self.0.bytes_max)?;
        }
        self.flush()?;
        let changed = self.pin_blocks(blocks.iter().map(|block| block.cid().hash()))?;
        self.sync_all(&changed)
    }

    /// Stores one block durably.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn put(&self, block: &Block) -> Result<(), StoreError> {
        self.put_batch(std::slice::from_ref(block))
    }

    /// Writes a block without making it durable: [`Store::flush`] or [`Store::keep`] does, for many at once.
    /// It can be read at once. Returns the number of bytes staged and not flushed, in whole pages. Some of the disk and of the store stays
    /// free, so that nobody who sends much can stop a node.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn stage(&self, block: &Block) -> Result<u64, StoreError> {
        if self.size_of(&block.cid().hash()).is_none() {
            self.make_room()?;
            self.check_disk()?;
        }
        self.stage_within(block, self.0.bytes_max.saturating_sub(OWN_BYTES.min(self.0.bytes_max / 16)))
    }

    fn stage_within(&self, block: &Block, bytes_max: u64) -> Result<u64, StoreError> {
        let digest = block.cid().hash();
        let bytes = block.data().len() as u64;
        if self.size_of(&digest).is_some() {
            return Ok(self.staged().bytes);
        }
        self.reserve(on_disk(bytes), bytes_max)?;
        let name = self.0.next_name.fetch_add(1, Ordering::Relaxed);
        let path = self.staged_path(name);
        if let Err(cause) = fs::write(&path, block.data()) {
            self.release(bytes);
            let _ = fs::remove_file(&path); // what is left is removed when the store is opened next
            return Err(io_error("write", &path, cause));
        }
        let mut staged = self.staged();
        if staged.files.contains_key(&digest) || self.in_place(&digest).is_some() {
            // somebody else stored the same block meanwhile
            drop(staged);
            self.release(bytes);
            fs::remove_file(&path).map_err(|cause| io_error("remove", &path, cause))?;
            return Ok(self.staged().bytes);
        }
        self.0.cached.fetch_add(on_disk(bytes), Ordering::Relaxed);
        staged.files.insert(digest, StagedFile { name, bytes });
        staged.bytes += on_disk(bytes);
        Ok(staged.bytes)
    }

    /// Syncs everything staged so far, once, and moves it into place. The names themselves become durable with the next
    /// [`Store::keep`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.commit(None, Names::SyncedLater)
    }

    /// Records, after everything else, that all `bytes` of the file under `root` are here. They may go when room is needed, and
    /// this record before them. Call it only when they are: `unixfs::complete` and `Peer::fetch_all` find that out.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn keep(&self, root: &ContentId, bytes: u64) -> Result<(), StoreError> {
        self.keep_unless_evicted(root, bytes, self.evictions())
    }

    /// The same, unless blocks have gone since [`Store::evictions`] said so many: whoever looked before may have seen those.
    pub(crate) fn keep_unless_evicted(&self, root: &ContentId, bytes: u64, evictions: u64) -> Result<(), StoreError> {
        let evicted = self.evicting(); // nothing goes while the record is written
        if evicted.times != evictions {
            return self.commit(None, Names::Synced);
        }
        let pinned = self.read_root(root)?.is_some_and(|record| record.is_pinned());
        let state = if pinned { RootState::Pinned } else { RootState::Cached };
        self.commit(Some((root, RootRecord { bytes, state })), Names::Synced)
    }

    /// How often blocks have gone to make room.
    pub(crate) fn evictions(&self) -> u64 {
        self.evicting().times
    }

    /// Records, after everything else, that all `bytes` of the file under `root`, made of `blocks`, are here to stay.
    /// `unixfs::pin` finds out which those are; whoever calls this holds them.
    pub(crate) fn keep_pinned(
        &self,
        root: &ContentId,
        bytes: u64,
        blocks: impl IntoIterator<Item = Digest>,
    ) -> Result<(), StoreError> {
        self.flush()?;
        let changed = self.pin_blocks(blocks)?;
        self.sync_all(&changed)?;
        self.commit(Some((root, RootRecord { bytes, state: RootState::Pinned })), Names::Synced)
    }

    /// Whether every block under `root` is here to stay.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn is_pinned(&self, root: &ContentId) -> Result<bool, StoreError> {
        Ok(self.read_root(root)?.is_some_and(|record| record.is_pinned()))
    }

    /// The size of the file under `root` if every block of it is known to be here.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn kept(&self, root: &ContentId) -> Result<Option<u64>, StoreError> {
        let record = self.read_root(root)?;
        Ok(record.filter(|record| record.state != RootState::Doubtful).map(|record| record.bytes))
    }

    /// Every root that was ever kept, with the size of its file.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn roots(&self) -> Result<Vec<(ContentId, u64)>, StoreError> {
        let mut roots = Vec::new();
        for path in files_in(&self.0.dir.join("roots"))? {
            let Some(root) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            if let Some(record) = self.read_root(&root)? {
                roots.push((root, record.bytes));
            }
        }
        Ok(roots)
    }

    /// Removes the record of a root. Its blocks stay: other files may share them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn forget(&self, root: &ContentId) -> Result<(), StoreError> {
        remove_if_there(&self.root_path(root)).map(|_| ())
    }

    /// Removes one block. Returns whether it was here.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn delete(&self, cid: &ContentId) -> Result<bool, StoreError> {
        self.flush()?;
        self.remove(&cid.hash())
    }

    /// The digest of every block in place, in no order. Files with other names are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`] for the folder itself, and as items.
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<Digest, StoreError>> + use<>, StoreError> {
        let mut folders = folders_in(&self.0.dir.join("cache"))?;
        folders.extend(folders_in(&self.0.dir.join("blocks"))?);
        Ok(folders.into_iter().flat_map(|folder| match files_in(&folder) {
            Ok(files) => files.iter().filter_map(|path| digest_of_path(path).map(Ok)).collect(),
            Err(error) => vec![Err(error)],
        }))
    }

    /// Bytes that all blocks take on the disk, in whole pages, staged ones included.
    pub fn used_bytes(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The folder it lives in.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub(crate) fn read(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let staged = self.staged().files.get(digest).map(|file| self.staged_path(file.name));
        if let Some(path) = staged
            && let Some(data) = read_block_file(&path, |_| ())?
        {
            return Ok(Some(data));
        }
        // not staged, or moved into place between the two looks
        match read_block_file(&self.cache_path(digest), |file| self.used_now(file))? {
            Some(data) => Ok(Some(data)),
            None => read_block_file(&self.block_path(digest), |_| ()),
        }
    }

    /// Where a block lies that is not staged.
    fn in_place(&self, digest: &Digest) -> Option<PathBuf> {
        [self.cache_path(digest), self.block_path(digest)].into_iter().find(|path| path.is_file())
    }

    fn staged(&self) -> MutexGuard<'_, Staged> {
        self.0.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_disk(&self) -> Result<(), StoreError> {
        let dir = &self.0.dir;
        let disk =
            rustix::fs::statvfs(dir).map_err(|cause| io_error("ask for the free space of", dir, cause.into()))?;
        check_free(disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize))
    }

    fn reserve(&self, bytes: u64, bytes_max: u64) -> Result<(), StoreError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|total| *total <= bytes_max);
        self.0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(|_| ())
            .map_err(|used_bytes| StoreError::Full { used_bytes, bytes_max })
    }

    /// Takes a block of `bytes` bytes off what is used; a file that has grown on disk must not make that wrap.
    fn release(&self, bytes: u64) {
        let left = |used: u64| Some(used.saturating_sub(on_disk(bytes)));
        let _ = self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left); // it always has a value
    }

    /// Makes everything staged durable: contents are synced before they get their names, the root record gets its name
    /// last, and then the names are synced. (Journaling file systems keep the order of renames.)
    fn commit(&self, root: Option<(&ContentId, RootRecord)>, names: Names) -> Result<(), StoreError> {
        let _one_at_a_time = self.0.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let batch: Vec<(Digest, StagedFile)> =
            self.staged().files.iter().map(|(digest, file)| (*digest, file.clone())).collect();
        let record = root.map(|(root, record)| self.write_record(root, &record)).transpose()?;

        let mut contents: Vec<PathBuf> = batch.iter().map(|(_, file)| self.staged_path(file.name)).collect();
        contents.extend(record.iter().map(|(from, _)| from.clone()));
        self.sync_all(&contents)?;
        for (digest, file) in &batch {
            self.move_into_place(digest, file)?;
        }
        if let Some((from, to)) = &record {
            fs::rename(from, to).map_err(|cause| io_error("move into place", to, cause))?;
        }
        if names == Names::SyncedLater {
            return Ok(());
        }
        let changed = batch.iter().map(|(digest, _)| self.cache_path(digest)).chain(record.map(|(_, to)| to));
        let mut folders: Vec<PathBuf> = changed.filter_map(|path| path.parent().map(Path::to_path_buf)).collect();
        if !batch.is_empty() {
            folders.push(self.0.dir.join("cache")); // it may have new folders
        }
        self.sync_all(&folders)
    }

    /// Syncs a few files or folders one by one, and many by syncing the whole file system once.
    fn sync_all(&self, paths: &[PathBuf]) -> Result<(), StoreError> {
        if paths.len() > SINGLE_SYNCS_MAX {
            return self.sync_file_system();
        }
        paths.iter().try_for_each(|path| sync(path))
    }

    fn sync_file_system(&self) -> Result<(), StoreError> {
        let dir = &self.0.dir;
        let folder = File::open(dir).map_err(|cause| io_error("open", dir, cause))?;
        rustix::fs::syncfs(&folder).map_err(|cause| io_error("sync", dir, cause.into()))
    }

    fn move_into_place(&self, digest: &Digest, file: &StagedFile) -> Result<(), StoreError> {
        let from = self.staged_path(file.name);
        let to = self.cache_path(digest);
        rename_making_folder(&from, &to).map_err(|cause| io_error("move into place", &to, cause))?;
        let mut staged = self.staged();
        if let Some(file) = staged.files.remove(digest) {
            staged.bytes -= on_disk(file.bytes);
        }
        Ok(())
    }

    fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let Some(path) = self.in_place(digest) else { return Ok(false) };
        let cached = path == self.cache_path(digest);
        self.doubt_roots()?; // before the block is gone, whatever happens in between
        if let Some(bytes) = remove_if_there(&path)? {
            self.release(bytes);
            if cached {
                self.release_cached(bytes);
            }
        }
        Ok(true)
    }

    fn bytes_under(&self, sub: &str) -> Result<u64, StoreError> {
        let mut total = 0;
        for folder in folders_in(&self.0.dir.join(sub))? {
            for path in files_in(&folder)?.iter().filter(|path| digest_of_path(path).is_some()) {
                total += fs::metadata(path).map_or(0, |meta| on_disk(meta.len()));
            }
        }
        Ok(total)
    }

    /// The block that is gone may be under any root: none of them is known to be whole any more.
    fn doubt_roots(&self) -> Result<(), StoreError> {
        for (root, bytes) in self.roots()? {
            if self.kept(&root)?.is_some() {
                self.commit(Some((&root, RootRecord { bytes, state: RootState::Doubtful })), Names::Synced)?;
            }
        }
        Ok(())
    }

    /// Writes a root record under a name for staged files; returns it and where it belongs.
    fn write_record(&self, root: &ContentId, record: &RootRecord) -> Result<(PathBuf, PathBuf), StoreError> {
        let path = self.staged_path(self.0.next_name.fetch_add(1, Ordering::Relaxed));
        fs::write(&path, record.to_text()).map_err(|cause| io_error("write the root record", &path, cause))?;
        Ok((path, self.root_path(root)))
    }

    fn read_root(&self, root: &ContentId) -> Result<Option<RootRecord>, StoreError> {
        let path = self.root_path(root);
        let Some(text) = read_bounded(&path, ROOT_RECORD_BYTES_MAX)? else { return Ok(None) };
        Ok(RootRecord::parse(&text))
    }

    fn staged_path(&self, name: u64) -> PathBuf {
        self.0.dir.join("staged").join(name.to_string())
    }

    /// Names are made of a digest's hexadecimal digits and nothing a peer or a file says, so they stay in the folder.
    fn block_path(&self, digest: &Digest) -> PathBuf {
        self.path_under("blocks", digest)
    }

    fn cache_path(&self, digest: &Digest) -> PathBuf {
        self.path_under("cache", digest)
    }

    fn path_under(&self, sub: &str, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let folder = &name[name.len() - 3..name.len() - 1];
        self.0.dir.join(sub).join(folder).join(&name)
    }

    fn root_path(&self, root: &ContentId) -> PathBuf {
        self.0.dir.join("roots").join(root.to_string())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({}, {} bytes)", self.0.dir.display(), self.used_bytes())
    }
}

struct RootRecord {
    bytes: u64,
    state: RootState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RootState {
    /// Every block is here, to stay.
    Pinned,
    /// Every block is here, until room is needed.
    Cached,
    /// A block was damaged since.
    Doubtful,
}

impl RootRecord {
    fn is_pinned(&self) -> bool {
        self.state == RootState::Pinned
    }

    fn to_text(&self) -> String {
        let state = match self.state {
            RootState::Pinned => "kept",
            RootState::Cached => "cached",
            RootState::Doubtful => "doubtful",
        };
        format!("{} {state}\n", self.bytes)
    }

    /// A record that does not parse is no record: the file is looked at again and the record rewritten.
    fn parse(text: &[u8]) -> Option<Self> {
        let (bytes, state) = std::str::from_utf8(text).ok()?.trim_end().split_once(' ')?;
        let state = match state {
            "kept" => RootState::Pinned,
            "cached" => RootState::Cached,
            _ => RootState::Doubtful,
        };
        Some(Self { bytes: bytes.parse().ok()?, state })
    }
}

fn io_error(doing: &'static str, path: &Path, cause: io::Error) -> StoreError {
    StoreError::Io { doing, path: path.to_path_buf(), cause }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|cause| io_error("create", &path, cause))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_path_buf() }),
        Err(fs::TryLockError::Error(cause)) => Err(io_error("lock", &path, cause)),
    }
}

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|cause| io_error("sync", path, cause))
}

/// What a block of `bytes` bytes takes.
fn on_disk(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(PAGE_BYTES)
}

fn check_free(free_bytes: u64, disk_bytes: u64) -> Result<(), StoreError> {
    let kept_bytes = DISK_FREE_BYTES.min(disk_bytes / 20);
    if free_bytes < kept_bytes { Err(StoreError::DiskFull { free_bytes, kept_bytes }) } else { Ok(()) }
}

fn rename_making_folder(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::rename(from, to)
        }
        result => result,
    }
}

fn read_block_file(path: &Path, read: impl Fn(&File)) -> Result<Option<Bytes>, StoreError> {
    Ok(read_bounded_and(path, Block::BYTES_MAX as u64, read)?.map(Bytes::from))
}

/// At most `bytes_max + 1` bytes of a file: one byte more than allowed is enough to be refused by whoever checks.
fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    read_bounded_and(path, bytes_max, |_| ())
}

fn read_bounded_and(path: &Path, bytes_max: u64, opened: impl Fn(&File)) -> Result<Option<Vec<u8>>, StoreError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        opened(&file);
        let bytes = file.metadata()?.len().min(bytes_max + 1);
        let mut data = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) + 1);
        file.take(bytes_max + 1).read_to_end(&mut data)?;
        Ok(data)
    };
    match read() {
        Ok(data) => Ok(Some(data)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error("read", path, cause)),
    }
}

/// Removes a file and tells its size, or `None` if it was not there.
fn remove_if_there(path: &Path) -> Result<Option<u64>, StoreError> {
    let remove = || -> io::Result<u64> {
        let bytes = fs::metadata(path)?.len();
        fs::remove_file(path)?;
        Ok(bytes)
    };
    match remove() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error("remove", path, cause)),
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    entries(folder, |kind| kind.is_file())
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    entries(folder, |kind| kind.is_dir())
}

fn entries(folder: &Path, wanted: fn(&fs::FileType) -> bool) -> Result<Vec<PathBuf>, StoreError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if wanted(&entry.file_type()?) {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    };
    list().map_err(|cause| io_error("list", folder, cause))
}

fn digest_of_path(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    let digest: Digest = name.parse().ok()?;
    (digest.to_string() == name).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_leaves_some_of_the_disk_free() {
        let refused = |free, disk| matches!(check_free(free, disk), Err(StoreError::DiskFull { .. }));
        assert!(refused(511 << 20, 1 << 40));
        assert!(!refused(512 << 20, 1 << 40));
        assert!(refused(0, 1 << 20), "small disks too");
        assert!(!refused(1 << 20, 16 << 20));
    }
}
