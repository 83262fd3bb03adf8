//! The ledger from outside: the story, what must be refused, money at every block.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attack_attest;
mod attack_complete;
mod attack_form;
mod attack_money;
mod attack_publish;
mod attack_replay;
mod attack_submit;
mod attack_verdict;
mod conservation;
mod draw;
mod lapse;
mod missing;
mod size;
mod story;
mod vectors;
mod world;
