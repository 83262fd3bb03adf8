//! What can be checked of a transaction without the state: its form, the bounds of everything inside, its signatures.
//!
//! Ed25519 signatures are most of the work of executing a block, and a node has checked nearly all of them when the
//! transactions arrived. [`Memo`] remembers which bytes passed: the check is a function of bytes and network alone.

use std::{
    collections::{HashSet, VecDeque},
    sync::Mutex,
};

use model::{
    AccountId, Action, Allow, Attestation, Blob, Canonical, Completion, Deposit, Description, Digest, Manifest,
    NetworkId, Outcome, PublishedObject, Registration, Release, ResultSeal, Seal, Signable, Signed, StorageAck, Task,
    Terms, Transaction,
};

use crate::{Refusal, verdict};

/// What the queue of transactions needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Who sends it.
    pub account: AccountId,
    /// In which turn.
    pub nonce: u64,
}

/// Most bytes of an operator's or a region's name.
const NAME_BYTES_MAX: usize = 64;
/// Length of an X-Wing public key, and of the part of it that holds numbers of 12 bits, three bytes for two.
const XWING_KEY_BYTES: usize = 1216;
const XWING_NUMBERS_BYTES: usize = 1152;
/// These numbers are below the modulus of ML-KEM (FIPS 203, 7.2).
const ML_KEM_MODULUS: u16 = 3329;
/// Most bytes of a wrapped key: X-Wing's encapsulated key (1,120), 32 bytes of key, a tag.
const WRAPPED_KEY_BYTES_MAX: usize = 1120 + 32 + 16;
/// Most custodians of one object.
const CUSTODIANS_MAX: usize = 16;
/// Most storage acknowledgements in one transaction.
const STORAGE_MAX: usize = 64;
/// Most releases in one transaction: every share of every object.
const RELEASES_MAX: usize = CUSTODIANS_MAX * (1 + Task::INPUTS_MAX);
/// Most votes in one transaction.
const VOTES_MAX: usize = 64;
/// The largest ciphertext chunk: one UnixFS leaf.
const CHUNK_BYTES: u32 = 1 << 20;
/// Chunks are counted with 32 bits inside the seal's nonces.
const CHUNKS_MAX: u64 = 1 << 32;
const META_BYTES_MAX: usize = 4 << 10;
const DESCRIPTION_BYTES_MAX: usize = 16 << 10;
const ARGS_MAX: usize = 64;
const ARGS_BYTES_MAX: usize = 4 << 10;
const INPUT_NAME_BYTES_MAX: usize = 64;

/// A transaction that [`Checked::from_bytes`] has checked as far as that goes without the state.
#[derive(Clone, Debug)]
pub struct Checked {
    transaction: Signed<Transaction>,
    bytes: usize,
}

impl Checked {
    /// Decodes canonical bytes and checks them.
    ///
    /// # Errors
    /// The [`Refusal`] of the first thing that is wrong.
    pub fn from_bytes(bytes: &[u8], network: &NetworkId) -> Result<Self, Refusal> {
        let transaction = decode(bytes)?;
        check(&transaction, network)?;
        Ok(Self { transaction, bytes: bytes.len() })
    }

    /// The same, but takes the word of `memo` for bytes that passed before.
    ///
    /// # Errors
    /// As [`Checked::from_bytes`].
    pub fn remembering(bytes: &[u8], network: &NetworkId, memo: &Memo) -> Result<Self, Refusal> {
        let id = Digest::of_parts(&[&network.0, bytes]);
        if memo.knows(&id) {
            return Ok(Self { transaction: decode(bytes)?, bytes: bytes.len() });
        }
        let checked = Self::from_bytes(bytes, network)?;
        memo.remember(id);
        Ok(checked)
    }

    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        self.transaction.unverified()
    }

    /// Length of its canonical bytes, which its fee depends on.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Who sends it, in which turn.
    pub fn meta(&self) -> Meta {
        let transaction = self.transaction();
        Meta { account: transaction.account, nonce: transaction.nonce }
    }
}

fn decode(bytes: &[u8]) -> Result<Signed<Transaction>, Refusal> {
    Ok(Signed::<Transaction>::from_bytes(bytes, Transaction::BYTES_MAX)?)
}

/// Which transactions passed [`Checked::from_bytes`]: the most recent ones, by digest of network and bytes.
#[derive(Debug, Default)]
pub struct Memo {
    known: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    set: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl Memo {
    const ENTRIES_MAX: usize = 16 << 10;

    fn knows(&self, id: &Digest) -> bool {
        // A thread that panicked here left at worst an entry less: the memo only ever saves work.
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).set.contains(id)
    }

    fn remember(&self, id: Digest) {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.set.insert(id) {
            known.order.push_back(id);
        }
        if known.order.len() > Self::ENTRIES_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.set.remove(&oldest);
        }
    }
}

/// Checks everything about a transaction that does not depend on the state: bounds of every list and string inside, and
/// every signature. Whoever has bytes uses [`Checked::from_bytes`], which also insists on the one canonical encoding.
///
/// # Errors
/// The [`Refusal`] of the first thing that is wrong.
pub fn check(transaction: &Signed<Transaction>, network: &NetworkId) -> Result<Meta, Refusal> {
    let Transaction { account, nonce, action } = transaction.unverified();
    if account.is_reserved() {
        return Err(Refusal::Reserved { account: *account });
    }
    // Bounds first: they are cheap, and no signature is checked of something that is too long anyway.
    check_bounds(account, *nonce, action)?;
    transaction.verify(network)?;
    check_signatures(action, network)?;
    Ok(Meta { account: *account, nonce: *nonce })
}

fn check_bounds(account: &AccountId, nonce: u64, action: &Action) -> Result<(), Refusal> {
    match action {
        Action::TopUp { amount } => bound(*amount > 0, "amount", "at least 1"),
        Action::Transfer { to, amount } => {
            if to.is_reserved() {
                return Err(Refusal::Reserved { account: *to });
            }
            bound(*amount > 0, "amount", "at least 1")
        }
        Action::Publish { object, terms } => {
            check_object(account, object)?;
            check_terms(account, terms.unverified())
        }
        Action::SetTerms { terms } => check_terms(account, terms.unverified()),
        Action::Attest(attestation) => check_attestation(account, attestation),
        Action::Submit { task } => check_task(account, nonce, task),
        Action::PostReleases { task, releases } => {
            bound(!releases.is_empty(), "releases", "at least 1")?;
            bound(releases.len() <= RELEASES_MAX, "releases", "at most 272")?;
            let ours = releases.iter().map(Signed::unverified).all(|release| release.task == *task);
            matching(ours, "release", "the task it is posted for")?;
            let own = releases.iter().map(Signed::unverified).all(|release| release.custodian == *account);
            matching(own, "release", "the custodian that sends it")
        }
        Action::Complete(completion) => check_completion(account, completion),
    }
}

fn check_signatures(action: &Action, network: &NetworkId) -> Result<(), Refusal> {
    match action {
        Action::TopUp { .. } | Action::Transfer { .. } | Action::Submit { .. } => Ok(()),
        Action::Publish { object, terms } => {
            object.manifest.verify(network)?;
            object.deposit.verify(network)?;
            verify_all(&object.deposit_acks, network)?;
            verify_all(&object.storage, network)?;
            terms.verify(network)?;
            Ok(())
        }
        Action::SetTerms { terms } => {
            terms.verify(network)?;
            Ok(())
        }
        Action::Attest(attestation) => verify_all(&attestation.votes, network),
        Action::PostReleases { releases, .. } => verify_all(releases, network),
        Action::Complete(completion) => {
            completion.receipt.verify(network)?;
            verify_all(&completion.releases, network)?;
            verify_all(&completion.storage, network)
        }
    }
}

fn verify_all<T: Signable>(list: &[Signed<T>], network: &NetworkId) -> Result<(), Refusal> {
    for signed in list {
        signed.verify(network)?;
    }
    Ok(())
}

fn check_object(account: &AccountId, object: &PublishedObject) -> Result<(), Refusal> {
    let manifest = object.manifest.unverified();
    matching(manifest.owner == *account, "manifest", "the account that publishes it")?;
    bound(object.manifest.to_bytes().len() <= Manifest::BYTES_MAX, "manifest", "at most 64 KiB")?;
    check_seal(&manifest.seal, manifest.ciphertext_bytes)?;
    matching(manifest.ciphertext != manifest.leaves, "leaves", "content of their own")?;
    if let Some(description) = &manifest.description {
        check_description(description)?;
    }
    check_deposit(object)?;
    check_storage(&object.storage)
}

fn check_seal(seal: &Seal, ciphertext_bytes: u64) -> Result<(), Refusal> {
    bound(seal.chunk_bytes == CHUNK_BYTES, "chunk_bytes", "1,048,576")?;
    bound((1..=CHUNKS_MAX).contains(&seal.chunks), "chunks", "1 to 4,294,967,296")?;
    bound(seal.sealed_meta.0.len() <= META_BYTES_MAX, "sealed_meta", "at most 4 KiB")?;
    let chunks = ciphertext_bytes.div_ceil(u64::from(seal.chunk_bytes));
    matching(chunks == seal.chunks, "chunks", "the length of the ciphertext")
}

fn check_description(description: &Description) -> Result<(), Refusal> {
    bound(description.to_bytes().len() <= DESCRIPTION_BYTES_MAX, "description", "at most 16 KiB")
}

fn check_deposit(object: &PublishedObject) -> Result<(), Refusal> {
    let PublishedObject { manifest, deposit, deposit_acks, .. } = object;
    let deposit = deposit.unverified();
    matching(deposit.object == manifest.object_id(), "deposit", "the object's id")?;
    matching(deposit.owner == manifest.unverified().owner, "deposit", "the object's owner")?;
    matching(deposit.epoch == 1, "deposit", "epoch 1, the first")?;
    bound((1..=CUSTODIANS_MAX).contains(&deposit.custodians.len()), "custodians", "1 to 16")?;
    let threshold = usize::from(deposit.threshold);
    bound((1..=deposit.custodians.len()).contains(&threshold), "threshold", "1 to the number of custodians")?;
    let mut nodes: Vec<_> = deposit.custodians.iter().map(|custodian| custodian.node).collect();
    nodes.sort_unstable();
    let distinct = nodes.windows(2).all(|pair| pair[0] != pair[1]);
    bound(distinct, "custodians", "each node once")?;
    check_deposit_acks(deposit, deposit_acks)
}

fn check_deposit_acks(deposit: &Deposit, acks: &[Signed<model::DepositAck>]) -> Result<(), Refusal> {
    let digest = deposit.digest();
    matching(acks.len() == deposit.custodians.len(), "deposit_acks", "the list of custodians")?;
    for ((custodian, ack), index) in deposit.custodians.iter().zip(acks).zip(1..) {
        let ack = ack.unverified();
        let fits = ack.deposit == digest && ack.index == index && ack.custodian == custodian.node;
        matching(fits, "deposit_ack", "the deposit, the index and the custodian")?;
    }
    Ok(())
}

fn check_storage(storage: &[Signed<StorageAck>]) -> Result<(), Refusal> {
    bound(storage.len() <= STORAGE_MAX, "storage", "at most 64")?;
    let key = |ack: &Signed<StorageAck>| (ack.unverified().content, ack.unverified().node);
    ascending(storage.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])), "storage acknowledgements")
}

fn check_terms(account: &AccountId, terms: &Terms) -> Result<(), Refusal> {
    matching(terms.owner == *account, "terms", "the account that sets them")?;
    bound(terms.to_bytes().len() <= Terms::BYTES_MAX, "terms", "at most 64 KiB")?;
    check_list(&terms.requesters, "requesters")?;
    check_list(&terms.counterparts, "counterparts")
}

fn check_list<T: Ord>(list: &Allow<T>, what: &'static str) -> Result<(), Refusal> {
    if let Allow::Only(list) = list {
        bound(list.len() <= Terms::LIST_MAX, what, "at most 256 entries")?;
    }
    ascending(list.is_canonical(), what)
}

fn check_attestation(account: &AccountId, attestation: &Attestation) -> Result<(), Refusal> {
    let Attestation { registration, votes } = attestation;
    check_registration(registration)?;
    matching(registration.node == *account, "registration", "the node that sends it")?;
    bound((1..=VOTES_MAX).contains(&votes.len()), "votes", "1 to 64")?;
    verdict::unanimous(registration, votes).map(drop)
}

fn check_registration(registration: &Registration) -> Result<(), Refusal> {
    check_xwing_key(&registration.sealing_key, "sealing_key")?;
    bound(registration.operator.len() <= NAME_BYTES_MAX, "operator", "at most 64 bytes")?;
    bound(registration.region.len() <= NAME_BYTES_MAX, "region", "at most 64 bytes")?;
    bound(registration.attestation_key.0.len() <= 66, "attestation_key", "at most 66 bytes: a TPM name")
}

fn check_xwing_key(key: &Blob, what: &'static str) -> Result<(), Refusal> {
    bound(key.0.len() == XWING_KEY_BYTES && are_reduced(&key.0[..XWING_NUMBERS_BYTES]), what, "an X-Wing public key")
}

/// The only check that a key can fail whose length is right. Nobody could seal anything to one that fails it.
fn are_reduced(numbers: &[u8]) -> bool {
    numbers.chunks_exact(3).all(|three| {
        let [low, middle, high] = [three[0], three[1], three[2]].map(u16::from);
        (low | (middle & 15) << 8) < ML_KEM_MODULUS && (middle >> 4 | high << 4) < ML_KEM_MODULUS
    })
}

fn check_task(account: &AccountId, nonce: u64, task: &Task) -> Result<(), Refusal> {
    matching(task.requester == *account, "requester", "the account that submits the task")?;
    matching(task.nonce == nonce, "nonce", "the transaction's nonce")?;
    bound(task.to_bytes().len() <= Task::BYTES_MAX, "task", "at most 32 KiB")?;
    bound((1..=Task::INPUTS_MAX).contains(&task.inputs.len()), "inputs", "1 to 16")?;
    for input in &task.inputs {
        bound(is_input_name(&input.name), "input name", "1 to 64 of a-z A-Z 0-9 . _ -, not beginning with a dot")?;
    }
    ascending(task.inputs.windows(2).all(|pair| pair[0].name < pair[1].name), "inputs")?;
    // Releases and terms are counted per object, so an object stands in a task once.
    let mut objects: Vec<_> = task.objects().collect();
    objects.sort_unstable();
    bound(objects.windows(2).all(|pair| pair[0] != pair[1]), "objects", "each object once in a task")?;
    let args_bytes: usize = task.args.iter().map(String::len).sum();
    bound(task.args.len() <= ARGS_MAX && args_bytes <= ARGS_BYTES_MAX, "args", "at most 64, 4 KiB in all")?;
    bound(!task.args.iter().any(|arg| arg.contains('\0')), "args", "no NUL, which ends an argument")?;
    let limits = &task.limits;
    bound(limits.run_ms > 0 && limits.memory_bytes > 0, "limits", "some run time and some memory")?;
    check_xwing_key(&task.result_key, "result_key")
}

fn is_input_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=INPUT_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')
}

fn check_completion(account: &AccountId, completion: &Completion) -> Result<(), Refusal> {
    let Completion { receipt, releases, storage } = completion;
    let receipt = receipt.unverified();
    matching(receipt.executor == *account, "receipt", "the executor that sends it")?;
    bound(releases.len() <= RELEASES_MAX, "releases", "at most 272")?;
    check_storage(storage)?;
    match &receipt.outcome {
        Outcome::Done(result) => check_result(result),
        Outcome::Failed(model::FailureClass::Lapsed) => Err(Refusal::LapsedClaimed),
        Outcome::Failed(_) => bound(storage.is_empty(), "storage", "none for a failure"),
    }
}

fn check_result(result: &ResultSeal) -> Result<(), Refusal> {
    check_seal(&result.seal, result.ciphertext_bytes)?;
    matching(result.ciphertext != result.leaves, "leaves", "content of their own")?;
    bound(result.wrapped_key.0.len() <= WRAPPED_KEY_BYTES_MAX, "wrapped_key", "at most 1,168 bytes")
}

/// Whether releases are in the order of (object's position in the task, share index), and which positions they have.
pub(crate) fn positions(task: &Task, releases: &[Signed<Release>]) -> Result<Vec<usize>, Refusal> {
    let objects: Vec<_> = task.objects().collect();
    let mut positions = Vec::with_capacity(releases.len());
    for release in releases {
        let release = release.unverified();
        let position = objects.iter().position(|object| *object == release.object);
        positions.push(position.ok_or(Refusal::Release { custodian: release.custodian, what: "object" })?);
    }
    let key = |at: usize| (positions[at], releases[at].unverified().index);
    ascending((1..releases.len()).all(|at| key(at - 1) < key(at)), "releases")?;
    Ok(positions)
}

fn bound(holds: bool, what: &'static str, rule: &'static str) -> Result<(), Refusal> {
    holds.then_some(()).ok_or(Refusal::Bounds { what, rule })
}

pub(crate) fn matching(holds: bool, what: &'static str, rule: &'static str) -> Result<(), Refusal> {
    holds.then_some(()).ok_or(Refusal::Mismatch { what, rule })
}

pub(crate) fn ascending(holds: bool, what: &'static str) -> Result<(), Refusal> {
    holds.then_some(()).ok_or(Refusal::Order { what })
}
