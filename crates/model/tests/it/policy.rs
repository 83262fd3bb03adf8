//! What the numbers of a genesis have to guarantee together.

use model::AppraisalPolicy;

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
