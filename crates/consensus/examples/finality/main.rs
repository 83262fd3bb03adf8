//! How long it takes until a transaction is final: four validators in this process, real sockets and files.
//!
//! Prints one JSON object with rows for `cargo xtask bench`. "Bare" is the engine's consensus alone (votes and certificates
//! about 32-byte payloads, no blocks, no state, no disk besides its own journal), the least this could take; "idle machine"
//! is everything of ours around a machine that does nothing; the rest adds signatures, state, records and their log. Each
//! time runs from handing a transaction to one validator until that validator has it in a final block whose state can be
//! read. `RUST_LOG=consensus=trace` shows on stderr where the time goes.
//!
//! `cargo run --release -p consensus --example finality [-- TRANSACTIONS]`
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a measurement")]

mod bare;
#[path = "../../tests/it/counter.rs"]
mod counter;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/it/network.rs"]
mod network;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use consensus::{BlockInput, Consensus, Executed, Key, Machine, Mode, Reads, Reason, Stop, TransactionMeta};
use ed25519_dalek::SigningKey;
use model::{Digest, api::TransactionStatus};

use crate::network::Net;

const MEMBERS: u8 = 4;
const WARM_UP: usize = 10;
const BURST: u64 = 2_000;
/// Nothing takes longer, or the measurement fails and says what was waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Accepts everything and does nothing.
struct Nothing;

impl Machine for Nothing {
    fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, Reason> {
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
    let waiting = async {
        let mut head = validator.watch();
        while !matches!(validator.status(id), TransactionStatus::Final { .. }) {
            head.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited
        .unwrap_or_else(|_| panic!("{id} does not become final: {:?} at {:?}", validator.status(id), validator.tip()));
}

/// Four validators, and how many transactions they have ordered.
struct Validators {
    runtime: tokio::runtime::Runtime,
    validators: Vec<Consensus>,
    nonce: usize,
    _folder: tempfile::TempDir,
}

impl Validators {
    fn start(machine: impl Fn(&Net) -> Arc<dyn Machine>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let net = Net::new(MEMBERS, folder.path());
        let validators = (0..MEMBERS.into()).map(|member| net.start_with(member, machine(&net))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let started = Self { runtime, validators, nonce: 0, _folder: folder };
        started.runtime.block_on(async {
            for validator in &started.validators {
                let mut head = validator.watch();
                let found = tokio::time::timeout(PATIENCE, head.wait_for(|head| head.height >= 2)).await;
                found.expect("the validators do not find each other").unwrap();
            }
        });
        started
    }

    /// Milliseconds from handing a transaction to one validator, each in turn, until that one has it final.
    fn time(&mut self) -> f64 {
        let key = SigningKey::from_bytes(&[1; 32]);
        let transaction = counter::transaction(&key, self.nonce as u64, 1);
        let turn = |nonce: usize| &self.validators[nonce % self.validators.len()];
        let (here, next) = (turn(self.nonce), turn(self.nonce + 1));
        self.nonce += 1;
        self.runtime.block_on(async {
            let submitted = Instant::now();
            let id = here.submit(transaction).unwrap();
            finalized(here, &id).await;
            let time = submitted.elapsed();
            // The next transaction goes to another validator, which must know of this one.
            finalized(next, &id).await;
            time.as_secs_f64() * 1e3
        })
    }

    /// Milliseconds until many transactions handed to one validator at once are final on all.
    fn burst(&self) -> f64 {
        let key = SigningKey::from_bytes(&[2; 32]);
        let transactions: Vec<_> = (0..BURST).map(|nonce| counter::transaction(&key, nonce, 1)).collect();
        self.runtime.block_on(async {
            let started = Instant::now();
            let submitted = transactions.into_iter().map(|transaction| self.validators[0].submit(transaction).unwrap());
            let last = submitted.last().unwrap();
            for validator in &self.validators {
                finalized(validator, &last).await;
            }
            started.elapsed().as_secs_f64() * 1e3
        })
    }

    fn stop(self) {
        self.runtime.block_on(async {
            for validator in &self.validators {
                validator.shutdown().await;
            }
        });
    }
}

/// The middle and the 90th percentile.
struct Times {
    p50: f64,
    p90: f64,
}

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        Self { p50: at(0.5), p90: at(0.9) }
    }
}

fn main() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let count = std::env::args().nth(1).map_or(200, |count| count.parse().expect("a number of transactions"));
    let folder = tempfile::tempdir().unwrap();
    let bare = bare::Network::start(MEMBERS.into(), folder.path().join("bare"));
    let mut idle = Validators::start(|_| Arc::new(Nothing));
    let mut full = Validators::start(|net| Arc::new(counter::Counter { network: net.id() }));
    for _ in 0..WARM_UP {
        bare.time();
        idle.time();
        full.time();
    }
    // In turn, so that whatever else this machine does hits all of them alike.
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..count {
        let [of_bare, of_idle, of_full] = &mut times;
        of_bare.push(bare.time());
        of_idle.push(idle.time());
        of_full.push(full.time());
    }
    let [bare_times, idle_times, full_times] = times.map(Times::of);
    drop(bare);
    idle.stop();
    let burst_ms = full.burst();
    full.stop();
    report(&bare_times, &idle_times, &full_times, burst_ms);
}

fn report(bare: &Times, idle: &Times, full: &Times, burst_ms: f64) {
    let row = |what: &str, value: f64, peer: Option<String>, ratio: Option<f64>, goal: Option<&str>| serde_json::json!({ "what": what, "value": value, "unit": "ms", "peer": peer, "ratio": ratio, "goal": goal });
    let against = format!("bare engine, same sockets and keys: {:.1} ms", bare.p50);
    let against_p90 = format!("bare engine: {:.1} ms", bare.p90);
    let report = serde_json::json!({ "rows": [
        row(
            "transaction final and its state readable, 4 validators, p50",
            full.p50,
            Some(against.clone()),
            Some(full.p50 / bare.p50),
            Some("≤ 2"),
        ),
        row("the same, p90", full.p90, Some(against_p90), Some(full.p90 / bare.p90), None),
        row("the same around a machine that does nothing, p50", idle.p50, Some(against), Some(idle.p50 / bare.p50), None),
        row(
            &format!("burst of {BURST} signed transactions, final on all 4 validators"),
            burst_ms,
            None,
            None,
            Some("< 2,000 ms"),
        ),
    ]});
    println!("{report}");
}
