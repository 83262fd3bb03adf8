//! The state machine that consensus drives, and what passes between them. Consensus knows nothing of what transactions
//! mean; the machine knows nothing of votes, peers and disks.

use model::Seed;

/// Where a value of the live state stands. Machines make keys by hashing, so they are evenly spread.
pub type Key = [u8; 32];

/// Why the machine refuses something: an error of its own, which is only passed on here.
pub type Reason = Box<dyn std::error::Error + Send + Sync>;

/// A deterministic state machine. Everything it returns follows from its arguments alone: validators on other machines
/// must come to the same bytes.
pub trait Machine: Send + Sync + 'static {
    /// Checks what can be checked about one transaction without any state: layout, bounds, signatures.
    ///
    /// # Errors
    /// Why the transaction can never be accepted.
    fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, Reason>;

    /// The keys that executing these transactions will probably read. Only a hint, which saves retries.
    fn reads(&self, transactions: &[Vec<u8>]) -> Vec<Key>;

    /// Executes a block on the state that `reads` shows.
    ///
    /// In [`Mode::Propose`] transactions that cannot be executed are left out; in [`Mode::Verify`] one of them makes the
    /// block invalid. Consensus executes exactly the included transactions of a proposal again before it sends it.
    ///
    /// # Errors
    /// [`Stop::Missing`] asks to be called again with these keys fetched as well; [`Stop::Invalid`] refuses the block;
    /// [`Stop::Damaged`] stops this validator.
    fn execute(&self, block: &BlockInput<'_>, reads: &dyn Reads, mode: Mode) -> Result<Executed, Stop>;
}

/// What the mempool needs to know about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMeta {
    /// Whose transaction it is.
    pub account: [u8; 32],
    /// Its place among that account's transactions.
    pub nonce: u64,
}

/// One block to be executed.
#[derive(Clone, Copy, Debug)]
pub struct BlockInput<'a> {
    /// Height, from 1.
    pub height: u64,
    /// Ledger time, milliseconds since 1970.
    pub time_ms: u64,
    /// Beacon of the parent's round; `None` in the first block only.
    pub seed: Option<Seed>,
    /// The transactions, each checked by [`Machine::check`].
    pub transactions: &'a [Vec<u8>],
}

/// The state before a block.
pub trait Reads {
    /// The value under `key`. The outer `None` means that it was not fetched yet: return [`Stop::Missing`].
    fn read(&self, key: &Key) -> Option<Option<Vec<u8>>>;
}

/// Why a block is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To build it: leave out what does not fit.
    Propose,
    /// To vote for it or to catch up: all of it must fit.
    Verify,
}

/// What a block does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Changes of the state; `None` deletes. The last change of a key holds.
    pub writes: Vec<(Key, Option<Vec<u8>>)>,
    /// Records for the log, in order.
    pub records: Vec<Vec<u8>>,
    /// Positions of the transactions that were executed, ascending.
    pub included: Vec<usize>,
    /// When the next block is wanted, whether there are transactions or not.
    pub due: Due,
}

/// Work that no transaction brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The next block has work (a draw is pending): propose it at once.
    pub next_block: bool,
    /// At this ledger time (milliseconds) there will be work (a deadline): do not wait for longer.
    pub at_ms: Option<u64>,
}

/// Why execution stopped.
#[derive(Debug)]
pub enum Stop {
    /// These keys are needed as well.
    Missing(Vec<Key>),
    /// The block breaks a rule.
    Invalid(Reason),
    /// The state holds what the machine never wrote. The block may be right: this validator gives no vote and stops.
    Damaged(Reason),
}
