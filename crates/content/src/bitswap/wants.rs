//! What we want, whom we have asked for it, and who has lied or stalled. No I/O; time is an argument.
//!
//! A fetch is a session with a set of peers believed to have its blocks. Every want is asked of one peer at a time, as
//! long as that peer's window (bytes in flight) has room. A peer that does not have a block, ends its stream, stalls or
//! lies loses the want to another one. Peers that we stay connected to always have a place in a session and are asked first:
//! identities cost nothing, so a crowd of strangers could otherwise keep a fetch from everybody else.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use libp2p::PeerId;
use model::{ContentId, Digest};
use tokio::sync::oneshot;

use crate::{StoreError, peer::Known};

/// Bytes in flight to a peer whose implementation is not known to cope with more (Helia loses blocks above it).
pub(crate) const WINDOW_UNKNOWN_BYTES: u64 = 2 << 20;
/// Bytes in flight to our own nodes, Kubo and boxo.
pub(crate) const WINDOW_KNOWN_BYTES: u64 = 16 << 20;
/// A peer that owes blocks and has sent nothing for this long has stalled.
const STALL: Duration = Duration::from_secs(10);
/// How long a stalled or unreachable peer is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a peer that sent a wrong block is left alone the first time; doubled each time after.
const PENALTY: Duration = Duration::from_secs(60);
const PENALTY_DOUBLINGS_MAX: u32 = 6;
/// How often a want is repeated to a peer that ends its stream in the middle of a message.
const REPEATS_MAX: u8 = 3;
/// Digests remembered per peer as asked, so that late answers are not taken for lies.
const ASKED_MAX: usize = 8192;
/// Most strangers of a session.
const SESSION_STRANGERS_MAX: usize = 64;
/// How long a peer is remembered that is not connected (yet), after it was last asked something.
const MEMORY: Duration = Duration::from_secs(60);

/// Told when a wanted block is stored: its size, or why it could not be stored.
pub(crate) type Waiter = oneshot::Sender<Result<u64, Arc<StoreError>>>;
pub(crate) type SessionId = u64;

/// What is to be sent to a peer. Cancels go first, in a message of their own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) peer: PeerId,
    pub(crate) cancel: Vec<ContentId>,
    pub(crate) want: Vec<ContentId>,
}

/// What a received block is to us.
pub(crate) enum Arrival {
    /// Store it, then tell the waiters.
    Wanted(ContentId, Vec<Waiter>),
    /// Asked for once and no longer needed.
    Late,
    /// Never asked of this peer: either it is broken or it changed a block on the way.
    Unsolicited,
}

#[derive(Default)]
pub(crate) struct Wants {
    known: Known,
    connected: HashSet<PeerId>,
    sessions: HashMap<SessionId, Session>,
    next_session: SessionId,
    wants: HashMap<Digest, Want>,
    /// Wants not asked of anybody, in the order they came.
    queued: VecDeque<Digest>,
    peers: HashMap<PeerId, Peer>,
    unsent: HashMap<PeerId, (Vec<ContentId>, Vec<ContentId>)>,
}

/// A fetch, and who is believed to have its blocks.
struct Session {
    root: Digest,
    known: Vec<PeerId>,
    strangers: Vec<PeerId>,
}

impl Session {
    fn of(root: Digest) -> Self {
        Self { root, known: Vec::new(), strangers: Vec::new() }
    }

    fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.known.iter().chain(&self.strangers)
    }
}

struct Want {
    cid: ContentId,
    bytes: u64,
    sessions: Vec<SessionId>,
    asked: Option<PeerId>,
    refused: Vec<PeerId>,
    repeats: u8,
    waiters: Vec<Waiter>,
}

struct Peer {
    window: u64,
    in_flight: u64,
    outstanding: HashMap<Digest, u64>,
    asked: Ring,
    progress: Instant,
    left_alone_until: Option<Instant>,
    lies: u32,
    /// When something was last asked of it.
    asked_at: Instant,
}

/// The last [`ASKED_MAX`] digests put in.
#[derive(Default)]
struct Ring {
    order: VecDeque<Digest>,
    members: HashSet<Digest>,
}

impl Ring {
    fn insert(&mut self, digest: Digest) {
        if !self.members.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > ASKED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
    }
}

impl Wants {
    /// Nothing wanted yet. `known` are the peers that we stay connected to.
    pub(crate) fn new(known: Known) -> Self {
        Self { known, ..Self::default() }
    }

    /// Begins a fetch of `root`.
    pub(crate) fn open(&mut self, root: &ContentId) -> SessionId {
        self.next_session += 1;
        self.sessions.insert(self.next_session, Session::of(root.hash()));
        self.next_session
    }

    /// Ends a fetch; what only it wanted is cancelled.
    pub(crate) fn close(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        let mut unwanted = Vec::new();
        for (digest, want) in &mut self.wants {
            want.sessions.retain(|other| *other != session);
            if want.sessions.is_empty() {
                unwanted.push(*digest);
            }
        }
        for digest in unwanted {
            if let Some(want) = self.wants.remove(&digest) {
                self.release(&digest, &want, true);
            }
        }
        self.drop_stale_queue();
    }

    /// Wants a block of about `bytes` bytes.
    pub(crate) fn want(&mut self, session: SessionId, cid: &ContentId, bytes: u64, waiter: Waiter) {
        let digest = cid.hash();
        if let Some(want) = self.wants.get_mut(&digest) {
            want.waiters.push(waiter);
            if !want.sessions.contains(&session) {
                want.sessions.push(session);
            }
            return;
        }
        let want = Want {
            cid: *cid,
            bytes,
            sessions: vec![session],
            asked: None,
            refused: Vec::new(),
            repeats: 0,
            waiters: vec![waiter],
        };
        self.wants.insert(digest, want);
        self.queued.push_back(digest);
    }

    /// `peer` is about to be asked whether it has the session's root; it may answer with a small block at once.
    pub(crate) fn probing(&mut self, peer: PeerId, cid: &ContentId, now: Instant) {
        self.peer(peer, now).asked.insert(cid.hash());
    }

    /// `peer` says that it has a block: if that is the root of a fetch it is asked for the rest too.
    pub(crate) fn have(&mut self, peer: PeerId, digest: &Digest) {
        let is_known = self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer);
        for session in self.sessions.values_mut() {
            if session.root != *digest || session.peers().any(|other| *other == peer) {
                continue;
            }
            if is_known {
                session.known.push(peer);
            } else if session.strangers.len() < SESSION_STRANGERS_MAX {
                session.strangers.push(peer);
            }
        }
    }

    /// `peer` says that it does not have a block.
    pub(crate) fn dont_have(&mut self, peer: PeerId, digest: &Digest) {
        if self.wants.get(digest).is_some_and(|want| want.asked == Some(peer)) {
            self.give_elsewhere(peer, digest);
        }
    }

    /// A block came from `peer`.
    pub(crate) fn arrived(&mut self, peer: PeerId, digest: &Digest, now: Instant) -> Arrival {
        let Some(state) = self.peers.get_mut(&peer) else { return Arrival::Unsolicited };
        if !state.asked.members.contains(digest) {
            return Arrival::Unsolicited;
        }
        state.progress = now;
        self.have(peer, digest); // a small root is itself the answer to whether somebody has it
        let Some(want) = self.wants.remove(digest) else { return Arrival::Late };
        self.release(digest, &want, want.asked != Some(peer));
        Arrival::Wanted(want.cid, want.waiters)
    }

    /// Bytes are coming from `peer`, though no whole message yet.
    pub(crate) fn progressed(&mut self, peer: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.progress = now;
        }
    }

    /// `peer` ended a stream in the middle of a message: what it owes is cancelled and asked for again.
    pub(crate) fn interrupted(&mut self, peer: PeerId, now: Instant) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.progress = now;
        let owed: Vec<Digest> = state.outstanding.keys().copied().collect();
        for digest in owed {
            let Some(want) = self.wants.get_mut(&digest) else { continue };
            want.repeats += 1;
            if want.repeats > REPEATS_MAX {
                self.give_elsewhere(peer, &digest);
                continue;
            }
            let cid = want.cid;
            let (cancel, want) = self.unsent.entry(peer).or_default();
            cancel.push(cid);
            want.push(cid);
        }
    }

    /// `peer` cannot be reached: everything it owes is asked of others, and it is left alone for a moment.
    pub(crate) fn unreachable(&mut self, peer: PeerId, now: Instant) {
        self.leave_alone(peer, now + PAUSE);
        self.requeue_all(peer, false);
        self.unsent.remove(&peer);
    }

    /// `peer` sent blocks that nobody asked it for. It is left alone for a while, longer each time.
    pub(crate) fn lied(&mut self, peer: PeerId, now: Instant) {
        let state = self.peer(peer, now);
        let pause = PENALTY * 2u32.pow(state.lies.min(PENALTY_DOUBLINGS_MAX));
        state.lies += 1;
        self.leave_alone(peer, now + pause);
        self.requeue_all(peer, true);
    }

    /// How many bytes `peer` may owe us at a time.
    pub(crate) fn set_window(&mut self, peer: PeerId, window: u64, now: Instant) {
        self.peer(peer, now).window = window;
    }

    /// `peer` is connected.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.connected.insert(peer);
    }

    /// All connections to `peer` are closed. What it sent last may still be being read: it is forgotten later, and its lies
    /// not before their penalty is over.
    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        self.connected.remove(&peer);
        self.requeue_all(peer, false);
        self.unsent.remove(&peer);
        for session in self.sessions.values_mut() {
            session.known.retain(|other| *other != peer);
            session.strangers.retain(|other| *other != peer);
        }
    }

    /// Takes wants away from stalled peers, and forgets old penalties.
    pub(crate) fn tick(&mut self, now: Instant) {
        let stalled: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| peer.has_stalled(now)).map(|(id, _)| *id).collect();
        for peer in stalled {
            self.cancel_outstanding(peer);
            self.leave_alone(peer, now + PAUSE);
            self.requeue_all(peer, true);
        }
        self.forget(now);
    }

    /// Forgets peers that are not connected: providers may be made up, and whoever lies comes back under another name.
    fn forget(&mut self, now: Instant) {
        let connected = &self.connected;
        self.peers.retain(|id, peer| connected.contains(id) || peer.is_left_alone(now) || peer.is_of_use(now));
    }

    /// Everybody who was asked in this session may be asked again, for instance because they have fetched it meanwhile.
    pub(crate) fn retry(&mut self, session: SessionId) {
        for want in self.wants.values_mut().filter(|want| want.sessions.contains(&session)) {
            want.refused.clear();
        }
    }

    /// Whether anybody is known who may have the session's blocks and is not left alone.
    pub(crate) fn has_peers(&self, session: SessionId, now: Instant) -> bool {
        let usable = |peer: &PeerId| self.peers.get(peer).is_none_or(|state| !state.is_left_alone(now));
        self.sessions.get(&session).is_some_and(|session| session.peers().any(usable))
    }

    /// Asks peers with room for what is queued, and returns everything that is to be sent.
    pub(crate) fn schedule(&mut self, now: Instant) -> Vec<Send> {
        for _ in 0..self.queued.len() {
            let Some(digest) = self.queued.pop_front() else { break };
            match self.pick(&digest, now) {
                Some(peer) => self.ask(peer, digest, now),
                None if self.wants.contains_key(&digest) => self.queued.push_back(digest),
                None => {}
            }
        }
        self.unsent.drain().map(|(peer, (cancel, want))| Send { peer, cancel, want }).collect()
    }

    /// The least loaded peer that may have the block and has room for it; a stranger only if no other has.
    fn pick(&self, digest: &Digest, now: Instant) -> Option<PeerId> {
        let want = self.wants.get(digest)?;
        let sessions = || want.sessions.iter().filter_map(|session| self.sessions.get(session));
        let known = self.least_loaded(want, sessions().flat_map(|session| &session.known), now);
        known.or_else(|| self.least_loaded(want, sessions().flat_map(|session| &session.strangers), now))
    }

    fn least_loaded<'a>(&self, want: &Want, peers: impl Iterator<Item = &'a PeerId>, now: Instant) -> Option<PeerId> {
        peers
            .filter(|peer| !want.refused.contains(peer))
            .filter_map(|peer| self.load(peer, want.bytes, now).map(|load| (load, *peer)))
            .min_by_key(|(load, _)| *load)
            .map(|(_, peer)| peer)
    }

    /// Bytes in flight to `peer` in thousandths of its window, or `None` if it cannot be asked for `bytes` more.
    fn load(&self, peer: &PeerId, bytes: u64, now: Instant) -> Option<u64> {
        let Some(state) = self.peers.get(peer) else { return Some(0) };
        let room = state.in_flight == 0 || state.in_flight + bytes <= state.window;
        (room && !state.is_left_alone(now)).then(|| state.in_flight * 1000 / state.window)
    }

    fn ask(&mut self, peer: PeerId, digest: Digest, now: Instant) {
        let Some(want) = self.wants.get_mut(&digest) else { return };
        want.asked = Some(peer);
        let (cid, bytes) = (want.cid, want.bytes);
        let state = self.peer(peer, now);
        if state.outstanding.is_empty() {
            state.progress = now; // the clock of a stall starts with the first block owed
        }
        state.outstanding.insert(digest, bytes);
        state.in_flight += bytes;
        state.asked.insert(digest);
        self.unsent.entry(peer).or_default().1.push(cid);
    }

    /// The want is over: the peer that was asked owes nothing more, and hears so if `cancel`.
    fn release(&mut self, digest: &Digest, want: &Want, cancel: bool) {
        let Some(peer) = want.asked else { return };
        if self.settle(peer, digest) && cancel {
            self.unsent.entry(peer).or_default().0.push(want.cid);
        }
    }

    /// Takes a block off what `peer` owes.
    fn settle(&mut self, peer: PeerId, digest: &Digest) -> bool {
        let Some(state) = self.peers.get_mut(&peer) else { return false };
        let Some(bytes) = state.outstanding.remove(digest) else { return false };
        state.in_flight -= bytes;
        true
    }

    fn give_elsewhere(&mut self, peer: PeerId, digest: &Digest) {
        self.settle(peer, digest);
        let Some(want) = self.wants.get_mut(digest) else { return };
        want.asked = None;
        want.repeats = 0;
        if !want.refused.contains(&peer) {
            want.refused.push(peer);
        }
        self.queued.push_front(*digest);
    }

    fn requeue_all(&mut self, peer: PeerId, refused: bool) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.in_flight = 0;
        let owed: Vec<Digest> = state.outstanding.drain().map(|(digest, _)| digest).collect();
        for digest in owed {
            let Some(want) = self.wants.get_mut(&digest) else { continue };
            want.asked = None;
            if refused && !want.refused.contains(&peer) {
                want.refused.push(peer);
            }
            self.queued.push_front(digest);
        }
    }

    fn cancel_outstanding(&mut self, peer: PeerId) {
        let Some(state) = self.peers.get(&peer) else { return };
        let cids = state.outstanding.keys().filter_map(|digest| self.wants.get(digest)).map(|want| want.cid);
        let cids: Vec<ContentId> = cids.collect();
        self.unsent.entry(peer).or_default().0.extend(cids);
    }

    fn leave_alone(&mut self, peer: PeerId, until: Instant) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.left_alone_until = state.left_alone_until.max(Some(until));
        }
    }

    fn drop_stale_queue(&mut self) {
        let wants = &self.wants;
        self.queued.retain(|digest| wants.contains_key(digest));
    }

    fn peer(&mut self, peer: PeerId, now: Instant) -> &mut Peer {
        let state = self.peers.entry(peer).or_insert_with(|| Peer {
            window: WINDOW_UNKNOWN_BYTES,
            in_flight: 0,
            outstanding: HashMap::new(),
            asked: Ring::default(),
            progress: now,
            left_alone_until: None,
            lies: 0,
            asked_at: now,
        });
        state.asked_at = now;
        state
    }
}

impl Peer {
    fn is_left_alone(&self, now: Instant) -> bool {
        self.left_alone_until.is_some_and(|until| now < until)
    }

    /// It owes us something, or was asked so lately that its answer may still come.
    fn is_of_use(&self, now: Instant) -> bool {
        !self.outstanding.is_empty() || now.saturating_duration_since(self.asked_at) < MEMORY
    }

    fn has_stalled(&self, now: Instant) -> bool {
        !self.outstanding.is_empty() && now.saturating_duration_since(self.progress) > STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Story {
        wants: Wants,
        session: SessionId,
        now: Instant,
        waiting: Vec<oneshot::Receiver<Result<u64, Arc<StoreError>>>>,
    }

    impl Story {
        fn new(peers: &[PeerId]) -> Self {
            let root = ContentId::of_raw(b"root");
            let mut wants = Wants::default();
            let session = wants.open(&root);
            for peer in peers {
                wants.have(*peer, &root.hash());
            }
            Self { wants, session, now: Instant::now(), waiting: Vec::new() }
        }

        fn want(&mut self, name: &str, bytes: u64) -> ContentId {
            let cid = ContentId::of_raw(name.as_bytes());
            let (waiter, waiting) = oneshot::channel();
            self.wants.want(self.session, &cid, bytes, waiter);
            self.waiting.push(waiting);
            cid
        }

        fn asked(&mut self) -> Vec<(PeerId, Vec<ContentId>)> {
            let now = self.now;
            self.wants.schedule(now).into_iter().filter(|s| !s.want.is_empty()).map(|s| (s.peer, s.want)).collect()
        }
    }

    #[test]
    fn a_peer_of_unknown_make_is_asked_for_two_mebibytes_at_a_time() {
        let peer = PeerId::random();
        let mut story = Story::new(&[peer]);
        let leaves: Vec<_> = (0..8).map(|number| story.want(&format!("{number}"), 1 << 20)).collect();
        assert_eq!(story.asked(), [(peer, leaves[..2].to_vec())]);
        assert!(story.asked().is_empty());
        let now = story.now;
        assert!(matches!(story.wants.arrived(peer, &leaves[0].hash(), now), Arrival::Wanted(..)));
        assert_eq!(story.asked(), [(peer, leaves[2..3].to_vec())]);
        story.wants.set_window(peer, WINDOW_KNOWN_BYTES, now);
        assert_eq!(story.asked(), [(peer, leaves[3..].to_vec())]);
    }

    #[test]
    fn a_block_that_was_not_asked_for_costs_the_peer_all_its_wants() {
        let (liar, honest) = (PeerId::random(), PeerId::random());
        let mut story = Story::new(&[liar]);
        let leaf = story.want("leaf", 100);
        assert_eq!(story.asked(), [(liar, vec![leaf])]);
        let now = story.now;
        assert!(matches!(story.wants.arrived(liar, &Digest::of(b"changed"), now), Arrival::Unsolicited));
        story.wants.lied(liar, now);
        assert!(story.asked().is_empty(), "nobody else is known yet");
        story.wants.have(honest, &Digest::of(b"root"));
        assert_eq!(story.asked(), [(honest, vec![leaf])]);
        story.wants.lied(liar, now);
        assert_eq!(story.wants.peers[&liar].left_alone_until, Some(now + PENALTY * 2));
    }

    #[test]
    fn the_penalty_survives_a_reconnect() {
        let liar = PeerId::random();
        let mut story = Story::new(&[liar]);
        let leaf = story.want("leaf", 100);
        story.asked();
        let now = story.now;
        story.wants.lied(liar, now);
        story.wants.disconnected(liar);
        story.wants.have(liar, &Digest::of(b"root"));
        story.wants.retry(story.session);
        assert!(story.asked().is_empty());
        story.now += PENALTY;
        assert_eq!(story.asked(), [(liar, vec![leaf])]);
    }

    #[test]
    fn dont_have_moves_the_want_to_another_peer() {
        let peers = [PeerId::random(), PeerId::random()];
        let mut story = Story::new(&peers);
        let leaf = story.want("leaf", 100);
        let first = story.asked()[0].0;
        story.wants.dont_have(first, &leaf.hash());
        let second = story.asked()[0].0;
        assert_ne!(first, second);
        story.wants.dont_have(second, &leaf.hash());
        assert!(story.asked().is_empty());
        story.wants.retry(story.session);
        assert_eq!(story.asked().len(), 1);
    }

    #[test]
    fn a_peer_that_answers_a_probe_with_the_root_itself_is_asked_for_the_rest() {
        let (first, second) = (PeerId::random(), PeerId::random());
        let mut story = Story::new(&[first]);
        let root = story.want("root", 100);
        let now = story.now;
        story.asked();
        story.wants.probing(second, &root, now);
        assert!(matches!(story.wants.arrived(first, &root.hash(), now), Arrival::Wanted(..)));
        assert!(matches!(story.wants.arrived(second, &root.hash(), now), Arrival::Late));
        story.wants.lied(first, now);
        let leaf = story.want("leaf", 100);
        assert_eq!(story.asked(), [(second, vec![leaf])]);
    }

    #[test]
    fn a_stream_that_ends_early_is_answered_with_cancel_and_want() {
        let peer = PeerId::random();
        let mut story = Story::new(&[peer]);
        let leaf = story.want("leaf", 100);
        story.asked();
        let now = story.now;
        for _ in 0..REPEATS_MAX {
            story.wants.interrupted(peer, now);
            assert_eq!(story.wants.schedule(now), [Send { peer, cancel: vec![leaf], want: vec![leaf] }]);
        }
        story.wants.interrupted(peer, now);
        assert!(story.wants.schedule(now).is_empty(), "given up on this peer");
    }

    #[test]
    fn a_stalled_peer_loses_its_wants_and_its_late_answer_is_no_lie() {
        let peers = [PeerId::random(), PeerId::random()];
        let mut story = Story::new(&peers);
        let leaf = story.want("leaf", 100);
        let first = story.asked()[0].0;
        story.now += STALL + Duration::from_millis(1);
        let now = story.now;
        story.wants.tick(now);
        let sends = story.wants.schedule(now);
        assert!(sends.iter().any(|send| send.peer == first && send.cancel == [leaf]));
        assert!(sends.iter().any(|send| send.peer != first && send.want == [leaf]));
        assert!(matches!(story.wants.arrived(first, &leaf.hash(), now), Arrival::Wanted(..)));
        let second = peers.into_iter().find(|peer| *peer != first).unwrap();
        let cancels = story.wants.schedule(now);
        assert_eq!(cancels, [Send { peer: second, cancel: vec![leaf], want: vec![] }]);
        assert!(matches!(story.wants.arrived(second, &leaf.hash(), now), Arrival::Late));
    }

    #[test]
    fn a_peer_that_sends_bytes_slowly_has_not_stalled() {
        let peer = PeerId::random();
        let mut story = Story::new(&[peer]);
        story.want("leaf", 100);
        story.asked();
        for _ in 0..5 {
            story.now += STALL - Duration::from_secs(1);
            let now = story.now;
            story.wants.progressed(peer, now);
            story.wants.tick(now);
        }
        assert_eq!(story.wants.peers[&peer].outstanding.len(), 1);
    }

    #[test]
    fn a_crowd_of_strangers_neither_keeps_a_known_peer_out_nor_is_asked_before_it() {
        let known = PeerId::random();
        let strangers: Vec<PeerId> = (0..2 * SESSION_STRANGERS_MAX).map(|_| PeerId::random()).collect();
        let mut story = Story::new(&strangers);
        story.wants.known.lock().unwrap().insert(known);
        story.wants.have(known, &Digest::of(b"root"));
        assert_eq!(story.wants.sessions[&story.session].peers().count(), SESSION_STRANGERS_MAX + 1);
        let leaf = story.want("leaf", 100);
        assert_eq!(story.asked(), [(known, vec![leaf])]);
        story.wants.dont_have(known, &leaf.hash());
        assert!(matches!(&story.asked()[..], [(peer, _)] if strangers.contains(peer)));
    }

    /// Whoever looks for a root is told of providers that anybody may have made up.
    #[test]
    fn peers_that_never_connect_are_forgotten() {
        let mut story = Story::new(&[]);
        let root = ContentId::of_raw(b"root");
        let here = PeerId::random();
        story.wants.connected(here);
        for _ in 0..1000 {
            let peer = PeerId::random();
            story.wants.probing(peer, &root, story.now);
            story.wants.unreachable(peer, story.now);
            let liar = PeerId::random();
            story.wants.connected(liar);
            story.wants.disconnected(liar);
            story.wants.lied(liar, story.now); // what it sent was read after it had gone
        }
        story.wants.probing(here, &root, story.now);
        story.now += PENALTY;
        story.wants.tick(story.now);
        assert_eq!(story.wants.peers.keys().collect::<Vec<_>>(), [&here]);
        assert!(story.wants.unsent.is_empty() && story.wants.connected.len() == 1);
    }

    #[test]
    fn closing_a_fetch_cancels_what_only_it_wanted() {
        let peer = PeerId::random();
        let mut story = Story::new(&[peer]);
        let leaf = story.want("leaf", 100);
        story.asked();
        let (session, now) = (story.session, story.now);
        story.wants.close(session);
        assert_eq!(story.wants.schedule(now), [Send { peer, cancel: vec![leaf], want: vec![] }]);
        assert!(story.wants.wants.is_empty() && story.wants.queued.is_empty());
    }
}
