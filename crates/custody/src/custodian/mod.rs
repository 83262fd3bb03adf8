//! The custodian: keeps shares, and decides for itself whether an executor gets one.
//!
//! A state machine: [`Custodian::handle`] takes a message and the time, and answers with actions, in order. Whoever drives it
//! carries them out one by one: a [`Action::Persist`] is on disk before the next action begins. So every share that leaves
//! has its signed release record on this disk first, and a process that is killed at any point loses nothing but what it
//! had not yet said.
//! Whoever cannot write must throw the custodian away and restore it from what was written: its memory is ahead then.
//!
//! The decision rests on finalized records ([`ReleaseFacts`]) and on evidence that this custodian appraised itself; the
//! executor's word counts for nothing but its signature. `rules` has one function for each rule.

mod facts;
mod progress;
mod refusal;
mod rules;
mod store;

use std::{collections::BTreeMap, sync::Arc};

use attest::Appraised;
use chacha20::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use finality::Finalized;
use model::{
    AccountId, Bytes32, Canonical as _, ContentId, CustodyMode, DepositAck, Digest, Fact, NetworkId, ObjectId, Record,
    Release, ReleaseRequest, Signed, TaskId, Verdict, api::DepositRequest, domain_message,
};
use subtle::ConstantTimeEq as _;

pub use facts::{FactsError, ObjectFacts, ReleaseFacts, Standing};
pub use refusal::Refusal;
pub use store::RestoreError;

use crate::{
    NodeIdentity, Share,
    deposit::{open_held, open_share},
    derive::{Secret32, derive},
    wire::{Hello, ReleasedShare},
    wrap::seal_to,
};
use progress::Watched;
use rules::{Asked, OwnAppraisal};
use store::{Held, SerialSeen, State, TaskRecord};

/// How old this node's newest block may be when it releases a share (R3), milliseconds.
pub const HEAD_AGE_MS_MAX: u64 = 30_000;
/// Most distinct ephemeral keys of one attempt at a task (R9): an executor that starts again makes a new one.
pub const EPHEMERAL_KEYS_MAX: usize = 4;
/// How long a nonce holds at least, milliseconds; at most twice as long.
const NONCE_MS: u64 = 30_000;
/// How long a deposit waits to be published, milliseconds of ledger time. Storage acknowledgements are signed before it, and the
/// ledger takes none older than ten minutes: a deposit that is forgotten after eleven can be published no more.
const PENDING_MS_MAX: u64 = 11 * 60_000;
/// Most deposits of one owner that wait to be published. One takes less than 4 KiB of the disk, with 16 holders.
pub const PENDING_PER_OWNER_MAX: usize = 16;
/// Most deposits that wait to be published, of all owners.
pub const PENDING_MAX: usize = 4096;
/// How long after its deadline a task's record is kept, milliseconds.
const TASK_KEPT_MS: u64 = 24 * 3_600_000;
/// Most appraisals remembered.
const APPRAISALS_MAX: usize = 4096;

/// What a custodian must know of its network and of itself.
#[derive(Clone, Debug)]
pub struct CustodianConfig {
    /// Which network.
    pub network: NetworkId,
    /// Whether rule D2 holds.
    pub mode: CustodyMode,
    /// This node's operator, as the validators approved it.
    pub operator: String,
}

/// What a custodian reacts to.
#[derive(Debug)]
pub enum Message {
    /// An owner hands over a share.
    Deposit {
        /// The owner's request.
        request: Box<DepositRequest>,
        /// What this node's ledger says about that owner.
        standing: Standing,
    },
    /// An executor asks for a nonce.
    Hello(Hello),
    /// An executor asks for shares; this custodian's own node adds what is final about the task.
    Request {
        /// The executor's request.
        request: Box<Signed<ReleaseRequest>>,
        /// What this node knows.
        facts: Box<ReleaseFacts>,
    },
    /// This node has appraised the evidence behind a verdict, as [`Refusal::NotAppraised`] asked it to.
    Appraised {
        /// The outcome.
        appraised: Box<Appraised>,
        /// The verdict; the outcome is remembered until it ends.
        verdict: Box<Finalized<Verdict>>,
    },
    /// A record became final. Objects, terms, assignments, releases and settlements matter here, the others are ignored. They
    /// are shown in the order of the log, and after a start from the first one on.
    Final(Box<Finalized<Record>>),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write `value` under `key` (`a-z`, `0-9`, `-`), or remove it, and sync, before anything that follows.
    Persist {
        /// Where.
        key: String,
        /// What; `None` removes.
        value: Option<Vec<u8>>,
    },
    /// Answer the owner.
    Acknowledge(Signed<DepositAck>),
    /// Answer the executor's hello.
    Nonce(Bytes32),
    /// Put these releases on the ledger ([`model::Action::PostReleases`]).
    Post {
        /// For which task.
        task: TaskId,
        /// All by this custodian, for one attempt.
        releases: Vec<Signed<Release>>,
    },
    /// Answer the executor with its shares.
    Release(Vec<ReleasedShare>),
}

/// One node's custody.
pub struct Custodian {
    config: CustodianConfig,
    identity: Arc<NodeIdentity>,
    rng: ChaCha20Rng,
    nonce_key: Secret32,
    state: State,
    appraisals: BTreeMap<ContentId, (u64, OwnAppraisal)>,
    watched: Watched,
}

impl Custodian {
    /// A custodian that holds nothing yet.
    ///
    /// `entropy` is fresh at every start: nonces and seals come from it.
    pub fn new(config: CustodianConfig, identity: Arc<NodeIdentity>, entropy: [u8; 32]) -> Self {
        Self::with_state(config, identity, entropy, State::default())
    }

    /// The custodian that wrote these values: all that were persisted and not removed, in any order.
    ///
    /// # Errors
    /// [`RestoreError`] names a value that is not one of a custodian's.
    pub fn restore(
        config: CustodianConfig,
        identity: Arc<NodeIdentity>,
        entropy: [u8; 32],
        stored: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, RestoreError> {
        Ok(Self::with_state(config, identity, entropy, State::restore(stored)?))
    }

    fn with_state(config: CustodianConfig, identity: Arc<NodeIdentity>, entropy: [u8; 32], state: State) -> Self {
        let mut rng = ChaCha20Rng::from_seed(entropy);
        let mut nonce_key = Secret32::default();
        rng.fill_bytes(nonce_key.as_mut());
        Self { config, identity, rng, nonce_key, state, appraisals: BTreeMap::new(), watched: Watched::default() }
    }

    /// Reacts to one message. `now_ms` is this node's clock, milliseconds since 1970.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn handle(&mut self, now_ms: u64, message: Message) -> Result<Vec<Action>, Refusal> {
        match message {
            Message::Deposit { request, standing } => self.deposit(now_ms, *request, standing),
            Message::Hello(hello) => Ok(vec![Action::Nonce(self.nonce(now_ms / NONCE_MS, &hello))]),
            Message::Request { request, facts } => self.request(now_ms, &request, &facts),
            Message::Appraised { appraised, verdict } => {
                self.remember(now_ms, &appraised, &verdict)?;
                Ok(Vec::new())
            }
            Message::Final(record) => Ok(self.observe(record.get())),
        }
    }

    /// What a restart interrupted: releases that the ledger may not have yet, of tasks that still run at `time_ms`.
    pub fn resume(&self, time_ms: u64) -> Vec<Action> {
        let unposted = self.state.tasks().filter(|(_, record)| !record.posted && record.deadline_ms > time_ms);
        unposted.map(|(task, record)| post(*task, record)).collect()
    }

    /// Objects of which a share is held, published ones only.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> {
        self.state.deposits().filter(|(_, held)| held.published).map(|(_, held)| held.deposit.object)
    }

    // --- deposits ---------------------------------------------------------------------------------------------------

    fn deposit(&mut self, now_ms: u64, request: DepositRequest, standing: Standing) -> Result<Vec<Action>, Refusal> {
        // Checks the owner's signatures first.
        open_share(&self.config.network, &self.identity, &request)?;
        let DepositRequest { deposit, index, sealed_share, .. } = request;
        let deposit = deposit.into_unverified();
        let object = deposit.object;
        if self.state.serial_seen(&object).is_some_and(|seen| seen.revoked) {
            return Err(Refusal::DepositRevoked { object });
        }
        let digest = deposit.digest();
        let mut actions = Vec::new();
        if self.state.held(&digest).is_none() {
            self.check_room(&deposit.owner, standing)?;
            actions = self.state.drop_deposits(|held| is_abandoned(held, standing.observed_ms));
            // A clock that is slow must not have a deposit forgotten that can still be published.
            let received_ms = now_ms.max(standing.observed_ms);
            let held = Held { deposit, index, sealed_share, received_ms, published: false };
            actions.push(self.state.put_deposit(held));
        }
        let ack = DepositAck { deposit: digest, index, custodian: self.identity.node_id() };
        actions.push(Action::Acknowledge(self.identity.sign(&self.config.network, ack)));
        Ok(actions)
    }

    /// Nothing is paid for a deposit before it is published. So its owner must be able to pay for that and for
    /// what waits already, and there are bounds: for each owner, and for all, so that one cannot keep the others out.
    fn check_room(&self, owner: &AccountId, standing: Standing) -> Result<(), Refusal> {
        let Standing { balance, needed, observed_ms } = standing;
        let waiting = |held: &&Held| !held.published && !is_abandoned(held, observed_ms);
        let waiting = || self.state.deposits().map(|(_, held)| held).filter(waiting);
        let own = waiting().filter(|held| held.deposit.owner == *owner).count();
        if own >= PENDING_PER_OWNER_MAX {
            return Err(Refusal::OwnersPending { owner: *owner, pending: own });
        }
        let needed = needed.max(1).saturating_mul(own as u64 + 1);
        if balance < needed {
            return Err(Refusal::OwnerCannotPay { owner: *owner, balance, needed });
        }
        let pending = waiting().count();
        if pending < PENDING_MAX { Ok(()) } else { Err(Refusal::TooManyPending { pending }) }
    }

    // --- releases ---------------------------------------------------------------------------------------------------

    fn request(
        &mut self,
        now_ms: u64,
        signed: &Signed<ReleaseRequest>,
        facts: &ReleaseFacts,
    ) -> Result<Vec<Action>, Refusal> {
        let (network, me) = (self.config.network, self.identity.node_id());
        let mut rng = ChaCha20Rng::from_rng(&mut self.rng);
        let request = signed.unverified();
        let asked = rules::r1_objects(&me, &self.state, facts)?;
        rules::r2_assignment(request, facts, self.watched.progress(&request.task))?;
        rules::r3_head(now_ms, &self.state, facts)?;
        rules::r4_executor(&self.config, request, facts)?;
        rules::r5_terms(&network, &self.state, facts)?;
        rules::r7_evidence(request, facts, |evidence| self.appraisals.get(evidence).map(|(_, own)| *own))?;
        rules::r8_request(&network, &me, signed, |request, nonce| self.nonce_is_ours(now_ms, request, nonce))?;
        rules::r9_keys(request, &self.state, EPHEMERAL_KEYS_MAX)?;
        let shares = self.r10_own_shares(&asked)?;

        let releases: Vec<_> = asked.iter().map(|asked| self.sign_release(request, asked)).collect();
        let seen: Vec<_> = asked.iter().map(|asked| serial_of(asked)).collect();
        let released = self.seal_shares(request, &shares, &releases, &mut rng)?;
        Ok(self.record_and_release(now_ms, request, facts, seen, releases, released))
    }

    /// R10: what is about to leave is what was deposited.
    fn r10_own_shares(&self, asked: &[Asked<'_>]) -> Result<Vec<Share>, Refusal> {
        let open = |Asked { held, .. }: &Asked<'_>| {
            open_held(&self.config.network, &self.identity, &held.deposit, held.index, &held.sealed_share)
                .map_err(|cause| Refusal::OwnShare { object: held.deposit.object, cause })
        };
        asked.iter().map(open).collect()
    }

    fn sign_release(&self, request: &ReleaseRequest, asked: &Asked<'_>) -> Signed<Release> {
        let release = Release {
            task: request.task,
            attempt: request.attempt,
            object: asked.held.deposit.object,
            epoch: asked.held.deposit.epoch,
            index: asked.held.index,
            custodian: self.identity.node_id(),
            executor: request.executor,
            ephemeral_key: Digest::of(&request.ephemeral_key.0),
            terms: asked.facts.terms.get().digest(),
        };
        self.identity.sign(&self.config.network, release)
    }

    fn seal_shares(
        &self,
        request: &ReleaseRequest,
        shares: &[Share],
        releases: &[Signed<Release>],
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<ReleasedShare>, Refusal> {
        let seal = |(share, release): (&Share, &Signed<Release>)| {
            let info = release_info(&self.config.network, release.unverified());
            let sealed_share =
                seal_to(&request.ephemeral_key.0, &info, share.expose(), rng).map_err(|_| Refusal::EphemeralKey)?;
            Ok(ReleasedShare { release: release.clone(), sealed_share })
        };
        shares.iter().zip(releases).map(seal).collect()
    }

    /// Writes down what is released, then posts it, then lets it go.
    fn record_and_release(
        &mut self,
        now_ms: u64,
        request: &ReleaseRequest,
        facts: &ReleaseFacts,
        seen: Vec<(ObjectId, SerialSeen)>,
        releases: Vec<Signed<Release>>,
        released: Vec<ReleasedShare>,
    ) -> Vec<Action> {
        let mut actions = self.state.drop_tasks_before(now_ms.saturating_sub(TASK_KEPT_MS));
        actions.extend(self.state.raise_height(facts.head.height()));
        for (object, seen) in seen {
            actions.extend(self.state.raise_serial(object, seen));
        }
        let record = self.task_record(request, facts, releases);
        // An executor that asks again and again makes neither this disk grow nor this node pay: it is all written down, and
        // on its way to the ledger.
        if self.state.task(&request.task) != Some(&record) {
            let post = post(request.task, &record);
            actions.push(self.state.put_task(request.task, record));
            actions.push(post);
        }
        actions.push(Action::Release(released));
        actions
    }

    /// The task's record with these releases added. Asking again with the same key adds nothing.
    fn task_record(
        &self,
        request: &ReleaseRequest,
        facts: &ReleaseFacts,
        releases: Vec<Signed<Release>>,
    ) -> TaskRecord {
        let deadline_ms = facts.assignment.get().deadline_ms;
        let known = self.state.task(&request.task).cloned();
        let mut record = known.unwrap_or(TaskRecord {
            deadline_ms,
            ephemeral_keys: Vec::new(),
            releases: Vec::new(),
            posted: false,
        });
        record.deadline_ms = record.deadline_ms.max(deadline_ms);
        let key = (request.attempt, Digest::of(&request.ephemeral_key.0));
        if !record.ephemeral_keys.contains(&key) {
            record.ephemeral_keys.push(key);
        }
        for release in releases {
            if !record.releases.contains(&release) {
                record.releases.push(release);
                record.posted = false;
            }
        }
        record
    }

    // --- nonces -----------------------------------------------------------------------------------------------------

    /// Nonces are computed, not stored, so that asking for them costs no memory.
    fn nonce(&self, slot: u64, hello: &Hello) -> Bytes32 {
        let parts =
            [&b"samovar/v1/release-nonce"[..], &slot.to_be_bytes(), &hello.task.0, &[hello.attempt], &hello.executor.0];
        Bytes32(*derive(self.nonce_key.as_ref(), &self.config.network.0, &parts))
    }

    fn nonce_is_ours(&self, now_ms: u64, request: &ReleaseRequest, nonce: &Bytes32) -> bool {
        let hello = Hello { task: request.task, attempt: request.attempt, executor: request.executor };
        let slot = now_ms / NONCE_MS;
        let is = |slot| bool::from(self.nonce(slot, &hello).0.ct_eq(&nonce.0));
        is(slot) || slot.checked_sub(1).is_some_and(is)
    }

    // --- what is observed -------------------------------------------------------------------------------------------

    /// Remembers an own appraisal until the verdict ends.
    fn remember(&mut self, now_ms: u64, appraised: &Appraised, verdict: &Finalized<Verdict>) -> Result<(), Refusal> {
        let verdict = verdict.get();
        let own = OwnAppraisal { registration: appraised.registration().digest(), result: appraised.result() };
        if appraised.evidence_id() != verdict.evidence {
            return Err(Refusal::NotAppraised { evidence: verdict.evidence });
        }
        self.appraisals.retain(|_, (expires_ms, _)| *expires_ms > now_ms);
        if self.appraisals.len() >= APPRAISALS_MAX {
            // More than any network has nodes; they can be made again.
            self.appraisals.clear();
        }
        self.appraisals.insert(verdict.evidence, (verdict.expires_ms, own));
        Ok(())
    }

    fn observe(&mut self, record: &Record) -> Vec<Action> {
        match &record.fact {
            Fact::Object(object) => {
                let deposit = object.deposit.unverified();
                self.observe_published(&deposit.digest(), &deposit.object)
            }
            Fact::Terms(terms) => {
                let terms = terms.unverified();
                self.observe_terms(terms.object, SerialSeen { serial: terms.serial, revoked: terms.revoked })
            }
            Fact::Releases(releases) => self.observe_posted(releases.task, &releases.releases),
            Fact::Assignment(assignment) => {
                self.watched.drawn(record.time_ms, assignment);
                Vec::new()
            }
            Fact::Settlement(settlement) => {
                self.watched.settled(record.time_ms, &settlement.task);
                Vec::new()
            }
            Fact::Registration(_) | Fact::Verdict(_) | Fact::Task(_) => Vec::new(),
        }
    }

    fn observe_published(&mut self, deposit: &Digest, object: &ObjectId) -> Vec<Action> {
        let mut actions = self.state.drop_deposits(|held| {
            !held.published && held.deposit.object == *object && held.deposit.digest() != *deposit
        });
        if let Some(held) = self.state.held(deposit).filter(|held| !held.published).cloned() {
            actions.push(self.state.put_deposit(Held { published: true, ..held }));
        }
        actions
    }

    /// Notes terms of objects that are held; a revoked object's shares are forgotten.
    fn observe_terms(&mut self, object: ObjectId, seen: SerialSeen) -> Vec<Action> {
        if !self.state.deposits().any(|(_, held)| held.deposit.object == object) {
            return Vec::new();
        }
        let mut actions: Vec<Action> = self.state.raise_serial(object, seen).into_iter().collect();
        if seen.revoked {
            actions.extend(self.state.drop_deposits(|held| held.deposit.object == object));
        }
        actions
    }

    fn observe_posted(&mut self, task: TaskId, posted: &[Signed<Release>]) -> Vec<Action> {
        let Some(record) = self.state.task(&task).filter(|record| !record.posted) else { return Vec::new() };
        if !record.releases.iter().any(|release| posted.contains(release)) {
            return Vec::new();
        }
        let record = TaskRecord { posted: true, ..record.clone() };
        vec![self.state.put_task(task, record)]
    }
}

impl std::fmt::Debug for Custodian {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Custodian({}, {} deposits)", self.identity.node_id(), self.state.deposits().count())
    }
}

/// A custodian that is behind abandons nothing: the publication may stand in what it has not read yet.
fn is_abandoned(held: &Held, observed_ms: u64) -> bool {
    !held.published && observed_ms.saturating_sub(held.received_ms) > PENDING_MS_MAX
}

fn serial_of(asked: &Asked<'_>) -> (ObjectId, SerialSeen) {
    let terms = asked.facts.terms.get().unverified();
    (terms.object, SerialSeen { serial: terms.serial, revoked: terms.revoked })
}

/// The newest releases, those to one ephemeral key: the ledger takes each object's share once for an attempt.
fn post(task: TaskId, record: &TaskRecord) -> Action {
    let run_of = |release: &Signed<Release>| (release.unverified().attempt, release.unverified().ephemeral_key);
    let newest = record.releases.last().map(run_of);
    let releases = record.releases.iter().filter(|release| Some(run_of(release)) == newest).cloned().collect();
    Action::Post { task, releases }
}

/// HPKE info of a released share: every field of its release, on its network.
pub(crate) fn release_info(network: &NetworkId, release: &Release) -> Vec<u8> {
    domain_message(network, "released-share", &release.to_bytes())
}

#[cfg(test)]
mod tests {
    use model::{AccountId, Blob, CustodyMode, Deposit, NetworkId, ObjectId};

    use super::*;

    #[test]
    fn an_owner_must_be_able_to_pay_for_all_that_waits() {
        let config =
            CustodianConfig { network: NetworkId([1; 32]), mode: CustodyMode::Strict, operator: String::new() };
        let mut custodian = Custodian::new(config, Arc::new(NodeIdentity::from_seed(&[2; 32])), [3; 32]);
        let owner = AccountId([4; 32]);
        let standing = |balance| Standing { balance, needed: 5, observed_ms: 0 };
        for waiting in 0..3u8 {
            let needed = 5 * (u64::from(waiting) + 1);
            let refusal = custodian.check_room(&owner, standing(needed - 1)).unwrap_err();
            assert!(matches!(refusal, Refusal::OwnerCannotPay { needed: said, .. } if said == needed), "{refusal}");
            assert!(custodian.check_room(&owner, standing(needed)).is_ok());
            let object = ObjectId::of_manifest(&[waiting]);
            let deposit = Deposit { object, owner, epoch: 1, threshold: 1, custodians: vec![] };
            let held = Held { deposit, index: 1, sealed_share: Blob(vec![]), received_ms: 0, published: false };
            let _ = custodian.state.put_deposit(held);
        }
    }

    #[test]
    fn all_owners_together_leave_a_bounded_number_of_deposits() {
        let config =
            CustodianConfig { network: NetworkId([1; 32]), mode: CustodyMode::Strict, operator: String::new() };
        let mut custodian = Custodian::new(config, Arc::new(NodeIdentity::from_seed(&[2; 32])), [3; 32]);
        let standing = Standing { balance: 1, needed: 1, observed_ms: 0 };
        for number in 0..PENDING_MAX {
            let mut owner = [0; 32];
            owner[..8].copy_from_slice(&number.to_be_bytes());
            let object = ObjectId::of_manifest(&owner);
            let owner = AccountId(owner);
            assert!(custodian.check_room(&owner, standing).is_ok());
            let deposit = Deposit { object, owner, epoch: 1, threshold: 1, custodians: vec![] };
            let held = Held { deposit, index: 1, sealed_share: Blob(vec![]), received_ms: 0, published: false };
            let _ = custodian.state.put_deposit(held);
        }
        let another = AccountId([9; 32]);
        let refusal = custodian.check_room(&another, standing).unwrap_err();
        assert!(matches!(refusal, Refusal::TooManyPending { pending: PENDING_MAX }), "{refusal}");
        // In time those that nobody published make room.
        let later = Standing { observed_ms: PENDING_MS_MAX + 1, ..standing };
        assert!(custodian.check_room(&another, later).is_ok());
    }
}
