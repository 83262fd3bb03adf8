//! The sandbox from outside: guests that behave, guests that do not, and workers that were taken over.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attack_confinement;
mod attack_liar;
mod attack_limits;
mod attack_modules;
mod attack_pointers;
mod attack_worker;
mod behaviour;
mod determinism;
mod guests;
mod support;
