//! The engine's consensus with nothing around it: votes and certificates about numbers, over the sockets and with the keys,
//! timeouts and quotas that a validator has.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use commonware_actor::Feedback;
use commonware_consensus::{
    Automaton, CertifiableAutomaton, Relay, Reporter,
    simplex::{
        self, Plan,
        config::{Floor, ForwardPolicy, SkipPolicy},
        elector::{Random, RandomVersion},
        types::{Activity, Context},
    },
    types::{Epoch, ViewDelta},
};
use commonware_cryptography::{
    ChaCha20Poly1305, Hasher as _, Sha256, Signer as _,
    bls12381::{
        dkg::feldman_desmedt::deal,
        primitives::{sharing::Mode, variant::MinSig},
    },
    ed25519::{PrivateKey, PublicKey},
    sha256::Digest,
};
use commonware_p2p::{Address, AddressableManager as _, authenticated::lookup};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Quota, Runner as _, Supervisor as _,
    buffer::paged::{CacheRef, page_size},
    tokio as runtime,
};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{
    N3f1, NZDuration, NZU32, NZUsize, TryCollect as _,
    channel::oneshot,
    ordered::{Map, Set},
    sys_rng,
};
use finality::engine::Scheme;
use tokio::sync::{mpsc, watch};

const NAMESPACE: &[u8] = b"samovar bench";
/// As in `consensus::Timing::default`.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What the validators have in common, since they are in one process: which number each payload stands for, and the highest
/// that was offered.
struct Numbers {
    offered: watch::Sender<u64>,
    of: Mutex<HashMap<Digest, u64>>,
}

impl Numbers {
    /// A payload for a number, another one in every view.
    fn payload(&self, view: u64, number: u64) -> Digest {
        let payload = Sha256::hash(&[&view.to_be_bytes(), &number.to_be_bytes()]);
        self.of.lock().unwrap().insert(payload, number);
        payload
    }

    fn of(&self, payload: &Digest) -> u64 {
        self.of.lock().unwrap().get(payload).copied().unwrap_or_default()
    }
}

/// One validator: proposes the number after its parent's, and learns what is final.
#[derive(Clone)]
struct Validator {
    numbers: Arc<Numbers>,
    newest: Arc<watch::Sender<u64>>,
}

impl Automaton for Validator {
    type Context = Context<Digest, PublicKey>;
    type Digest = Digest;

    async fn propose(&mut self, context: Self::Context) -> oneshot::Receiver<Digest> {
        let (mut sender, receiver) = oneshot::channel();
        let numbers = self.numbers.clone();
        // What is proposed follows from the parent alone: a view that comes to nothing loses nothing.
        let parent = numbers.of(&context.parent.1);
        tokio::spawn(async move {
            let mut offered = numbers.offered.subscribe();
            let number = tokio::select! {
                _ = offered.wait_for(|offered| *offered > parent) => parent + 1,
                () = tokio::time::sleep(HEARTBEAT) => parent,
                () = sender.closed() => return,
            };
            let _ = sender.send(numbers.payload(context.round.view().get(), number));
        });
        receiver
    }

    async fn verify(&mut self, _: Self::Context, _: Digest) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(true);
        receiver
    }
}

impl CertifiableAutomaton for Validator {}

impl Relay for Validator {
    type Digest = Digest;
    type PublicKey = PublicKey;
    type Plan = Plan<PublicKey>;

    fn broadcast(&mut self, _: Digest, _: Self::Plan) -> Feedback {
        Feedback::Ok
    }
}

impl Reporter for Validator {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Activity::Finalization(certificate) = activity {
            let number = self.numbers.of(&certificate.proposal.payload);
            self.newest.send_if_modified(|newest| {
                let newer = number > *newest;
                *newest = number.max(*newest);
                newer
            });
        }
        Feedback::Ok
    }
}

/// A network that makes one number after the other final, when asked.
pub struct Network {
    ask: mpsc::UnboundedSender<()>,
    answers: std::sync::mpsc::Receiver<f64>,
}

impl Network {
    pub fn start(members: usize, folder: PathBuf) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        let (answer, answers) = std::sync::mpsc::channel();
        std::thread::Builder::new().stack_size(16 << 20).spawn(move || run(members, folder, asked, answer)).unwrap();
        Self { ask, answers }
    }

    /// Milliseconds from offering a number until one validator, each in turn, knows it final.
    pub fn time(&self) -> f64 {
        self.ask.send(()).unwrap();
        self.answers.recv().expect("the bare engine has failed")
    }
}

fn run(members: usize, folder: PathBuf, mut asked: mpsc::UnboundedReceiver<()>, answer: std::sync::mpsc::Sender<f64>) {
    let config = runtime::Config::new()
        .with_storage_directory(folder)
        .with_worker_threads(2 * members)
        .with_thread_stack_size(16 << 20);
    runtime::Runner::new(config).start(|context| async move {
        let validators = start(&context, members);
        let numbers = &validators[0].numbers;
        for number in 1.. {
            if asked.recv().await.is_none() {
                return;
            }
            let turn = number as usize % members;
            let offered = Instant::now();
            numbers.offered.send_replace(number);
            validators[turn].knows(number).await;
            let time = offered.elapsed();
            // The next number is asked of another validator, as transactions are.
            validators[(turn + 1) % members].knows(number).await;
            if answer.send(time.as_secs_f64() * 1e3).is_err() {
                return;
            }
        }
    });
}

impl Validator {
    async fn knows(&self, number: u64) {
        let mut newest = self.newest.subscribe();
        let known = newest.wait_for(|newest| *newest >= number);
        let known = tokio::time::timeout(crate::PATIENCE, known).await;
        known.unwrap_or_else(|_| panic!("bare engine: number {number} does not become final")).unwrap();
    }
}

fn start(context: &runtime::Context, members: usize) -> Vec<Validator> {
    let keys: Vec<_> = (0..members as u64).map(PrivateKey::from_seed).collect();
    let set: Set<PublicKey> = keys.iter().map(|key| key.public_key()).try_collect().unwrap();
    let (output, shares) = deal::<MinSig, _, N3f1>(&mut sys_rng(), Mode::NonZeroCounter, set.clone()).unwrap();
    let listeners: Vec<_> = keys.iter().map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|socket| socket.local_addr().unwrap()).collect();
    drop(listeners);
    let peers: Map<PublicKey, Address> = keys
        .iter()
        .zip(&addresses)
        .map(|(key, address)| (key.public_key(), Address::from(*address)))
        .try_collect()
        .unwrap();
    let numbers = Arc::new(Numbers { offered: watch::Sender::new(0), of: Mutex::default() });
    let mut validators = Vec::new();
    for (key, address) in keys.iter().zip(&addresses) {
        let validator = Validator { numbers: numbers.clone(), newest: Arc::new(watch::Sender::new(0)) };
        let context = context.child("validator").with_attribute("address", address);
        let (mut network, mut oracle) =
            lookup::Network::new(context.child("network"), network_config(key.clone(), *address, members));
        oracle.track(0, peers.clone());
        let quota = Quota::per_second(NZU32!(128));
        let (votes, certificates, fetch) =
            (network.register(0, quota), network.register(1, quota), network.register(2, quota));
        network.start();
        let share = shares.get_value(&key.public_key()).unwrap().clone();
        let engine = simplex::Engine::new(
            context.child("engine"),
            simplex::Config {
                scheme: Scheme::signer(NAMESPACE, set.clone(), output.public().clone(), share).unwrap(),
                elector: Random::<Sha256>::new(RandomVersion::V1),
                blocker: oracle,
                automaton: validator.clone(),
                relay: validator.clone(),
                reporter: validator.clone(),
                strategy: Sequential,
                partition: format!("bare-{}", address.port()),
                mailbox_size: NZUsize!(256),
                epoch: Epoch::zero(),
                floor: Floor::Genesis(Sha256::hash(&[b"genesis"])),
                replay_buffer: NZUsize!(64 * 1_024),
                write_buffer: NZUsize!(64 * 1_024),
                page_cache: CacheRef::new(page_size(4_096), NZUsize!(512)),
                leader_timeout: Duration::from_secs(2),
                certification_timeout: Duration::from_secs(3),
                timeout_retry: Duration::from_secs(1),
                view_retention: ViewDelta::new(256),
                skip: SkipPolicy::Enabled {
                    timeout: Duration::from_secs(5),
                    budget: simplex::SkipBudget::Participants,
                },
                fetch_timeout: NZDuration!(Duration::from_secs(2)),
                fetch_retry_delay: Duration::from_millis(200),
                forward: ForwardPolicy::Disabled,
                track_historical_votes: false,
            },
        );
        engine.start(votes, certificates, fetch);
        validators.push(validator);
    }
    validators
}

fn network_config(
    key: PrivateKey,
    address: SocketAddr,
    members: usize,
) -> lookup::Config<Cups<Sake<PrivateKey>, ChaCha20Poly1305>> {
    let handshake = Cups::<_, ChaCha20Poly1305>::new(
        Sake {
            signer: key,
            synchrony_bound: Duration::from_secs(5),
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let size = simplex::max_payload_size::<Scheme, Digest>(members as u32);
    let size = commonware_p2p::max_message_size(&[size]);
    let mut config = lookup::Config::local(handshake, NAMESPACE, address, NZUsize!(members), size, NZUsize!(1_024));
    config.peer_connection_cooldown = Duration::from_millis(500);
    config.dial_frequency = Duration::from_millis(250);
    config.allowed_handshake_rate_per_ip = Quota::per_second(NZU32!(64));
    config.allowed_handshake_rate_per_subnet = Quota::per_second(NZU32!(64));
    config
}
