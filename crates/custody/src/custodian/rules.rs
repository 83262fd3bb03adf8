//! The rules of a release, in the order in which they are asked. Each is one function; each refusal has a test that fails
//! for that reason alone (`tests/it/attacks`).
//!
//! R6 (budgets of differential privacy) comes with that tier.

use model::{
    AttestationResult, Bytes32, Canonical as _, CustodyMode, Digest, NetworkId, NodeId, ObjectKind, ReleaseRequest,
    Signed, Terms,
};

use super::{
    CustodianConfig, HEAD_AGE_MS_MAX, Refusal, ReleaseFacts,
    facts::{FactsError, ObjectFacts},
    progress::Progress,
    store::{Held, SerialSeen, State},
};
use crate::wrap;

/// A share that is asked for: the object, what is final about it, what is held of it.
pub(super) struct Asked<'a> {
    pub(super) facts: &'a ObjectFacts,
    pub(super) held: &'a Held,
}

/// R1: every object whose published deposit names this node is held under exactly that deposit, and no object of the task is
/// revoked.
pub(super) fn r1_objects<'a>(
    me: &NodeId,
    state: &'a State,
    facts: &'a ReleaseFacts,
) -> Result<Vec<Asked<'a>>, Refusal> {
    let task = facts.task.get();
    let mut asked = Vec::new();
    for id in task.objects() {
        if !facts.objects.iter().any(|facts| facts.id() == id) {
            return Err(FactsError { task: task.id(), what: "object" }.into());
        }
    }
    for object in &facts.objects {
        let id = object.id();
        if object.terms.get().unverified().revoked || state.serial_seen(&id).is_some_and(|seen| seen.revoked) {
            return Err(Refusal::Revoked { object: id });
        }
        let deposit = object.object.get().deposit.unverified();
        if deposit.custodians.iter().any(|holder| holder.node == *me) {
            let held = state.held(&deposit.digest()).filter(|held| held.deposit.object == id);
            let held = held.ok_or(Refusal::OtherDeposit { object: id, epoch: deposit.epoch })?;
            asked.push(Asked { facts: object, held });
        }
    }
    if asked.is_empty() { Err(Refusal::NothingHeld { task: task.id() }) } else { Ok(asked) }
}

/// R2: the request names the finalized assignment of its task, and that assignment still runs: the task is not settled, was
/// not drawn again, and its time is not up. `shown` is how far the task is by what this custodian was shown.
pub(super) fn r2_assignment(request: &ReleaseRequest, facts: &ReleaseFacts, shown: Progress) -> Result<(), Refusal> {
    let (assignment, task) = (facts.assignment.get(), facts.task.get().id());
    let named = request.task == task
        && assignment.task == task
        && request.assignment == facts.assignment.digest()
        && request.attempt == assignment.attempt;
    if !named {
        return Err(Refusal::OtherAssignment { task: request.task });
    }
    let Progress { attempt: newest, settled_ms } = facts.progress.and(shown);
    if let Some(settled_ms) = settled_ms {
        return Err(Refusal::Settled { task, settled_ms });
    }
    if assignment.attempt < newest {
        return Err(Refusal::DrawnAgain { task, attempt: assignment.attempt, newest });
    }
    let (deadline_ms, time_ms) = (assignment.deadline_ms, facts.head.time_ms());
    if time_ms < deadline_ms { Ok(()) } else { Err(Refusal::DeadlinePassed { deadline_ms, time_ms }) }
}

/// R3: this node's view of the ledger is fresh by its own clock, and has never been further.
pub(super) fn r3_head(now_ms: u64, state: &State, facts: &ReleaseFacts) -> Result<(), Refusal> {
    let age_ms = now_ms.saturating_sub(facts.head.time_ms());
    if age_ms > HEAD_AGE_MS_MAX {
        return Err(Refusal::HeadStale { age_ms, age_ms_max: HEAD_AGE_MS_MAX });
    }
    let (height, height_seen) = (facts.head.height(), state.height());
    if height < height_seen { Err(Refusal::HeadRolledBack { height, height_seen }) } else { Ok(()) }
}

/// R4: the executor is the assigned one; with strict custody it holds no share of the inputs and is not of this operator.
pub(super) fn r4_executor(
    config: &CustodianConfig,
    request: &ReleaseRequest,
    facts: &ReleaseFacts,
) -> Result<(), Refusal> {
    let executor = request.executor;
    if executor != facts.assignment.get().executor {
        return Err(Refusal::NotAssigned { executor });
    }
    if config.mode == CustodyMode::Development {
        return Ok(());
    }
    for object in &facts.objects {
        if object.object.get().deposit.unverified().custodians.iter().any(|holder| holder.node == executor) {
            return Err(Refusal::ExecutorHoldsShare { executor, object: object.id() });
        }
    }
    let operator = &facts.registration.get().operator;
    if *operator == config.operator {
        return Err(Refusal::SameOperator { executor, operator: operator.clone() });
    }
    Ok(())
}

/// R5: the terms of every object, read by this custodian itself, admit the task, and the assignment applies those terms.
pub(super) fn r5_terms(network: &NetworkId, state: &State, facts: &ReleaseFacts) -> Result<(), Refusal> {
    let mut applied = Vec::with_capacity(facts.objects.len());
    for object in &facts.objects {
        let terms = current_terms(network, state, facts, object)?;
        admits(terms, object, facts)?;
        applied.push(terms);
    }
    let bytes_max = facts.task.get().limits.output_bytes_max(applied);
    let bytes = facts.assignment.get().output_bytes_max;
    if bytes > bytes_max { Err(Refusal::OutputCap { bytes, bytes_max }) } else { Ok(()) }
}

/// The owner's own words, not older than any seen before, and the ones that the assignment applies.
fn current_terms<'a>(
    network: &NetworkId,
    state: &State,
    facts: &ReleaseFacts,
    object: &'a ObjectFacts,
) -> Result<&'a Terms, Refusal> {
    let id = object.id();
    let signed: &Signed<Terms> = object.terms.get();
    let terms = signed.verify(network).map_err(|cause| Refusal::TermsSignature { object: id, cause: Some(cause) })?;
    // The object id is the hash of the manifest, so this owner is the one whose share was deposited.
    if terms.object != id || terms.owner != object.object.get().manifest.unverified().owner {
        return Err(Refusal::TermsSignature { object: id, cause: None });
    }
    if let Some(SerialSeen { serial, .. }) = state.serial_seen(&id).filter(|seen| seen.serial > terms.serial) {
        return Err(Refusal::TermsOutdated { object: id, serial: terms.serial, serial_seen: serial });
    }
    let applied = facts.assignment.get().terms.iter().find(|applied| applied.object == id);
    match applied {
        Some(applied) if applied.serial == terms.serial && applied.digest == signed.digest() => Ok(terms),
        _ => Err(Refusal::TermsNotApplied { object: id }),
    }
}

/// The object is used as what it is, and its terms admit the task as of when the ledger accepted it.
fn admits(terms: &Terms, object: &ObjectFacts, facts: &ReleaseFacts) -> Result<(), Refusal> {
    let (task, id) = (facts.task.get(), object.id());
    let as_program = task.program == id;
    let as_data = task.inputs.iter().any(|input| input.object == id);
    let used_as_it_is = match object.object.get().manifest.unverified().kind {
        ObjectKind::Program => as_program && !as_data,
        ObjectKind::Data => as_data && !as_program,
    };
    if !used_as_it_is {
        return Err(Refusal::WrongKind { object: id });
    }
    Ok(terms.admit(task, facts.task.time_ms())?)
}

/// What this custodian found when it appraised evidence itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnAppraisal {
    pub(super) registration: Digest,
    pub(super) result: AttestationResult,
}

/// R7: this custodian has appraised the evidence behind the executor's verdict itself, it says what the verdict says, and the
/// verdict still holds.
pub(super) fn r7_evidence(
    request: &ReleaseRequest,
    facts: &ReleaseFacts,
    own: impl Fn(&model::ContentId) -> Option<OwnAppraisal>,
) -> Result<(), Refusal> {
    let (verdict, registration) = (facts.verdict.get(), facts.registration.get());
    let executor = request.executor;
    let (expires_ms, time_ms) = (verdict.expires_ms, facts.head.time_ms());
    if time_ms >= expires_ms {
        return Err(Refusal::VerdictEnded { executor, expires_ms, time_ms });
    }
    let own = own(&verdict.evidence).ok_or(Refusal::NotAppraised { evidence: verdict.evidence })?;
    let agrees = facts.verdict.digest() == facts.assignment.get().verdict
        && verdict.node == executor
        && registration.node == executor
        && registration.digest() == verdict.registration
        && own.registration == verdict.registration
        && own.result == verdict.result;
    if agrees { Ok(()) } else { Err(Refusal::VerdictDiffers { executor }) }
}

/// R8: the attested key has signed this very request: for this custodian, with a nonce of its own, for an ephemeral key.
pub(super) fn r8_request(
    network: &NetworkId,
    me: &NodeId,
    signed: &Signed<ReleaseRequest>,
    nonce_is_ours: impl Fn(&ReleaseRequest, &Bytes32) -> bool,
) -> Result<(), Refusal> {
    let request = signed.verify(network).map_err(Refusal::RequestSignature)?;
    if request.custodian != *me {
        return Err(Refusal::OtherCustodian { custodian: request.custodian });
    }
    if !nonce_is_ours(request, &request.nonce) {
        return Err(Refusal::Nonce);
    }
    if wrap::is_public_key(&request.ephemeral_key.0) { Ok(()) } else { Err(Refusal::EphemeralKey) }
}

/// R9: an attempt needs few ephemeral keys: one, and one more for each time that its executor started again. Counted for
/// each attempt, so that the executor of the first cannot use up what the second needs.
pub(super) fn r9_keys(request: &ReleaseRequest, state: &State, keys_max: usize) -> Result<(), Refusal> {
    let key = (request.attempt, Digest::of(&request.ephemeral_key.0));
    let used = state.task(&request.task).map_or(&[][..], |task| &task.ephemeral_keys);
    let in_attempt = used.iter().filter(|(attempt, _)| *attempt == request.attempt).count();
    if in_attempt < keys_max || used.contains(&key) {
        Ok(())
    } else {
        Err(Refusal::TooManyKeys { task: request.task, keys_max })
    }
}

#[cfg(test)]
mod tests {
    use model::{AccountId, Blob, Bytes32, Digest, ReleaseRequest, TaskId};

    use super::{State, r9_keys};
    use crate::custodian::store::TaskRecord;

    #[test]
    fn keys_of_one_attempt_leave_room_for_the_next() {
        let task = TaskId([1; 32]);
        let request = |attempt, key: u8| ReleaseRequest {
            task,
            attempt,
            assignment: Digest([2; 32]),
            executor: AccountId([3; 32]),
            custodian: AccountId([4; 32]),
            ephemeral_key: Blob(vec![key]),
            nonce: Bytes32([5; 32]),
        };
        let used = |key: u8| (1, Digest::of(&[key]));
        let mut state = State::default();
        let _ = state.put_task(
            task,
            TaskRecord { deadline_ms: 0, ephemeral_keys: vec![used(0), used(1)], releases: Vec::new(), posted: false },
        );
        assert!(r9_keys(&request(1, 2), &state, 2).is_err(), "a third key in the first attempt");
        assert!(r9_keys(&request(1, 1), &state, 2).is_ok(), "a key used before");
        assert!(r9_keys(&request(2, 2), &state, 2).is_ok(), "the second attempt's first key");
    }
}
