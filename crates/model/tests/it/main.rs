//! Black-box tests of the nouns: one encoding each, and signatures that hold in one place only.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod encoding;
mod policy;
mod signatures;
