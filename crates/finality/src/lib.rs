//! Checks what a Samovar network has finalized, against one 96-byte network key.
//!
//! Everything starts at [`Network`]: [`Network::check_head`] turns a certificate and a header into a [`Head`],
//! [`Network::check_proven`] turns records and one log proof into [`Finalized`] records, [`Network::check_state`] answers
//! for the live state and [`Network::check_extension`] shows that a ledger only grew. All of it is pure: no engine, no
//! clock, no randomness, no I/O. What the records mean is not known here.
//!
//! Certificates date nothing by themselves: any quorum of shares of one past committee still signs under the same key
//! (`SECURITY.md`), so whoever remembers an earlier head should ask for an extension proof as well.
#![forbid(unsafe_code)]

pub mod engine;
mod head;
mod header;
mod network;
#[cfg(feature = "testing")]
pub mod testing;

pub use head::{Finalized, Head};
pub use header::{Header, HeaderError, StateOps};
pub use network::{FinalityError, Network};
