//! What `finality` accepts, and everything it must refuse.
#![allow(missing_docs, reason = "tests")]

mod attack_malleable;
mod attack_other_network;
mod checks;
