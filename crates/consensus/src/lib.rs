//! Orders transactions, keeps the live state and the record log, and makes certificates and proofs: one validator.
//!
//! The engine is commonware's (simplex with threshold signatures, QMDB, authenticated peers); this crate is the adapter
//! that gives it a [`Machine`] to drive and the rest of the node a [`Consensus`] to ask. What transactions mean is not
//! known here; what is final is checked in `finality`, never by asking this crate.
//!
//! * [`start`] runs a validator on a thread of its own.
//! * [`deal()`] makes the keys of a development network.
//! * [`Consensus::subscribe`] follows finalized blocks, [`Consensus::prove`] and [`Consensus::prove_state`] make what
//!   `finality` checks.
//!
//! Facts and where they live: the engine's folder holds blocks, certificates and the state (digests of values);
//! the journal (see its module) holds the bodies of values and the records. Both are one folder, copied or lost as a whole.
//!
//! Not done yet: joining a running network by state sync (the format and the fetching of bodies are there, nobody starts
//! it), key ceremonies and resharing (headers and blocks have room for them).
#![forbid(unsafe_code)]

mod app;
mod block;
mod compact;
mod core;
mod deal;
mod engine;
#[doc(hidden)]
pub mod fuzzing;
mod gossip;
mod handle;
mod journal;
mod machine;
mod mempool;
mod pace;
mod service;
mod settings;
#[cfg(feature = "simulation")]
pub mod simulation;
mod start;

pub use block::{BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, TRANSACTION_BYTES_MAX};
pub use deal::{DealError, Dealing, deal};
pub use handle::{Consensus, FinalizedBlock, QueryError, StateSize, Subscription, Tip};
pub use journal::JournalError;
pub use machine::{BlockInput, Due, Executed, Key, Machine, Mode, Reads, Reason, Stop, TransactionMeta};
pub use mempool::SubmitError;
pub use start::{Config, Retention, StartError, Timing, start};

/// An error and everything behind it, in one line.
fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
