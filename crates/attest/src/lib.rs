//! Remote attestation (RFC 9334): collect evidence from a TPM 2.0, appraise the evidence of others.
//!
//! Two halves:
//!
//! * **Attesting** talks to a TPM: [`tpm`] (transport and commands), [`simulated`] (software TPMs for development),
//!   [`launcher`] (measure the node's binary), [`Attester`] (make evidence), [`seal_secret`] and [`unseal_secret`]
//!   (keep the node's seed).
//! * **Appraising** has no I/O, no clock and no randomness of its own: [`appraise`], [`Endorsement`], [`Challenge`],
//!   [`release`] and the machines in [`protocol`].
//!
//! This crate knows nothing of tasks, of objects' keys or of how messages travel.
#![forbid(unsafe_code)]

mod appraise;
mod attester;
mod challenge;
mod crypto;
mod endorsement;
pub mod launcher;
pub mod protocol;
pub mod release;
mod seal;
pub mod simulated;
pub mod tpm;

pub use appraise::{AppraiseError, Appraised, ClockSeen, Expectation, Fault, appraise, appraise_endorsed, binding};
pub use attester::{Attester, AttesterError, EndorsementKind, Request};
pub use challenge::{Challenge, ChallengeError, Expected};
pub use endorsement::{CERTIFICATE_BYTES_MAX, CHAIN_MAX, Endorsement, EndorsementError};
pub use seal::{SealError, SealedSecret, seal_secret, unseal_secret};
