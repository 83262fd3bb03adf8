//! A validator on its own thread, with its own runtime, sockets and files. Not generic: nobody who calls it compiles the
//! engine again.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_cryptography::{ChaCha20Poly1305, Signer as _, ed25519};
use commonware_p2p::{Address, AddressableManager as _, authenticated::lookup};
use commonware_runtime::{Quota, Runner as _, Supervisor as _, tokio as runtime};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, TryCollect as _, ordered::Map};
use finality::engine::Scheme;
use model::{Genesis, NetworkId, NodeId};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::{
    Consensus, Machine,
    app::genesis_block,
    block::{Block, public_key},
    core::Core,
    deal::{DealError, signer},
    engine,
    journal::{Journal, JournalError},
    service::REQUESTS_MAX,
    settings,
};

/// Messages a second that a peer may send on one channel. The engine reserves room for as many messages of every peer on
/// every channel, so this is what its memory depends on.
const QUOTA: NonZeroU32 = NZU32!(128);
const NETWORK_MAILBOX: NonZeroUsize = NZUsize!(1_024);
/// The engine's futures are large, above all where the compiler does not optimise.
const STACK_BYTES: usize = 16 << 20;
const WORKERS: usize = 2;
/// Everything of the engine stands under this name in the storage folder.
const PARTITION: &str = "validator";

/// How to run a validator.
pub struct Config<'a> {
    /// Digest of the genesis.
    pub network: NetworkId,
    /// The network's beginning: committee, key, polynomial, time.
    pub genesis: &'a Genesis,
    /// Secret part of the node's Ed25519 key, which is also its identity towards the other validators.
    pub identity: Zeroizing<[u8; 32]>,
    /// Its share of the network key, as [`crate::deal()`] made it.
    pub share: Zeroizing<Vec<u8>>,
    /// A folder of its own. All of it belongs together: copy or lose it as a whole.
    pub storage: PathBuf,
    /// Where to listen for the other validators.
    pub listen: SocketAddr,
    /// Where the other validators listen.
    pub peers: Vec<(NodeId, SocketAddr)>,
    /// How patient it is.
    pub timing: Timing,
    /// How much of the past it keeps.
    pub retention: Retention,
}

/// How much stays on disk that is no longer needed.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// The journal is compacted in parts of so many bytes.
    pub part_bytes: u32,
    /// Values of the state are kept for so many blocks after they were replaced, and at least for the few that a validator
    /// replays after it was killed.
    pub replaced_blocks: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { part_bytes: 4 << 20, replaced_blocks: 256 }
    }
}

/// How patient a validator is.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Longest time between two blocks while there is nothing to do. Less than `leader`.
    pub heartbeat: Duration,
    /// How long to wait for a leader's block.
    pub leader: Duration,
    /// How long to wait for a block's certificate. More than `leader`.
    pub certification: Duration,
    /// After which time votes to leave a view are sent again.
    pub retry: Duration,
    /// How often one peer may be connected to.
    pub reconnect: Duration,
    /// Handshakes a second from one address. Development networks have many nodes on one.
    pub handshakes: NonZeroU32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            leader: Duration::from_secs(2),
            certification: Duration::from_secs(3),
            retry: Duration::from_secs(1),
            reconnect: Duration::from_millis(500),
            handshakes: NZU32!(64),
        }
    }
}

/// Why a validator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The genesis is for another network than the configuration.
    #[error("this genesis belongs to network {found}, the configuration names {expected}")]
    OtherNetwork {
        /// What the configuration says.
        expected: NetworkId,
        /// What the genesis is.
        found: NetworkId,
    },
    /// The genesis does not make a first block.
    #[error("the genesis does not name a first validator with an Ed25519 key")]
    Genesis,
    /// The node's identity cannot be used.
    #[error("the node's identity is not an Ed25519 key")]
    Identity,
    /// Genesis or share cannot be used.
    #[error("the validator's key material cannot be used")]
    Keys(#[source] DealError),
    /// The identity is not one of the genesis.
    #[error("{0} is no validator of this network")]
    NotValidator(NodeId),
    /// A peer cannot be reached as configured.
    #[error("{0} is not an Ed25519 key, or is listed twice")]
    Peer(NodeId),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for other validators")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The folder cannot be used.
    #[error("the ledger's folder {folder} cannot be used")]
    Storage {
        /// Which.
        folder: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The ledger on disk cannot be used.
    #[error("the ledger on this node's disk cannot be used")]
    Journal(#[source] JournalError),
    /// The engine gets no thread of its own.
    #[error("this machine gives consensus no thread to run on")]
    Thread(#[source] io::Error),
    /// The engine ended while it started; the log names the cause.
    #[error("consensus ended while it started; see the log")]
    Engine,
}

/// Everything that was checked before the engine's thread starts.
struct Ready {
    identity: ed25519::PrivateKey,
    scheme: Scheme,
    addresses: Map<ed25519::PublicKey, Address>,
    members: NonZeroUsize,
    namespace: Vec<u8>,
    genesis: Block,
    journal: Journal,
    storage: PathBuf,
    listen: SocketAddr,
    timing: Timing,
    retention: Retention,
}

/// Starts a validator that orders transactions for `machine`. Blocks until it has opened its storage.
///
/// # Errors
/// [`StartError`].
pub fn start(config: Config<'_>, machine: Arc<dyn Machine>) -> Result<Consensus, StartError> {
    let ready = check(config)?;
    let (started, starting) = sync_channel(1);
    let (ended_sender, ended) = watch::channel(false);
    thread::Builder::new()
        .name("consensus".to_owned())
        .spawn(move || {
            supervise(ready, machine, started);
            ended_sender.send_replace(true);
        })
        .map_err(StartError::Thread)?;
    let (core, requests, stop) = starting.recv().map_err(|_| StartError::Engine)??;
    Ok(Consensus { core, requests, stop: Arc::new(stop), ended })
}

type Started = Result<(Arc<Core>, mpsc::Sender<crate::service::Request>, watch::Sender<bool>), StartError>;

/// Runs the engine on a thread with a large stack, and says how it ended.
fn supervise(ready: Ready, machine: Arc<dyn Machine>, started: SyncSender<Started>) {
    let runner = thread::Builder::new().name("consensus-runtime".to_owned()).stack_size(STACK_BYTES);
    let report = started.clone();
    // The engine panics where it cannot go on, and its runtime carries the panic here.
    match runner.spawn(move || run(ready, machine, &report)).map(thread::JoinHandle::join) {
        Ok(Ok(())) => tracing::info!("consensus has stopped"),
        Ok(Err(_)) => tracing::error!("consensus has failed"),
        Err(cause) => {
            // Whoever waits for it may have gone.
            let _ = started.send(Err(StartError::Thread(cause)));
        }
    }
}

fn check(config: Config<'_>) -> Result<Ready, StartError> {
    let Config { network, genesis, identity, share, storage, listen, peers, timing, retention } = config;
    let found = genesis.network_id();
    if found != network {
        return Err(StartError::OtherNetwork { expected: network, found });
    }
    let identity =
        ed25519::PrivateKey::decode(Bytes::copy_from_slice(&identity[..])).map_err(|_| StartError::Identity)?;
    let me = identity.public_key();
    let node = NodeId::from_slice(&me).ok_or(StartError::Identity)?;
    let (members, scheme) = signer(genesis, &share).map_err(StartError::Keys)?;
    if members.position(&me).is_none() {
        return Err(StartError::NotValidator(node));
    }
    let mut addresses = vec![(me, Address::from(listen))];
    for (peer, address) in peers.into_iter().filter(|(peer, _)| *peer != node) {
        let key = public_key(&peer).ok_or(StartError::Peer(peer))?;
        if addresses.iter().any(|(known, _)| *known == key) {
            return Err(StartError::Peer(peer));
        }
        addresses.push((key, Address::from(address)));
    }
    let addresses: Map<_, _> = addresses.into_iter().try_collect().map_err(|_| StartError::Peer(node))?;
    let first_block = genesis_block::<runtime::Context>(genesis, &network).ok_or(StartError::Genesis)?;
    // The engine would panic later; here it is an error.
    TcpListener::bind(listen).map_err(|cause| StartError::Listen { address: listen, cause })?;
    let folder = storage.clone();
    std::fs::create_dir_all(&storage).map_err(|cause| StartError::Storage { folder, cause })?;
    let journal = Journal::open(&storage.join("journal"), retention.part_bytes).map_err(StartError::Journal)?;
    Ok(Ready {
        identity,
        scheme,
        members: NonZeroUsize::new(addresses.len().max(members.len())).unwrap_or(NonZeroUsize::MIN),
        addresses,
        namespace: model::domain(&network, "validators").into_bytes(),
        genesis: first_block,
        journal,
        storage,
        listen,
        timing,
        retention,
    })
}

/// Runs the engine on this thread until it is told to stop or fails.
fn run(ready: Ready, machine: Arc<dyn Machine>, started: &SyncSender<Started>) {
    let config = runtime::Config::new()
        .with_storage_directory(ready.storage.join("engine"))
        .with_worker_threads(WORKERS)
        .with_thread_stack_size(STACK_BYTES);
    runtime::Runner::new(config).start(|context| async move {
        let core = match Core::new(machine, ready.journal, &ready.genesis) {
            Ok(core) => Arc::new(core),
            Err(cause) => {
                let _ = started.send(Err(StartError::Journal(cause)));
                return;
            }
        };
        let me = ready.identity.public_key();
        let members = ready.members;
        let (mut network, mut oracle) = lookup::Network::new(
            context.child("network"),
            network_config(ready.identity, ready.namespace, ready.listen, members, &ready.timing),
        );
        oracle.track(0, ready.addresses);
        let channels =
            engine::CHANNELS.iter().map(|channel| network.register(*channel, Quota::per_second(QUOTA))).collect();
        network.start();
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let engine = engine::start(
            context.child("validator"),
            engine::Parts {
                me,
                scheme: ready.scheme,
                peers: oracle.clone(),
                blocker: oracle,
                partition: PARTITION.to_owned(),
                timing: ready.timing,
                retention: ready.retention,
                genesis: ready.genesis,
                core: core.clone(),
                requests: received,
            },
            channels,
        )
        .await;
        let (stop, mut stopped) = watch::channel(false);
        if started.send(Ok((core, requests, stop))).is_err() {
            return;
        }
        tokio::select! {
            _ = engine => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    });
}

fn network_config(
    identity: ed25519::PrivateKey,
    namespace: Vec<u8>,
    listen: SocketAddr,
    members: NonZeroUsize,
    timing: &Timing,
) -> lookup::Config<Cups<Sake<ed25519::PrivateKey>, ChaCha20Poly1305>> {
    let handshake = Cups::<_, ChaCha20Poly1305>::new(
        Sake {
            signer: identity,
            synchrony_bound: Duration::from_secs(5),
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let message_bytes_max = settings::message_bytes_max(u32::try_from(members.get()).unwrap_or(u32::MAX));
    let mut config = lookup::Config::local(handshake, &namespace, listen, members, message_bytes_max, NETWORK_MAILBOX);
    config.peer_connection_cooldown = timing.reconnect;
    config.dial_frequency = timing.reconnect / 2;
    config.allowed_handshake_rate_per_ip = Quota::per_second(timing.handshakes);
    config.allowed_handshake_rate_per_subnet = Quota::per_second(timing.handshakes);
    config.ping_frequency = Duration::from_secs(2);
    // There is one set of peers; the engine reserves memory for each that is tracked.
    config.tracked_peer_sets = NZUsize!(1);
    config
}
