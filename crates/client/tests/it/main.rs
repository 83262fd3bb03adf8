//! The client among nodes that lie.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attack_custodians;
mod attack_lying_nodes;
mod crooked;
