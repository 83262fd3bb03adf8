//! Proofs whose records were changed and then certified: a committee may certify anything, and a verifier must still judge
//! every link, without a panic. The first byte says which record is changed, and whether later ones name it as it is now.
#![no_main]

use std::sync::LazyLock;

use finality::Header;
use libfuzzer_sys::fuzz_target;
use model::{
    Blob, Canonical, Digest, Fact, Receipt, Record,
    api::{IndexedRecord, ProvenRecords},
    log::Tree,
};
use proof::Proof;
use samovar_fuzz::{STORY, changed, halves};

static PROOF: LazyLock<Proof> = LazyLock::new(|| STORY.whole_proof());

/// The same header over another log, certified.
fn certified(records: &[Record]) -> Option<ProvenRecords> {
    let entries: Vec<Vec<u8>> = records.iter().map(Canonical::to_bytes).collect();
    let tree = Tree::of(entries.iter().map(|entry| Digest::of(entry)));
    let header = Header::from_bytes(&PROOF.proven.head.header.0).ok()?;
    let header = Header { log_size: tree.size(), log_root: tree.root(tree.size())?, ..header };
    let head = STORY.committee().certify(STORY.network_id(), &header);
    let indices: Vec<u64> = PROOF.proven.records.iter().map(|entry| entry.index).collect();
    let record =
        |index: &u64| Some(IndexedRecord { index: *index, record: Blob(entries.get(*index as usize)?.clone()) });
    let records = indices.iter().map(record).collect::<Option<_>>()?;
    Some(ProvenRecords { head, records, digests: tree.prove_many(tree.size(), &indices)? })
}

/// Lets the assignment name the verdict, and the receipt the assignment, as they are now.
fn link(records: &mut [Record]) {
    let executor = records.iter().find_map(|record| match &record.fact {
        Fact::Assignment(assignment) => Some(assignment.executor),
        _ => None,
    });
    let verdict = records.iter().find(|record| matches!(&record.fact, Fact::Verdict(it) if Some(it.node) == executor));
    let verdict = verdict.map(Canonical::digest);
    let mut named = None;
    for record in records {
        match &mut record.fact {
            Fact::Assignment(assignment) => {
                assignment.verdict = verdict.unwrap_or(assignment.verdict);
                named = Some(record.digest());
            }
            Fact::Settlement(settlement) => {
                let (Some(receipt), Some(assignment)) = (settlement.receipt.take(), named) else { continue };
                settlement.receipt = STORY.sign(Receipt { assignment, ..receipt.into_unverified() });
            }
            _ => {}
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((number, changes)) = bytes.split_first() else { return };
    let (of_fact, of_rest) = halves(changes);
    let mut records = STORY.all_records();
    let count = records.len();
    let record = &mut records[usize::from(number % 128) % count];
    let Ok(fact) = Fact::from_bytes(&changed(&record.fact.to_bytes(), of_fact), 1 << 20) else { return };
    record.fact = fact;
    if *number >= 128 {
        link(&mut records);
    }
    let Some(proven) = certified(&records) else { return };
    let mut proof = Proof { proven, ..PROOF.clone() };
    match of_rest.split_first() {
        Some((0..100, changes)) => proof.evidence.0 = changed(&proof.evidence.0, changes),
        Some((100..200, changes)) => proof.event_log = Some(Blob(changed(STORY.evidence_and_log().1, changes))),
        _ => {}
    }
    if let Ok(verified) = proof::verify(&proof.to_bytes(), &STORY.network_file()) {
        let _ = verified.checklist();
    }
});
