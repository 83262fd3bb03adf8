//! A verdict whose evidence does not stand up to a second look gives nobody a share.

use client::{NodeView, NotAppraised, judge};
use finality::Network;
use model::{Canonical as _, EventLog, Evidence, Fact, Genesis, Record, Signed};

/// The executor of a published proof: a verdict with the evidence behind it.
struct Case {
    genesis: Genesis,
    network: Network,
    node: NodeView,
    evidence: Evidence,
    log: EventLog,
}

fn case() -> Case {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/vectors/proof/success.proof");
    let proof = proof::Proof::decode(&std::fs::read(file).unwrap()).unwrap();
    let genesis = Genesis::from_bytes(&proof.genesis.0, Genesis::BYTES_MAX).unwrap();
    let (mut registration, mut verdict, mut seen_ms) = (None, None, 0);
    for entry in &proof.proven.records {
        let record = Record::from_bytes(&entry.record.0, Record::BYTES_MAX).unwrap();
        match record.fact {
            Fact::Registration(fact) => registration = Some(*fact),
            Fact::Verdict(fact) => {
                verdict = Some(*fact);
                seen_ms = record.time_ms;
            }
            _ => {}
        }
    }
    Case {
        network: Network { id: genesis.network_id(), key: genesis.network_key },
        genesis,
        node: NodeView { registration: registration.unwrap(), verdict: verdict.unwrap(), seen_ms },
        evidence: Evidence::from_bytes(&proof.evidence.0, Evidence::BYTES_MAX).unwrap(),
        log: EventLog::from_bytes(&proof.event_log.unwrap().0, Evidence::BYTES_MAX).unwrap(),
    }
}

impl Case {
    fn judge(&self) -> Result<String, NotAppraised> {
        let appraised = judge(&self.genesis, &self.network.id, &self.node, &self.evidence, &self.log)?;
        Ok(appraised.vendor().to_owned())
    }
}

#[test]
fn evidence_that_passes_names_the_maker_of_the_tpm() {
    let case = case();
    assert!(client::check_verdict(&case.genesis, &case.network, true, &case.node).is_ok());
    assert!(!case.judge().unwrap().is_empty());
    assert!(case.node.is_fresh(0));
}

#[test]
fn a_verdict_that_has_ended_is_not_fresh() {
    let mut case = case();
    case.node.seen_ms = case.node.verdict.expires_ms;
    assert!(!case.node.is_fresh(0));
}

#[test]
fn software_tpms_are_refused_where_the_network_file_does_not_allow_them() {
    let case = case();
    let refused = client::check_verdict(&case.genesis, &case.network, false, &case.node);
    assert_eq!(refused, Err(client::VerdictError::Simulated));
}

#[test]
fn a_verdict_that_was_not_earned_is_refused() {
    let refused = |change: fn(&mut Case)| {
        let mut case = case();
        change(&mut case);
        client::check_verdict(&case.genesis, &case.network, true, &case.node).unwrap_err()
    };
    // The rule is the ledger's, with its own tests; here is that every part of it is asked for.
    let changes: [fn(&mut Case); 9] = [
        |case| case.genesis.validators.clear(),
        |case| case.node.registration.region.push('x'),
        |case| case.node.registration.sealing_key.0[0] ^= 1,
        |case| case.node.verdict.result.release_counter += 1,
        |case| case.node.verdict.drawn.truncate(1),
        |case| case.node.verdict.votes.truncate(1),
        |case| case.node.verdict.votes[1] = case.node.verdict.votes[0].clone(),
        |case| case.node.verdict.votes.push(case.node.verdict.votes[0].clone()),
        |case| {
            let votes = &mut case.node.verdict.votes;
            votes[1] = Signed::assemble(votes[1].unverified().clone(), *votes[0].signature());
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert!(matches!(refused(change), client::VerdictError::Refused(_)), "{at}");
    }
    // A seed that the committee has not signed draws whomever somebody likes.
    let seed = refused(|case| case.node.verdict.seed.round.view += 1);
    assert!(matches!(seed, client::VerdictError::Seed(_)));
}

#[test]
fn evidence_that_does_not_carry_its_verdict_is_refused() {
    let changes: [(&str, fn(&mut Case)); 7] = [
        ("another registration", |case| case.node.registration.sealing_key.0[0] ^= 1),
        ("another window", |case| case.node.verdict.window += 1),
        ("another outcome", |case| case.node.verdict.result.release_counter += 1),
        ("does not pass", |case| case.genesis.appraisal.window_ms *= 2),
        ("does not pass", |case| case.log.entries.clear()),
        ("does not pass", |case| case.evidence.tpm.signature.0[20] ^= 1),
        ("approved no such node", |case| case.genesis.validators.clear()),
    ];
    for (expected, change) in changes {
        let mut case = case();
        change(&mut case);
        let refused = case.judge().unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}, not {expected}");
    }
}
