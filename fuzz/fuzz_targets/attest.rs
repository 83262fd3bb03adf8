//! Evidence, event logs, certificates, releases, sealed secrets and appraisal messages from nodes nobody trusts.
#![no_main]

use std::sync::LazyLock;

use attest::{
    Endorsement, Expectation, SealedSecret, appraise,
    protocol::{Answer, Message, Presentation, Refusal},
    release::ReleaseFile,
};
use libfuzzer_sys::fuzz_target;
use model::{Blob, Bytes32, Canonical, EventLog, Evidence, Fact};
use samovar_fuzz::{STORY, changed, check_canonical, input};

static EVIDENCE: LazyLock<Evidence> =
    LazyLock::new(|| Evidence::from_bytes(STORY.evidence_and_log().0, Evidence::BYTES_MAX).expect("the story's own"));
static LOG: LazyLock<EventLog> =
    LazyLock::new(|| EventLog::from_bytes(STORY.evidence_and_log().1, 1 << 20).expect("the story's own"));

static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let presentation = Presentation { evidence: EVIDENCE.clone(), log: LOG.clone() };
    let evidence = EVIDENCE.block_id();
    let mut values = vec![
        Message::Evidence(Box::new(presentation)).encode(),
        Message::Answer(Answer { evidence, secret: Bytes32([1; 32]) }).encode(),
        Message::Refusal(Refusal { evidence, reason: "no".into() }).encode(),
    ];
    values.extend(STORY.all_records().into_iter().find_map(|record| match record.fact {
        Fact::Verdict(verdict) => Some(Message::Vote(Box::new(verdict.votes[0].clone())).encode()),
        _ => None,
    }));
    values
});

/// Changes one part of the evidence, or the log behind it, and appraises the whole.
fn evidence(part: u8, changes: &[u8]) {
    let (mut evidence, mut log) = (EVIDENCE.clone(), LOG.clone());
    let change = |blob: &mut Blob| blob.0 = changed(&blob.0, changes);
    match part % 8 {
        0 => change(&mut evidence.tpm.quote),
        1 => change(&mut evidence.tpm.signature),
        2 => change(&mut evidence.tpm.attestation_key),
        3 | 4 => {
            let chain = &mut evidence.tpm.endorsement_chain;
            let at = usize::from(part / 8) % chain.len();
            change(&mut chain[at]);
        }
        5 => {
            let Ok(other) = EventLog::from_bytes(&changed(&log.to_bytes(), changes), 1 << 20) else { return };
            log = other;
        }
        _ => {
            let Ok(other) = Evidence::from_bytes(&changed(&evidence.to_bytes(), changes), 1 << 20) else { return };
            evidence = other;
        }
    }
    let (genesis, block) = (STORY.genesis(), EVIDENCE.block);
    let node = EVIDENCE.registration.node;
    let expectation =
        Expectation::of_genesis(genesis, STORY.network_id(), &node, EVIDENCE.window, block, block.time_ms + 1);
    let _ = appraise(&evidence, &log, &expectation.expect("the story's node is approved"));
    let _ = Endorsement::check(&evidence.tpm.endorsement_chain, &genesis.trust_anchors, block.time_ms);
    let _ = attest::launcher::replay(&log);
}

fuzz_target!(|bytes: &[u8]| match bytes.split_first() {
    Some((kind @ 128.., rest)) => evidence(*kind - 128, rest),
    Some((_, rest)) => {
        let bytes = &input(&VALUES, rest);
        if let Ok(message) = Message::decode(bytes) {
            assert_eq!(message.encode(), **bytes);
            let _ = message.needs();
        }
        check_canonical::<ReleaseFile>(bytes);
        if let Ok(secret) = SealedSecret::decode(bytes) {
            assert_eq!(secret.encode(), **bytes);
        }
    }
    None => {}
});
