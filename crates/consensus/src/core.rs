//! What all parts of one validator share. Nothing here knows the runtime.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use commonware_consensus::{
    simplex::{scheme::bls12381_threshold::vrf::Seedable as _, types::Activity},
    types::Round,
};
use finality::engine::{EngineDigest, Finalization, Scheme, Signature};
use model::Digest;
use tokio::sync::{Notify, watch};

use crate::{
    Due, Machine, Tip,
    block::Block,
    chain_of,
    journal::{Entry, Journal, JournalError},
    mempool::Mempool,
};

/// Seeds of so many rounds are kept.
const SEEDS_MAX: usize = 1_024;
/// Most bodies from peers that wait to be used, and most bytes of them; the oldest give way and are asked for again.
const FETCHED_MAX: usize = 1_024;
const FETCHED_BYTES_MAX: usize = 64 << 20;
/// Most bodies asked for at a time. Whoever waits for another asks for it when one of these has come.
const WANTED_MAX: usize = 4_096;

/// The shared part of one validator.
pub(crate) struct Core {
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) journal: Journal,
    pub(crate) pool: Mempool,
    pub(crate) outcomes: Outcomes,
    pub(crate) seeds: Seeds,
    pub(crate) wanted: Wanted,
    /// Newest finalized block.
    pub(crate) tip: watch::Sender<Tip>,
    /// Height whose state can be read; behind `head` only while the engine replays after a start.
    pub(crate) applied: watch::Sender<u64>,
    /// Why this validator cannot go on.
    pub(crate) failure: OnceLock<String>,
}

impl Core {
    pub(crate) fn new(machine: Arc<dyn Machine>, journal: Journal, genesis: &Block) -> Result<Self, JournalError> {
        let header = journal.header(journal.height())?;
        let tip = Tip::of(header.as_ref().unwrap_or(&genesis.header));
        Ok(Self {
            pool: Mempool::new(machine.clone(), tip.height),
            machine,
            journal,
            outcomes: Outcomes::default(),
            seeds: Seeds::default(),
            wanted: Wanted::default(),
            tip: watch::Sender::new(tip),
            applied: watch::Sender::new(0),
            failure: OnceLock::new(),
        })
    }

    /// Ends this validator: it can no longer tell right from wrong. The others go on without it.
    pub(crate) fn halt(&self, cause: &dyn std::error::Error) -> ! {
        let cause = chain_of(cause);
        tracing::error!(%cause, "this validator cannot go on");
        let cause = self.failure.get_or_init(|| cause);
        // The engine has no other way to be told; its runtime ends, and with it the handle says that it has stopped.
        panic!("{cause}");
    }

    /// Writes a finalized block to disk, before its state is applied.
    pub(crate) fn commit(&self, block: &Block) -> Result<(), JournalError> {
        let outcome = self.outcomes.get(&block.model_digest());
        let outcome = outcome.expect("the engine executes a block, in this process, before it applies its state");
        self.journal.append(&Entry {
            header: &block.header,
            transactions: &outcome.transactions,
            bodies: &outcome.effects.bodies,
            records: &outcome.effects.records,
        })
    }

    /// Learns that the state of a finalized block can be read.
    pub(crate) fn finalized(&self, block: &Block) {
        let outcome = self.outcomes.settle(block);
        self.pool.finalized(block.header.height, &outcome.transactions);
        self.applied.send_replace(block.header.height);
        let tip = Tip::of(&block.header);
        self.tip.send_if_modified(|known| {
            let newer = tip.height > known.height;
            if newer {
                *known = tip;
            }
            newer
        });
    }

    /// A body that state or branch name; waits for peers if it is not here.
    pub(crate) async fn body(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        loop {
            let arrived = self.wanted.arrived.notified();
            if let Some(body) = self.local_body(digest)? {
                self.wanted.satisfied(digest);
                return Ok(body);
            }
            self.wanted.want(*digest);
            arrived.await;
        }
    }

    /// A body, if it is here.
    pub(crate) fn local_body(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        if let Some(body) = self.outcomes.body(digest) {
            return Ok(Some(body));
        }
        if let Some(body) = self.journal.body(digest)? {
            return Ok(Some(body));
        }
        Ok(self.wanted.fetched(digest))
    }
}

/// What executing one block gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) height: u64,
    pub(crate) parent: Digest,
    pub(crate) transactions: Vec<Digest>,
    pub(crate) effects: Effects,
}

/// What a block changes.
#[derive(Debug)]
pub(crate) struct Effects {
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) due: Due,
}

/// Results of blocks that are not final yet, and what the last final one left to do.
#[derive(Default)]
pub(crate) struct Outcomes(Mutex<Branches>);

#[derive(Default)]
struct Branches {
    outcomes: HashMap<Digest, Arc<Outcome>>,
    bodies: HashMap<Digest, (Arc<Outcome>, usize)>,
    /// Of the newest final block. `None` after a start: then nothing is known, so the next proposal does not wait.
    last: Option<(Digest, Due)>,
}

impl Outcomes {
    fn branches(&self) -> MutexGuard<'_, Branches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a result until its height is final.
    pub(crate) fn insert(&self, block: Digest, outcome: Outcome) {
        let outcome = Arc::new(outcome);
        let mut branches = self.branches();
        for (at, body) in outcome.effects.bodies.iter().enumerate() {
            branches.bodies.insert(Digest::of(body), (outcome.clone(), at));
        }
        branches.outcomes.insert(block, outcome);
    }

    fn get(&self, block: &Digest) -> Option<Arc<Outcome>> {
        self.branches().outcomes.get(block).cloned()
    }

    fn body(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.branches().bodies.get(digest).map(|(outcome, at)| outcome.effects.bodies[*at].clone())
    }

    /// Forgets everything at and below a block that is final now; returns its result.
    fn settle(&self, block: &Block) -> Arc<Outcome> {
        let mut branches = self.branches();
        let outcome = branches.outcomes.get(&block.model_digest()).cloned();
        let outcome = outcome.expect("the block was committed with this result a moment ago");
        branches.last = Some((block.model_digest(), outcome.effects.due));
        branches.outcomes.retain(|_, other| other.height > outcome.height);
        branches.bodies.retain(|_, (other, _)| other.height > outcome.height);
        outcome
    }

    /// What a block left to do.
    pub(crate) fn due_after(&self, block: &Digest) -> Due {
        let branches = self.branches();
        match (branches.outcomes.get(block), branches.last) {
            (Some(outcome), _) => outcome.effects.due,
            (None, Some((last, due))) if last == *block => due,
            _ => Due { next_block: true, at_ms: None },
        }
    }

    /// Transactions in the blocks that lead to `block` and are not final yet.
    pub(crate) fn in_flight(&self, block: &Digest) -> HashSet<Digest> {
        let branches = self.branches();
        let mut transactions = HashSet::new();
        let mut next = branches.outcomes.get(block);
        while let Some(outcome) = next {
            transactions.extend(outcome.transactions.iter().copied());
            next = branches.outcomes.get(&outcome.parent);
        }
        transactions
    }
}

/// The beacon by round, taken from the certificates that pass by.
#[derive(Default)]
pub(crate) struct Seeds {
    seeds: Mutex<BTreeMap<Round, Signature>>,
    changed: Notify,
}

impl Seeds {
    pub(crate) fn observe(&self, activity: &Activity<Scheme, EngineDigest>) {
        match activity {
            Activity::Notarization(certificate) | Activity::Certification(certificate) => {
                self.insert(certificate.seed().round, certificate.seed().signature);
            }
            Activity::Finalization(certificate) => self.observe_finalization(certificate),
            _ => {}
        }
    }

    pub(crate) fn observe_finalization(&self, certificate: &Finalization) {
        let seed = certificate.seed();
        self.insert(seed.round, seed.signature);
    }

    fn insert(&self, round: Round, signature: Signature) {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        seeds.insert(round, signature);
        while seeds.len() > SEEDS_MAX {
            seeds.pop_first();
        }
        drop(seeds);
        self.changed.notify_waiters();
    }

    pub(crate) fn get(&self, round: Round) -> Option<Signature> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner).get(&round).copied()
    }

    /// Waits until the seed of a round is known.
    pub(crate) async fn wait(&self, round: Round) {
        loop {
            let changed = self.changed.notified();
            if self.get(round).is_some() {
                return;
            }
            changed.await;
        }
    }
}

/// Bodies that this node has not and asks its peers for.
#[derive(Default)]
pub(crate) struct Wanted {
    inner: Mutex<WantedBodies>,
    arrived: Notify,
    /// Signalled when peers should be asked.
    pub(crate) asked: Notify,
}

#[derive(Default)]
struct WantedBodies {
    wanted: HashSet<Digest>,
    fetched: HashMap<Digest, Vec<u8>>,
    /// The same, oldest first.
    order: VecDeque<Digest>,
    bytes: usize,
}

impl WantedBodies {
    fn keep(&mut self, digest: Digest, body: Vec<u8>) {
        self.bytes += body.len();
        self.order.push_back(digest);
        self.fetched.insert(digest, body);
        while self.order.len() > FETCHED_MAX || self.bytes > FETCHED_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.fetched.remove(&oldest).map_or(0, |body| body.len());
        }
    }
}

impl Wanted {
    fn inner(&self) -> MutexGuard<'_, WantedBodies> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, digest: Digest) {
        let mut inner = self.inner();
        if inner.wanted.len() < WANTED_MAX && !inner.fetched.contains_key(&digest) && inner.wanted.insert(digest) {
            self.asked.notify_one();
        }
    }

    fn satisfied(&self, digest: &Digest) {
        self.inner().wanted.remove(digest);
    }

    fn fetched(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.inner().fetched.get(digest).cloned()
    }

    /// What to ask peers for, at most `count`.
    pub(crate) fn list(&self, count: usize) -> Vec<Digest> {
        self.inner().wanted.iter().copied().take(count).collect()
    }

    /// Takes a body from a peer, if it was asked for and is what was asked for.
    pub(crate) fn receive(&self, body: Vec<u8>) {
        let mut inner = self.inner();
        let digest = Digest::of(&body);
        if !inner.wanted.remove(&digest) {
            return;
        }
        inner.keep(digest, body);
        drop(inner);
        self.arrived.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(number: usize, bytes: usize) -> Vec<u8> {
        [&number.to_be_bytes()[..], &vec![0; bytes]].concat()
    }

    #[test]
    fn fetched_bodies_make_room_for_those_that_are_wanted_now() {
        let wanted = Wanted::default();
        let last = 3 * FETCHED_MAX;
        for number in 0..=last {
            wanted.want(Digest::of(&body(number, 8)));
            wanted.receive(body(number, 8));
        }
        assert_eq!(wanted.fetched(&Digest::of(&body(last, 8))), Some(body(last, 8)));
        assert_eq!(wanted.fetched(&Digest::of(&body(0, 8))), None);
        assert!(wanted.list(1).is_empty());
        let inner = wanted.inner();
        assert_eq!((inner.fetched.len(), inner.order.len()), (FETCHED_MAX, FETCHED_MAX));
    }

    #[test]
    fn fetched_bodies_and_wishes_are_bounded() {
        let wanted = Wanted::default();
        for number in 0..300 {
            wanted.want(Digest::of(&body(number, 512 << 10)));
            wanted.receive(body(number, 512 << 10));
            wanted.receive(body(1000 + number, 512 << 10)); // nobody asked for it
        }
        let inner = wanted.inner();
        let bytes: usize = inner.fetched.values().map(Vec::len).sum();
        assert!(bytes == inner.bytes && bytes <= FETCHED_BYTES_MAX && bytes > FETCHED_BYTES_MAX / 2);
        drop(inner);
        (0..2 * WANTED_MAX).for_each(|number| wanted.want(Digest::of(&number.to_be_bytes())));
        assert_eq!(wanted.list(usize::MAX).len(), WANTED_MAX);
    }
}
