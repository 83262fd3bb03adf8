//! The nouns of Samovar and their one canonical encoding.
//!
//! Everything that crosses a machine boundary is one of these types, encoded as canonical DAG-CBOR
//! ([`encoding`]) and, where somebody vouches for it, wrapped in [`Signed`]. Facts that the ledger has accepted are
//! [`Record`]s; they stand in one append-only log whose hashing is in [`log`].
//!
//! This crate has no clock, no I/O, no randomness and no secrets, so whoever audits a proof can read all of it.
#![forbid(unsafe_code)]

pub mod api;
pub mod bytes;
pub mod encoding;
mod genesis;
mod ids;
pub mod log;
mod node;
mod object;
mod padding;
mod record;
mod signed;
mod task;
mod terms;
mod time;
mod transaction;

pub use bytes::{Blob, Bytes32, Bytes48, Bytes64, Bytes96};
pub use encoding::{Canonical, EncodingError};
pub use genesis::{
    Allocation, AppraisalPolicy, CustodyMode, FeeSchedule, Genesis, NetworkLimits, TrustAnchors, Validator,
};
pub use ids::{AccountId, ContentId, Digest, IdError, NetworkId, NodeId, ObjectId, TaskId};
pub use node::{
    AppraisalVote, AttestationResult, BlockRef, EventLog, Evidence, LogEntry, PcrValue, Registration, ReleaseStatement,
    Role, TpmEvidence, Verdict,
};
pub use object::{
    Column, Custodian, Deposit, DepositAck, Description, Manifest, ObjectKind, PublishedObject, Seal, StorageAck, Suite,
};
pub use padding::{PLAINTEXT_CHUNK_BYTES, padded_length, sealed_length};
pub use record::{Fact, FactKind, OtherFact, Record, Releases};
pub use signed::{BadSignature, Signable, Signed, domain, domain_message};
pub use task::{
    Assignment, FailureClass, Input, Limits, Metering, Outcome, Payment, Receipt, Release, ReleaseRequest, ResultSeal,
    Round, Seed, Settlement, Task, TermsApplied,
};
pub use terms::{Allow, NotAdmitted, Terms};
pub use time::show_time;
pub use transaction::{Action, Attestation, Completion, Transaction};
