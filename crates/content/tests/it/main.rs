//! The content crate from outside: what it promises, and one file per attack that must fail.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attack_car;
mod attack_flood;
mod attack_lying_peer;
mod attack_messages;
mod attack_store;
mod attack_unixfs;
mod cache;
mod car;
#[path = "../../../../interop/go.rs"]
mod go;
mod interop;
mod peers;
mod raw_peer;
mod requests;
mod store;
mod unixfs;
mod world;
