//! What custody promises, told from outside. `world` sets the stage; each file under `attacks` is one way to try to get at a
//! key, a file or a result that one should not have.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attacks;
mod keys;
mod objects;
mod releases;
mod restarts;
mod results;
mod world;
