//! The tasks of bitswap: one writer per peer that has something to say, one reader per inbound stream.
//!
//! Bounds: a writer holds at most two replies, of about a mebibyte each and drawn from one budget for all peers; a
//! reader draws the message it reads from another, and a peer may have a few messages under way at a time. A peer that
//! neither takes nor sends bytes for [`IO_STALL`] loses its stream, so slow peers cannot hold the budgets. Strangers may have
//! so many streams open at a time, each and together: what comes on a stream that nobody reads waits in our memory.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream};
use model::{ContentId, Digest};
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    message::{Entry, MESSAGE_BYTES_MAX, Message, Payload, Presence, Wanted},
    serve::{self, Queue},
    wants::{Arrival, Send, SessionId, WINDOW_KNOWN_BYTES, WINDOW_UNKNOWN_BYTES, Waiter, Wants},
};
use crate::{
    Block, Store,
    block::sha2_256_of,
    peer::{
        Known,
        streams::{Control, Incoming},
    },
    store::FLUSH_BYTES,
};

/// Memory for replies under way to all peers that we stay connected to, in units of one mebibyte; and as much for messages
/// being read from them.
const BUDGET: usize = 64;
/// The same for strangers. Theirs is apart: they cost nothing to make up, and slow ones hold what they have for long.
const STRANGERS_BUDGET: usize = 32;
/// What a reply may take of it: just below one mebibyte and then one largest block.
const REPLY_COST: u32 = 3;
/// Messages that one peer may send us at a time; its other streams wait.
const READS_PER_PEER: usize = 4;
/// Streams that one stranger may have open to us.
const STREAMS_PER_STRANGER: usize = 64;
/// Streams that all strangers may have open to us.
const STRANGERS_STREAMS: usize = 1024;
/// A stream that moves no byte for this long is given up.
const IO_STALL: Duration = Duration::from_secs(20);
/// An outbound stream is closed after this long without a message: Helia aborts it after ten seconds.
const IDLE: Duration = Duration::from_secs(3);
/// How often stalled peers are looked for.
const TICK: Duration = Duration::from_millis(500);
/// Bytes read or written between two looks at the clock.
const STEP_BYTES: usize = 256 << 10;
/// Implementations that cope with many blocks in flight, by the beginning of their agent version.
const KNOWN_AGENTS: [&str; 4] = [crate::peer::AGENT, "kubo/", "go-ipfs/", "boxo"];

/// Counters since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) blocks_received: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) blocks_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) blocks_refused: AtomicU64,
    pub(crate) messages_refused: AtomicU64,
    pub(crate) wants_dropped: AtomicU64,
    pub(crate) streams_refused: AtomicU64,
}

/// Bitswap for one peer of ours. Clones share it.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Inner>);

struct Inner {
    control: Control,
    store: Store,
    wants: Mutex<Wants>,
    links: Mutex<HashMap<PeerId, Arc<Link>>>,
    known: Known,
    budget: Budget,
    strangers_budget: Budget,
    strangers_streams: Arc<Semaphore>,
    flushing: Arc<Semaphore>,
    counters: Counters,
    /// Fetches are dropped wherever their owner is dropped, possibly outside the runtime; closing them may spawn.
    runtime: Handle,
}

/// Memory that is left for messages.
struct Budget {
    replies: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Budget {
    fn of(mebibytes: usize) -> Self {
        Self { replies: Arc::new(Semaphore::new(mebibytes)), reads: Arc::new(Semaphore::new(mebibytes)) }
    }
}

/// What goes between us and one peer.
struct Link {
    outbox: Mutex<Outbox>,
    filled: Notify,
    reads: Arc<Semaphore>,
    /// Streams that it may open while it is a stranger.
    streams: Arc<Semaphore>,
}

/// A stream that a peer has open to us.
struct Open {
    link: Arc<Link>,
    _stranger: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

#[derive(Default)]
struct Outbox {
    cancels: Vec<Entry>,
    wants: Vec<Entry>,
    queue: Queue,
    has_writer: bool,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.cancels.is_empty() && self.wants.is_empty() && self.queue.is_empty()
    }
}

/// Messages to be written one after the other, with the memory they hold.
struct Outgoing {
    messages: Vec<Message>,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Exchange {
    /// Starts the tasks that live as long as the swarm does.
    pub(crate) fn start(control: Control, incoming: Incoming, store: Store, known: Known) -> Self {
        let exchange = Self(Arc::new(Inner {
            control,
            store,
            wants: Mutex::new(Wants::new(known.clone())),
            links: Mutex::default(),
            known,
            budget: Budget::of(BUDGET),
            strangers_budget: Budget::of(STRANGERS_BUDGET),
            strangers_streams: Arc::new(Semaphore::new(STRANGERS_STREAMS)),
            flushing: Arc::new(Semaphore::new(1)),
            counters: Counters::default(),
            runtime: Handle::current(),
        }));
        tokio::spawn(exchange.clone().accept(incoming));
        exchange
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    // --- for fetches ----------------------------------------------------------------------------------------------------

    pub(crate) fn open(&self, root: &ContentId) -> SessionId {
        self.wants().open(root)
    }

    pub(crate) fn close(&self, session: SessionId) {
        self.with_wants(|wants, _| wants.close(session));
    }

    pub(crate) fn want(&self, session: SessionId, cid: &ContentId, bytes: u64, waiter: Waiter) {
        self.with_wants(|wants, _| wants.want(session, cid, bytes, waiter));
    }

    pub(crate) fn retry(&self, session: SessionId) {
        self.with_wants(|wants, _| wants.retry(session));
    }

    pub(crate) fn has_peers(&self, session: SessionId) -> bool {
        self.wants().has_peers(session, Instant::now())
    }

    /// Asks `peer` whether it has `cid`.
    pub(crate) fn probe(&self, peer: PeerId, cid: &ContentId) {
        self.wants().probing(peer, cid, Instant::now());
        let entry = Entry { wanted: Wanted::Have, ..entry(cid, false) };
        self.put(peer, |outbox| outbox.wants.push(entry));
    }

    // --- from the swarm -------------------------------------------------------------------------------------------------

    /// A peer said what it runs.
    pub(crate) fn agent(&self, peer: PeerId, agent: &str) {
        let known = KNOWN_AGENTS.iter().any(|known| agent.starts_with(known));
        let window = if known { WINDOW_KNOWN_BYTES } else { WINDOW_UNKNOWN_BYTES };
        self.with_wants(|wants, now| wants.set_window(peer, window, now));
    }

    /// The first connection to a peer was made.
    pub(crate) fn connected(&self, peer: PeerId) {
        self.wants().connected(peer);
    }

    /// The last connection to a peer was closed.
    pub(crate) fn disconnected(&self, peer: PeerId) {
        if let Some(link) = self.links().remove(&peer) {
            link.outbox().clear(); // or its writer would dial the peer to answer it
        }
        self.with_wants(|wants, _| wants.disconnected(peer));
    }

    // --- sending --------------------------------------------------------------------------------------------------------

    fn with_wants(&self, change: impl FnOnce(&mut Wants, Instant)) {
        let sends = {
            let now = Instant::now();
            let mut wants = self.wants();
            change(&mut wants, now);
            wants.schedule(now)
        };
        for Send { peer, cancel, want } in sends {
            self.put(peer, |outbox| {
                outbox.cancels.extend(cancel.iter().map(|cid| entry(cid, true)));
                outbox.wants.extend(want.iter().map(|cid| entry(cid, false)));
            });
        }
    }

    /// Puts something into a peer's outbox and makes sure that somebody empties it.
    fn put(&self, peer: PeerId, fill: impl FnOnce(&mut Outbox)) {
        let link = self.link(peer);
        let needs_writer = {
            let mut outbox = link.outbox();
            fill(&mut outbox);
            !outbox.is_empty() && !std::mem::replace(&mut outbox.has_writer, true)
        };
        link.filled.notify_one();
        if needs_writer {
            self.0.runtime.spawn(self.clone().write_until_idle(peer, link));
        }
    }

    async fn write_until_idle(self, peer: PeerId, link: Arc<Link>) {
        let mut stream = None;
        let mut outgoing = self.next_outgoing(peer, &link).await;
        loop {
            if outgoing.messages.is_empty() {
                if !link.wait_until_filled().await {
                    break;
                }
                outgoing = self.next_outgoing(peer, &link).await;
                continue;
            }
            // the next reply is read from disk while this one is on its way
            let (written, next) =
                tokio::join!(self.write(peer, &mut stream, outgoing), self.next_outgoing(peer, &link));
            if written.is_err() {
                link.outbox().clear();
                self.with_wants(|wants, now| wants.unreachable(peer, now));
                outgoing = Outgoing { messages: Vec::new(), _memory: None };
            } else {
                outgoing = next;
            }
        }
        if let Some(mut stream) = stream {
            let _ = timeout(IDLE, stream.close()).await; // the other side may have gone
        }
    }

    /// Takes what is due: cancels first, in a message of their own, then wants and one reply.
    async fn next_outgoing(&self, peer: PeerId, link: &Arc<Link>) -> Outgoing {
        let (cancels, wants, serving) = {
            let mut outbox = link.outbox();
            (std::mem::take(&mut outbox.cancels), std::mem::take(&mut outbox.wants), !outbox.queue.is_empty())
        };
        let memory = match serving {
            true => self.memory_for_reply(peer, cancels.is_empty() && wants.is_empty()).await,
            false => None,
        };
        let reply = if memory.is_some() { self.reply(link).await } else { Message::default() };
        let messages = [Message { entries: cancels, ..Message::default() }, Message { entries: wants, ..reply }];
        let messages = messages.into_iter().filter(|message| !message.is_empty()).collect();
        Outgoing { messages, _memory: memory }
    }

    fn is_known(&self, peer: &PeerId) -> bool {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    fn budget(&self, peer: &PeerId) -> &Budget {
        if self.is_known(peer) { &self.0.budget } else { &self.0.strangers_budget }
    }

    /// Memory for one reply. What we want ourselves does not wait until others have read theirs.
    async fn memory_for_reply(&self, peer: PeerId, wait: bool) -> Option<OwnedSemaphorePermit> {
        let budget = self.budget(&peer).replies.clone();
        if wait {
            budget.acquire_many_owned(REPLY_COST).await.ok()
        } else {
            budget.try_acquire_many_owned(REPLY_COST).ok()
        }
    }

    async fn reply(&self, link: &Arc<Link>) -> Message {
        let (store, link) = (self.0.store.clone(), link.clone());
        let work = move || {
            let answers = link.outbox().queue.next(&|digest| store.size_of(digest));
            serve::reply(&store, answers)
        };
        spawn_blocking(work).await.unwrap_or_default()
    }

    async fn write(&self, peer: PeerId, stream: &mut Option<Stream>, outgoing: Outgoing) -> Result<(), StreamError> {
        for message in &outgoing.messages {
            let pieces = message.encode();
            if self.write_once(peer, stream, &pieces).await.is_err() {
                // the other side may have closed an idle stream: once more on a new one
                *stream = None;
                self.write_once(peer, stream, &pieces).await?;
            }
            let bytes: usize = message.blocks.iter().map(|block| block.data.len()).sum();
            self.0.counters.blocks_sent.fetch_add(message.blocks.len() as u64, Ordering::Relaxed);
            self.0.counters.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn write_once(&self, peer: PeerId, stream: &mut Option<Stream>, pieces: &[Bytes]) -> Result<(), StreamError> {
        let stream = match stream {
            Some(stream) => stream,
            None => {
                let opened = timeout(IO_STALL, self.0.control.open(peer)).await;
                stream.insert(opened.map_err(|_| StreamError::Stalled)?.map_err(|_| StreamError::Closed)?)
            }
        };
        for step in pieces.iter().flat_map(|piece| piece.chunks(STEP_BYTES)) {
            in_time(stream.write_all(step)).await?;
        }
        in_time(stream.flush()).await
    }

    // --- receiving ------------------------------------------------------------------------------------------------------

    /// Takes inbound streams until the swarm ends, and looks for stalled peers meanwhile.
    async fn accept(self, mut incoming: Incoming) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                arrived = incoming.next() => match arrived {
                    Some((peer, stream)) => match self.admit(peer) {
                        Some(open) => drop(tokio::spawn(self.clone().read_until_end(peer, stream, open))),
                        None => drop(self.0.counters.streams_refused.fetch_add(1, Ordering::Relaxed)),
                    },
                    None => return,
                },
                _ = tick.tick() => self.look_after_peers(),
            }
        }
    }

    fn look_after_peers(&self) {
        self.with_wants(|wants, now| wants.tick(now));
        // A link is what is under way: one that nobody holds and that has nothing to send is made again when it is needed.
        self.links().retain(|_, link| Arc::strong_count(link) > 1 || !link.outbox().is_empty());
    }

    /// Whether `peer` may have one more stream open; dropping the stream refuses it.
    fn admit(&self, peer: PeerId) -> Option<Open> {
        let link = self.link(peer);
        let turn = |streams: &Arc<Semaphore>| streams.clone().try_acquire_owned().ok();
        let stranger = match self.is_known(&peer) {
            true => None,
            false => Some((turn(&link.streams)?, turn(&self.0.strangers_streams)?)),
        };
        Some(Open { link, _stranger: stranger })
    }

    /// Reads messages until the other side ends the stream. It is never dropped before: Kubo would stop sending.
    async fn read_until_end(self, peer: PeerId, mut stream: Stream, open: Open) {
        let _ = stream.close().await; // our half: answers go over a stream of our own
        loop {
            match self.read_message(peer, &mut stream, &open.link).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(StreamError::Message) => {
                    self.0.counters.messages_refused.fetch_add(1, Ordering::Relaxed);
                    self.with_wants(|wants, now| wants.interrupted(peer, now));
                    return;
                }
                Err(StreamError::Closed | StreamError::Stalled) => {
                    self.with_wants(|wants, now| wants.interrupted(peer, now));
                    return;
                }
            }
        }
    }

    /// Reads one message and acts on it; its blocks are hashed and stored while the next one is read. `false` at the end of the
    /// stream.
    async fn read_message(&self, peer: PeerId, stream: &mut Stream, link: &Link) -> Result<bool, StreamError> {
        let Some(len) = read_length(stream).await? else { return Ok(false) };
        if len > MESSAGE_BYTES_MAX {
            return Err(StreamError::Message);
        }
        let mebibytes = u32::try_from(len.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let turn = link.reads.clone().acquire_owned().await;
        let memory = self.budget(&peer).reads.clone().acquire_many_owned(mebibytes).await;
        let (Ok(turn), Ok(memory)) = (turn, memory) else { return Ok(false) };
        let body = self.read_body(peer, stream, len).await?;
        let message = Message::decode(&body).map_err(|_| StreamError::Message)?;
        drop(body);
        let blocks = self.act(peer, message);
        if !blocks.is_empty() {
            let this = self.clone();
            tokio::spawn(async move {
                this.receive(peer, blocks).await;
                drop((turn, memory));
            });
        }
        Ok(true)
    }

    /// The budget has been charged with `len`, so that much may be reserved at once; the system gives the memory when bytes come.
    async fn read_body(&self, peer: PeerId, stream: &mut Stream, len: usize) -> Result<Bytes, StreamError> {
        let mut body = Vec::with_capacity(len);
        while body.len() < len {
            let from = body.len();
            body.resize(len.min(from + STEP_BYTES), 0);
            in_time(stream.read_exact(&mut body[from..])).await?;
            self.wants().progressed(peer, Instant::now());
        }
        Ok(body.into())
    }

    /// Takes note of what a message says, and returns the blocks in it.
    fn act(&self, peer: PeerId, message: Message) -> Vec<Payload> {
        if !message.presences.is_empty() {
            // all at once: what comes of them is looked for once, not once for each of thousands
            self.with_wants(|wants, _| take_presences(wants, peer, &message.presences));
        }
        if message.full || !message.entries.is_empty() {
            let mut dropped = 0;
            self.put(peer, |outbox| dropped = outbox.queue.take(message.full, message.entries));
            self.0.counters.wants_dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        }
        message.blocks
    }

    /// Hashes blocks, stores the wanted ones, and tells those who wait. However many of them nobody asked for, a message is
    /// one lie.
    async fn receive(&self, peer: PeerId, blocks: Vec<Payload>) {
        let this = self.clone();
        let work = move || blocks.into_iter().fold((0, 0), |sum, block| this.receive_one(peer, block, sum));
        let (staged, unsolicited) = spawn_blocking(work).await.unwrap_or((0, 0));
        self.0.counters.blocks_refused.fetch_add(unsolicited, Ordering::Relaxed);
        self.with_wants(|wants, now| {
            // if it has not lied, there is room for new wants now
            if unsolicited > 0 {
                wants.lied(peer, now);
            }
        });
        self.flush_if_due(staged).await;
    }

    /// Returns the bytes that are staged in the store, and how many blocks nobody asked for.
    fn receive_one(&self, peer: PeerId, payload: Payload, (staged, unsolicited): (u64, u64)) -> (u64, u64) {
        let digest = Digest::of(&payload.data);
        let counters = &self.0.counters;
        let arrival = match payload.is_sha2_256() {
            true => self.wants().arrived(peer, &digest, Instant::now()),
            false => Arrival::Unsolicited,
        };
        match arrival {
            Arrival::Wanted(cid, waiters) => {
                counters.blocks_received.fetch_add(1, Ordering::Relaxed);
                counters.bytes_received.fetch_add(payload.data.len() as u64, Ordering::Relaxed);
                (staged.max(self.store_and_tell(cid, payload.data, waiters)), unsolicited)
            }
            Arrival::Late => (staged, unsolicited),
            Arrival::Unsolicited => (staged, unsolicited + 1),
        }
    }

    fn store_and_tell(&self, cid: ContentId, data: Bytes, waiters: Vec<Waiter>) -> u64 {
        let bytes = data.len() as u64;
        let stored = self.0.store.stage(&Block::already_hashed(cid, data)).map_err(Arc::new);
        for waiter in waiters {
            let _ = waiter.send(stored.clone().map(|_| bytes)); // the fetch may have been given up
        }
        stored.unwrap_or(0)
    }

    /// Syncs in the background once enough is staged; when twice as much is, receiving waits for it.
    async fn flush_if_due(&self, staged: u64) {
        if staged < FLUSH_BYTES {
            return;
        }
        let permit = match self.0.flushing.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if staged < 2 * FLUSH_BYTES => return,
            Err(_) => match self.0.flushing.clone().acquire_owned().await {
                Ok(permit) => permit,
                Err(_) => return,
            },
        };
        let store = self.0.store.clone();
        spawn_blocking(move || {
            let _ = store.flush(); // an error comes up again when the fetch ends and flushes
            drop(permit);
        });
    }

    fn link(&self, peer: PeerId) -> Arc<Link> {
        let new = || {
            Arc::new(Link {
                outbox: Mutex::default(),
                filled: Notify::new(),
                reads: Arc::new(Semaphore::new(READS_PER_PEER)),
                streams: Arc::new(Semaphore::new(STREAMS_PER_STRANGER)),
            })
        };
        self.links().entry(peer).or_insert_with(new).clone()
    }

    fn wants(&self) -> MutexGuard<'_, Wants> {
        self.0.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, HashMap<PeerId, Arc<Link>>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write. `false` after [`IDLE`] without: then the writer has ended, as far as others know.
    async fn wait_until_filled(&self) -> bool {
        if timeout(IDLE, self.filled.notified()).await.is_ok() {
            return true;
        }
        let mut outbox = self.outbox();
        outbox.has_writer = !outbox.is_empty();
        outbox.has_writer
    }
}

impl Outbox {
    fn clear(&mut self) {
        *self = Self { has_writer: self.has_writer, ..Self::default() };
    }
}

fn take_presences(wants: &mut Wants, peer: PeerId, presences: &[Presence]) {
    for presence in presences {
        match sha2_256_of(&presence.cid) {
            Some(digest) if presence.have => wants.have(peer, &digest),
            Some(digest) => wants.dont_have(peer, &digest),
            None => {}
        }
    }
}

/// Why a stream was given up.
#[derive(Debug)]
enum StreamError {
    Closed,
    Stalled,
    /// What came is not a message.
    Message,
}

async fn in_time<T>(step: impl Future<Output = std::io::Result<T>>) -> Result<T, StreamError> {
    timeout(IO_STALL, step).await.map_err(|_| StreamError::Stalled)?.map_err(|_| StreamError::Closed)
}

/// The length prefix of the next message; `None` if the stream ends before it. An idle stream may stay open for long.
async fn read_length(stream: &mut Stream) -> Result<Option<usize>, StreamError> {
    let mut len = 0;
    for shift in (0..28).step_by(7) {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(0) | Err(_) if shift == 0 => return Ok(None),
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(StreamError::Closed),
        }
        len |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(Some(len));
        }
    }
    Err(StreamError::Message)
}

fn entry(cid: &ContentId, cancel: bool) -> Entry {
    Entry { cid: cid.0.to_bytes().into(), cancel, wanted: Wanted::Block, send_dont_have: !cancel }
}
