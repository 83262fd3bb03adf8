//! Keys that are no attestation keys, and what attestation keys refuse to sign.

use attest::{AppraiseError, simulated::Device};
use model::{Blob, Digest};

use crate::{
    fixture::{Node, fixture, judge},
    raw::{ATTESTATION, ENDORSEMENT, Raw, UNRESTRICTED, attestation_template, name_of},
};

#[test]
fn another_key_than_the_registered_one_is_refused() {
    let (mut node, other) = (Node::start(0), Node::start(1));
    let mut evidence = node.evidence();
    evidence.tpm.attestation_key = other.attester.attestation_key().clone();
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::AttestationKey("not the registered one")), "{refused}");
    // Registered, but then it did not sign the quote.
    node.registration.attestation_key = Blob(name_of(&other.attester.attestation_key().0));
    let mut evidence = node.evidence();
    evidence.tpm.attestation_key = other.attester.attestation_key().clone();
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::Signature), "{refused}");
}

#[test]
fn an_unrestricted_key_signs_anything_and_is_refused_for_that() {
    let mut node = Node::start(0);
    let honest = node.evidence();
    let template = attestation_template(&honest.tpm.attestation_key.0, UNRESTRICTED);
    let dir = fixture().tpm_dir("tpm-0");
    let mut raw = Raw::new(&Device::start(dir.path()).unwrap().into_socket());
    let (key, public) = raw.create_primary(ENDORSEMENT, &template);

    // It forges whatever it likes: here the quote of the honest node, signed again.
    node.registration.attestation_key = Blob(name_of(&public));
    let mut forged = node.evidence();
    forged.tpm.attestation_key = Blob(public);
    forged.tpm.signature = Blob(raw.sign(key, &Digest::of(&forged.tpm.quote.0).0).unwrap());
    let refused = judge(&node, &forged).unwrap_err();
    assert!(matches!(refused, AppraiseError::AttestationKey(reason) if reason.contains("attributes")), "{refused}");
}

#[test]
fn a_restricted_key_signs_no_forged_quote() {
    let mut node = Node::start(0);
    let honest = node.evidence();
    let template = attestation_template(&honest.tpm.attestation_key.0, ATTESTATION);
    let dir = fixture().tpm_dir("tpm-0");
    let mut raw = Raw::new(&Device::start(dir.path()).unwrap().into_socket());
    let (key, public) = raw.create_primary(ENDORSEMENT, &template);
    assert_eq!(public, honest.tpm.attestation_key.0, "the very key of the node");
    // TPM_RC_TICKET: the digest is not known to be of harmless data.
    assert_eq!(raw.sign(key, &Digest::of(&honest.tpm.quote.0).0).unwrap_err() & 0xbf, 0xa0);
}

#[test]
fn every_flipped_bit_of_the_public_area_is_noticed() {
    let mut node = Node::start(0);
    let honest = node.evidence();
    for position in 0..honest.tpm.attestation_key.0.len() {
        let mut evidence = honest.clone();
        evidence.tpm.attestation_key.0[position] ^= 1 << (position % 8);
        assert!(matches!(judge(&node, &evidence), Err(AppraiseError::AttestationKey(_))), "position {position}");
    }
}
