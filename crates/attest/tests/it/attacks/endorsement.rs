//! Certificates that do not endorse this TPM.

use attest::{AppraiseError, Endorsement, EndorsementError, Fault, appraise};
use model::{Blob, TrustAnchors};

use crate::fixture::{HOUR_MS, Node, expectation, fixture, judge, now_ms, open};

fn check(chain: &[Blob], anchors: &TrustAnchors) -> Result<Endorsement, EndorsementError> {
    Endorsement::check(chain, anchors, now_ms())
}

#[test]
fn a_root_of_the_same_name_vouches_for_nothing() {
    let node = Node::start(0);
    let chain = node.attester.endorsement_chain();
    let foreign = TrustAnchors { hardware: vec![], simulated: vec![fixture().foreign_root.clone()] };
    assert!(check(chain, &fixture().genesis.trust_anchors).is_ok());
    assert!(matches!(check(chain, &foreign), Err(EndorsementError::NotVouched(_))));

    let foreign_tpm = fixture().tpm_dir("tpm-foreign");
    let attester = open(foreign_tpm.path());
    assert!(check(attester.endorsement_chain(), &foreign).is_ok());
    let refused = check(attester.endorsement_chain(), &fixture().genesis.trust_anchors);
    assert!(matches!(refused, Err(EndorsementError::NotVouched(_))));
}

#[test]
fn a_chain_with_a_gap_or_someone_elses_intermediate_is_refused() {
    let node = Node::start(0);
    let chain = node.attester.endorsement_chain();
    let anchors = &fixture().genesis.trust_anchors;
    assert!(matches!(check(&chain[..1], anchors), Err(EndorsementError::NotVouched(_))));
    let foreign_tpm = fixture().tpm_dir("tpm-foreign");
    let foreign = attest::simulated::intermediates(foreign_tpm.path()).unwrap();
    let mixed = [chain[..1].to_vec(), foreign].concat();
    assert!(matches!(check(&mixed, anchors), Err(EndorsementError::NotVouched(_))));
}

#[test]
fn chains_out_of_bounds_are_not_even_read() {
    let node = Node::start(0);
    let chain = node.attester.endorsement_chain();
    let anchors = &fixture().genesis.trust_anchors;
    let long = [chain.to_vec(), vec![chain[1].clone(); attest::CHAIN_MAX - 1]].concat();
    let huge = vec![Blob(vec![0x30; attest::CERTIFICATE_BYTES_MAX + 1])];
    for chain in [&[][..], &long, &huge] {
        assert!(matches!(check(chain, anchors), Err(EndorsementError::Bounds)));
    }
}

#[test]
fn every_flipped_bit_of_the_certificate_is_noticed() {
    let node = Node::start(0);
    let chain = node.attester.endorsement_chain().to_vec();
    let certificate = chain[0].0.clone();
    for position in 0..certificate.len() {
        let mut chain = chain.clone();
        chain[0].0[position] ^= 1 << (position % 8);
        let outcome = check(&chain, &fixture().genesis.trust_anchors);
        // A bit in the outer algorithm field may be ignored by nobody: all of them are signed or compared.
        assert!(outcome.is_err(), "position {position}");
    }
}

#[test]
fn a_certificate_for_another_use_is_refused() {
    // The issuer's own certificate chains to the root just as well.
    let node = Node::start(0);
    let issuer = &node.attester.endorsement_chain()[1..];
    let refused = check(issuer, &fixture().genesis.trust_anchors).unwrap_err();
    assert!(matches!(refused, EndorsementError::OtherUse | EndorsementError::NotVouched(_)), "{refused}");
}

#[test]
fn a_certificate_that_has_not_begun_is_refused() {
    let node = Node::start(0);
    let early = Endorsement::check(node.attester.endorsement_chain(), &fixture().genesis.trust_anchors, 0);
    assert!(matches!(early, Err(EndorsementError::NotVouched(_))));
}

#[test]
fn another_nodes_certificate_is_not_the_approved_one() {
    let mut node = Node::start(0);
    let other = Node::start(1);
    let mut evidence = node.evidence();
    evidence.tpm.endorsement_chain = other.attester.endorsement_chain().to_vec();
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::NotApproved { what: "endorsement certificate" }), "{refused}");
    // Registering it does not help: the committee has approved a certificate for each node.
    node.registration.endorsement = other.attester.endorsement();
    let evidence = node.evidence();
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::NotApproved { what: "endorsement certificate" }), "{refused}");
    assert_eq!(refused.fault(), Fault::Operator);
}

#[test]
fn a_software_tpm_does_not_pass_on_a_hardware_only_network() {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    let strict = TrustAnchors { hardware: vec![fixture().foreign_root.clone()], simulated: vec![] };
    let none = TrustAnchors { hardware: vec![], simulated: vec![] };
    for anchors in [&strict, &none] {
        let mut expectation = expectation(0);
        expectation.anchors = anchors;
        let refused = appraise(&evidence, &node.log, &expectation).unwrap_err();
        assert!(matches!(refused, AppraiseError::Endorsement(EndorsementError::NotVouched(_))), "{refused}");
        assert!(refused.to_string().contains("software TPM"));
    }
}

#[test]
fn a_remembered_endorsement_holds_for_its_chain_its_anchors_and_its_time_only() {
    let node = Node::start(0);
    let chain = node.attester.endorsement_chain();
    let anchors = &fixture().genesis.trust_anchors;
    let endorsement = Endorsement::check(chain, anchors, now_ms()).unwrap();
    assert!(endorsement.covers(chain, anchors, now_ms() + HOUR_MS));
    // Certificates of software TPMs end with the year 9999.
    assert!(!endorsement.covers(chain, anchors, now_ms() + 8_000 * 366 * 24 * HOUR_MS));
    let hardware = TrustAnchors { hardware: anchors.simulated.clone(), simulated: vec![] };
    assert!(!endorsement.covers(chain, &hardware, now_ms()));
    assert!(!endorsement.covers(&chain[..1], anchors, now_ms()));
}
