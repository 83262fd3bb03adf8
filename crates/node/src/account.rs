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
    pub(crate) fn start(chain: Chain, index: Arc<Index>, identity: Arc<custody::NodeIdentity>) -> Self {
        let (queue, wishes) = mpsc::channel(QUEUE_MAX);
        let worker = Worker { chain, index, identity, base: 0, pending: VecDeque::new() };
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
            tracing::debug!(error = %cause, "transaction not taken");
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
                // Whoever asked may have gone.
                let _ = front.done.send(Ok(height));
            }
        }
    }

    /// Looks after transactions that no block has taken for a while.
    async fn revive(&mut self) {
        self.settle();
        if self.pending.front().is_none_or(|front| front.sent.elapsed() < PATIENCE) {
            return;
        }
        let Ok(nonce) = self.finalized_nonce().await else { return };
        self.settle();
        if nonce != self.base {
            // Another transaction of this account has taken the nonce: one of an earlier life of this process.
            return self.sign_again(nonce);
        }
        let Some(front) = self.pending.front() else { return };
        match self.chain.admit(&front.bytes).await {
            Ok(()) => self.send_again(),
            Err(Inadmissible::Chain(cause)) => tracing::debug!(error = %cause, "transaction not looked at"),
            Err(reason) => {
                if let Some(front) = self.pending.pop_front() {
                    let action = front.action.name();
                    let _ = front.done.send(Err(Declined::Refused { action, reason: reason.to_string() }));
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
        for (pending, nonce) in std::mem::take(&mut self.pending).into_iter().zip(base..) {
            let pending = self.sign(pending.action, nonce, pending.done);
            self.submit(&pending.bytes);
            self.pending.push_back(pending);
        }
    }
}
