//! The ledger's rules: a pure, deterministic state machine.
//!
//! [`execute`] takes a block (height, ledger time, seed, transactions) and a way to read the state, and answers with what
//! changes: writes, and the records that are appended to the log. It knows neither which consensus engine orders the
//! blocks nor how state is stored; it has no clock, no randomness, no I/O. `docs/spec/transaction.md` says the same in prose.
//!
//! # Order within a block
//!
//! 1. Block 1 alone: the allocations of the genesis.
//! 2. The first block of an appraisal window that carries a seed keeps it: it draws that window's appraisers.
//! 3. Deadlines that have passed, oldest first, at most [`DUE_MAX`]: one re-draw, then refund. This comes before the
//!    draws, so that a node that has just let a task lapse is not drawn again.
//! 4. Draws asked for at least two blocks ago, in the order they were asked for, at most [`DUE_MAX`]; of those that found
//!    nobody before, only if something has changed since.
//! 5. The transactions, in their order. A refused one changes nothing.
//!
//! # Invariants, as absences
//!
//! * No credit is made or destroyed after block 1: the sum over all accounts, reserved ones included, never changes.
//! * No fact is recorded twice ([`model::Fact::id`]).
//! * No task stays unsettled: it is drawn, at most [`ATTEMPTS_MAX`] times, or refunded after a bounded wait; it is
//!   receipted, or lapses at its deadline.
//! * No arithmetic wraps: every sum is checked, and an overflow refuses the transaction.
#![forbid(unsafe_code)]

mod check;
mod draw;
mod execute;
pub mod key;
mod memory;
mod money;
mod nodes;
mod objects;
mod pages;
mod refusal;
mod settle;
pub mod state;
mod tasks;
mod verdict;
mod view;

pub use check::{Checked, Memo, Meta, check};
pub use draw::{appraisers, draw_index};
pub use execute::{dry_run, execute, execute_remembering, reads};
pub use memory::MemoryState;
pub use money::{NetworkFee, Price, quote, transaction_fee};
pub use refusal::Refusal;
pub use settle::{Owed, payments, result_bytes_max};
pub use tasks::{attempt_ms, compile_ms};
pub use verdict::check_verdict;

use model::{Digest, Seed};

/// Where a value of the state is kept ([`key`]).
pub type Key = [u8; 32];

/// Most overdue tasks, and most draws, that one block deals with; the rest waits for the next.
pub const DUE_MAX: usize = 256;

/// How often a task is drawn at most.
pub const ATTEMPTS_MAX: u8 = 2;

/// Most tasks that may wait for an executor at a time; beyond it, submissions are refused.
pub const WAITING_MAX: usize = 1024;

/// Most tasks of one requester that may wait for an executor at a time: one alone does not keep the others out.
pub const WAITING_PER_REQUESTER_MAX: u32 = 128;

/// How long a task waits for an eligible node before it is refunded, in milliseconds during which the ledger was alive:
/// a gap between two blocks counts as at most [`GAP_MS_MAX`], so that a network that was dark comes back and finishes.
pub const WAIT_MS_MAX: u64 = 5 * 60 * 1000;

/// See [`WAIT_MS_MAX`].
pub const GAP_MS_MAX: u64 = 10 * 1000;

/// By how much a storage acknowledgement may fall short of [`model::NetworkLimits::storage_ms`] when it reaches the ledger:
/// it was signed earlier, by another clock.
pub const ACK_AGE_MS_MAX: u64 = 10 * 60 * 1000;

/// The state as it was after the parent block.
pub trait Reads {
    /// The value at `key`: outer `None` if it has not been fetched yet, inner `None` if there is none.
    fn read(&self, key: &Key) -> Option<Option<Vec<u8>>>;
}

/// A block, as far as the rules are concerned.
#[derive(Clone, Copy, Debug)]
pub struct BlockInput<'a> {
    /// Its height, from 1.
    pub height: u64,
    /// Its ledger time, milliseconds; greater than its parent's.
    pub time_ms: u64,
    /// The seed in its header: that of the parent's round. `None` right after genesis. The caller has checked it.
    pub seed: Option<Seed>,
    /// Canonical bytes of signed transactions.
    pub transactions: &'a [Vec<u8>],
}

/// What to do with a transaction that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leave it out: the block is being made.
    Propose,
    /// Stop with [`Stop::Transaction`]: somebody else has put it into a block.
    Verify,
}

/// What a block changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// New values, ascending by key; `None` removes.
    pub writes: Vec<(Key, Option<Vec<u8>>)>,
    /// Canonical bytes of new [`model::Record`]s, in log order.
    pub records: Vec<Vec<u8>>,
    /// Positions of the transactions that took effect.
    pub included: Vec<usize>,
    /// Positions of those that were refused ([`Mode::Propose`] alone), and why.
    pub refused: Vec<(usize, Refusal)>,
    /// When the ledger has work to do without a transaction.
    pub due: Due,
}

/// When the next block is wanted although nobody sends a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// At once: draws wait for their seed, or more is due than one block does.
    pub next_block: bool,
    /// As soon as ledger time can be later than this: a deadline passes.
    pub at_ms: Option<u64>,
}

/// Why a block was not executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// These values were not fetched; call again once [`Reads`] has them.
    #[error("{} values of the state are not fetched yet", .0.len())]
    Missing(Vec<Key>),
    /// A transaction of the block breaks a rule; its proposer is at fault.
    #[error("transaction {position} of the block breaks a rule")]
    Transaction {
        /// Which.
        position: usize,
        /// The rule.
        #[source]
        refusal: Box<Refusal>,
    },
    /// What a block does before its transactions breaks a rule; the genesis is at fault.
    #[error("the block cannot begin")]
    Block(#[source] Box<Refusal>),
    /// This node's state holds what the ledger never wrote: the block may be right, this node cannot tell.
    #[error("the value at {0} is not one the ledger wrote")]
    Damaged(Digest),
}
