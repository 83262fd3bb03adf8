//! The crate against real software TPMs: the stories that must work, and one file per kind of attack that must not.
#![allow(clippy::unwrap_used, reason = "a test that fails shall stop")]
#![allow(missing_docs, reason = "tests are named for what they show")]

mod attacks;
mod fixture;
mod launch;
mod mutations;
mod raw;
mod story;
