//! Proofs from outside: real certificates, a real ledger, evidence of a real (software) TPM.
//!
//! `SAMOVAR_BLESS=1 cargo test -p proof` makes the TPM fixture and the vectors in `docs/spec/vectors/proof` anew.

mod attack_bytes;
mod attack_links;
mod attack_network;
mod fixture;
mod result;
mod story;
mod vectors;
