//! Which records belong together: the facts a custodian and an executor rest on, and the proof of a settled task.

use model::{Assignment, Canonical, ContentId, Fact, Record, Task, TaskId};
use proof::Proof;

use crate::{
    chain::{Chain, ChainError},
    index::{Facts, Index},
    storage::Content,
};

/// Places of everything that an assignment rests on: task, assignment, verdict, registration, and of each object its
/// record and the terms applied. `None` if this node does not have all of it yet.
pub(crate) fn places(facts: &Facts, task: &Task, assignment: &Assignment) -> Option<Vec<u64>> {
    let entry = facts.task(&assignment.task)?;
    let verdict = facts.verdict(&assignment.verdict)?;
    let mut places =
        vec![entry.task, *entry.assignments.get(&assignment.attempt)?, verdict.verdict, verdict.registration];
    for id in task.objects() {
        places.push(facts.object(&id)?.object);
    }
    for applied in &assignment.terms {
        places.push(*facts.object(&applied.object)?.terms.get(&applied.serial)?);
    }
    places.sort_unstable();
    places.dedup();
    Some(places)
}

/// [`places`], and the terms that hold now: what a custodian decides by.
pub(crate) fn places_now(facts: &Facts, task: &Task, assignment: &Assignment) -> Option<Vec<u64>> {
    let mut places = places(facts, task, assignment)?;
    for id in task.objects() {
        places.extend(facts.object(&id)?.latest());
    }
    places.sort_unstable();
    places.dedup();
    Some(places)
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NoProof {
    /// The task is unknown, not settled yet, or ended without a receipt.
    #[error("the task is unknown, not settled, or lapsed without a receipt")]
    NoReceipt,
    /// This node's ledger does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The evidence behind the executor's verdict could not be fetched.
    #[error("the evidence could not be fetched")]
    Fetch(#[from] content::FetchError),
}

/// The proof of a settled task, canonical bytes.
pub(crate) async fn assemble_proof(
    chain: &Chain,
    index: &Index,
    content: &Content,
    id: &TaskId,
) -> Result<Vec<u8>, NoProof> {
    let records = records_around(chain, index, id)?.ok_or(NoProof::NoReceipt)?;
    let selected = Proof::select(id, &records).ok_or(NoProof::NoReceipt)?;
    let evidence = records.iter().filter(|(at, _)| selected.contains(at)).find_map(|(_, record)| evidence_of(record));
    let evidence = content.block(&evidence.ok_or(NoProof::NoReceipt)?).await?.into_data().to_vec();
    let proven = chain.prove(&selected).await?;
    let mut proof = Proof::assemble(chain.genesis().to_bytes(), proven, evidence, None);
    if let Some(log) = proof.event_log_block() {
        proof.event_log = Some(content.block(&log).await?.into_data().to_vec().into());
    }
    Ok(proof.to_bytes())
}

/// All records around a settled task, of every attempt. `None` if it is not settled.
fn records_around(chain: &Chain, index: &Index, id: &TaskId) -> Result<Option<Vec<(u64, Record)>>, ChainError> {
    let entry = index.facts().task(id).cloned();
    let Some((entry, settlement)) = entry.and_then(|entry| Some((entry.clone(), entry.settlement?))) else {
        return Ok(None);
    };
    let Fact::Task(task) = chain.record(entry.task)?.fact else { return Ok(None) };
    let mut found = vec![entry.task, settlement.index];
    for at in entry.assignments.values() {
        let Fact::Assignment(assignment) = chain.record(*at)?.fact else { return Ok(None) };
        found.extend(places(&index.facts(), &task, &assignment).unwrap_or_default());
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|at| Ok((at, chain.record(at)?))).collect::<Result<_, _>>().map(Some)
}

fn evidence_of(record: &Record) -> Option<ContentId> {
    match &record.fact {
        Fact::Verdict(verdict) => Some(verdict.evidence),
        _ => None,
    }
}
