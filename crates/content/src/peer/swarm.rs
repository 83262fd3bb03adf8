//! The swarm: transports, identity, look-ups, and the connections to static peers. One task owns it; everybody else
//! sends it commands.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    core::transport::{ListenerId, dummy::DummyTransport},
    identify, identity,
    kad::{
        self, GetProvidersOk, InboundRequest, ProviderRecord, QueryId, QueryResult, RecordKey,
        store::{MemoryStore, MemoryStoreConfig, RecordStore},
    },
    multiaddr::Protocol,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts, dial_opts::PeerCondition},
    tcp, yamux,
};
use model::Digest;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    AGENT, Network, PeerConfig, PeerError, View,
    foreign::{RECORDS_MAX, Records, learn_addresses},
    lock,
    messages::{self, Inbound, Known, Messages},
    peer_id, streams,
};
use crate::{Store, bitswap, bitswap::exchange::Exchange, block::SHA2_256};

/// Most providers reported by one search.
pub(crate) const PROVIDERS_MAX: usize = 64;
/// Commands waiting for the swarm; those above wait in their callers.
const COMMANDS_MAX: usize = 64;
/// Keys in the look-up table, our own and those that others store with us.
const KEYS_MAX: usize = 1 << 16;
const _: () = assert!(RECORDS_MAX < KEYS_MAX, "some are for our own");
/// How long what others store with us is kept, as long as everybody does on IPFS; and how often what has expired is removed.
const RECORD_TTL: Duration = Duration::from_secs(48 * 60 * 60);
const EXPIRY_CHECK: Duration = Duration::from_secs(60);
/// Own keys told to the network per tick.
const ANNOUNCED_PER_TICK: usize = 32;
/// In a table of at most this many peers every new one is told all our keys.
const SMALL_TABLE: usize = 20;
const TICK: Duration = Duration::from_millis(250);
const REDIAL_MIN: Duration = Duration::from_millis(250);
const REDIAL_MAX: Duration = Duration::from_secs(30);
const CONNECTIONS_INBOUND_MAX: u32 = 256;
const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Streams of a connection that have not said yet which protocol they speak.
const STREAMS_NEGOTIATING_MAX: usize = 64;
/// A connection without streams is closed after this long.
const IDLE: Duration = Duration::from_secs(600);
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What others ask of the swarm.
pub(crate) enum Command {
    /// Tell the network that we have this.
    Provide(Digest),
    /// Find who has this; the channel closes at the end.
    Find(Digest, mpsc::Sender<PeerId>),
    /// Stay connected.
    Connect(PeerId, Multiaddr),
    /// End.
    Stop,
}

/// What a started swarm consists of.
pub(crate) struct Parts {
    pub(crate) exchange: Exchange,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) messages: Messages,
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) task: JoinHandle<()>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
    bitswap: streams::Behaviour,
    messages: streams::Behaviour,
}

/// Builds the swarm, waits until it listens, and starts the tasks around it.
pub(crate) async fn start(
    key: identity::Keypair,
    config: &PeerConfig,
    store: Store,
    view: Arc<Mutex<View>>,
    streams_refused: Arc<AtomicU64>,
) -> Result<Parts, PeerError> {
    let (bitswap, bitswap_control, bitswap_incoming) =
        streams::Behaviour::new(StreamProtocol::new(bitswap::PROTOCOL), streams_refused.clone());
    let (messages, messages_control, messages_incoming) =
        streams::Behaviour::new(StreamProtocol::new(messages::PROTOCOL), streams_refused);
    let mut swarm = build(key, config.network, bitswap, messages, names_are_known())?;
    listen(&mut swarm, &config.listen, &view).await?;
    let provided = kept_roots(store.clone()).await?;
    let known = Known::default();
    let exchange = Exchange::start(bitswap_control, bitswap_incoming, store, known.clone());
    let (messages, inbound) =
        Messages::start(messages_control, messages_incoming, config.request_timeout, known.clone());
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let mut driver = Driver::new(swarm, config.network, commands, exchange.clone(), view, known);
    for digest in provided {
        driver.provide(&digest);
    }
    for peer in &config.peers {
        let id = peer_id(&peer.node).ok_or(PeerError::NotAPeer { node: peer.node })?;
        driver.connect(id, peer.address.clone());
    }
    let task = tokio::spawn(driver.run());
    Ok(Parts { exchange, commands: sender, messages, inbound, task })
}

fn build(
    key: identity::Keypair,
    network: Network,
    bitswap: streams::Behaviour,
    messages: streams::Behaviour,
    with_names: bool,
) -> Result<Swarm<Behaviour>, PeerError> {
    let set_up = |reason: String| PeerError::SetUp { reason };
    let behaviour = |key: &identity::Keypair| Behaviour {
        limits: connection_limits::Behaviour::new(
            ConnectionLimits::default()
                .with_max_established_incoming(Some(CONNECTIONS_INBOUND_MAX))
                .with_max_pending_incoming(Some(CONNECTIONS_INBOUND_MAX))
                .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX)),
        ),
        identify: identify::Behaviour::new(
            identify::Config::new("ipfs/0.1.0".into(), key.public())
                .with_agent_version(format!("{AGENT}{}", env!("CARGO_PKG_VERSION"))),
        ),
        ping: ping::Behaviour::default(),
        kad: lookup_table(key.public().to_peer_id(), network),
        bitswap,
        messages,
    };
    let builder = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|cause| set_up(cause.to_string()))?
        .with_quic();
    let bounded = |config: libp2p::swarm::Config| {
        config.with_idle_connection_timeout(IDLE).with_max_negotiating_inbound_streams(STREAMS_NEGOTIATING_MAX)
    };
    Ok(if with_names {
        let builder = builder.with_dns().map_err(|cause| set_up(cause.to_string()))?;
        let builder = builder.with_behaviour(behaviour).map_err(|cause| set_up(cause.to_string()))?;
        builder.with_swarm_config(bounded).build()
    } else {
        let builder = builder.with_behaviour(behaviour).map_err(|cause| set_up(cause.to_string()))?;
        builder.with_swarm_config(bounded).build()
    })
}

/// Whether this machine knows whom to ask for names. Without (there is no /etc/resolv.conf, as in small containers), peers are
/// reached by their IP addresses alone.
pub fn names_are_known() -> bool {
    libp2p::dns::tokio::Transport::system(DummyTransport::<()>::new()).is_ok()
}

fn lookup_table(local: PeerId, network: Network) -> kad::Behaviour<MemoryStore> {
    // only provider records: values have no use here
    let store = MemoryStoreConfig { max_records: 0, max_provided_keys: KEYS_MAX, ..MemoryStoreConfig::default() };
    let mut config = kad::Config::new(protocol(network));
    config.set_record_filtering(kad::StoreInserts::FilterBoth);
    config.set_provider_record_ttl(Some(RECORD_TTL));
    let mut table = kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    if network == Network::Private {
        table.set_mode(Some(kad::Mode::Server));
    }
    table
}

fn protocol(network: Network) -> StreamProtocol {
    StreamProtocol::new(match network {
        Network::Private => "/ipfs/lan/kad/1.0.0",
        Network::Public => "/ipfs/kad/1.0.0",
    })
}

async fn kept_roots(store: Store) -> Result<Vec<Digest>, PeerError> {
    let roots = tokio::task::spawn_blocking(move || store.roots()).await.map_err(|_| PeerError::Stopped)?;
    Ok(roots.map_err(PeerError::Store)?.into_iter().map(|(root, _)| root.hash()).collect())
}

/// Listens, and waits until every listener has told its first address.
async fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Multiaddr], view: &Mutex<View>) -> Result<(), PeerError> {
    let mut pending: HashMap<ListenerId, Multiaddr> = HashMap::new();
    for address in addresses {
        let failed = |reason: String| PeerError::Listen { address: address.clone(), reason };
        check_free(address).map_err(|cause| failed(cause.to_string()))?;
        let id = swarm.listen_on(address.clone()).map_err(|cause| failed(cause.to_string()))?;
        pending.insert(id, address.clone());
    }
    let deadline = tokio::time::Instant::now() + LISTEN_TIMEOUT;
    while let Some(address) = pending.values().next().cloned() {
        match tokio::time::timeout_at(deadline, swarm.select_next_some()).await {
            Ok(SwarmEvent::NewListenAddr { listener_id, address }) => {
                pending.remove(&listener_id);
                lock(view).addresses.push(address.with(Protocol::P2p(*swarm.local_peer_id())));
            }
            Ok(SwarmEvent::ListenerClosed { listener_id, reason, .. }) if pending.contains_key(&listener_id) => {
                let reason = format!("{reason:?}");
                return Err(PeerError::Listen { address, reason });
            }
            Ok(_) => {}
            Err(_) => return Err(PeerError::Listen { address, reason: "no address was assigned".into() }),
        }
    }
    Ok(())
}

/// The transport shares its port with any program that is willing to, so that it can dial from it: two nodes on one address would
/// each get some of the other's connections.
fn check_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) => std::net::TcpListener::bind((ip, port)).map(drop),
        Some(Protocol::Udp(port)) => std::net::UdpSocket::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// A peer we stay connected to.
struct Static {
    address: Multiaddr,
    dial_at: Instant,
    wait: Duration,
}

struct Driver {
    swarm: Swarm<Behaviour>,
    network: Network,
    commands: mpsc::Receiver<Command>,
    exchange: Exchange,
    view: Arc<Mutex<View>>,
    known: Known,
    statics: HashMap<PeerId, Static>,
    searches: HashMap<QueryId, Search>,
    provided: HashSet<RecordKey>,
    /// Own keys that the network is to be told, oldest first.
    unannounced: VecDeque<RecordKey>,
    /// A new peer has come: everything is to be told again.
    new_peer: bool,
    table_peers: HashSet<PeerId>,
    foreign: Records,
    expiry_checked: Instant,
}

/// Somebody looks for providers.
struct Search {
    found: mpsc::Sender<PeerId>,
    /// How many more it is told of: whoever answers may make up as many as it likes.
    left: usize,
}

impl Search {
    fn tell(&mut self, providers: impl Iterator<Item = PeerId>) {
        for provider in providers {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let _ = self.found.try_send(provider); // nobody waits any more
        }
    }
}

impl Driver {
    fn new(
        mut swarm: Swarm<Behaviour>,
        network: Network,
        commands: mpsc::Receiver<Command>,
        exchange: Exchange,
        view: Arc<Mutex<View>>,
        known: Known,
    ) -> Self {
        let addresses = lock(&view).addresses.clone();
        if network == Network::Private {
            // nobody translates addresses here: what we listen on is where others find us
            addresses.into_iter().for_each(|address| swarm.add_external_address(address));
        }
        Self {
            swarm,
            network,
            commands,
            exchange,
            view,
            known,
            statics: HashMap::new(),
            searches: HashMap::new(),
            provided: HashSet::new(),
            unannounced: VecDeque::new(),
            new_peer: false,
            table_peers: HashSet::new(),
            foreign: Records::default(),
            expiry_checked: Instant::now(),
        }
    }

    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle(event),
                command = self.commands.recv() => match command {
                    Some(Command::Provide(digest)) => self.provide(&digest),
                    Some(Command::Find(digest, found)) => self.find(&digest, found),
                    Some(Command::Connect(peer, address)) => self.connect(peer, address),
                    Some(Command::Stop) | None => return,
                },
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn provide(&mut self, digest: &Digest) {
        let key = key_of(digest);
        if self.provided.insert(key.clone()) {
            self.unannounced.push_front(key);
            self.announce(1);
        }
    }

    fn find(&mut self, digest: &Digest, found: mpsc::Sender<PeerId>) {
        let query = self.swarm.behaviour_mut().kad.get_providers(key_of(digest));
        self.searches.insert(query, Search { found, left: PROVIDERS_MAX });
    }

    fn connect(&mut self, peer: PeerId, address: Multiaddr) {
        if peer == *self.swarm.local_peer_id() {
            return;
        }
        lock(&self.known).insert(peer);
        // Strangers may use up the connections there are, but not theirs.
        self.swarm.behaviour_mut().limits.bypass_peer_id(&peer);
        self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
        self.statics.insert(peer, Static { address, dial_at: Instant::now(), wait: REDIAL_MIN });
        self.dial_statics();
    }

    fn tick(&mut self) {
        self.dial_statics();
        if self.new_peer && self.unannounced.is_empty() {
            self.new_peer = false;
            self.unannounced.extend(self.provided.iter().cloned());
        }
        self.announce(ANNOUNCED_PER_TICK);
        self.forget_expired();
    }

    /// The table itself forgets records only when somebody asks for them.
    fn forget_expired(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.expiry_checked) < EXPIRY_CHECK {
            return;
        }
        self.expiry_checked = now;
        let store = self.swarm.behaviour_mut().kad.store_mut();
        for (key, provider) in self.foreign.expired(now) {
            store.remove_provider(&key, &provider);
        }
    }

    fn dial_statics(&mut self) {
        let now = Instant::now();
        for (peer, known) in &mut self.statics {
            if now < known.dial_at || self.swarm.is_connected(peer) {
                continue;
            }
            known.dial_at = now + known.wait;
            known.wait = (known.wait * 2).min(REDIAL_MAX);
            let opts = DialOpts::peer_id(*peer)
                .addresses(vec![known.address.clone()])
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .build();
            let _ = self.swarm.dial(opts); // it is dialled again at the next turn
        }
    }

    fn announce(&mut self, keys_max: usize) {
        if self.table_peers.is_empty() {
            return;
        }
        for _ in 0..keys_max {
            let Some(key) = self.unannounced.pop_front() else { return };
            if self.swarm.behaviour_mut().kad.start_providing(key.clone()).is_err() {
                self.unannounced.push_back(key); // the table is full; some may expire
                return;
            }
        }
    }

    fn handle(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, num_established, .. } if num_established.get() == 1 => {
                self.connected(peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.disconnected(peer_id),
            SwarmEvent::NewListenAddr { address, .. } => self.new_address(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.lost_address(address),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.identified(peer_id, info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.table(event),
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId) {
        self.exchange.connected(peer);
        let connected = &mut lock(&self.view).connected;
        if !connected.contains(&peer) {
            connected.push(peer);
        }
        if let Some(known) = self.statics.get_mut(&peer) {
            known.wait = REDIAL_MIN;
        }
    }

    fn disconnected(&mut self, peer: PeerId) {
        lock(&self.view).connected.retain(|other| *other != peer);
        self.exchange.disconnected(peer);
        if let Some(known) = self.statics.get_mut(&peer) {
            known.dial_at = Instant::now() + known.wait;
        }
    }

    fn new_address(&mut self, address: Multiaddr) {
        let address = address.with(Protocol::P2p(*self.swarm.local_peer_id()));
        if self.network == Network::Private {
            self.swarm.add_external_address(address.clone());
        }
        let addresses = &mut lock(&self.view).addresses;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    fn lost_address(&mut self, address: Multiaddr) {
        let address = address.with(Protocol::P2p(*self.swarm.local_peer_id()));
        self.swarm.remove_external_address(&address);
        lock(&self.view).addresses.retain(|other| *other != address);
    }

    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        self.exchange.agent(peer, &info.agent_version);
        if info.protocols.contains(&protocol(self.network)) {
            let configured = self.statics.get(&peer).map(|known| &known.address);
            learn_addresses(&mut self.swarm.behaviour_mut().kad, &peer, info.listen_addrs, configured);
        }
    }

    fn table(&mut self, event: kad::Event) {
        match event {
            kad::Event::RoutingUpdated { peer, is_new_peer: true, old_peer, .. } => {
                old_peer.map(|old| self.table_peers.remove(&old));
                self.table_peers.insert(peer);
                self.new_peer |= self.table_peers.len() <= SMALL_TABLE;
            }
            kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(record) } } => {
                self.store_foreign(record);
            }
            kad::Event::OutboundQueryProgressed { id, result: QueryResult::GetProviders(result), step, .. } => {
                if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                    self.report(id, providers);
                }
                if step.last {
                    self.searches.remove(&id);
                }
            }
            _ => {}
        }
    }

    fn report(&mut self, search: QueryId, providers: HashSet<PeerId>) {
        let Some(search) = self.searches.get_mut(&search) else { return };
        let local = *self.swarm.local_peer_id();
        search.tell(providers.into_iter().filter(|provider| *provider != local));
    }

    /// Another peer says that it has something. The table has checked that it speaks for itself only.
    fn store_foreign(&mut self, record: ProviderRecord) {
        let is_known = self.statics.contains_key(&record.provider);
        if let Some(record) = self.foreign.admit(record, is_known, RECORD_TTL, Instant::now()) {
            let _ = self.swarm.behaviour_mut().kad.store_mut().add_provider(record); // there is room for all that is admitted
        }
    }
}

/// The key of a block in the look-up table: its multihash, as everybody on IPFS has it.
fn key_of(digest: &Digest) -> RecordKey {
    let mut key = vec![SHA2_256 as u8, Digest::LEN as u8];
    key.extend_from_slice(&digest.0);
    RecordKey::new(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_that_knows_no_names_still_reaches_addresses() {
        let peer = || {
            let refused = || Arc::new(AtomicU64::new(0));
            let (bitswap, ..) = streams::Behaviour::new(StreamProtocol::new(bitswap::PROTOCOL), refused());
            let (messages, ..) = streams::Behaviour::new(StreamProtocol::new(messages::PROTOCOL), refused());
            build(identity::Keypair::generate_ed25519(), Network::Private, bitswap, messages, false).unwrap()
        };
        let (mut server, mut client) = (peer(), peer());
        let view = Mutex::default();
        listen(&mut server, &["/ip4/127.0.0.1/tcp/0".parse().unwrap()], &view).await.unwrap();
        assert!(client.dial("/dns4/localhost/tcp/1".parse::<Multiaddr>().unwrap()).is_ok());
        let address = lock(&view).addresses[0].clone();
        client.dial(address).unwrap();
        let met = async {
            let (mut here, mut there) = (false, false);
            while !(here && there) {
                tokio::select! {
                    event = server.select_next_some() => here |= matches!(event, SwarmEvent::ConnectionEstablished { .. }),
                    event = client.select_next_some() => there |= matches!(event, SwarmEvent::ConnectionEstablished { .. }),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), met).await.unwrap();
    }

    #[tokio::test]
    async fn a_search_is_told_of_so_many_providers_however_many_are_made_up() {
        let (found, mut told) = mpsc::channel(PROVIDERS_MAX);
        let mut search = Search { found, left: PROVIDERS_MAX };
        let mut count = 0;
        for _ in 0..100 {
            search.tell((0..20).map(|_| PeerId::random()));
            while told.try_recv().is_ok() {
                count += 1;
            }
        }
        assert_eq!(count, PROVIDERS_MAX);
    }
}
