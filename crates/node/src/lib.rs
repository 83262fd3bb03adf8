//! The shell of a Samovar node: wires the domain crates to sockets, files, the consensus engine and the HTTP API.
//!
//! There are no rules here. Who may have a share is decided in `custody`, what a task costs in `ledger`, whether evidence
//! passes in `attest`, what may leave in `disclosure`; this crate brings them what they ask for and carries out what they
//! say, in order. [`executor`] is where to begin reading.
//!
//! * [`network`] makes a development network.
//! * [`launch`] measures this binary and becomes the measured process, whose entry is [`measured_main`].
#![deny(unsafe_code)]

mod account;
mod api;
mod appraiser;
mod chain;
pub mod config;
mod custodian;
mod executor;
mod fault;
mod handles;
mod index;
mod journal;
mod launcher;
mod machine;
mod measured;
mod metrics;
pub mod network;
mod node;
mod peers;
mod places;
mod progress;
mod proofs;
mod storage;
mod telemetry;

pub use launcher::{LaunchError, MEASURED_VERB, launch};
pub use measured::{NodeError, measured_main};
pub use node::StartError;

/// An error and everything behind it, in one line.
pub(crate) fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Runs work that waits for disks, devices or long arithmetic on a thread that serves nobody else.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
