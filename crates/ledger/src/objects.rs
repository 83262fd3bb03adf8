//! Objects and their terms: what an owner may publish and change.

use std::collections::BTreeMap;

use model::{
    AccountId, Canonical, ContentId, CustodyMode, Deposit, Digest, Fact, Genesis, Manifest, ObjectId, ObjectKind,
    PublishedObject, Signed, StorageAck, Task, Terms,
};

use crate::{
    ACK_AGE_MS_MAX, Refusal, key, nodes,
    state::{NodeState, ObjectState},
    tasks,
    view::{Halt, View},
};

/// Makes an object active, with its first terms.
pub(crate) fn publish(
    view: &mut View,
    genesis: &Genesis,
    object: &PublishedObject,
    terms: &Signed<Terms>,
) -> Result<(), Halt> {
    let manifest = object.manifest.unverified();
    let id = object.manifest.object_id();
    check_size(genesis, manifest)?;
    if view.get::<ObjectState>(&key::object(&id))?.is_some() {
        return Err(Refusal::ObjectKnown { object: id }.into());
    }
    let deposit = object.deposit.unverified();
    check_custodians(view, genesis, deposit)?;
    let stored = Stored {
        ciphertext: manifest.ciphertext,
        ciphertext_bytes: manifest.ciphertext_bytes,
        leaves: manifest.leaves,
        by: manifest.owner,
    };
    check_storage(view, genesis, &stored, &object.storage)?;
    check_next_terms(terms.unverified(), id, 1)?;

    let record = view.record(Fact::Object(Box::new(object.clone())));
    let state = ObjectState {
        kind: manifest.kind,
        owner: manifest.owner,
        ciphertext_bytes: manifest.ciphertext_bytes,
        epoch: deposit.epoch,
        threshold: deposit.threshold,
        custodians: deposit.custodians.iter().map(|custodian| custodian.node).collect(),
        record,
        terms_serial: 0,
        terms_digest: Digest([0; 32]),
        terms_record: Digest([0; 32]),
        revoked: false,
        uses: 0,
    };
    put_terms(view, state, terms);
    Ok(())
}

/// No executor runs a larger program, so nobody may be asked to pay for one.
fn check_size(genesis: &Genesis, manifest: &Manifest) -> Result<(), Refusal> {
    let (bytes, bytes_max) = (manifest.ciphertext_bytes, genesis.limits.program_bytes);
    match manifest.kind {
        ObjectKind::Program if bytes > bytes_max => Err(Refusal::ProgramSize { bytes, bytes_max }),
        ObjectKind::Program | ObjectKind::Data => Ok(()),
    }
}

/// Replaces an object's terms.
pub(crate) fn set_terms(view: &mut View, terms: &Signed<Terms>) -> Result<(), Halt> {
    let next = terms.unverified();
    let object = next.object;
    let state: ObjectState = view.get(&key::object(&object))?.ok_or(Refusal::ObjectUnknown { object })?;
    if state.owner != next.owner {
        return Err(Refusal::NotOwner { object, owner: state.owner, sender: next.owner }.into());
    }
    if state.revoked {
        return Err(Refusal::Revoked { object }.into());
    }
    let expected = state.terms_serial.checked_add(1).ok_or(Refusal::Overflow { what: "the serial of the terms" })?;
    check_next_terms(next, object, expected)?;
    put_terms(view, state, terms);
    tasks::look_again(view)
}

fn check_next_terms(terms: &Terms, object: ObjectId, expected: u64) -> Result<(), Refusal> {
    if terms.object != object {
        return Err(Refusal::Mismatch { what: "terms", rule: "the object they are for" });
    }
    if terms.serial != expected {
        return Err(Refusal::TermsSerial { expected, got: terms.serial });
    }
    Ok(())
}

fn put_terms(view: &mut View, state: ObjectState, terms: &Signed<Terms>) {
    let record = view.record(Fact::Terms(Box::new(terms.clone())));
    let body = terms.unverified();
    let state = ObjectState {
        terms_serial: body.serial,
        terms_digest: terms.digest(),
        terms_record: record,
        revoked: body.revoked,
        ..state
    };
    view.put(key::object(&body.object), &state);
    view.put(key::terms(&body.object), body);
}

/// The objects of a task with the terms that hold, program first.
pub(crate) fn of_task(view: &mut View, task: &Task) -> Result<Vec<(ObjectState, Terms)>, Halt> {
    view.expect(task.objects().flat_map(|object| [key::object(&object), key::terms(&object)]))?;
    let mut objects = Vec::new();
    for object in task.objects() {
        let state = view.get(&key::object(&object))?.ok_or(Refusal::ObjectUnknown { object })?;
        let terms = view.get(&key::terms(&object))?.ok_or(Refusal::ObjectUnknown { object })?;
        objects.push((state, terms));
    }
    Ok(objects)
}

/// The objects of a task without their terms.
pub(crate) fn states_of_task(view: &mut View, task: &Task) -> Result<Vec<ObjectState>, Halt> {
    view.expect(task.objects().map(|object| key::object(&object)))?;
    let mut states = Vec::new();
    for object in task.objects() {
        states.push(view.get(&key::object(&object))?.ok_or(Refusal::ObjectUnknown { object })?);
    }
    Ok(states)
}

fn check_custodians(view: &mut View, genesis: &Genesis, deposit: &Deposit) -> Result<(), Halt> {
    view.expect(deposit.custodians.iter().map(|custodian| key::node(&custodian.node)))?;
    let mut states = Vec::new();
    for custodian in &deposit.custodians {
        let state = nodes::fresh(view, &custodian.node, "hold a share")?;
        if state.sealing_key != custodian.sealing_key {
            return Err(Refusal::SealingKey { node: custodian.node }.into());
        }
        states.push(state);
    }
    match genesis.custody {
        CustodyMode::Development => Ok(()),
        CustodyMode::Strict => check_spread(view, deposit, &states),
    }
}

/// Strict custody: no operator and no region holds t shares, and the network is large enough that the custodians were a
/// choice: at least 2n + 1 attested nodes of n operators for n shares (7 of 3 for 2-of-3, 11 of 5 for 3-of-5).
fn check_spread(view: &mut View, deposit: &Deposit, custodians: &[NodeState]) -> Result<(), Halt> {
    let spread = |rule: String| Halt::from(Refusal::Spread { rule });
    let threshold = usize::from(deposit.threshold);
    for (what, most) in [
        ("operator", most_frequent(custodians.iter().map(|node| node.operator.as_str()))),
        ("region", most_frequent(custodians.iter().map(|node| node.region.as_str()))),
    ] {
        if most >= threshold {
            return Err(spread(format!("one {what} would hold {most} shares, and {threshold} open the object")));
        }
    }
    let shares = custodians.len();
    let fresh: Vec<NodeState> = nodes::all_fresh(view)?.into_iter().map(|(_, state)| state).collect();
    let mut operators: Vec<&str> = fresh.iter().map(|node| node.operator.as_str()).collect();
    operators.sort_unstable();
    operators.dedup();
    let (nodes_min, operators_min) = (2 * shares + 1, shares);
    if fresh.len() < nodes_min || operators.len() < operators_min {
        return Err(spread(format!(
            "{shares} shares need {nodes_min} attested nodes of {operators_min} operators, there are {} of {}",
            fresh.len(),
            operators.len()
        )));
    }
    Ok(())
}

fn most_frequent<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

/// Content that others must have stored before it counts.
pub(crate) struct Stored {
    pub(crate) ciphertext: ContentId,
    pub(crate) ciphertext_bytes: u64,
    pub(crate) leaves: ContentId,
    /// Who made it: its own copy does not count.
    pub(crate) by: AccountId,
}

/// Checks acknowledgements: all are for this content, by attested nodes other than its maker, for long enough; and there
/// are `copies` for the ciphertext and for the leaves each.
pub(crate) fn check_storage(
    view: &mut View,
    genesis: &Genesis,
    content: &Stored,
    storage: &[Signed<StorageAck>],
) -> Result<(), Halt> {
    view.expect(storage.iter().map(|ack| key::node(&ack.unverified().node)))?;
    let (mut ciphertext, mut leaves) = (0, 0);
    let mut leaves_bytes = None;
    for ack in storage.iter().map(Signed::unverified) {
        check_ack(view, genesis, content, ack)?;
        // The order of acknowledgements makes nodes distinct per content (`check`).
        if ack.content == content.ciphertext {
            same_bytes(ack.bytes == content.ciphertext_bytes)?;
            ciphertext += 1;
        } else if ack.content == content.leaves {
            same_bytes(*leaves_bytes.get_or_insert(ack.bytes) == ack.bytes)?;
            leaves += 1;
        } else {
            return Err(
                Refusal::Mismatch { what: "storage acknowledgement", rule: "the ciphertext or its leaves" }.into()
            );
        }
    }
    let needed = genesis.limits.copies as usize;
    for (what, got) in [("the ciphertext", ciphertext), ("the list of leaf hashes", leaves)] {
        if got < needed {
            return Err(Refusal::Copies { what, got, needed }.into());
        }
    }
    Ok(())
}

fn check_ack(view: &mut View, genesis: &Genesis, content: &Stored, ack: &StorageAck) -> Result<(), Halt> {
    if ack.node == content.by {
        return Err(Refusal::OwnCopy { node: ack.node }.into());
    }
    nodes::fresh(view, &ack.node, "acknowledge storage")?;
    let until_ms = view.time_ms().saturating_add(genesis.limits.storage_ms);
    let needed_ms = until_ms.saturating_sub(ACK_AGE_MS_MAX);
    if ack.until_ms < needed_ms {
        return Err(Refusal::StorageTime { node: ack.node, until_ms: ack.until_ms, needed_ms }.into());
    }
    Ok(())
}

fn same_bytes(same: bool) -> Result<(), Refusal> {
    same.then_some(()).ok_or(Refusal::Mismatch { what: "storage acknowledgement", rule: "the length of the content" })
}
