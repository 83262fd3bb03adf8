//! A running node: assembly only. Every part has an owner, a bound and a way to stop.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use consensus::{FinalizedBlock, Subscription};
use content::{Inbound, Network, Peer, PeerConfig, PeerError, StaticPeer, Store, StoreError};
use custody::NodeIdentity;
use model::Genesis;
use sandbox::{Sandbox, SandboxConfig, SandboxError};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use zeroize::Zeroizing;

use crate::{
    account::Account,
    api::{self, Api},
    appraiser::{Appraising, AttestationError, Reappraiser, TpmParts},
    chain::Chain,
    config::{Config, Layout},
    custodian::{Custody, CustodyError},
    executor::Executor,
    handles::Handles,
    index::{BlockFacts, Index},
    machine::Ledger,
    peers::{self, STORE_PATIENCE},
    storage::{Content, Storage},
};

/// Most bytes of blocks on this disk.
const STORE_BYTES_MAX: u64 = 1 << 40;
/// A fetch that has received nothing new for this long gives up.
const FETCH_PATIENCE: Duration = Duration::from_secs(15);
/// How long the node may stand still before it says so.
const STANDSTILL: Duration = Duration::from_secs(30);
/// How long answers under way may take while the node stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// What only the measured process of an approved program gets.
pub(crate) struct Secrets {
    pub(crate) identity: NodeIdentity,
    /// Its share of the network key.
    pub(crate) share: Zeroizing<Vec<u8>>,
    pub(crate) tpm: TpmParts,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No threads.
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] io::Error),
    /// The API's address.
    #[error("cannot listen on {address} for the API")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The ledger engine.
    #[error("the ledger does not start")]
    Consensus(#[from] consensus::StartError),
    /// The block store.
    #[error("the block store does not open")]
    Store(#[from] StoreError),
    /// The content peer.
    #[error("the content peer does not start")]
    Peer(#[from] PeerError),
    /// The sandbox.
    #[error("the sandbox does not start")]
    Sandbox(#[from] SandboxError),
    /// Shares and releases.
    #[error("the custody folder does not open")]
    Custody(#[from] CustodyError),
    /// The TPM.
    #[error("the TPM does not take part in attestation")]
    Attestation(#[from] AttestationError),
}

impl StartError {
    /// What to do next.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Listen { .. }
            | Self::Peer(PeerError::Listen { .. })
            | Self::Consensus(consensus::StartError::Listen { .. }) => {
                "is this node, or something else, listening there already? [listen] in node.toml says where".into()
            }
            Self::Store(StoreError::InUse { .. }) => "is this node running already?".into(),
            Self::Consensus(
                consensus::StartError::NotValidator(_)
                | consensus::StartError::OtherNetwork { .. }
                | consensus::StartError::Genesis
                | consensus::StartError::Keys(_)
                | consensus::StartError::Peer(_),
            )
            | Self::Custody(CustodyError::NotApproved(_))
            | Self::Attestation(AttestationError::NotApproved(_)) => {
                "does node.toml name the genesis, and the peers, of the network that this node was made for?".into()
            }
            Self::Sandbox(_) => "guests need Linux 5.13 or later with landlock and seccomp".into(),
            Self::Runtime(_) | Self::Consensus(consensus::StartError::Thread(_)) => {
                "close other programs and try again".into()
            }
            Self::Consensus(consensus::StartError::Identity) => {
                "is this the TPM, and the folder, that the node was set up with?".into()
            }
            Self::Consensus(consensus::StartError::Engine) => "the lines above name the cause".into(),
            Self::Consensus(_) | Self::Peer(_) | Self::Store(_) | Self::Custody(_) => {
                "check the disk; restore the node's whole folder from one backup if it is damaged".into()
            }
            Self::Attestation(_) => "is this the TPM that the node was set up with?".into(),
        }
    }
}

/// A node that runs.
pub(crate) struct Node {
    chain: Chain,
    content: Content,
    stop: watch::Sender<bool>,
    /// Parts that must not end before the node does; each returns its name.
    parts: Mutex<JoinSet<&'static str>>,
    server: tokio::task::JoinHandle<()>,
}

impl Node {
    /// Starts everything.
    pub(crate) async fn start(config: Config, genesis: Genesis, secrets: Secrets) -> Result<Self, StartError> {
        let Secrets { identity, share, tpm } = secrets;
        let (identity, genesis) = (Arc::new(identity), Arc::new(genesis));
        let listener = TcpListener::bind(config.api).await;
        let listener = listener.map_err(|cause| StartError::Listen { address: config.api, cause })?;
        let sandbox = crate::blocking(|| Sandbox::new(SandboxConfig::this_program())).await?;
        let (peer, inbound) = start_peer(&config, &identity).await?;
        let chain = start_chain(&config, &genesis, &identity, share).await?;
        let handles = Handles::new(chain, peer, identity);
        let roles = Roles::new(&handles, &config.layout, tpm, sandbox).await?;
        let api = Arc::new(Api::new(handles.clone(), &roles));
        let parts = roles.begin(&handles, inbound).await;
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(listener, api, stopped));
        let node = handles.identity.node_id();
        tracing::info!(%node, api = %config.api, network = %genesis.network_id(), "node runs");
        Ok(Self { chain: handles.chain, content: handles.content, stop, parts: Mutex::new(parts), server })
    }

    /// Returns when the node is told to stop, or with the name of a part that ended by itself.
    pub(crate) async fn until(&self, told_to_stop: impl Future<Output = ()>) -> Option<&'static str> {
        let mut parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let ended = tokio::select! {
            () = told_to_stop => None,
            () = self.chain.consensus().stopped() => Some("consensus"),
            Some(part) = parts.join_next() => Some(part.unwrap_or("a part that panicked")),
        };
        tracing::info!("node stops");
        parts.abort_all();
        ended
    }

    /// Stops everything; nothing that was promised is lost.
    pub(crate) async fn shutdown(self) {
        self.stop.send_replace(true);
        // Streams of events may stay open for an hour: they are cut.
        let abort = self.server.abort_handle();
        if tokio::time::timeout(FAREWELL, self.server).await.is_err() {
            abort.abort();
        }
        self.chain.consensus().shutdown().await;
        self.content.shutdown().await;
    }
}

/// What a node does for its network.
#[derive(Clone)]
pub(crate) struct Roles {
    pub(crate) storage: Arc<Storage>,
    pub(crate) custody: Arc<Custody>,
    pub(crate) appraising: Arc<Appraising>,
    pub(crate) executor: Arc<Executor>,
}

impl Roles {
    async fn new(handles: &Handles, layout: &Layout, tpm: TpmParts, sandbox: Sandbox) -> Result<Self, StartError> {
        let account = Account::start(handles.clone());
        let reappraiser = Reappraiser::new(handles.clone());
        let custody = Arc::new(Custody::open(handles.clone(), layout, account.clone(), reappraiser)?);
        let storage = Arc::new(Storage::new(handles.clone()));
        let appraising = Arc::new(Appraising::new(handles.clone(), account.clone(), tpm).await?);
        let executor = Executor::new(handles.clone(), storage.clone(), custody.clone(), account, sandbox);
        Ok(Self { storage, custody, appraising, executor: Arc::new(executor) })
    }

    /// Sets everybody to work, in an order that loses nothing: what was final before is known before anybody acts on it.
    async fn begin(self, handles: &Handles, inbound: mpsc::Receiver<Inbound>) -> JoinSet<&'static str> {
        let (chain, index) = (&handles.chain, &handles.index);
        let mut parts = JoinSet::new();
        parts.spawn(follow(index.clone(), chain.consensus().subscribe(1)));
        parts.spawn(named("peer answers", peers::serve(handles.clone(), self.clone(), inbound)));
        catch_up(chain, index).await;
        self.custody.resume();
        parts.spawn(named("custody", self.custody.clone().observe()));
        parts.spawn(named("custody appraisals", self.custody.appraise_ahead()));
        parts.spawn(named("executor", self.executor.serve()));
        parts.spawn(named("attestation", self.appraising.keep_verdict()));
        parts.spawn(named("watchdog", watch_standstill(index.clone())));
        parts
    }
}

async fn named(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

async fn start_peer(config: &Config, identity: &NodeIdentity) -> Result<(Peer, mpsc::Receiver<Inbound>), StartError> {
    let (dir, cache_bytes) = (config.layout.blocks(), config.cache_bytes);
    let open = move || Store::open_with_cache(&dir, STORE_BYTES_MAX, cache_bytes);
    let store = crate::blocking(open).await?;
    if !content::names_are_known() {
        tracing::warn!(
            "this machine has no resolver (/etc/resolv.conf): content peers are reached by IP addresses only"
        );
    }
    let peer = |peer: &crate::config::Peer| StaticPeer { node: peer.node, address: peer.content.clone() };
    let peer_config = PeerConfig {
        seed: identity.expose_signing_seed(),
        listen: vec![config.content.clone()],
        peers: config.peers.iter().map(peer).collect(),
        network: Network::Private,
        fetch_patience: FETCH_PATIENCE,
        // The longest of any question; the others have bounds of their own.
        request_timeout: STORE_PATIENCE,
    };
    Ok(Peer::start(peer_config, store).await?)
}

async fn start_chain(
    config: &Config,
    genesis: &Arc<Genesis>,
    identity: &NodeIdentity,
    share: Zeroizing<Vec<u8>>,
) -> Result<Chain, StartError> {
    let machine = Arc::new(Ledger::new(genesis.clone()));
    let seed = identity.expose_signing_seed();
    let (storage, listen) = (config.layout.ledger(), config.consensus);
    let peers = config.peers.iter().map(|peer| (peer.node, peer.consensus)).collect();
    let of = genesis.clone();
    let consensus = crate::blocking(move || {
        let config = consensus::Config {
            network: of.network_id(),
            genesis: &of,
            identity: seed,
            share,
            storage,
            listen,
            peers,
            timing: consensus::Timing::default(),
            retention: consensus::Retention::default(),
        };
        consensus::start(config, machine)
    })
    .await?;
    Ok(Chain::new(consensus, genesis.clone()))
}

/// Fills the index with every block from the first on.
async fn follow(index: Arc<Index>, mut blocks: Subscription) -> &'static str {
    loop {
        match blocks.next().await {
            Ok(Some(block)) => read_block(&index, &block),
            Ok(None) => return "the ledger",
            Err(cause) => {
                tracing::error!(error = %crate::chain_of(&cause), "the ledger cannot be read");
                return "the ledger";
            }
        }
    }
}

fn read_block(index: &Index, block: &FinalizedBlock) {
    let facts = BlockFacts { height: block.height, time_ms: block.time_ms, records: &block.records };
    for place in index.read_block(&facts) {
        tracing::error!(place, height = block.height, "a record of the ledger cannot be read; update this node");
    }
}

/// Waits until the index has read what was final when the node started: before that, settled tasks would look open.
async fn catch_up(chain: &Chain, index: &Index) {
    let height = chain.consensus().tip().height;
    let mut blocks = index.watch();
    // An error means that nobody fills the index any more; the node is about to stop.
    let _ = blocks.wait_for(|tip| tip.height >= height).await;
}

/// Says so when the ledger stands still: fewer than two thirds of the validators can be reached.
async fn watch_standstill(index: Arc<Index>) {
    let mut blocks = index.watch();
    loop {
        match tokio::time::timeout(STANDSTILL, blocks.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                let height = index.tip().height;
                tracing::warn!(height, "no new block for {STANDSTILL:?}: too few validators can be reached");
            }
        }
    }
}

async fn serve(listener: TcpListener, api: Arc<Api>, mut stopped: watch::Receiver<bool>) {
    let until = async move {
        // An error means that the node is gone, which is a reason to stop as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    if let Err(cause) =
        axum::serve(api::listener::Bounded::new(listener), api::router(api)).with_graceful_shutdown(until).await
    {
        tracing::error!(%cause, "the API ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_check_the_disk_for_what_is_no_fault_of_it() {
        use consensus::StartError as Cause;
        let cause = || io::ErrorKind::Other.into();
        let hint = |cause| StartError::Consensus(cause).hint();
        let listen = Cause::Listen { address: ([127, 0, 0, 1], 1).into(), cause: cause() };
        for other in [listen, Cause::Thread(cause()), Cause::Genesis, Cause::Identity, Cause::Engine] {
            let name = format!("{other:?}");
            assert!(!hint(other).contains("disk"), "{name}");
        }
        assert!(hint(Cause::Storage { folder: "/nowhere".into(), cause: cause() }).contains("disk"));
    }
}
