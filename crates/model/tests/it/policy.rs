//! What the numbers of a genesis have to guarantee together.

use model::{AccountId, AppraisalPolicy, Blob, Digest, Registration, Validator};

#[test]
fn corrupt_validators_that_consensus_bears_cannot_make_a_verdict() {
    for validators in 4..200 {
        let corrupt = (validators - 1) / 3;
        let drawn = AppraisalPolicy::appraisers_for(validators);
        assert!(drawn < validators, "{validators}: the subject does not appraise itself");
        assert!(AppraisalPolicy::votes_needed(drawn) > corrupt, "{validators}: {corrupt} corrupt, {drawn} drawn");
        assert!(drawn == 3 || AppraisalPolicy::votes_needed(drawn - 1) <= corrupt, "{validators}: no more than needed");
    }
}

#[test]
fn a_registration_is_compared_with_everything_that_was_approved() {
    let approved = Validator {
        node: AccountId([1; 32]),
        operator: "clinic".into(),
        region: "north".into(),
        endorsement: Digest::of(b"certificate"),
    };
    let as_approved = Registration {
        node: approved.node,
        sealing_key: Blob(vec![1]),
        operator: approved.operator.clone(),
        region: approved.region.clone(),
        endorsement: approved.endorsement,
        attestation_key: Blob(vec![2]),
    };
    assert_eq!(approved.differs(&as_approved), None);
    let changes: [(&str, fn(&mut Registration)); 4] = [
        ("node key", |registration| registration.node = AccountId([2; 32])),
        ("operator", |registration| registration.operator.clear()),
        ("region", |registration| registration.region.push('x')),
        ("endorsement certificate", |registration| registration.endorsement = Digest::of(b"another")),
    ];
    for (what, change) in changes {
        let mut other = as_approved.clone();
        change(&mut other);
        assert_eq!(approved.differs(&other), Some(what));
    }
}
