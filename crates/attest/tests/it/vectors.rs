//! The published vector: evidence that was made once by a software TPM, and what must be found in it.
//! `SAMOVAR_BLESS=1 cargo test -p attest` makes a new one.

use std::{fs, path::PathBuf};

use attest::{Expectation, appraise, binding};
use model::{
    AppraisalPolicy, AttestationResult, BlockRef, Canonical, ContentId, Digest, EventLog, Evidence, NetworkId, Role,
    TrustAnchors, Validator,
};
use serde::{Deserialize, Serialize};

use crate::fixture::{Node, block, fixture, judge, now_ms, request};

#[derive(Serialize, Deserialize)]
struct Vector {
    network: NetworkId,
    policy: AppraisalPolicy,
    trust_anchors: TrustAnchors,
    approved: Validator,
    window: u64,
    block: BlockRef,
    now_ms: u64,
    /// Canonical DAG-CBOR.
    evidence: model::Blob,
    event_log: model::Blob,
    extra_data: Digest,
    evidence_id: ContentId,
    result: AttestationResult,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/evidence.json")
}

fn make() -> Vector {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    let (genesis, request) = (&fixture().genesis, request());
    let extra_data =
        binding(&fixture().network, &node.registration.digest(), request.role, request.window, &request.block);
    Vector {
        network: fixture().network,
        policy: genesis.appraisal.clone(),
        trust_anchors: genesis.trust_anchors.clone(),
        approved: genesis.validator(&node.id()).unwrap().clone(),
        window: request.window,
        block: block(),
        now_ms: now_ms(),
        event_log: model::Blob(node.log.to_bytes()),
        extra_data: Digest(extra_data),
        evidence_id: evidence.block_id(),
        result: judge(&node, &evidence).unwrap().result(),
        evidence: model::Blob(evidence.to_bytes()),
    }
}

impl Vector {
    fn expectation(&self) -> Expectation<'_> {
        Expectation {
            network: self.network,
            policy: &self.policy,
            anchors: &self.trust_anchors,
            approved: &self.approved,
            role: Role::Executor,
            window: self.window,
            block: self.block,
            now_ms: self.now_ms,
            last_seen: None,
        }
    }
}

fn published() -> (Vector, Evidence, EventLog) {
    let vector: Vector = serde_json::from_slice(&fs::read(path()).unwrap()).unwrap();
    let evidence = Evidence::from_bytes(&vector.evidence.0, Evidence::BYTES_MAX).unwrap();
    let log = EventLog::from_bytes(&vector.event_log.0, attest::launcher::LOG_BYTES_MAX).unwrap();
    (vector, evidence, log)
}

#[test]
fn the_published_evidence_is_found_to_be_what_it_was() {
    if std::env::var_os("SAMOVAR_BLESS").is_some() {
        fs::write(path(), serde_json::to_string_pretty(&make()).unwrap() + "\n").unwrap();
    }
    let (vector, evidence, log) = published();
    let registration = evidence.registration.digest();
    let bound = binding(&vector.network, &registration, evidence.role, evidence.window, &evidence.block);
    assert_eq!(Digest(bound), vector.extra_data);
    let appraised = appraise(&evidence, &log, &vector.expectation()).unwrap();
    assert_eq!(appraised.result(), vector.result);
    assert_eq!(appraised.evidence_id(), vector.evidence_id);
}

/// A chain that is good and must not be kept: judging it comes to an end all the same.
#[test]
fn a_chain_in_its_last_second_is_judged_once() {
    let (mut vector, evidence, log) = published();
    // Its certificates are valid until 9999-12-31T23:59:59Z, and that second is not over.
    vector.now_ms = 253_402_300_799_500;
    vector.policy.evidence_age_ms_max = u64::MAX;
    assert!(appraise(&evidence, &log, &vector.expectation()).is_ok());
}
