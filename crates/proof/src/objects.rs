//! Objects and terms: the owners' word, the custodians' word, the copies.

use std::collections::BTreeSet;

use model::{
    AccountId, Canonical, ContentId, DepositAck, Genesis, NetworkId, NodeId, ObjectKind, PublishedObject, Signed,
    StorageAck,
};

use crate::{
    Link, ProofError,
    error::{same, signed},
    facts::{Facts, ObjectFacts},
};

/// Checks every object of the task and the terms that were applied to it.
pub(crate) fn check(genesis: &Genesis, network: &NetworkId, facts: &Facts) -> Result<(), ProofError> {
    let applied = &facts.assignment.get().terms;
    let complete = applied.len() == facts.objects.len();
    same(complete, Link::Terms, "the assignment's list of terms", "one entry for each object of the task")?;
    for (position, object) in facts.objects.iter().enumerate() {
        let kind = if position == 0 { ObjectKind::Program } else { ObjectKind::Data };
        check_object(genesis, network, object.object.get(), kind)?;
        check_terms(network, facts, object, position)?;
        let published = object.object.index() < facts.task.index();
        same(published, Link::Objects, "an object of the task", "one that was published before")?;
    }
    Ok(())
}

fn check_object(
    genesis: &Genesis,
    network: &NetworkId,
    object: &PublishedObject,
    kind: ObjectKind,
) -> Result<(), ProofError> {
    const LINK: Link = Link::Objects;
    let manifest = signed(&object.manifest, network, LINK)?;
    same(manifest.kind == kind, LINK, "the kind of an object", "what the task uses it as")?;
    let fits = kind == ObjectKind::Data || manifest.ciphertext_bytes <= genesis.limits.program_bytes;
    same(fits, LINK, "the program's ciphertext", "small enough for this network")?;
    let deposit = signed(&object.deposit, network, LINK)?;
    let of_object = deposit.object == object.manifest.object_id() && deposit.owner == manifest.owner;
    same(of_object, LINK, "a deposit", "one for this object by its owner")?;
    let possible = (1..=deposit.custodians.len()).contains(&usize::from(deposit.threshold));
    same(possible, LINK, "a deposit's threshold", "between 1 and the number of custodians")?;
    check_deposit_acks(network, object)?;
    let content = Copies {
        ciphertext: manifest.ciphertext,
        ciphertext_bytes: manifest.ciphertext_bytes,
        leaves: manifest.leaves,
        by: manifest.owner,
    };
    check_copies(genesis, network, &content, &object.storage, LINK)
}

fn check_deposit_acks(network: &NetworkId, object: &PublishedObject) -> Result<(), ProofError> {
    const LINK: Link = Link::Objects;
    let (deposit, deposit_acks) = (object.deposit.unverified(), &object.deposit_acks);
    let distinct: BTreeSet<NodeId> = deposit.custodians.iter().map(|custodian| custodian.node).collect();
    same(distinct.len() == deposit.custodians.len(), LINK, "the list of custodians", "a list of different nodes")?;
    let complete = deposit_acks.len() == deposit.custodians.len();
    same(complete, LINK, "the list of deposit acknowledgements", "one of each custodian")?;
    let digest = deposit.digest();
    for ((custodian, ack), index) in deposit.custodians.iter().zip(deposit_acks).zip(1..) {
        let ack: &DepositAck = signed(ack, network, LINK)?;
        let fits = ack.deposit == digest && ack.index == index && ack.custodian == custodian.node;
        same(fits, LINK, "a deposit acknowledgement", "one for this share by its custodian")?;
    }
    Ok(())
}

fn check_terms(network: &NetworkId, facts: &Facts, object: &ObjectFacts, position: usize) -> Result<(), ProofError> {
    const LINK: Link = Link::Terms;
    let terms = signed(object.terms.get(), network, LINK)?;
    let owner = object.object.get().manifest.unverified().owner;
    same(terms.object == object.id && terms.owner == owner, LINK, "the terms", "those of the object's owner")?;
    let applied = &facts.assignment.get().terms[position];
    let named =
        applied.object == object.id && applied.serial == terms.serial && applied.digest == object.terms.get().digest();
    same(named, LINK, "the terms", "those that the assignment applied")?;
    let before = object.object.index() < object.terms.index() && object.terms.index() < facts.assignment.index();
    same(before, LINK, "the terms", "in force before the assignment")?;
    Ok(terms.admit(facts.task.get(), facts.assignment.time_ms())?)
}

/// Content that others store.
pub(crate) struct Copies {
    pub(crate) ciphertext: ContentId,
    pub(crate) ciphertext_bytes: u64,
    pub(crate) leaves: ContentId,
    /// Who made it: its own copy does not count.
    pub(crate) by: AccountId,
}

/// Checks signed storage acknowledgements: `copies` different nodes for the ciphertext and for its leaves, not the maker.
pub(crate) fn check_copies(
    genesis: &Genesis,
    network: &NetworkId,
    content: &Copies,
    storage: &[Signed<StorageAck>],
    link: Link,
) -> Result<(), ProofError> {
    let mut ciphertext: BTreeSet<NodeId> = BTreeSet::new();
    let mut leaves: BTreeSet<NodeId> = BTreeSet::new();
    for ack in storage {
        let ack = signed(ack, network, link)?;
        if ack.node == content.by {
            return Err(ProofError::Stranger { link, who: ack.node, what: "acknowledges its own content" });
        }
        let new = if ack.content == content.ciphertext {
            same(ack.bytes == content.ciphertext_bytes, link, "an acknowledged length", "that of the ciphertext")?;
            ciphertext.insert(ack.node)
        } else {
            same(ack.content == content.leaves, link, "acknowledged content", "the ciphertext or its leaves")?;
            leaves.insert(ack.node)
        };
        same(new, link, "a storage acknowledgement", "one of a node that has not acknowledged yet")?;
    }
    let needed = genesis.limits.copies as usize;
    let got = ciphertext.len().min(leaves.len());
    if got < needed {
        return Err(ProofError::TooFew { link, what: "acknowledged copies", got, needed });
    }
    Ok(())
}
