//! Transactions that wait for a block. In memory only: whoever submitted one asks again after a restart.
//!
//! Per account, transactions are kept and offered in the order of their nonces. Every transaction is checked once
//! ([`Machine::check`]), whether it came from a client, from a peer or in a proposed block. What proposals refuse again
//! and again is dropped, and so is what has waited for too many blocks.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque, btree_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::Digest;
use tokio::sync::Notify;

use crate::{
    Machine, Reason, TransactionMeta,
    block::{BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, TRANSACTION_BYTES_MAX},
    chain_of,
};

/// Most waiting transactions.
const COUNT_MAX: usize = 16_384;
/// Most bytes of them.
const BYTES_MAX: usize = 64 << 20;
/// The part of both that transactions from peers may use; the rest is for those submitted here. A validator that floods the
/// others can so neither keep out their clients nor their own receipts.
const PEERS_PART: (usize, usize) = (3, 4);
/// Most waiting transactions of one account.
const PER_ACCOUNT_MAX: usize = 4_096;
/// A transaction that waited for so many blocks is dropped.
const BLOCKS_MAX: u64 = 2_048;
/// A transaction that so many proposals in a row could not execute is dropped.
const REFUSALS_MAX: u32 = 8;
/// Ids of transactions whose checks are remembered.
const CHECKED_MAX: usize = 32_768;
/// How many transactions of one account a proposal takes before the next account has its turn.
const TURN: usize = 64;

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The submitter's fault.
    #[error("the transaction can never be accepted")]
    Refused(#[source] Reason),
    /// The submitter's fault.
    #[error("{bytes} bytes are too long for a transaction, at most {TRANSACTION_BYTES_MAX} are allowed")]
    TooLong {
        /// What came.
        bytes: usize,
    },
    /// Another transaction of this account with this nonce waits already.
    #[error("another transaction with nonce {nonce} of this account is waiting")]
    NonceTaken {
        /// Which.
        nonce: u64,
    },
    /// Too many transactions of this account are waiting.
    #[error("{PER_ACCOUNT_MAX} transactions of this account are waiting; try again when some are final")]
    AccountFull,
    /// Too many transactions are waiting.
    #[error("this node has no room for more transactions; try again in some seconds, or another node")]
    Full,
    /// The engine has stopped.
    #[error("consensus has stopped on this node")]
    Stopped,
}

/// The pool of one validator.
pub(crate) struct Mempool {
    machine: Arc<dyn Machine>,
    pool: Mutex<Pool>,
    /// Signalled whenever a proposer that found nothing should look again.
    pub(crate) changed: Notify,
    /// Signalled when there is something to pass on to peers.
    pub(crate) outgoing: Notify,
}

#[derive(Default)]
struct Pool {
    accounts: HashMap<[u8; 32], BTreeMap<u64, Waiting>>,
    /// Accounts in the order in which they are served.
    turns: VecDeque<[u8; 32]>,
    ids: HashMap<Digest, TransactionMeta>,
    bytes: usize,
    height: u64,
    checked: HashMap<Digest, TransactionMeta>,
    checked_order: VecDeque<Digest>,
    /// Submitted here and not yet sent to peers.
    unsent: VecDeque<Digest>,
    /// Submitted here and still waiting; sent again until final.
    own: VecDeque<(Digest, u64)>,
}

/// Who brought a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Here,
    Peer,
}

impl Origin {
    /// Most transactions there may be for one more of this origin to be taken, and most bytes with it.
    fn room(self) -> (usize, usize) {
        match self {
            Self::Here => (COUNT_MAX, BYTES_MAX),
            Self::Peer => (COUNT_MAX / PEERS_PART.1 * PEERS_PART.0, BYTES_MAX / PEERS_PART.1 * PEERS_PART.0),
        }
    }
}

struct Waiting {
    id: Digest,
    bytes: Vec<u8>,
    since: u64,
    refusals: u32,
    /// Not worth a proposal of its own before this height.
    retry_at: u64,
}

impl Mempool {
    pub(crate) fn new(machine: Arc<dyn Machine>, height: u64) -> Self {
        let pool = Mutex::new(Pool { height, ..Pool::default() });
        Self { machine, pool, changed: Notify::new(), outgoing: Notify::new() }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // The machine is never called with the lock held, and nothing else here panics half-way.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a transaction from a client.
    pub(crate) fn submit(&self, transaction: Vec<u8>) -> Result<Digest, SubmitError> {
        let (id, new) = self.insert(transaction, Origin::Here)?;
        if new {
            let mut pool = self.pool();
            let height = pool.height;
            pool.unsent.push_back(id);
            pool.own.push_back((id, height));
            drop(pool);
            self.outgoing.notify_one();
        }
        Ok(id)
    }

    /// Takes a transaction from a peer; what cannot be taken is dropped.
    pub(crate) fn receive(&self, transaction: Vec<u8>) {
        if let Err(cause) = self.insert(transaction, Origin::Peer) {
            tracing::debug!(cause = %chain_of(&cause), "transaction from a peer was not taken");
        }
    }

    fn insert(&self, transaction: Vec<u8>, origin: Origin) -> Result<(Digest, bool), SubmitError> {
        if transaction.len() > TRANSACTION_BYTES_MAX {
            return Err(SubmitError::TooLong { bytes: transaction.len() });
        }
        let id = Digest::of(&transaction);
        if self.contains(&id) {
            return Ok((id, false));
        }
        let meta = self.check(id, &transaction).map_err(SubmitError::Refused)?;
        let new = self.pool().insert(id, meta, transaction, origin)?;
        self.changed.notify_waiters();
        Ok((id, new))
    }

    /// Checks a transaction, or remembers that it was checked.
    pub(crate) fn check(&self, id: Digest, transaction: &[u8]) -> Result<TransactionMeta, Reason> {
        if let Some(meta) = self.pool().checked.get(&id) {
            return Ok(*meta);
        }
        let meta = self.machine.check(transaction)?;
        self.pool().remember(id, meta);
        Ok(meta)
    }

    /// Whether a transaction waits.
    pub(crate) fn contains(&self, id: &Digest) -> bool {
        self.pool().ids.contains_key(id)
    }

    /// Whether there is something to propose besides what is `in_flight`.
    pub(crate) fn is_ready(&self, in_flight: &HashSet<Digest>) -> bool {
        let pool = self.pool();
        let height = pool.height;
        pool.accounts.values().any(|waiting| {
            let mut rest = waiting.values().skip_while(|entry| in_flight.contains(&entry.id));
            rest.next().is_some_and(|first| first.retry_at <= height)
        })
    }

    /// What a proposal may contain, in order: nonces of one account ascend, accounts take turns.
    pub(crate) fn offer(&self, in_flight: &HashSet<Digest>) -> Vec<(Digest, Vec<u8>)> {
        self.pool().offer(in_flight)
    }

    /// Learns that a proposal could not execute these.
    pub(crate) fn refused(&self, ids: &[Digest]) {
        self.pool().refused(ids);
    }

    /// Learns that a block is final.
    pub(crate) fn finalized(&self, height: u64, ids: &[Digest]) {
        self.pool().finalized(height, ids);
        self.changed.notify_waiters();
    }

    /// New transactions for the peers, at most `bytes_max` bytes.
    pub(crate) fn unsent(&self, bytes_max: usize) -> Vec<Vec<u8>> {
        let mut pool = self.pool();
        let mut sent = Vec::new();
        let mut room = bytes_max;
        while let Some(id) = pool.unsent.front().copied() {
            if let Some(bytes) = pool.bytes_of(&id) {
                if bytes.len() > room {
                    break;
                }
                room -= bytes.len();
                sent.push(bytes);
            }
            pool.unsent.pop_front();
        }
        sent
    }

    /// Transactions submitted here that still wait although blocks went by: they are sent again, oldest first.
    pub(crate) fn overdue(&self, bytes_max: usize) -> Vec<Vec<u8>> {
        let mut pool = self.pool();
        let mut own = std::mem::take(&mut pool.own);
        own.retain(|(id, _)| pool.ids.contains_key(id));
        let (mut sent, mut room) = (Vec::new(), bytes_max);
        for (id, since) in &own {
            let Some(bytes) = pool.bytes_of(id).filter(|_| *since < pool.height) else { continue };
            if bytes.len() > room {
                break;
            }
            room -= bytes.len();
            sent.push(bytes);
        }
        // The next call begins with those that had no room.
        own.rotate_left(sent.len().min(own.len()));
        pool.own = own;
        sent
    }
}

impl Pool {
    fn insert(
        &mut self,
        id: Digest,
        meta: TransactionMeta,
        bytes: Vec<u8>,
        origin: Origin,
    ) -> Result<bool, SubmitError> {
        if self.ids.contains_key(&id) {
            return Ok(false);
        }
        self.withdraw_refused(&meta);
        let (count_max, bytes_max) = origin.room();
        if self.ids.len() >= count_max || self.bytes + bytes.len() > bytes_max {
            return Err(SubmitError::Full);
        }
        let account = self.accounts.entry(meta.account).or_default();
        if account.is_empty() {
            self.turns.push_back(meta.account);
        }
        if account.len() >= PER_ACCOUNT_MAX {
            return Err(SubmitError::AccountFull);
        }
        let btree_map::Entry::Vacant(place) = account.entry(meta.nonce) else {
            return Err(SubmitError::NonceTaken { nonce: meta.nonce });
        };
        self.bytes += bytes.len();
        place.insert(Waiting { id, bytes, since: self.height, refusals: 0, retry_at: 0 });
        self.ids.insert(id, meta);
        // It may be what the others of this account were waiting for.
        account.values_mut().for_each(|waiting| waiting.retry_at = 0);
        Ok(true)
    }

    /// Makes way for another transaction of the same account and nonce, if the one that is there was refused: only the account
    /// itself can have signed both, and it would wait for nothing.
    fn withdraw_refused(&mut self, meta: &TransactionMeta) {
        let there = self.accounts.get(&meta.account).and_then(|waiting| waiting.get(&meta.nonce));
        if let Some(refused) = there.filter(|there| there.refusals > 0).map(|there| there.id) {
            self.remove(&refused);
        }
    }

    fn remember(&mut self, id: Digest, meta: TransactionMeta) {
        if self.checked.insert(id, meta).is_none() {
            self.checked_order.push_back(id);
        }
        while self.checked_order.len() > CHECKED_MAX {
            if let Some(oldest) = self.checked_order.pop_front() {
                self.checked.remove(&oldest);
            }
        }
    }

    fn bytes_of(&self, id: &Digest) -> Option<Vec<u8>> {
        let meta = self.ids.get(id)?;
        self.accounts.get(&meta.account)?.get(&meta.nonce).map(|waiting| waiting.bytes.clone())
    }

    fn offer(&mut self, in_flight: &HashSet<Digest>) -> Vec<(Digest, Vec<u8>)> {
        let mut queues: VecDeque<_> = self
            .in_order()
            .into_iter()
            .map(|waiting| waiting.values().filter(|entry| !in_flight.contains(&entry.id)).peekable())
            .collect();
        let (mut offer, mut room) = (Vec::new(), BLOCK_BYTES_MAX);
        while let Some(mut queue) = queues.pop_front() {
            for _ in 0..TURN {
                let fits = |entry: &&Waiting| entry.bytes.len() <= room;
                let Some(entry) = queue.next_if(fits) else { break };
                room -= entry.bytes.len();
                offer.push((entry.id, entry.bytes.clone()));
                if offer.len() == BLOCK_TRANSACTIONS_MAX {
                    self.turns.rotate_left(1);
                    return offer;
                }
            }
            // An account whose next transaction does not fit into this block has had its turn.
            if queue.peek().is_some_and(|entry| entry.bytes.len() <= room) {
                queues.push_back(queue);
            }
        }
        offer
    }

    /// Accounts as a proposal serves them: in turn, but those of transactions submitted here first, because this validator is
    /// perhaps the only one that has them; and what was refused lately last, because it will probably be refused again.
    fn in_order(&self) -> Vec<&BTreeMap<u64, Waiting>> {
        let own = self.own.iter().filter_map(|(id, _)| self.ids.get(id));
        let own: HashSet<_> = own.map(|meta| meta.account).collect();
        let mut accounts: Vec<_> =
            self.turns.iter().filter_map(|account| Some((account, self.accounts.get(account)?))).collect();
        accounts.sort_by_key(|(account, waiting)| {
            let is_refused = waiting.values().next().is_some_and(|first| first.retry_at > self.height);
            (is_refused, !own.contains(*account))
        });
        accounts.into_iter().map(|(_, waiting)| waiting).collect()
    }

    fn refused(&mut self, ids: &[Digest]) {
        let height = self.height;
        let mut first_of = HashSet::new();
        for id in ids {
            let Some(meta) = self.ids.get(id).copied() else { continue };
            let Some(waiting) = self.accounts.get_mut(&meta.account).and_then(|all| all.get_mut(&meta.nonce)) else {
                continue;
            };
            // The others of the account may only have been refused because of the first.
            if first_of.insert(meta.account) {
                waiting.refusals += 1;
            }
            waiting.retry_at = height + (1 << waiting.refusals.min(REFUSALS_MAX));
            if waiting.refusals >= REFUSALS_MAX {
                self.remove(id);
            }
        }
    }

    fn finalized(&mut self, height: u64, ids: &[Digest]) {
        self.height = self.height.max(height);
        for id in ids {
            let account = self.ids.get(id).map(|meta| meta.account);
            self.remove(id);
            if let Some(waiting) = account.and_then(|account| self.accounts.get_mut(&account)) {
                waiting.values_mut().for_each(|waiting| waiting.retry_at = 0);
            }
        }
        let waited_enough: Vec<_> = self
            .accounts
            .values()
            .flat_map(|waiting| waiting.values())
            .filter(|waiting| waiting.since + BLOCKS_MAX < height)
            .map(|waiting| waiting.id)
            .collect();
        waited_enough.iter().for_each(|id| self.remove(id));
    }

    fn remove(&mut self, id: &Digest) {
        let Some(meta) = self.ids.remove(id) else { return };
        let Some(account) = self.accounts.get_mut(&meta.account) else { return };
        if let Some(waiting) = account.remove(&meta.nonce) {
            self.bytes -= waiting.bytes.len();
        }
        if account.is_empty() {
            self.accounts.remove(&meta.account);
            self.turns.retain(|turn| *turn != meta.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(pool: &mut Pool, account: u32, nonce: u64, text: &str, origin: Origin) -> Result<Digest, SubmitError> {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&account.to_be_bytes());
        let bytes = format!("{account} {nonce} {text}").into_bytes();
        let id = Digest::of(&bytes);
        pool.insert(id, TransactionMeta { account: key, nonce }, bytes, origin)?;
        if origin == Origin::Here {
            pool.own.push_back((id, 0));
        }
        Ok(id)
    }

    fn offered(pool: &mut Pool) -> Vec<Digest> {
        pool.offer(&HashSet::new()).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_flood_from_peers_neither_fills_the_pool_nor_comes_first() {
        let mut pool = Pool::default();
        let mut account = 0;
        let refused = loop {
            account += 1;
            if let Err(refused) = put(&mut pool, account, 0, "flood", Origin::Peer) {
                break refused;
            }
        };
        assert!(matches!(refused, SubmitError::Full), "{refused:?}");
        let own = put(&mut pool, account, 0, "ours", Origin::Here).unwrap();
        let offer = offered(&mut pool);
        assert_eq!(offer.len(), BLOCK_TRANSACTIONS_MAX);
        assert_eq!(offer[0], own);
    }

    #[test]
    fn what_was_refused_comes_last() {
        let mut pool = Pool::default();
        let stale = put(&mut pool, 1, 0, "stale", Origin::Here).unwrap();
        let good = put(&mut pool, 2, 0, "good", Origin::Peer).unwrap();
        assert_eq!(offered(&mut pool), [stale, good]);
        pool.refused(&[stale]);
        assert_eq!(offered(&mut pool), [good, stale]);
    }

    #[test]
    fn a_refused_transaction_makes_way_for_another_with_its_nonce() {
        let mut pool = Pool::default();
        let first = put(&mut pool, 1, 0, "first", Origin::Here).unwrap();
        let taken = put(&mut pool, 1, 0, "second", Origin::Here);
        assert!(matches!(taken, Err(SubmitError::NonceTaken { nonce: 0 })), "{taken:?}");
        pool.refused(&[first]);
        let second = put(&mut pool, 1, 0, "second", Origin::Here).unwrap();
        assert_eq!(offered(&mut pool), [second]);
        assert_eq!(pool.bytes, "1 0 second".len());
    }
}
