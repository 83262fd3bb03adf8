//! The adapter between two crates that must not know each other: the ledger's rules as the engine's state machine.
//! Nothing is decided here; types of the same shape are handed across.

use std::sync::Arc;

use consensus::{BlockInput, Due, Executed, Key, Machine, Mode, Reads, Reason, Stop, TransactionMeta};
use ledger::{Checked, Memo};
use model::{Genesis, NetworkId};

/// The rules of one network.
pub(crate) struct Ledger {
    genesis: Arc<Genesis>,
    network: NetworkId,
    /// Signatures checked on the way into the mempool are not checked again in every block.
    memo: Memo,
}

impl Ledger {
    pub(crate) fn new(genesis: Arc<Genesis>) -> Self {
        Self { network: genesis.network_id(), genesis, memo: Memo::default() }
    }

    fn checked(&self, transaction: &[u8]) -> Result<Checked, ledger::Refusal> {
        Checked::remembering(transaction, &self.network, &self.memo)
    }
}

impl Machine for Ledger {
    fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, Reason> {
        let meta = self.checked(transaction)?.meta();
        Ok(TransactionMeta { account: meta.account.0, nonce: meta.nonce })
    }

    fn reads(&self, transactions: &[Vec<u8>]) -> Vec<Key> {
        let checked = transactions.iter().flat_map(|transaction| self.checked(transaction));
        checked.flat_map(|checked| ledger::reads(checked.transaction())).collect()
    }

    fn execute(&self, block: &BlockInput<'_>, reads: &dyn Reads, mode: Mode) -> Result<Executed, Stop> {
        let input = ledger::BlockInput {
            height: block.height,
            time_ms: block.time_ms,
            seed: block.seed,
            transactions: block.transactions,
        };
        let mode = match mode {
            Mode::Propose => ledger::Mode::Propose,
            Mode::Verify => ledger::Mode::Verify,
        };
        ledger::execute_remembering(&self.genesis, &self.network, &input, &Adapter(reads), mode, &self.memo)
            .map(executed)
            .map_err(stopped)
    }
}

struct Adapter<'a>(&'a dyn Reads);

impl ledger::Reads for Adapter<'_> {
    fn read(&self, key: &ledger::Key) -> Option<Option<Vec<u8>>> {
        self.0.read(key)
    }
}

fn executed(executed: ledger::Executed) -> Executed {
    for (_, refusal) in &executed.refused {
        tracing::debug!(%refusal, "transaction left out");
    }
    Executed {
        writes: executed.writes,
        records: executed.records,
        included: executed.included,
        due: Due { next_block: executed.due.next_block, at_ms: executed.due.at_ms },
    }
}

fn stopped(stop: ledger::Stop) -> Stop {
    match stop {
        ledger::Stop::Missing(keys) => Stop::Missing(keys),
        damaged @ ledger::Stop::Damaged(_) => Stop::Damaged(damaged.into()),
        invalid @ (ledger::Stop::Transaction { .. } | ledger::Stop::Block(_)) => Stop::Invalid(invalid.into()),
    }
}
