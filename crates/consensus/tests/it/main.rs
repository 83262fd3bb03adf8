//! Validators that run: on this machine's sockets and files, and in a simulated network.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attack_key_material;
mod attack_mempool;
mod counter;
mod damage;
mod network;
mod proofs;
mod restart;
mod sim;

use std::{future::Future, time::Duration};

/// What the engine says, for `RUST_LOG=debug cargo test … -- --nocapture`.
fn show_logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Another test of this process may have done so.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).try_init();
}

/// Runs a test's story, and fails it if it takes too long.
fn within<T>(seconds: u64, story: impl Future<Output = T>) -> T {
    show_logs();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let story = async { tokio::time::timeout(Duration::from_secs(seconds), story).await };
    runtime.block_on(story).expect("the network took too long")
}

/// Waits until a validator has finalized these transactions.
async fn finalized(validator: &consensus::Consensus, transactions: &[model::Digest]) {
    let mut head = validator.watch();
    while !transactions.iter().all(|id| matches!(validator.status(id), model::api::TransactionStatus::Final { .. })) {
        head.changed().await.expect("the validator runs");
    }
}
