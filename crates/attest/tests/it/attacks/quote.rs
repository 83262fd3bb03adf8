//! Things that are signed and are no quote of the right registers, and quotes that are altered.

use attest::{AppraiseError, ClockSeen, appraise, binding, simulated::Device};
use model::{Blob, Canonical, Digest, Evidence, PcrValue};

use crate::{
    fixture::{Node, block, expectation, fixture, judge, request},
    raw::{ATTESTATION, CERTIFY, ENDORSEMENT, QUOTE, Raw, attestation_template, selection},
};

/// Evidence of node 0, whose quote is replaced by what `attack` makes the same TPM sign with the same key.
fn evidence_with(attack: impl FnOnce(&mut Raw, u32, &[u8; 32]) -> (Vec<u8>, Vec<u8>)) -> (Node, Evidence) {
    let mut node = Node::start(0);
    let mut evidence = node.evidence();
    let template = attestation_template(&evidence.tpm.attestation_key.0, ATTESTATION);
    let request = request();
    let bound = binding(&fixture().network, &node.registration.digest(), request.role, request.window, &request.block);
    let dir = fixture().tpm_dir("tpm-0");
    let mut raw = Raw::new(&Device::start(dir.path()).unwrap().into_socket());
    let (key, _) = raw.create_primary(ENDORSEMENT, &template);
    let (quote, signature) = attack(&mut raw, key, &bound);
    evidence.tpm.quote = Blob(quote);
    evidence.tpm.signature = Blob(signature);
    (node, evidence)
}

#[test]
fn a_certification_is_no_quote() {
    let (node, evidence) = evidence_with(|raw, key, bound| raw.attest(CERTIFY, &[key, key], bound, &[]));
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::NotAQuote(_)), "{refused}");
}

#[test]
fn a_quote_of_fewer_more_or_other_registers_is_refused() {
    for pcrs in [&[0, 7][..], &[0, 7, 14, 15], &[0, 7, 23], &[]] {
        let (node, evidence) = evidence_with(|raw, key, bound| raw.attest(QUOTE, &[key], bound, &selection(pcrs)));
        let refused = judge(&node, &evidence).unwrap_err();
        assert!(matches!(refused, AppraiseError::Selection { .. }), "{pcrs:?}: {refused}");
    }
}

#[test]
fn a_quote_of_the_right_registers_in_another_state_is_refused() {
    // The attacker's copy of the TPM has measured nothing.
    let (node, evidence) = evidence_with(|raw, key, bound| raw.attest(QUOTE, &[key], bound, &selection(&[0, 7, 14])));
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::Registers), "{refused}");
}

#[test]
fn the_quote_of_another_nodes_tpm_is_refused() {
    let (mut node, mut other) = (Node::start(0), Node::start(1));
    other.registration = node.registration.clone();
    let mut evidence = node.evidence();
    let theirs = other.evidence();
    evidence.tpm.quote = theirs.tpm.quote;
    evidence.tpm.signature = theirs.tpm.signature;
    assert!(matches!(judge(&node, &evidence), Err(AppraiseError::Signature)));
}

#[test]
fn every_flipped_bit_of_quote_and_signature_is_noticed() {
    let mut node = Node::start(0);
    let honest = node.evidence();
    for position in 0..honest.tpm.quote.0.len() {
        let mut evidence = honest.clone();
        evidence.tpm.quote.0[position] ^= 1 << (position % 8);
        assert!(matches!(judge(&node, &evidence), Err(AppraiseError::Signature)), "quote, position {position}");
    }
    for position in 0..honest.tpm.signature.0.len() {
        let mut evidence = honest.clone();
        evidence.tpm.signature.0[position] ^= 1 << (position % 8);
        assert!(matches!(judge(&node, &evidence), Err(AppraiseError::Signature)), "signature, position {position}");
    }
}

#[test]
fn altered_missing_and_surplus_registers_are_refused() {
    let mut node = Node::start(0);
    let honest = node.evidence();
    let mut altered = honest.clone();
    altered.tpm.pcrs[2].value = Digest([0; 32]);
    let mut missing = honest.clone();
    missing.tpm.pcrs.remove(0);
    let mut surplus = honest.clone();
    surplus.tpm.pcrs.push(PcrValue { index: 15, value: Digest([0; 32]) });
    let mut twice = honest.clone();
    twice.tpm.pcrs.insert(2, honest.tpm.pcrs[2].clone());
    let mut swapped = honest.clone();
    swapped.tpm.pcrs.swap(0, 1);
    for evidence in [altered, missing, surplus, twice, swapped] {
        assert!(matches!(judge(&node, &evidence), Err(AppraiseError::Registers)));
    }
}

#[test]
fn a_quote_of_before_the_reset_does_not_follow_one_of_after() {
    let mut node = Node::start(0);
    let earlier = node.evidence();
    let clock = judge(&node, &earlier).unwrap().clock();
    let later = ClockSeen { resets: clock.resets + 1, restarts: 0, clock_ms: 0 };
    let longer = ClockSeen { clock_ms: clock.clock_ms + 1, ..clock };
    for last_seen in [later, longer] {
        let mut expectation = expectation(0);
        expectation.last_seen = Some(last_seen);
        assert!(matches!(appraise(&earlier, &node.log, &expectation), Err(AppraiseError::ClockBack)));
    }
    let mut expectation = expectation(0);
    expectation.last_seen = Some(clock);
    assert!(appraise(&earlier, &node.log, &expectation).is_ok());
}

#[test]
fn a_policy_that_cannot_be_followed_is_the_networks_fault() {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    let mut policy = fixture().genesis.appraisal.clone();
    policy.release_key = Blob(vec![4; 65]);
    let mut expectation = expectation(0);
    expectation.policy = &policy;
    let refused = appraise(&evidence, &node.log, &expectation).unwrap_err();
    assert_eq!(refused.fault(), attest::Fault::Network, "{refused}");
    assert_eq!(block(), evidence.block);
}
