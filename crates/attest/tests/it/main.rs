//! The crate against real software TPMs: the stories that must work, and one file per kind of attack that must not.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attacks;
mod fixture;
mod launch;
mod mutations;
mod raw;
mod story;
mod vectors;
