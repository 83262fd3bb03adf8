//! What owners and requesters do with a network.
//!
//! Nothing a node says is believed: heads are checked against the network key, records against the log of a head,
//! balances against its state, content against its CID, results against their seal.
#![forbid(unsafe_code)]

mod account;
mod client;
mod custodians;
mod deposit;
mod describe;
mod error;
mod file;
mod folder;
mod history;
mod land;
mod listing;
mod memory;
mod network;
mod nodes;
mod progress;
mod publish;
mod quote;
mod result;
mod run;
mod terms;
mod terms_change;
mod transfer;
mod trust;

pub use client::{Client, HEAD_AGE_MS_MAX, now_ms};
pub use custodians::{NotAppraised, judge};
pub use describe::read_description;
pub use error::{ClientError, Skipped};
pub use file::FileError;
pub use folder::check_is_empty;
pub use listing::{NodeView, ObjectView, Settled, TaskView, VerdictError, check_verdict};
pub use memory::StateDir;
pub use model::show_time;
pub use network::{Checkpoint, NetworkFile, NodeAddress, check_api};
pub use nodes::chain;
pub use progress::{Progress, Watch};
pub use publish::{Publication, Published};
pub use quote::{Obstacle, OutputBound, OwnerPrice, Quote};
pub use result::{EXTENSION_FILE, Finished, ResultMismatch, check_result};
pub use run::{Request, check_input_name};
pub use terms::{TermsDraft, describe_terms};
pub use trust::Trust;
