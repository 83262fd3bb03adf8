//! Honest evidence in the wrong place: another network, request, block or set of keys.

use attest::{AppraiseError, Expectation, Fault, Request, appraise};
use model::{AttestationResult, Blob, BlockRef, Bytes48, Canonical, Digest, Evidence, NetworkId, Round, Seed, Verdict};

use crate::fixture::{Node, block, expectation, fixture, judge, node_id, now_ms, request};

#[test]
fn evidence_for_another_network_is_refused() {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    let mut expectation = expectation(0);
    expectation.network = NetworkId([9; 32]);
    assert!(matches!(appraise(&evidence, &node.log, &expectation), Err(AppraiseError::Binding)));
}

#[test]
fn a_replayed_quote_does_not_fit_another_block_or_window() {
    let mut node = Node::start(0);
    let old = node.evidence();
    let later = BlockRef { height: 8, time_ms: now_ms() - 1_000, digest: Digest::of(b"header 8") };

    // As it was: the appraiser expects the block at that height, in the present window.
    let mut expected = expectation(0);
    expected.window += 1;
    assert!(matches!(appraise(&old, &node.log, &expected), Err(AppraiseError::OtherRequest { what: "window" })));
    let mut expected = expectation(0);
    expected.block = later;
    assert!(matches!(appraise(&old, &node.log, &expected), Err(AppraiseError::UnknownBlock)));

    // With the fields brought up to date, the quote is bound to the old ones.
    let mut relabelled = old.clone();
    relabelled.block = later;
    assert!(matches!(appraise(&relabelled, &node.log, &expected), Err(AppraiseError::Binding)));
    let mut relabelled = old;
    relabelled.window += 1;
    let mut expected = expectation(0);
    expected.window += 1;
    assert!(matches!(appraise(&relabelled, &node.log, &expected), Err(AppraiseError::Binding)));
}

#[test]
fn stale_evidence_is_refused_and_the_attester_asked_again() {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    let age_ms_max = fixture().genesis.appraisal.evidence_age_ms_max;
    let mut expected = expectation(0);
    expected.now_ms = block().time_ms + age_ms_max;
    assert!(appraise(&evidence, &node.log, &expected).is_ok());
    expected.now_ms += 1;
    let refused = appraise(&evidence, &node.log, &expected).unwrap_err();
    assert!(matches!(refused, AppraiseError::Stale { age_ms, .. } if age_ms == age_ms_max + 1), "{refused}");
    assert_eq!(refused.fault(), Fault::Timing);
}

#[test]
fn the_evidence_behind_a_verdict_was_fresh_when_they_voted() {
    let mut node = Node::start(0);
    let genesis = &fixture().genesis;
    let (age_ms_max, window_ms) = (genesis.appraisal.evidence_age_ms_max, genesis.appraisal.window_ms);
    let window = block().time_ms / window_ms;
    let evidence = node.evidence_for(Request { window, ..request() });
    let log = node.log.clone();
    let judge_at = |evidence: &Evidence, verdict: &Verdict, verdict_ms: u64| {
        let expected =
            Expectation::of_verdict(genesis, fixture().network, verdict, verdict_ms, evidence.block).unwrap();
        appraise(evidence, &log, &expected)
    };

    // The votes took their time, up to the end of the window after their own.
    let verdict = verdict(&evidence, window);
    assert!(judge_at(&evidence, &verdict, block().time_ms).is_ok());
    assert!(judge_at(&evidence, &verdict, block().time_ms + age_ms_max + 1).is_ok());
    assert!(judge_at(&evidence, &verdict, (window + 2) * window_ms - 1).is_ok());

    // Evidence from after its verdict, and evidence kept for a later window.
    assert!(matches!(judge_at(&evidence, &verdict, block().time_ms - 1), Err(AppraiseError::UnknownBlock)));
    let later = block().time_ms.div_ceil(window_ms) + age_ms_max.div_ceil(window_ms);
    let kept = node.evidence_for(Request { window: later, ..request() });
    let refused = judge_at(&kept, &self::verdict(&kept, later), later * window_ms).unwrap_err();
    assert!(matches!(refused, AppraiseError::Stale { .. }), "{refused}");
}

fn verdict(evidence: &Evidence, window: u64) -> Verdict {
    Verdict {
        node: evidence.registration.node,
        registration: evidence.registration.digest(),
        evidence: evidence.block_id(),
        window,
        result: AttestationResult { simulated: true, self_measured: true, release_counter: 2 },
        seed: Seed { round: Round { epoch: 0, view: 1 }, signature: Bytes48([0; 48]) },
        drawn: Vec::new(),
        votes: Vec::new(),
        expires_ms: u64::MAX,
    }
}

#[test]
fn a_block_that_never_was_is_refused() {
    let mut node = Node::start(0);
    let invented = BlockRef { digest: Digest::of(b"another header"), ..block() };
    let evidence = node.evidence_for(Request { block: invented, ..request() });
    assert!(matches!(judge(&node, &evidence), Err(AppraiseError::UnknownBlock)));
    let postdated = BlockRef { time_ms: now_ms() + 1, ..block() };
    let evidence = node.evidence_for(Request { block: postdated, ..request() });
    assert!(matches!(judge(&node, &evidence), Err(AppraiseError::UnknownBlock)));
}

#[test]
fn swapped_keys_are_noticed() {
    let mut node = Node::start(0);
    let honest = node.evidence();

    let mut sealing = honest.clone();
    sealing.registration.sealing_key = Blob(vec![66; 1216]);
    assert!(matches!(judge(&node, &sealing), Err(AppraiseError::Binding)));

    let mut signing = honest.clone();
    signing.registration.node = node_id(1);
    assert!(matches!(judge(&node, &signing), Err(AppraiseError::NotApproved { what: "node key" })));
    let theirs = appraise(&signing, &node.log, &expectation(1));
    assert!(matches!(theirs, Err(AppraiseError::NotApproved { .. })));

    for (change, what) in [("operator", "operator"), ("region", "region")] {
        let mut evidence = honest.clone();
        match change {
            "operator" => evidence.registration.operator = "somebody".into(),
            _ => evidence.registration.region = "elsewhere".into(),
        }
        let refused = judge(&node, &evidence).unwrap_err();
        assert!(matches!(refused, AppraiseError::NotApproved { what: said } if said == what), "{refused}");
    }
}

#[test]
fn one_tpm_does_not_pass_for_two_nodes() {
    // Node 1's operator lets node 0's TPM quote for it, with everything else its own.
    let mut node = Node::start(0);
    node.registration.node = node_id(1);
    node.registration.operator = "operator 1".into();
    let evidence = node.evidence();
    let refused = appraise(&evidence, &node.log, &expectation(1)).unwrap_err();
    assert!(matches!(refused, AppraiseError::NotApproved { what: "endorsement certificate" }), "{refused}");
}
