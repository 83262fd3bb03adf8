//! The proof of one task: a bundle that a stranger checks offline, from the bundle and one network key.
//!
//! [`verify`] follows the chain link by link, each link authenticated by the one before: the network key certifies a header;
//! the header commits to the log; the log holds the records; the records name digests, signatures and draws that are
//! recomputed here. Nothing is believed because a node says it, and nothing in the bundle is left unchecked: any
//! changed byte is refused, with the name of the link that broke ([`ProofError`]).
//!
//! `docs/spec/proof.md` specifies all of it for other implementations; vectors are beside it.
//!
//! There is no clock, no network and no secret here. [`Verified`] is made by [`verify`] alone.
#![forbid(unsafe_code)]

mod bundle;
mod checklist;
mod error;
mod facts;
mod node;
mod objects;
mod result;
mod run;
mod verify;

pub use bundle::Proof;
pub use checklist::{Checklist, Item};
pub use error::{Link, ProofError};
pub use result::{ResultOpening, check_result};
pub use verify::{Checkpoint, Extras, Network, Verified, verify, verify_with};
