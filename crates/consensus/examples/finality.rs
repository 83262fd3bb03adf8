//! How long it takes until a transaction is final: four validators in this process, real sockets and files.
//!
//! Prints one line of JSON. `bare` is the engine's consensus alone (votes and certificates about 32-byte payloads, no
//! blocks, no state, no disk besides its own journal), the least this could take; `empty` is everything of ours around a
//! machine that does nothing; `full` adds signatures, state, records and their log. Each time runs from handing a
//! transaction to one validator until that validator has it in a final block whose state can be read.
//!
//! `cargo run --release -p consensus --example finality [-- TRANSACTIONS]`
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a measurement")]

#[path = "../tests/it/counter.rs"]
mod counter;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/it/network.rs"]
mod network;

mod bare {
    //! The engine's consensus with nothing around it.

    use std::{
        collections::HashMap,
        net::{Ipv4Addr, SocketAddr, TcpListener},
        path::Path,
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
    use tokio::sync::{Notify, watch};

    const NAMESPACE: &[u8] = b"samovar bench";

    /// The payload that waits to be made final, if any, for all validators at once.
    #[derive(Clone)]
    struct Payloads {
        waiting: Arc<watch::Sender<u64>>,
        taken: Arc<Mutex<u64>>,
        done: Arc<Mutex<HashMap<Digest, Instant>>>,
        finalized: Arc<Notify>,
    }

    fn payload(number: u64) -> Digest {
        Sha256::hash(&[&number.to_be_bytes()])
    }

    impl Automaton for Payloads {
        type Context = Context<Digest, PublicKey>;
        type Digest = Digest;

        async fn propose(&mut self, _: Self::Context) -> oneshot::Receiver<Digest> {
            let (sender, receiver) = oneshot::channel();
            let (mut waiting, taken) = (self.waiting.subscribe(), self.taken.clone());
            tokio::spawn(async move {
                let next = *taken.lock().unwrap() + 1;
                if waiting.wait_for(|number| *number >= next).await.is_ok() {
                    *taken.lock().unwrap() = next;
                    let _ = sender.send(payload(next));
                }
            });
            receiver
        }

        async fn verify(&mut self, _: Self::Context, _: Digest) -> oneshot::Receiver<bool> {
            let (sender, receiver) = oneshot::channel();
            let _ = sender.send(true);
            receiver
        }
    }

    impl CertifiableAutomaton for Payloads {}

    impl Relay for Payloads {
        type Digest = Digest;
        type PublicKey = PublicKey;
        type Plan = Plan<PublicKey>;

        fn broadcast(&mut self, _: Digest, _: Self::Plan) -> Feedback {
            Feedback::Ok
        }
    }

    impl Reporter for Payloads {
        type Activity = Activity<Scheme, Digest>;

        fn report(&mut self, activity: Self::Activity) -> Feedback {
            if let Activity::Finalization(certificate) = activity {
                self.done.lock().unwrap().entry(certificate.proposal.payload).or_insert_with(Instant::now);
                self.finalized.notify_waiters();
            }
            Feedback::Ok
        }
    }

    /// Milliseconds from offering each of `count` payloads until the first validator knows it final.
    pub fn measure(members: usize, count: u64, folder: &Path) -> Vec<f64> {
        let config = runtime::Config::new()
            .with_storage_directory(folder.join("bare"))
            .with_worker_threads(2)
            .with_thread_stack_size(16 << 20);
        runtime::Runner::new(config).start(|context| async move {
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
            let payloads = Payloads {
                waiting: Arc::new(watch::Sender::new(0)),
                taken: Arc::default(),
                done: Arc::default(),
                finalized: Arc::default(),
            };
            for (key, address) in keys.iter().zip(&addresses) {
                let context = context.child("validator").with_attribute("address", address);
                let handshake = Cups::<_, ChaCha20Poly1305>::new(
                    Sake {
                        signer: key.clone(),
                        synchrony_bound: Duration::from_secs(5),
                        max_handshake_age: Duration::from_secs(10),
                        version: sake::Version::V1,
                    },
                    cups::Version::V1,
                );
                let size = simplex::max_payload_size::<Scheme, Digest>(members as u32);
                let size = commonware_p2p::max_message_size(&[size]);
                let members = NZUsize!(members);
                let config = lookup::Config::local(handshake, NAMESPACE, *address, members, size, NZUsize!(1_024));
                let (mut network, mut oracle) = lookup::Network::new(context.child("network"), config);
                oracle.track(0, peers.clone());
                let quota = Quota::per_second(NZU32!(128));
                let (votes, certificates, fetch) =
                    (network.register(0, quota), network.register(1, quota), network.register(2, quota));
                network.start();
                let share = shares.get_value(&key.public_key()).unwrap().clone();
                let scheme = Scheme::signer(NAMESPACE, set.clone(), output.public().clone(), share).unwrap();
                let engine = simplex::Engine::new(
                    context.child("engine"),
                    simplex::Config {
                        scheme,
                        elector: Random::<Sha256>::new(RandomVersion::V1),
                        blocker: oracle,
                        automaton: payloads.clone(),
                        relay: payloads.clone(),
                        reporter: payloads.clone(),
                        strategy: Sequential,
                        partition: format!("bare-{}", address.port()),
                        mailbox_size: NZUsize!(256),
                        epoch: Epoch::zero(),
                        floor: Floor::Genesis(payload(0)),
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
            }
            let mut times = Vec::new();
            for number in 1..=count {
                let offered = Instant::now();
                payloads.waiting.send_replace(number);
                let at = loop {
                    let finalized = payloads.finalized.notified();
                    let at = payloads.done.lock().unwrap().get(&payload(number)).copied();
                    if let Some(at) = at {
                        break at;
                    }
                    finalized.await;
                };
                times.push((at - offered).as_secs_f64() * 1e3);
            }
            times
        })
    }
}

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use consensus::{BlockInput, Consensus, Executed, Key, Machine, Mode, Reads, Stop, TransactionMeta};
use ed25519_dalek::SigningKey;
use model::{Digest, api::TransactionStatus};

use crate::network::Net;

const MEMBERS: u8 = 4;
const BURST: u64 = 2_000;

/// Accepts everything and does nothing.
struct Nothing;

impl Machine for Nothing {
    fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, String> {
        let account = transaction.get(..32).and_then(|bytes| bytes.try_into().ok()).ok_or("too short")?;
        let nonce = transaction.get(32..40).and_then(|bytes| bytes.try_into().ok()).ok_or("too short")?;
        Ok(TransactionMeta { account, nonce: u64::from_be_bytes(nonce) })
    }

    fn reads(&self, _: &[Vec<u8>]) -> Vec<Key> {
        Vec::new()
    }

    fn execute(&self, block: &BlockInput<'_>, _: &dyn Reads, _: Mode) -> Result<Executed, Stop> {
        Ok(Executed { included: (0..block.transactions.len()).collect(), ..Executed::default() })
    }
}

async fn finalized(validator: &Consensus, id: &Digest) {
    let mut head = validator.watch();
    while !matches!(validator.status(id), TransactionStatus::Final { .. }) {
        head.changed().await.unwrap();
    }
}

/// Latency of `count` transactions one after the other, and the milliseconds a burst takes on all validators.
fn measure(count: u64, burst: u64, machine: impl Fn(&Net) -> Arc<dyn Machine>) -> (Vec<f64>, f64) {
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new(MEMBERS, folder.path());
    let validators: Vec<_> = (0..MEMBERS.into()).map(|member| net.start_with(member, machine(&net))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for validator in &validators {
            validator.watch().wait_for(|head| head.height >= 2).await.unwrap();
        }
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut times = Vec::new();
        for nonce in 0..count {
            let transaction = counter::transaction(&key, nonce, 1);
            let validator = &validators[nonce as usize % validators.len()];
            let submitted = Instant::now();
            let id = validator.submit(transaction).unwrap();
            finalized(validator, &id).await;
            times.push(submitted.elapsed().as_secs_f64() * 1e3);
            // The next transaction goes to another validator, which must know of this one.
            let next = &validators[(nonce as usize + 1) % validators.len()];
            finalized(next, &id).await;
        }
        let key = SigningKey::from_bytes(&[2; 32]);
        let transactions: Vec<_> = (0..burst).map(|nonce| counter::transaction(&key, nonce, 1)).collect();
        let started = Instant::now();
        let mut last = None;
        for transaction in transactions {
            last = Some(validators[0].submit(transaction).unwrap());
        }
        if let Some(last) = last {
            for validator in &validators {
                finalized(validator, &last).await;
            }
        }
        let burst_ms = started.elapsed().as_secs_f64() * 1e3;
        for validator in &validators {
            validator.shutdown().await;
        }
        (times, burst_ms)
    })
}

fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = ((times.len() - 1) as f64 * share).round() as usize;
    (times[at] * 10.0).round() / 10.0
}

fn main() {
    let count = std::env::args().nth(1).map_or(100, |count| count.parse().expect("a number of transactions"));
    let folder = tempfile::tempdir().unwrap();
    let mut bare = bare::measure(MEMBERS.into(), count, folder.path());
    std::thread::sleep(Duration::from_millis(200));
    let (mut empty, _) = measure(count, 0, |_| Arc::new(Nothing));
    let (mut full, burst_ms) = measure(count, BURST, |net| Arc::new(counter::Counter { network: net.id() }));
    let summary =
        |times: &mut [f64]| serde_json::json!({ "p50_ms": percentile(times, 0.5), "p90_ms": percentile(times, 0.9) });
    let of_bare = percentile(&mut full, 0.5) / percentile(&mut bare, 0.5);
    let report = serde_json::json!({
        "validators": MEMBERS,
        "transactions": count,
        "optimised": !cfg!(debug_assertions),
        "bare": summary(&mut bare),
        "empty": summary(&mut empty),
        "full": summary(&mut full),
        "full_of_bare": (of_bare * 100.0).round() / 100.0,
        "burst": { "transactions": BURST, "ms": burst_ms.round() },
    });
    println!("{report}");
}
