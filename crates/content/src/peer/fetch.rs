//! Fetching: walks a DAG, wants what is missing, and keeps looking for peers until it is all here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use libp2p::PeerId;
use model::ContentId;
use tokio::{sync::mpsc, sync::oneshot, task::spawn_blocking};

use super::{Peer, lock};
use crate::{
    Block, Hold, Store, StoreError, UnixFsError,
    bitswap::exchange::Exchange,
    unixfs::{self, Visit, Walk, check_leaf_size},
};

/// Bytes of leaves wanted and not yet here. They hold no memory here; windows per peer bound what is in flight.
const AHEAD_BYTES: u64 = 32 << 20;
/// The same in leaves: whoever made the file chose how small they are, and each costs a few hundred bytes while it is wanted.
const AHEAD_LEAVES: usize = 512;
/// Leaves looked at in one go.
const STEP_LEAVES: usize = 64;
/// What a block of unknown size counts for.
const GUESS_BYTES: u64 = 1 << 20;
/// How often a fetch looks after itself.
const LOOK: Duration = Duration::from_millis(100);
/// A fetch without progress for this long asks everybody again.
const IMPATIENCE: Duration = Duration::from_secs(2);
/// Most connected peers asked at once whether they have a root.
const PROBES_MAX: usize = 64;

/// How far a fetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that are here.
    pub bytes: u64,
    /// Bytes of the file, once known.
    pub bytes_total: Option<u64>,
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nobody sent what is missing, for as long as the configuration allows.
    #[error("nobody sent a missing block of {root} for {seconds} s")]
    NotFound {
        /// What was fetched.
        root: ContentId,
        /// How long nothing came.
        seconds: u64,
    },
    /// The file is larger than the caller allows; nothing more was fetched.
    #[error("{bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// What the root declares.
        bytes: u64,
        /// What the caller allows.
        bytes_max: u64,
    },
    /// Whoever made the root made something else than a file.
    #[error("what was fetched is not a file")]
    NotAFile(#[source] UnixFsError),
    /// Blocks could not be stored or read.
    #[error("what was fetched could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// The peer has been shut down.
    #[error("the peer is shut down")]
    Stopped,
}

pub(super) async fn block(peer: &Peer, cid: &ContentId) -> Result<Block, FetchError> {
    if let Some(block) = read(peer.store(), cid).await? {
        return Ok(block);
    }
    let fetch = Fetch::open(peer, cid, peer.store().hold());
    fetch
        .supervised(async {
            fetch.want(cid, GUESS_BYTES).await?;
            let flushed = blocking(fetch.exchange.store(), |store| store.flush()).await?;
            flushed.map_err(store_error)?;
            read(fetch.exchange.store(), cid).await?.ok_or(FetchError::Stopped)
        })
        .await
}

/// What becomes of a file that was fetched.
pub(super) enum Keep<'a> {
    /// It is recorded as whole, and goes when room is needed.
    Cached,
    /// It stays for as long as somebody holds it; nothing is recorded or synced.
    Held(&'a Hold),
    /// It stays.
    Pinned,
}

impl Keep<'_> {
    /// Finds the bytes of a file of which no block need be looked for.
    fn known(&self, root: ContentId) -> impl FnOnce(&Store) -> Result<Option<u64>, StoreError> + Send + use<> {
        // What may go is looked through again, so that every block of it is held.
        let may_go = matches!(self, Self::Cached);
        move |store| if may_go || store.is_pinned(&root)? { store.kept(&root) } else { Ok(None) }
    }

    fn finish(&self) -> fn(&Store, &ContentId) -> Result<u64, UnixFsError> {
        match self {
            Self::Cached => unixfs::complete,
            Self::Held(_) => unixfs::look_through,
            Self::Pinned => unixfs::pin,
        }
    }

    fn hold(&self, store: &Store) -> Hold {
        match self {
            Self::Held(hold) => (*hold).clone(),
            Self::Cached | Self::Pinned => store.hold(),
        }
    }
}

pub(super) async fn all(
    peer: &Peer,
    root: &ContentId,
    bytes_max: u64,
    keep: Keep<'_>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<u64, FetchError> {
    let root = *root;
    if let Some(bytes) = blocking(peer.store(), keep.known(root)).await?.map_err(store_error)? {
        check_size(bytes, bytes_max)?;
        progress(Progress { bytes, bytes_total: Some(bytes) });
        return Ok(bytes);
    }
    let fetch = Fetch::open(peer, &root, keep.hold(peer.store()));
    let bytes = fetch.supervised(fetch.leaves(bytes_max, keep.finish(), progress)).await?;
    peer.provide(&root).await.map_err(|_| FetchError::Stopped)?;
    Ok(bytes)
}

/// One fetch under way; dropping it cancels what it wants.
struct Fetch<'a> {
    peer: &'a Peer,
    exchange: &'a Exchange,
    session: u64,
    root: ContentId,
    hold: Hold,
    progressed: Mutex<Instant>,
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        self.exchange.close(self.session);
    }
}

/// The next leaves that are missing, and the inner vertex that must come before more is known.
struct Step {
    walk: Walk,
    present_bytes: u64,
    missing: Vec<(ContentId, Option<u64>)>,
    inner: Option<Visit>,
    done: bool,
}

impl<'a> Fetch<'a> {
    fn open(peer: &'a Peer, root: &ContentId, hold: Hold) -> Self {
        let exchange = &peer.0.exchange;
        let session = exchange.open(root);
        Self { peer, exchange, session, root: *root, hold, progressed: Mutex::new(Instant::now()) }
    }

    /// Runs `work` and looks for peers meanwhile; ends it when nothing comes any more.
    async fn supervised<T>(&self, work: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
        tokio::select! {
            result = work => result,
            error = self.look_for_peers() => Err(error),
        }
    }

    /// Fetches everything under the root; returns the bytes of the file.
    async fn leaves(
        &self,
        bytes_max: u64,
        finish: fn(&Store, &ContentId) -> Result<u64, UnixFsError>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<u64, FetchError> {
        let mut walk = Walk::new(self.root);
        let mut state = Progress::default();
        let mut coming = FuturesUnordered::new();
        let mut coming_bytes = 0;
        loop {
            let hold = self.hold.clone();
            let step = blocking(self.exchange.store(), move |store| look_ahead(walk, store, &hold)).await??;
            walk = step.walk;
            state.bytes += step.present_bytes;
            state.bytes_total = walk.bytes();
            progress(state);
            for (cid, declared) in step.missing {
                let bytes = declared.unwrap_or(GUESS_BYTES);
                let stored = self.begin(&cid, bytes);
                coming.push(async move { (cid, declared, bytes, self.finish(stored).await) });
                coming_bytes += bytes;
            }
            if let Some(visit) = step.inner {
                walk = self.inner(walk, visit).await?;
                if let Some(bytes) = walk.bytes() {
                    check_size(bytes, bytes_max)?;
                }
            }
            while (step.done || coming_bytes > AHEAD_BYTES || coming.len() > AHEAD_LEAVES)
                && let Some((cid, declared, bytes, stored)) = coming.next().await
            {
                let stored = stored?;
                check_leaf_size(&cid, declared, stored).map_err(FetchError::NotAFile)?;
                coming_bytes -= bytes;
                state.bytes += stored;
                check_size(state.bytes, bytes_max)?;
                progress(state);
            }
            if step.done {
                break;
            }
        }
        let root = self.root;
        let complete = blocking(self.exchange.store(), move |store| finish(store, &root)).await?;
        let bytes = complete.map_err(unixfs_error)?;
        check_size(bytes, bytes_max)?;
        progress(Progress { bytes, bytes_total: Some(bytes) });
        Ok(bytes)
    }

    async fn inner(&self, mut walk: Walk, visit: Visit) -> Result<Walk, FetchError> {
        let Visit::Inner { cid, .. } = visit else { return Ok(walk) };
        self.want(&cid, GUESS_BYTES).await?;
        let block = read(self.exchange.store(), &cid).await?.ok_or(FetchError::Stopped)?;
        walk.expand(&visit, &block).map_err(FetchError::NotAFile)?;
        Ok(walk)
    }

    /// Fetches one block into the store; returns its size.
    async fn want(&self, cid: &ContentId, bytes: u64) -> Result<u64, FetchError> {
        let stored = self.begin(cid, bytes);
        self.finish(stored).await
    }

    fn begin(&self, cid: &ContentId, bytes: u64) -> oneshot::Receiver<Result<u64, Arc<StoreError>>> {
        self.hold.add(cid);
        let (waiter, stored) = oneshot::channel();
        self.exchange.want(self.session, cid, bytes, waiter);
        stored
    }

    async fn finish(&self, stored: oneshot::Receiver<Result<u64, Arc<StoreError>>>) -> Result<u64, FetchError> {
        let bytes = stored.await.map_err(|_| FetchError::Stopped)?.map_err(FetchError::Store)?;
        *lock(&self.progressed) = Instant::now();
        Ok(bytes)
    }

    /// Asks connected peers and the look-up table who has the root, again and again while nothing comes.
    async fn look_for_peers(&self) -> FetchError {
        let patience = self.peer.0.fetch_patience;
        let mut probed = HashMap::new();
        let mut search: Option<mpsc::Receiver<PeerId>> = None;
        let mut look = tokio::time::interval(LOOK);
        let mut asked_again = Instant::now();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                found = next_found(&mut search) => {
                    self.probe(found, &mut probed);
                    continue;
                }
            }
            let idle = lock(&self.progressed).elapsed();
            if idle > patience {
                return FetchError::NotFound { root: self.root, seconds: patience.as_secs() };
            }
            let waited = idle.min(asked_again.elapsed());
            if waited > IMPATIENCE {
                asked_again = Instant::now();
                probed.clear();
                self.exchange.retry(self.session);
            }
            let alone = !self.exchange.has_peers(self.session);
            if alone || waited > IMPATIENCE || probed.is_empty() {
                self.probe_connected(&mut probed);
            }
            // a first answer of a connected peer takes less than one look
            if alone && search.is_none() && !probed.contains_key(&Asked::Table) && idle >= LOOK {
                probed.insert(Asked::Table, ());
                match self.peer.search(&self.root).await {
                    Ok(found) => search = Some(found),
                    Err(_) => return FetchError::Stopped,
                }
            }
        }
    }

    fn probe_connected(&self, probed: &mut HashMap<Asked, ()>) {
        let connected: Vec<PeerId> = self.peer.view().connected.iter().copied().take(PROBES_MAX).collect();
        for peer in connected {
            self.probe(peer, probed);
        }
    }

    fn probe(&self, peer: PeerId, probed: &mut HashMap<Asked, ()>) {
        if probed.insert(Asked::Peer(peer), ()).is_none() {
            self.exchange.probe(peer, &self.root);
        }
    }
}

/// Whom a fetch has asked in this round.
#[derive(PartialEq, Eq, Hash)]
enum Asked {
    Peer(PeerId),
    Table,
}

/// The next provider that is found; never, when no search is under way.
async fn next_found(search: &mut Option<mpsc::Receiver<PeerId>>) -> PeerId {
    if let Some(receiver) = search {
        if let Some(peer) = receiver.recv().await {
            return peer;
        }
        *search = None;
    }
    std::future::pending().await
}

/// Goes on until [`STEP_LEAVES`] missing leaves, a missing inner vertex, or the end.
fn look_ahead(mut walk: Walk, store: &Store, hold: &Hold) -> Result<Step, FetchError> {
    let mut present_bytes = 0;
    let mut missing = Vec::new();
    let mut inner = None;
    let mut done = false;
    while missing.len() < STEP_LEAVES && inner.is_none() && !done {
        let visit = walk.next();
        if let Some(Visit::Leaf { cid, .. } | Visit::Inner { cid, .. }) = &visit {
            hold.add(cid);
        }
        match visit {
            None => done = true,
            Some(Visit::Leaf { cid, bytes, .. }) => match store.size(&cid) {
                Some(here) => {
                    check_leaf_size(&cid, bytes, here).map_err(FetchError::NotAFile)?;
                    present_bytes += here;
                }
                None => missing.push((cid, bytes)),
            },
            Some(visit @ Visit::Inner { cid, .. }) => match read_undamaged(store, &cid)? {
                Some(block) => walk.expand(&visit, &block).map_err(FetchError::NotAFile)?,
                None => inner = Some(visit),
            },
        }
    }
    Ok(Step { walk, present_bytes, missing, inner, done })
}

/// A damaged block is removed by the store and as good as missing.
fn read_undamaged(store: &Store, cid: &ContentId) -> Result<Option<Block>, FetchError> {
    match store.get(cid) {
        Ok(block) => Ok(block),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(store_error(error)),
    }
}

async fn read(store: &Store, cid: &ContentId) -> Result<Option<Block>, FetchError> {
    let cid = *cid;
    blocking(store, move |store| read_undamaged(store, &cid)).await?
}

async fn blocking<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> T + Send + 'static,
) -> Result<T, FetchError> {
    let store = store.clone();
    spawn_blocking(move || work(&store)).await.map_err(|_| FetchError::Stopped)
}

fn check_size(bytes: u64, bytes_max: u64) -> Result<(), FetchError> {
    if bytes > bytes_max { Err(FetchError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
}

fn store_error(error: StoreError) -> FetchError {
    FetchError::Store(Arc::new(error))
}

fn unixfs_error(error: UnixFsError) -> FetchError {
    match error {
        UnixFsError::Store(error) => store_error(error),
        error => FetchError::NotAFile(error),
    }
}
