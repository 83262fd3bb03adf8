//! Every record type that machines send each other: what decodes encodes to the same bytes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::{
    AppraisalVote, Blob, Canonical, Deposit, DepositAck, Digest, EventLog, Evidence, Fact, Genesis, Manifest, Receipt,
    Record, Registration, Release, ReleaseRequest, Signed, StorageAck, Task, Terms, Transaction, Verdict, api,
};
use samovar_fuzz::{STORY, check_canonical as check, input};

static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let (evidence, log) = STORY.evidence_and_log();
    let proof = STORY.whole_proof();
    let mut values = vec![STORY.genesis().to_bytes(), evidence.to_vec(), log.to_vec(), proof.proven.to_bytes()];
    for record in STORY.all_records() {
        match &record.fact {
            Fact::Object(object) => {
                values.push(object.manifest.to_bytes());
                values.push(object.deposit.to_bytes());
                let sealed_share = Blob(vec![7; 1200]);
                let (manifest, deposit) = (object.manifest.clone(), object.deposit.clone());
                values.push(api::DepositRequest { manifest, deposit, index: 1, sealed_share }.to_bytes());
            }
            Fact::Terms(terms) => values.push(terms.to_bytes()),
            Fact::Settlement(settlement) => values.push(settlement.receipt.to_bytes()),
            _ => {}
        }
        values.push(record.to_bytes());
    }
    values.extend(STORY.transactions().iter().map(Canonical::to_bytes));
    let head = proof.proven.head.clone();
    let state =
        api::ProvenState { head: head.clone(), key: Digest([1; 32]), value: Some(Blob(vec![1])), proof: Blob(vec![2]) };
    values.push(state.to_bytes());
    values.push(api::ProvenExtension { head, digests: vec![Digest([1; 32]); 4] }.to_bytes());
    values
});

fuzz_target!(|bytes: &[u8]| {
    let bytes = &input(&VALUES, bytes);
    check::<Record>(bytes);
    check::<Signed<Transaction>>(bytes);
    check::<Signed<Manifest>>(bytes);
    check::<Signed<Terms>>(bytes);
    check::<Signed<Receipt>>(bytes);
    check::<Signed<Release>>(bytes);
    check::<Signed<ReleaseRequest>>(bytes);
    check::<Signed<StorageAck>>(bytes);
    check::<Signed<DepositAck>>(bytes);
    check::<Signed<AppraisalVote>>(bytes);
    check::<Evidence>(bytes);
    check::<EventLog>(bytes);
    check::<Genesis>(bytes);
    check::<Registration>(bytes);
    check::<Verdict>(bytes);
    check::<Task>(bytes);
    check::<Deposit>(bytes);
    check::<api::ProvenRecords>(bytes);
    check::<api::ProvenState>(bytes);
    check::<api::ProvenExtension>(bytes);
    check::<api::DepositRequest>(bytes);
    check::<api::TransactionStatus>(bytes);
    check::<api::TaskEvent>(bytes);
    check::<api::NodeStatus>(bytes);
    check::<api::Uploaded>(bytes);
    check::<api::Problem>(bytes);
});
