//! What `finality` accepts, and everything it must refuse.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attack_malleable;
mod attack_other_network;
mod checks;
