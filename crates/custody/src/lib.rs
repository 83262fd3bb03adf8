//! Every secret of Samovar: keys at rest, sealed objects, shares of their keys, and the decision to release a share.
//!
//! * [`AccountKey`] signs for people, [`NodeIdentity`] for machines.
//! * [`Sealer`] and [`Opener`] turn a file into ciphertext chunks and back; each chunk is one IPFS leaf.
//! * [`split_deposit`] deals the shares of a [`ContentKey`] to custodians; [`check_spread`] says who may hold them.
//! * [`Custodian`] is the release decision, a state machine: messages in, actions out.
//! * [`ReleaseCollector`] is its counterpart on the machine that runs a task.
//! * [`seal_result`] and [`open_result`] carry the outcome back to whoever asked.
//!
//! What is absent: nothing here knows IPFS, WebAssembly, HTTP or how messages travel. [`Custodian`] and
//! [`ReleaseCollector`] have no clock, no disk and no network; their time and randomness are arguments. Functions that make
//! keys take their randomness from the operating system and say so.
#![forbid(unsafe_code)]

mod account;
mod collect;
mod custodian;
mod deposit;
mod derive;
mod identity;
mod object;
mod result;
mod share;
mod spread;
#[cfg(test)]
mod vectors;
pub mod wire;
mod wrap;

pub use account::{AccountKey, KeyFileError};
pub use collect::{CollectError, Fault, Liar, ReleaseCollector, ReleasedKeys};
pub use custodian::{
    Action, Custodian, CustodianConfig, EPHEMERAL_KEYS_MAX, FactsError, HEAD_AGE_MS_MAX, Message, ObjectFacts,
    PENDING_MAX, PENDING_PER_OWNER_MAX, Refusal, ReleaseFacts, RestoreError, Standing,
};
pub use deposit::{
    DepositError, HOLDERS_MAX, Holder, SEALED_SHARE_BYTES, check_acks, check_deposit, open_share, split_deposit,
};
pub use derive::NoRandomness;
pub use identity::{LocalSealError, NodeIdentity};
pub use object::{
    CHUNK_BYTES, CHUNKS_MAX, ContentKey, OpenError, Opener, PLAINTEXT_CHUNK_BYTES, SealError, Sealed, Sealer,
    TAG_BYTES, ciphertext_length, padded_length, plaintext_root, seal_bytes,
};
pub use result::{
    ArchiveError, ResultArchive, ResultError, ResultFile, ResultOrigin, SealedResult, is_result_path, open_result,
    result_opener, seal_result,
};
pub use share::Share;
pub use spread::{Place, SpreadError, check_spread, choose_holders};
pub use wrap::{PUBLIC_KEY_BYTES, SealingKey, WrapError};
