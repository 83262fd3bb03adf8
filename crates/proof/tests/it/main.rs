//! Proofs from outside: real certificates, a real ledger, evidence of a real (software) TPM.
//!
//! `SAMOVAR_BLESS=1 cargo test -p proof` makes the TPM fixture and the vectors in `docs/spec/vectors/proof` anew.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests: what fails shall stop, and names say what is shown"
)]

mod attack_bytes;
mod attack_links;
mod attack_network;
mod fixture;
#[path = "../../../../interop/go.rs"]
mod go;
mod interop;
mod result;
mod story;
mod vectors;
