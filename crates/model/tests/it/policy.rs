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

fn policy(window_ms: u64) -> AppraisalPolicy {
    AppraisalPolicy {
        release_key: Blob(Vec::new()),
        release_counter_min: 0,
        pcrs: vec![14],
        verdict_ms: 400,
        window_ms,
        appraisers: 3,
        evidence_age_ms_max: 50,
    }
}

#[test]
fn votes_count_in_their_window_and_in_the_next_and_at_no_other_time() {
    let policy = policy(100);
    assert_eq!([0, 99, 100, 250].map(|time_ms| policy.window_at(time_ms)), [0, 0, 1, 2]);
    assert_eq!(policy.window_begins_ms(2), 200);
    for (time_ms, counts) in [(0, false), (199, false), (200, true), (299, true), (399, true), (400, false)] {
        assert_eq!(policy.may_vote_in(2, time_ms), counts, "{time_ms}");
    }
    assert!(!policy.may_vote_in(u64::MAX, 0), "the window after the last is not the first");
}

#[test]
fn evidence_is_fresh_up_to_the_age_that_the_policy_allows() {
    assert_eq!(policy(100).fresh_until_ms(1_000), 1_050);
    assert_eq!(policy(100).fresh_until_ms(u64::MAX), u64::MAX);
}

#[test]
fn windows_without_a_length_do_not_stop_whoever_reads_such_a_genesis() {
    assert_eq!(policy(0).window_at(7), 7);
    assert_eq!(policy(u64::MAX).window_begins_ms(2), u64::MAX);
}
