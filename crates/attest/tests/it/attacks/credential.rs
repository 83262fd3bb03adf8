//! Credentials that a TPM must not open.

use attest::Challenge;
use model::ContentId;

use crate::fixture::{Node, judge};

fn about() -> ContentId {
    ContentId::of_dag_cbor(b"some evidence")
}

fn challenge(endorsed: &Node, named: &Node) -> (Challenge, attest::Expected) {
    let certificate = &endorsed.attester.endorsement_chain()[0].0;
    Challenge::make(certificate, &named.registration.attestation_key.0, about(), &[1; 32]).unwrap()
}

#[test]
fn a_credential_for_another_tpm_stays_closed() {
    let (node, mut other) = (Node::start(0), Node::start(1));
    let (challenge, _) = challenge(&node, &node);
    assert!(other.attester.activate(&challenge).is_err());
    // For the other's name under this one's endorsement key, both TPMs refuse.
    let (challenge, _) = self::challenge(&node, &other);
    let mut node = node;
    assert!(node.attester.activate(&challenge).is_err());
    assert!(other.attester.activate(&challenge).is_err());
}

#[test]
fn a_refused_credential_leaves_the_tpm_in_good_health() {
    let (mut node, other) = (Node::start(0), Node::start(1));
    let (foreign, _) = challenge(&other, &other);
    for _ in 0..5 {
        assert!(node.attester.activate(&foreign).is_err());
    }
    let evidence = node.evidence();
    assert!(judge(&node, &evidence).is_ok());
    let (own, expected) = challenge(&node, &node);
    assert!(expected.is(&node.attester.activate(&own).unwrap()));
}

#[test]
fn a_damaged_credential_stays_closed() {
    let mut node = Node::start(0);
    let (challenge, expected) = challenge(&node, &node);
    for position in 0..challenge.credential.0.len() {
        let mut damaged = challenge.clone();
        damaged.credential.0[position] ^= 1;
        assert!(node.attester.activate(&damaged).is_err(), "credential, position {position}");
    }
    for position in 0..challenge.secret.0.len() {
        let mut damaged = challenge.clone();
        damaged.secret.0[position] ^= 1;
        assert!(node.attester.activate(&damaged).is_err(), "secret, position {position}");
    }
    assert!(expected.is(&node.attester.activate(&challenge).unwrap()));
}

#[test]
fn other_randomness_makes_another_challenge_and_another_answer() {
    let mut node = Node::start(0);
    let certificate = node.attester.endorsement_chain()[0].0.clone();
    let name = node.registration.attestation_key.0.clone();
    let (first, expected) = Challenge::make(&certificate, &name, about(), &[1; 32]).unwrap();
    let (second, _) = Challenge::make(&certificate, &name, about(), &[2; 32]).unwrap();
    assert_ne!(first, second);
    assert!(!expected.is(&node.attester.activate(&second).unwrap()));
}
