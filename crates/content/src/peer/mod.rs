//! A libp2p peer: exchanges blocks, finds who has them, and carries messages between nodes.
//!
//! Everything generic of libp2p stays behind the plain functions of [`Peer`], so that whoever uses them compiles fast.

mod fetch;
mod foreign;
mod messages;
pub(crate) mod streams;
mod swarm;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, identity, multiaddr::Protocol};
use model::{ContentId, NodeId};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub(crate) use messages::Known;

pub use fetch::{FetchError, Progress};
pub use messages::{Inbound, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, RequestError};
pub use swarm::names_are_known;

use crate::{Block, Hold, Store, StoreError, bitswap::exchange::Exchange};

/// How our agent version begins.
pub(crate) const AGENT: &str = "samovar/";

/// Who a peer's look-ups are meant to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Machines that know each other, on loopback, a LAN or a VPN: `/ipfs/lan/kad/1.0.0`, as a Kubo beside them speaks.
    Private,
    /// The public IPFS network: `/ipfs/kad/1.0.0`.
    Public,
}

/// A peer that is dialled again whenever the connection to it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeer {
    /// Who must answer there.
    pub node: NodeId,
    /// Where; a trailing `/p2p/…` is ignored.
    pub address: Multiaddr,
}

/// How to start a [`Peer`].
pub struct PeerConfig {
    /// Seed of the Ed25519 key that is the peer's identity, the same as the node's.
    pub seed: Zeroizing<[u8; 32]>,
    /// Where to listen; port 0 lets the system choose. None for a peer that only fetches.
    pub listen: Vec<Multiaddr>,
    /// Whom to stay connected to.
    pub peers: Vec<StaticPeer>,
    /// Which look-up table to take part in.
    pub network: Network,
    /// A fetch that has received nothing new for this long gives up.
    pub fetch_patience: Duration,
    /// A request that is not answered for this long fails.
    pub request_timeout: Duration,
}

impl PeerConfig {
    /// A peer of a private network that listens on a free TCP port of the loopback interface.
    pub fn loopback(seed: [u8; 32]) -> Self {
        let loopback = Multiaddr::empty().with(Protocol::Ip4([127, 0, 0, 1].into())).with(Protocol::Tcp(0));
        Self {
            seed: Zeroizing::new(seed),
            listen: vec![loopback],
            peers: Vec::new(),
            network: Network::Private,
            fetch_patience: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a peer could not be started or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The seed is not one of an Ed25519 key, or the network stack refuses it.
    #[error("the peer's identity or network stack could not be set up: {reason}")]
    SetUp {
        /// What libp2p says.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Which one.
        address: Multiaddr,
        /// What the system says.
        reason: String,
    },
    /// A node id is not an Ed25519 public key.
    #[error("{node} is not the id of a peer")]
    NotAPeer {
        /// Which one.
        node: NodeId,
    },
    /// The store failed.
    #[error("the peer could not use its block store")]
    Store(#[source] StoreError),
    /// The peer has been shut down.
    #[error("the peer is shut down")]
    Stopped,
}

/// Counters since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Peers connected now.
    pub connected: u64,
    /// Blocks received that were wanted and had the right hash.
    pub blocks_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Blocks sent.
    pub blocks_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Blocks dropped because nobody had asked for such bytes: changed or invented by the sender.
    pub blocks_refused: u64,
    /// Messages dropped because they were malformed or too long.
    pub messages_refused: u64,
    /// Wants of other peers dropped because their queue was full.
    pub wants_dropped: u64,
    /// Inbound streams refused because too many were open or waiting.
    pub streams_refused: u64,
}

/// A running peer. Clones share it; it ends with [`Peer::shutdown`] or with the last clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    node: NodeId,
    exchange: Exchange,
    commands: mpsc::Sender<swarm::Command>,
    messages: messages::Messages,
    view: Arc<Mutex<View>>,
    streams_refused: Arc<AtomicU64>,
    fetch_patience: Duration,
    swarm: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// What the swarm last said about itself.
#[derive(Default)]
struct View {
    connected: Vec<PeerId>,
    addresses: Vec<Multiaddr>,
}

impl Peer {
    /// Starts a peer over `store` on the current tokio runtime, and returns once it listens. The receiver delivers the
    /// requests of other nodes; when it is dropped they are refused.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn start(config: PeerConfig, store: Store) -> Result<(Self, mpsc::Receiver<Inbound>), PeerError> {
        let mut seed = *config.seed;
        let key = identity::Keypair::ed25519_from_bytes(&mut seed)
            .map_err(|cause| PeerError::SetUp { reason: cause.to_string() })?;
        let node = node_id(&key.public().to_peer_id())
            .ok_or_else(|| PeerError::SetUp { reason: "not an Ed25519 key".into() })?;
        let view = Arc::new(Mutex::new(View::default()));
        let streams_refused = Arc::new(AtomicU64::new(0));
        let parts = swarm::start(key, &config, store, view.clone(), streams_refused.clone()).await?;
        let inner = Inner {
            node,
            exchange: parts.exchange,
            commands: parts.commands,
            messages: parts.messages,
            view,
            streams_refused,
            fetch_patience: config.fetch_patience,
            swarm: Mutex::new(Some(parts.task)),
        };
        Ok((Self(Arc::new(inner)), parts.inbound))
    }

    /// Its node id: the public key behind its peer id.
    pub fn node_id(&self) -> NodeId {
        self.0.node
    }

    /// The addresses it listens on, each with its peer id at the end.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.view().addresses.clone()
    }

    /// The nodes it is connected to now. Peers whose identity is not an Ed25519 key are not nodes.
    pub fn connected(&self) -> Vec<NodeId> {
        self.view().connected.iter().filter_map(node_id).collect()
    }

    /// The store it serves from and fetches into.
    pub fn store(&self) -> &Store {
        self.0.exchange.store()
    }

    /// Stays connected to `peer` from now on.
    ///
    /// # Errors
    /// [`PeerError::NotAPeer`], [`PeerError::Stopped`].
    pub async fn connect(&self, peer: StaticPeer) -> Result<(), PeerError> {
        let id = peer_id(&peer.node).ok_or(PeerError::NotAPeer { node: peer.node })?;
        self.command(swarm::Command::Connect(id, peer.address)).await
    }

    /// Stays connected to whoever is at `address`, which ends with a peer id; peers of other implementations too.
    ///
    /// # Errors
    /// [`PeerError::SetUp`] if the address names no peer; [`PeerError::Stopped`].
    pub async fn connect_address(&self, address: Multiaddr) -> Result<(), PeerError> {
        let Some(Protocol::P2p(id)) = address.iter().last() else {
            return Err(PeerError::SetUp { reason: format!("{address} does not end with a peer id") });
        };
        self.command(swarm::Command::Connect(id, address)).await
    }

    /// One block, from the store or else from whoever has it; it is stored.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn block(&self, cid: &ContentId) -> Result<Block, FetchError> {
        fetch::block(self, cid).await
    }

    /// Fetches every block under `root` into the store, and records the root as kept. A root that is not a UnixFS
    /// vertex is one block. Blocks that are here already are not fetched again, so an interrupted fetch goes on where
    /// it was. Returns the bytes of the file, at most `bytes_max`. Memory does not grow with its size.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch_all(
        &self,
        root: &ContentId,
        bytes_max: u64,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<u64, FetchError> {
        fetch::all(self, root, bytes_max, fetch::Keep::Cached, progress).await
    }

    /// The same, but every block under `root` is here for as long as `hold` lives, and not promised to be longer: nothing is
    /// recorded or synced.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch_held(&self, root: &ContentId, bytes_max: u64, hold: &Hold) -> Result<u64, FetchError> {
        fetch::all(self, root, bytes_max, fetch::Keep::Held(hold), &|_| {}).await
    }

    /// The same, and every block under `root` stays, whatever room is needed; it is on disk when this returns.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch_pinned(&self, root: &ContentId, bytes_max: u64) -> Result<u64, FetchError> {
        fetch::all(self, root, bytes_max, fetch::Keep::Pinned, &|_| {}).await
    }

    /// Tells the network that this peer has `root`, now and again whenever it meets new peers. Roots that were kept
    /// before the start are told without asking.
    ///
    /// # Errors
    /// [`PeerError::Stopped`].
    pub async fn provide(&self, root: &ContentId) -> Result<(), PeerError> {
        self.command(swarm::Command::Provide(root.hash())).await
    }

    /// Who says that they have `cid`, this peer apart. Nothing they say is checked until a block comes from them.
    ///
    /// # Errors
    /// [`PeerError::Stopped`].
    pub async fn find_providers(&self, cid: &ContentId) -> Result<Vec<NodeId>, PeerError> {
        let mut found = self.search(cid).await?;
        let mut nodes = Vec::new();
        while let Some(peer) = found.recv().await {
            let node = node_id(&peer).filter(|node| *node != self.0.node && !nodes.contains(node));
            nodes.extend(node);
        }
        Ok(nodes)
    }

    /// Sends `body` to `node` and returns its answer. At most [`REQUEST_BYTES_MAX`] go and [`RESPONSE_BYTES_MAX`] come.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, node: &NodeId, body: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let peer = peer_id(node).ok_or(RequestError::NotAPeer { node: *node })?;
        self.0.messages.request(peer, body).await
    }

    /// Counters since the start.
    pub fn stats(&self) -> PeerStats {
        let counters = self.0.exchange.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerStats {
            connected: self.view().connected.len() as u64,
            blocks_received: read(&counters.blocks_received),
            bytes_received: read(&counters.bytes_received),
            blocks_sent: read(&counters.blocks_sent),
            bytes_sent: read(&counters.bytes_sent),
            blocks_refused: read(&counters.blocks_refused),
            messages_refused: read(&counters.messages_refused),
            wants_dropped: read(&counters.wants_dropped),
            streams_refused: read(&self.0.streams_refused) + read(&counters.streams_refused),
        }
    }

    /// Closes all connections and waits until the ports are free. Fetches and requests under way fail.
    pub async fn shutdown(&self) {
        let _ = self.command(swarm::Command::Stop).await; // an error says that it has ended already
        let task = self.0.swarm.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await; // it is gone either way
        }
    }

    async fn search(&self, cid: &ContentId) -> Result<mpsc::Receiver<PeerId>, PeerError> {
        let (found, receiver) = mpsc::channel(swarm::PROVIDERS_MAX);
        self.command(swarm::Command::Find(cid.hash(), found)).await?;
        Ok(receiver)
    }

    async fn command(&self, command: swarm::Command) -> Result<(), PeerError> {
        self.0.commands.send(command).await.map_err(|_| PeerError::Stopped)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.0.view)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The peer id of a node, or `None` if its id is not a point of the Ed25519 curve.
pub fn peer_id(node: &NodeId) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The node behind a peer id, or `None` if its key is not an Ed25519 key.
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    const IDENTITY: u64 = 0; // multihash code: short keys are in the peer id itself
    let hash: &cid::multihash::Multihash<64> = peer.as_ref();
    let encoded = (hash.code() == IDENTITY).then(|| hash.digest())?;
    let key = identity::PublicKey::try_decode_protobuf(encoded).ok()?.try_into_ed25519().ok()?;
    Some(model::AccountId(key.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_and_peer_ids_convert_both_ways() {
        for _ in 0..8 {
            let key = identity::Keypair::generate_ed25519();
            let peer = key.public().to_peer_id();
            let node = node_id(&peer).unwrap();
            assert_eq!(peer_id(&node), Some(peer));
            assert_eq!(node.0, key.try_into_ed25519().unwrap().public().to_bytes());
        }
    }

    #[test]
    fn a_random_peer_id_is_no_node() {
        assert_eq!(node_id(&PeerId::random()), None);
    }

    #[test]
    fn accounts_without_a_key_are_no_peers() {
        // not every 32 bytes are a point of the curve
        let bad = (0..=255).map(|byte| model::AccountId([byte; 32])).filter(|id| peer_id(id).is_none()).count();
        assert!(bad > 0);
    }
}
