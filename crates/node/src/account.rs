//! The node's own account: signs its transactions in the order of their nonces and sees each into a block.
//!
//! One task owns the nonces. Transactions are sent without waiting for the ones before them, so that a receipt never
//! queues behind a block. What does not make it into a block in time is sent again; what the ledger refuses is given
//! back to whoever asked, and everything behind it is signed anew.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Action, Canonical, Digest, NetworkId, Signed, Transaction, api::TransactionStatus};
use tokio::sync::{mpsc, oneshot};

use crate::{
    chain::{Chain, ChainError, Inadmissible},
    handles::Handles,
    index::Index,
};

/// Transactions under way at a time; further ones wait in the queue.
const PENDING_MAX: usize = 32;
/// Requests waiting for their turn.
const QUEUE_MAX: usize = 256;
/// After how long without a block that holds it a transaction is looked at again. Asking the rules costs little; a refused
/// transaction that is not noticed holds up the receipts behind it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks the account's task to send something.
#[derive(Clone)]
pub(crate) struct Account {
    queue: mpsc::Sender<Wish>,
}

struct Wish {
    action: Action,
    done: oneshot::Sender<Result<u64, Declined>>,
}

/// Why a transaction of this node did not become final.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Declined {
    /// The ledger's rules forbid it.
    #[error("the ledger refuses this node's {action}: {reason}")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The rule.
        reason: String,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl Account {
    /// Starts the task that owns the account.
    pub(crate) fn start(handles: Handles) -> Self {
        let Handles { chain, index, identity, .. } = handles;
        let (queue, wishes) = mpsc::channel(QUEUE_MAX);
        let worker = Worker { chain, index, identity, base: 0, pending: VecDeque::new(), taken: Taken::default() };
        tokio::spawn(worker.run(wishes));
        Self { queue }
    }

    /// Sends a transaction and waits until it is in a finalized block, whose height is returned.
    ///
    /// # Errors
    /// [`Declined`].
    pub(crate) async fn send(&self, action: Action) -> Result<u64, Declined> {
        let (done, outcome) = oneshot::channel();
        self.queue.send(Wish { action, done }).await.map_err(|_| Declined::Stopping)?;
        outcome.await.map_err(|_| Declined::Stopping)?
    }
}

struct Worker {
    chain: Chain,
    index: Arc<Index>,
    identity: Arc<custody::NodeIdentity>,
    /// Nonce of the first pending transaction.
    base: u64,
    pending: VecDeque<Pending>,
    taken: Taken,
}

/// Finds out who took the nonce of the first pending transaction, when the state says that it is taken.
///
/// The state is at most a block ahead of what this node knows to be in blocks. So most often it was that transaction
/// itself; signing it again then would have the ledger refuse the second one, and hold up everything behind it.
#[derive(Debug, Default)]
struct Taken {
    /// Height of the newest known block when the state first said so.
    since: Option<u64>,
}

impl Taken {
    /// Whether another transaction of this account has taken it: one of an earlier life of this process.
    fn by_another(&mut self, is_final: bool, head: u64) -> bool {
        let since = *self.since.get_or_insert(head);
        !is_final && head > since
    }
}

struct Pending {
    action: Action,
    id: Digest,
    bytes: Vec<u8>,
    sent: Instant,
    done: oneshot::Sender<Result<u64, Declined>>,
}

impl Worker {
    async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let mut blocks = self.index.watch();
        let mut look_again = tokio::time::interval(PATIENCE / 4);
        loop {
            tokio::select! {
                wish = wishes.recv(), if self.pending.len() < PENDING_MAX => {
                    let Some(wish) = wish else { return };
                    self.accept(wish).await;
                }
                changed = blocks.changed(), if !self.pending.is_empty() => {
                    if changed.is_err() { return }
                    self.settle();
                }
                _ = look_again.tick(), if !self.pending.is_empty() => self.revive().await,
            }
        }
    }

    async fn accept(&mut self, wish: Wish) {
        if self.pending.is_empty() {
            match self.finalized_nonce().await {
                Ok(nonce) => self.base = self.base.max(nonce),
                // The engine is stopping; `revive` finds out whether it is not.
                Err(cause) => tracing::debug!(error = %cause, "nonce not read"),
            }
        }
        let nonce = self.base + self.pending.len() as u64;
        let pending = self.sign(wish.action, nonce, wish.done);
        self.submit(&pending.bytes);
        self.pending.push_back(pending);
    }

    fn sign(&self, action: Action, nonce: u64, done: oneshot::Sender<Result<u64, Declined>>) -> Pending {
        let body = Transaction { account: self.identity.node_id(), nonce, action: action.clone() };
        let signed: Signed<Transaction> = self.identity.sign(self.network(), body);
        let bytes = signed.to_bytes();
        Pending { action, id: Digest::of(&bytes), bytes, sent: Instant::now(), done }
    }

    fn network(&self) -> &NetworkId {
        self.chain.network_id()
    }

    fn submit(&self, bytes: &[u8]) {
        if let Err(cause) = self.chain.submit(bytes.to_vec()) {
            // The mempool is full or the engine is stopping; `revive` tries again.
            tracing::debug!(error = %crate::chain_of(&cause), "transaction not taken");
        }
    }

    async fn finalized_nonce(&self) -> Result<u64, ChainError> {
        Ok(self.chain.account(&self.identity.node_id()).await?.nonce)
    }

    /// Takes off what is in a block.
    fn settle(&mut self) {
        loop {
            let Some(front) = self.pending.front() else { return };
            let TransactionStatus::Final { height } = self.chain.consensus().status(&front.id) else { return };
            if height > self.index.tip().height {
                // Whoever asked shall find in the index what the transaction did.
                return;
            }
            if let Some(front) = self.pending.pop_front() {
                self.base += 1;
                self.taken = Taken::default();
                // Whoever asked may have gone.
                let _ = front.done.send(Ok(height));
            }
        }
    }

    /// Whether a transaction is in a block, even one that the index has not read yet.
    fn is_final(&self, id: &Digest) -> bool {
        matches!(self.chain.consensus().status(id), TransactionStatus::Final { .. })
    }

    /// Looks after transactions that no block has taken for a while.
    async fn revive(&mut self) {
        self.settle();
        if self.pending.front().is_none_or(|front| front.sent.elapsed() < PATIENCE) {
            return;
        }
        let Ok(nonce) = self.finalized_nonce().await else { return };
        self.settle();
        let Some(front) = self.pending.front() else { return };
        if nonce != self.base {
            let (is_final, head) = (self.is_final(&front.id), self.chain.consensus().tip().height);
            if self.taken.by_another(is_final, head) {
                self.sign_again(nonce);
            }
            return;
        }
        self.taken = Taken::default();
        match self.chain.admit(&front.bytes).await {
            Ok(()) => self.send_again(),
            Err(Inadmissible::Chain(cause)) => tracing::debug!(error = %cause, "transaction not looked at"),
            // A block came since the nonce was read, perhaps with this very transaction: look again.
            Err(Inadmissible::Refused(ledger::Refusal::Nonce { .. })) => {}
            Err(reason) => {
                if let Some(front) = self.pending.pop_front() {
                    let action = front.action.name();
                    let _ = front.done.send(Err(Declined::Refused { action, reason: crate::chain_of(&reason) }));
                }
                self.sign_again(nonce);
            }
        }
    }

    fn send_again(&mut self) {
        for pending in &self.pending {
            self.submit(&pending.bytes);
        }
        self.pending.iter_mut().for_each(|pending| pending.sent = Instant::now());
    }

    fn sign_again(&mut self, base: u64) {
        self.base = base;
        self.taken = Taken::default();
        for (pending, nonce) in std::mem::take(&mut self.pending).into_iter().zip(base..) {
            let pending = self.sign(pending.action, nonce, pending.done);
            self.submit(&pending.bytes);
            self.pending.push_back(pending);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Taken;

    #[test]
    fn a_nonce_is_another_transactions_only_when_blocks_have_shown_it() {
        // The state has the block already, the list of blocks not yet: it is our own.
        let mut taken = Taken::default();
        assert!(!taken.by_another(false, 10));
        assert!(!taken.by_another(false, 10), "nothing new was seen");
        assert!(!taken.by_another(true, 11), "there it is");
        // Another one was in that block.
        let mut taken = Taken::default();
        assert!(!taken.by_another(false, 10));
        assert!(taken.by_another(false, 11));
    }
}
