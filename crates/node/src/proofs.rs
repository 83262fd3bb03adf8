//! The proof of a settled task, put together from the log and from what nodes store.

use model::{Canonical, ContentId, Fact, Record, TaskId};
use proof::Proof;

use crate::{
    chain::{Chain, ChainError},
    index::Index,
    storage::Content,
};

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
pub(crate) async fn assemble(chain: &Chain, index: &Index, content: &Content, id: &TaskId) -> Result<Vec<u8>, NoProof> {
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
    let entry = index.places().task(id).cloned();
    let Some((entry, settlement)) = entry.and_then(|entry| Some((entry.clone(), entry.settlement?))) else {
        return Ok(None);
    };
    let Fact::Task(task) = chain.record(entry.task)?.fact else { return Ok(None) };
    let mut found = vec![entry.task, settlement.index];
    for at in entry.assignments.values() {
        let Fact::Assignment(assignment) = chain.record(*at)?.fact else { return Ok(None) };
        found.extend(index.places().behind(&task, &assignment).unwrap_or_default());
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
