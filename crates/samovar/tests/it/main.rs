//! The binary as its users meet it: transcripts, and the whole story on four real processes.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

#[path = "../../../../interop/go.rs"]
mod go;
mod harness;
mod interop;
mod liar;

mod at_once;
mod attack_lying_api;
mod attack_node;
mod guests;
mod hints;
mod openapi;
mod operator;
mod output;
mod publishing;
mod story;
mod suspicion;
mod transcripts;
mod trying;
