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

/// [`places`], the terms that hold now, and how far the task is, be it over or not: what a custodian decides by.
pub(crate) fn places_now(facts: &Facts, task: &Task, assignment: &Assignment) -> Option<Vec<u64>> {
    let mut places = places(facts, task, assignment)?;
    places.extend(facts.task(&assignment.task)?.progress());
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

#[cfg(test)]
mod tests {
    use model::{
        AccountId, Blob, Bytes32, Bytes48, Bytes64, Deposit, Digest, Limits, Manifest, Metering, NetworkId, ObjectKind,
        PublishedObject, Registration, Round, Seal, Seed, Settlement, Signed, Suite, Verdict,
    };

    use super::*;
    use crate::index::BlockFacts;

    const NODE: AccountId = AccountId([1; 32]);

    fn seed() -> Seed {
        Seed { round: Round { epoch: 0, view: 1 }, signature: Bytes48([0; 48]) }
    }

    fn program() -> PublishedObject {
        let nothing = ContentId::of_raw(b"");
        let seal = Seal {
            suite: Suite::Aes256GcmXWing,
            salt: Bytes32([0; 32]),
            key_commitment: Bytes32([0; 32]),
            chunk_bytes: 1,
            chunks: 1,
            plaintext_root: Digest([0; 32]),
            sealed_meta: Blob(Vec::new()),
        };
        let manifest = Manifest {
            kind: ObjectKind::Program,
            owner: NODE,
            ciphertext: nothing,
            ciphertext_bytes: 1,
            leaves: nothing,
            seal,
            description: None,
            sample: None,
        };
        let manifest = Signed::assemble(manifest, Bytes64([0; 64]));
        let deposit =
            Deposit { object: manifest.object_id(), owner: NODE, epoch: 1, threshold: 1, custodians: Vec::new() };
        let deposit = Signed::assemble(deposit, Bytes64([0; 64]));
        PublishedObject { manifest, deposit, deposit_acks: Vec::new(), storage: Vec::new() }
    }

    fn task(program: &PublishedObject) -> Task {
        Task {
            requester: NODE,
            nonce: 1,
            program: program.manifest.object_id(),
            inputs: Vec::new(),
            args: Vec::new(),
            limits: Limits { run_ms: 1, memory_bytes: 1, output_bytes: 1 },
            metering: Metering::None,
            seed: Bytes32([0; 32]),
            result_key: Blob(Vec::new()),
            price_max: 1,
        }
    }

    fn registration() -> Registration {
        Registration {
            node: NODE,
            sealing_key: Blob(Vec::new()),
            operator: String::new(),
            region: String::new(),
            endorsement: Digest([0; 32]),
            attestation_key: Blob(Vec::new()),
        }
    }

    fn verdict(registration: &Registration) -> Verdict {
        Verdict {
            node: NODE,
            registration: registration.digest(),
            evidence: ContentId::of_raw(b""),
            window: 1,
            result: model::AttestationResult { simulated: true, self_measured: true, release_counter: 1 },
            seed: seed(),
            drawn: Vec::new(),
            votes: Vec::new(),
            expires_ms: 1,
        }
    }

    fn assignment(task: TaskId, attempt: u8, verdict: Digest) -> Assignment {
        Assignment {
            task,
            attempt,
            executor: NODE,
            seed: seed(),
            eligible_root: Digest([0; 32]),
            eligible_size: 1,
            index: 0,
            path: Vec::new(),
            verdict,
            terms: Vec::new(),
            output_bytes_max: 1,
            deadline_ms: 1,
        }
    }

    /// Reads a fact as the block and the record number `place`. Returns the digest of its record.
    fn read(index: &Index, place: u64, fact: Fact) -> Digest {
        let record = Record { network: NetworkId([0; 32]), height: place, time_ms: place, fact }.to_bytes();
        let digest = Digest::of(&record);
        let records = [(place, record)];
        assert!(index.read_block(&BlockFacts { height: place, time_ms: place, records: &records }).is_empty());
        digest
    }

    #[test]
    fn a_custodian_is_given_all_attempts_and_the_settlement_whichever_attempt_it_is_asked_for() {
        let index = Index::default();
        let (program, registration) = (program(), registration());
        let task = task(&program);
        let id = task.id();
        let vouched = verdict(&registration);
        read(&index, 1, Fact::Object(Box::new(program)));
        read(&index, 2, Fact::Registration(Box::new(registration)));
        let verdict = read(&index, 3, Fact::Verdict(Box::new(vouched)));
        read(&index, 4, Fact::Task(Box::new(task.clone())));
        let first = assignment(id, 1, verdict);
        read(&index, 5, Fact::Assignment(Box::new(first.clone())));
        assert_eq!(places_now(&index.facts(), &task, &first).unwrap(), [1, 2, 3, 4, 5]);
        read(&index, 6, Fact::Assignment(Box::new(assignment(id, 2, verdict))));
        assert_eq!(places_now(&index.facts(), &task, &first).unwrap(), [1, 2, 3, 4, 5, 6]);
        let lapsed =
            Settlement { task: id, receipt: None, releases: Vec::new(), storage: Vec::new(), payments: Vec::new() };
        read(&index, 7, Fact::Settlement(Box::new(lapsed)));
        assert_eq!(places_now(&index.facts(), &task, &first).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    }
}
