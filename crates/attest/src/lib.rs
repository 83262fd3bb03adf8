//! Remote attestation (RFC 9334): collect evidence from a TPM 2.0, appraise the evidence of others.
//!
//! Two halves:
//!
//! * **Attesting** talks to a TPM: [`tpm`] (transport and commands), [`simulated`] (software TPMs for development),
//!   [`launcher`] (measure the node's binary), [`Attester`] (make evidence), [`seal_secret`] and [`unseal_secret`]
//!   (keep the node's seed).
//! * **Appraising** has no I/O, no clock and no randomness of its own: [`appraise`], [`Challenge`], [`release`] and the
//!   protocol machines in [`protocol`].
//!
//! This crate knows nothing of tasks, of objects' keys or of how messages travel.
#![forbid(unsafe_code)]

mod appraise;

pub use appraise::{Appraised, AppraiseError, ClockSeen, Expectation, appraise, binding};
