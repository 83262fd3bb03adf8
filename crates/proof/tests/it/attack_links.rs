//! A committee that certifies what an honest ledger would have refused: each link is checked again all the same.

use model::*;
use proof::{Link, Proof, ProofError, verify_with};

use crate::{fixture::Fixture, interop::verify, story::*};

fn broken(story: &Story) -> ProofError {
    verify(&story.bytes(), &story.file()).unwrap_err()
}

#[track_caller]
fn breaks(link: Link, change: impl FnOnce(&mut Story)) {
    let mut story = Story::success();
    change(&mut story);
    let error = broken(&story);
    assert_eq!(error.link(), link, "{error}");
}

#[test]
fn records_must_be_exactly_those_of_the_task() {
    let story = Story::success();
    let chain = story.certified();
    let all: Vec<u64> = (0..story.facts().count() as u64).collect();
    let good = story.proof();
    let too_many = Proof { proven: chain.prove(&all), ..good.clone() };
    assert!(matches!(verify(&too_many.to_bytes(), &story.file()), Err(ProofError::Records { .. })));
    let needed: Vec<u64> = good.proven.records.iter().map(|entry| entry.index).collect();
    for left_out in 0..needed.len() {
        let mut fewer = needed.clone();
        fewer.remove(left_out);
        let proof = Proof { proven: chain.prove(&fewer), ..good.clone() };
        let error = verify(&proof.to_bytes(), &story.file()).unwrap_err();
        assert_eq!(error.link(), Link::Records, "{error}");
    }
    assert_eq!(Proof::select(&story.task, &story.records()), Some(needed));
}

#[test]
fn the_records_of_another_task_do_not_pass() {
    breaks(Link::Records, |story| story.change_assignment(|assignment| assignment.task = TaskId([1; 32])));
    breaks(Link::Records, |story| story.change_settlement(|settlement| settlement.task = TaskId([1; 32])));
    breaks(Link::Records, |story| story.change_settlement(|settlement| settlement.receipt = None));
}

fn objects(story: &mut Story, change: impl Fn(&mut PublishedObject)) {
    story.change(|fact| {
        if let Fact::Object(object) = fact
            && object.manifest.unverified().kind == ObjectKind::Data
        {
            change(object);
        }
    });
}

#[test]
fn manifests_deposits_and_copies_are_checked() {
    let network = Story::success().network;
    let forge = |object: &mut PublishedObject| {
        let manifest = object.manifest.unverified().clone();
        object.manifest = requester().sign(&network, manifest);
    };
    // The id is that of the signed manifest, so a forged one is another object.
    breaks(Link::Records, |story| objects(story, forge));
    let deposits = |story: &mut Story, signer: Key, change: fn(&mut Deposit)| {
        objects(story, |object| {
            let mut deposit = object.deposit.unverified().clone();
            change(&mut deposit);
            object.deposit = signer.sign(&network, deposit);
        });
    };
    breaks(Link::Objects, |story| deposits(story, data_owner(), |deposit| deposit.epoch = 2));
    breaks(Link::Objects, |story| deposits(story, data_owner(), |deposit| deposit.threshold = 1));
    breaks(Link::Objects, |story| deposits(story, data_owner(), |deposit| deposit.threshold = 0));
    breaks(Link::Objects, |story| deposits(story, requester(), |deposit| deposit.owner = requester().id()));
    breaks(Link::Objects, Story::forge_deposit);
    breaks(Link::Objects, |story| {
        objects(story, |object| {
            object.deposit_acks.pop();
        })
    });
    breaks(Link::Objects, |story| objects(story, |object| object.deposit_acks.swap(0, 1)));
    breaks(Link::Objects, |story| {
        objects(story, |object| {
            object.storage.pop();
        })
    });
    breaks(Link::Objects, |story| objects(story, |object| object.storage[1] = object.storage[0].clone()));
    breaks(Link::Objects, |story| {
        objects(story, |object| {
            let ack = object.storage[0].unverified().clone();
            object.storage[0] = requester().sign(&network, ack);
        });
    });
}

#[test]
fn a_program_larger_than_the_network_runs_does_not_pass() {
    let outcome = || Outcome::Failed(FailureClass::Limit);
    let fits = Story::of_program(10_000, outcome());
    verify(&fits.bytes(), &fits.file()).unwrap();
    assert_eq!(broken(&Story::of_program(10_001, outcome())).link(), Link::Objects);
}

pub(crate) fn terms(story: &mut Story, change: impl Fn(&mut Terms)) {
    let network = story.network;
    let mut digest = None;
    story.change(|fact| {
        if let Fact::Terms(signed) = fact
            && signed.unverified().owner == data_owner().id()
        {
            let mut body = signed.unverified().clone();
            change(&mut body);
            **signed = data_owner().sign(&network, body);
            digest = Some((signed.digest(), signed.unverified().serial));
        }
    });
    let (digest, serial) = digest.unwrap();
    story.change_assignment(|assignment| {
        assignment.terms[1].digest = digest;
        assignment.terms[1].serial = serial;
    });
}

#[test]
fn terms_must_be_the_owners_and_admit_the_task() {
    breaks(Link::Terms, |story| terms(story, |terms| terms.revoked = true));
    breaks(Link::Terms, |story| terms(story, |terms| terms.requesters = Allow::Only(vec![])));
    breaks(Link::Terms, |story| terms(story, |terms| terms.counterparts = Allow::Only(vec![])));
    breaks(Link::Terms, |story| terms(story, |terms| terms.expires_ms = Some(1)));
    breaks(Link::Draw, |story| terms(story, |terms| terms.output_bytes_max = Some(10)));
    breaks(Link::Releases, |story| terms(story, |terms| terms.uses_max = None));
    breaks(Link::Terms, |story| story.change_assignment(|assignment| assignment.terms[0].serial = 2));
    breaks(Link::Terms, |story| story.change_assignment(|assignment| assignment.terms.swap(0, 1)));
    breaks(Link::Terms, |story| story.change_assignment(|assignment| assignment.terms.truncate(1)));
    breaks(Link::Terms, |story| {
        let network = story.network;
        story.change(|fact| {
            if let Fact::Terms(signed) = fact {
                **signed = requester().sign(&network, signed.unverified().clone());
            }
        });
    });
}

#[test]
fn the_draw_is_computed_again() {
    breaks(Link::Draw, |story| story.change_assignment(|it| it.index = (it.index + 1) % it.eligible_size));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.eligible_size = 1));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.eligible_size = 0));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.eligible_root = Digest::of(b"other")));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.path[0] = Digest::of(b"other")));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.path.clear()));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.output_bytes_max += 1));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.deadline_ms += 1));
    breaks(Link::Draw, |story| story.change_assignment(|it| it.attempt = 3));
    // A seed that the committee never signed; a seed of another round.
    breaks(Link::Finality, |story| story.change_assignment(|it| it.seed.round.view += 1));
    breaks(Link::Finality, |story| story.change_assignment(|it| it.seed.signature = Bytes48([0xc0; 48])));
}

#[test]
fn an_executor_that_was_not_drawn_does_not_pass() {
    breaks(Link::Draw, |story| {
        // Another attested node, with its own verdict and its own evidence.
        let other = (0..4).find(|index| node_key(*index).id() != story.executor()).unwrap();
        story.evidence = Fixture::load().nodes[usize::from(other)].evidence.0.clone();
        story.change_assignment(|assignment| assignment.executor = node_key(other).id());
    });
}

#[test]
fn the_verdict_must_be_earned_and_fresh() {
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.votes.truncate(1)));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.expires_ms += 1));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.window += 2));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.result.simulated = false));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.result.release_counter += 1));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.registration = Digest::of(b"other keys")));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.drawn.truncate(1)));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.drawn[0] = verdict.node));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.drawn[1] = AccountId([0xff; 32])));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.drawn.swap(0, 1)));
    breaks(Link::Verdict, |story| story.change_verdict(|verdict| verdict.votes[1] = verdict.votes[0].clone()));
    breaks(Link::Verdict, |story| {
        let network = story.network;
        story.change_verdict(|verdict| {
            let vote = verdict.votes[0].unverified().clone();
            verdict.votes[0] = requester().sign(&network, vote);
        });
    });
    // Expired before the draw: the blocks between verdict and draw took longer.
    breaks(Link::Verdict, |story| {
        let from = story.blocks.iter().position(|(_, facts)| facts.iter().any(|fact| matches!(fact, Fact::Task(_))));
        let later = 600_000;
        story.blocks.iter_mut().skip(from.unwrap()).for_each(|(time_ms, _)| *time_ms += later);
        story.change_assignment(|assignment| assignment.deadline_ms += later);
    });
    breaks(Link::Verdict, |story| {
        let executor = story.executor();
        story.change(|fact| match fact {
            Fact::Registration(registration) if registration.node == executor => registration.region = "x".into(),
            _ => {}
        });
    });
}

#[test]
fn appraisers_that_the_beacon_did_not_draw_cannot_vote() {
    breaks(Link::Verdict, Story::appraise_by_others);
    // All votes are of appraisers drawn, but the list says that others might have voted as well.
    breaks(Link::Verdict, |story| {
        let all: Vec<NodeId> = story.genesis.validators.iter().map(|validator| validator.node).collect();
        story.change_verdict(|verdict| {
            verdict.drawn = all.iter().copied().filter(|node| *node != verdict.node).collect();
        });
    });
}

#[test]
fn the_seed_that_drew_appraisers_is_the_committees_and_older_than_the_executors() {
    // A seed that the committee never signed; a seed of another round.
    breaks(Link::Finality, |story| story.change_verdict(|verdict| verdict.seed.round.view += 1));
    breaks(Link::Finality, |story| story.change_verdict(|verdict| verdict.seed.signature = Bytes48([0xc0; 48])));
    // The committee's own, but nobody could have known it when the votes were given.
    breaks(Link::Verdict, |story| {
        let seed = story.facts().find_map(|fact| match fact {
            Fact::Assignment(assignment) => Some(assignment.seed),
            _ => None,
        });
        story.change_verdict(|verdict| verdict.seed = seed.unwrap());
    });
}

#[test]
fn the_evidence_is_judged_again() {
    let story = Story::success();
    let good = story.proof();
    let link = |proof: &Proof| verify(&proof.to_bytes(), &story.file()).unwrap_err().link();
    // Evidence and log are named by their digests.
    let none = Proof { evidence: Blob(vec![]), ..good.clone() };
    assert_eq!(link(&none), Link::Evidence);
    let other_log = EventLog::default().to_bytes();
    let swapped = Proof { event_log: Some(Blob(other_log)), ..good.clone() };
    assert_eq!(link(&swapped), Link::Evidence);

    // Without its event log the votes stand for it, and the checklist says so; with the log beside it, it is judged.
    let without = Proof { event_log: None, ..good.clone() };
    let verified = verify(&without.to_bytes(), &story.file()).unwrap();
    assert!(verified.checklist().warnings.iter().any(|warning| warning.starts_with("evidence:")));
    let blocks = [story.event_log.clone()];
    let extras = proof::Extras { blocks: &blocks, ..Default::default() };
    let verified = verify_with(&without.to_bytes(), &story.file(), &extras).unwrap();
    assert!(!verified.checklist().warnings.iter().any(|warning| warning.starts_with("evidence:")));
}

/// Lets verdict and votes name other evidence.
pub(crate) fn with_evidence(story: &mut Story, change: impl FnOnce(&mut Evidence)) {
    let network = story.network;
    let mut evidence = Evidence::from_bytes(&story.evidence, Evidence::BYTES_MAX).unwrap();
    change(&mut evidence);
    let id = evidence.block_id();
    story.evidence = evidence.to_bytes();
    story.change_verdict(|verdict| {
        verdict.evidence = id;
        for vote in &mut verdict.votes {
            let body = AppraisalVote { evidence: id, ..vote.unverified().clone() };
            *vote = key_of(&body.appraiser).sign(&network, body);
        }
    });
}

#[test]
fn appraisers_that_voted_for_bad_evidence_are_not_believed() {
    breaks(Link::Evidence, |story| with_evidence(story, |evidence| evidence.tpm.signature.0[20] ^= 1));
    breaks(Link::Evidence, |story| with_evidence(story, |evidence| evidence.tpm.quote.0[60] ^= 1));
    breaks(Link::Evidence, |story| with_evidence(story, |evidence| evidence.tpm.pcrs[0].value = Digest::of(b"x")));
    breaks(Link::Evidence, |story| with_evidence(story, |evidence| evidence.tpm.endorsement_chain.truncate(1)));
    breaks(Link::Evidence, |story| with_evidence(story, |evidence| evidence.block.height += 1));
    breaks(Link::Evidence, |story| with_evidence(story, |evidence| evidence.window += 1));
    breaks(Link::Evidence, |story| with_evidence(story, |evidence| evidence.registration.region = "x".into()));
}

#[test]
fn evidence_must_be_older_than_its_verdict_and_fresh_in_its_window() {
    // Without the event log, so that nothing but its block speaks against it.
    let judged = |change: &dyn Fn(&mut BlockRef)| {
        let mut story = Story::success();
        with_evidence(&mut story, |evidence| change(&mut evidence.block));
        let proof = Proof { event_log: None, ..story.proof() };
        verify(&proof.to_bytes(), &story.file()).map(drop).map_err(|error| error.link())
    };
    let story = Story::success();
    let window = Evidence::from_bytes(&story.evidence, Evidence::BYTES_MAX).unwrap().window;
    let policy = &story.genesis.appraisal;
    let oldest_ms = window * policy.window_ms - policy.evidence_age_ms_max;
    assert_eq!(judged(&|block| block.time_ms = oldest_ms), Ok(()));
    assert_eq!(judged(&|block| block.time_ms = oldest_ms - 1), Err(Link::Evidence));

    let (executor, records) = (story.executor(), story.records());
    let of_executor = |fact: &Fact| matches!(fact, Fact::Verdict(verdict) if verdict.node == executor);
    let (_, verdict) = records.iter().find(|(_, record)| of_executor(&record.fact)).unwrap();
    let newest = |block: &mut BlockRef| (block.height, block.time_ms) = (verdict.height, verdict.time_ms);
    assert_eq!(judged(&newest), Ok(()));
    assert_eq!(judged(&|block| block.height = verdict.height + 1), Err(Link::Evidence));
    assert_eq!(judged(&|block| block.time_ms = verdict.time_ms + 1), Err(Link::Evidence));
}

pub(crate) fn resign(story: &mut Story, change: impl FnOnce(&mut Receipt)) {
    let network = story.network;
    story.change_settlement(|settlement| {
        let mut body = settlement.receipt.as_ref().unwrap().unverified().clone();
        let signer = key_of(&body.executor);
        change(&mut body);
        settlement.receipt = Some(signer.sign(&network, body));
    });
}

#[test]
fn the_receipt_must_be_the_executors_about_this_assignment_in_time() {
    breaks(Link::Receipt, |story| resign(story, |receipt| receipt.assignment = Digest::of(b"other")));
    breaks(Link::Receipt, |story| resign(story, |receipt| receipt.attempt = 2));
    breaks(Link::Receipt, |story| resign(story, |receipt| receipt.task = TaskId([1; 32])));
    breaks(Link::Receipt, |story| resign(story, |receipt| receipt.executor = requester().id()));
    breaks(Link::Receipt, |story| {
        let other = (0..4).map(|index| node_key(index).id()).find(|id| *id != story.executor()).unwrap();
        let network = story.network;
        story.change_settlement(|settlement| {
            let body = Receipt { executor: other, ..settlement.receipt.as_ref().unwrap().unverified().clone() };
            settlement.receipt = Some(key_of(&other).sign(&network, body));
        });
    });
    breaks(Link::Receipt, |story| {
        let settled = story.blocks.len() - 2;
        story.blocks.iter_mut().skip(settled).for_each(|(time_ms, _)| *time_ms += 41_000);
    });
}

fn release(story: &mut Story, at: usize, change: impl FnOnce(&mut Release)) {
    let network = story.network;
    story.change_settlement(|settlement| {
        let mut body = settlement.releases[at].unverified().clone();
        change(&mut body);
        settlement.releases[at] = key_of(&body.custodian).sign(&network, body);
    });
}

#[test]
fn releases_must_be_enough_and_for_this_run() {
    for at in 0..4 {
        breaks(Link::Releases, |story| {
            story.change_settlement(|it| {
                it.releases.remove(at);
            })
        });
    }
    breaks(Link::Releases, |story| story.change_settlement(|it| it.releases.swap(0, 1)));
    breaks(Link::Releases, |story| story.change_settlement(|it| it.releases[1] = it.releases[0].clone()));
    breaks(Link::Releases, |story| release(story, 0, |release| release.task = TaskId([1; 32])));
    breaks(Link::Releases, |story| release(story, 0, |release| release.attempt = 2));
    breaks(Link::Releases, |story| release(story, 0, |release| release.executor = requester().id()));
    breaks(Link::Releases, |story| release(story, 0, |release| release.terms = Digest::of(b"older")));
    breaks(Link::Releases, |story| release(story, 0, |release| release.epoch = 2));
    breaks(Link::Releases, |story| release(story, 0, |release| release.index = 2));
    breaks(Link::Releases, |story| release(story, 0, |release| release.index = 0));
    breaks(Link::Releases, |story| release(story, 0, |release| release.custodian = node_key(3).id()));
    breaks(Link::Releases, |story| {
        let network = story.network;
        story.change_settlement(|it| {
            let body = it.releases[0].unverified().clone();
            it.releases[0] = requester().sign(&network, body);
        });
    });
}

#[test]
fn a_sealed_result_is_as_large_as_what_may_leave_and_not_a_byte_larger() {
    let most = ledger::result_bytes_max(OUTPUT_BYTES_MAX);
    let mut story = Story::success();
    story.resize_result(most);
    verify(&story.bytes(), &story.file()).unwrap();
    breaks(Link::Storage, |story| story.resize_result(most + 1));
}

#[test]
fn a_result_that_nobody_else_stores_or_that_is_too_large_does_not_pass() {
    for at in 0..4 {
        breaks(Link::Storage, |story| {
            story.change_settlement(|it| {
                it.storage.remove(at);
            })
        });
    }
    breaks(Link::Storage, |story| {
        let (network, executor) = (story.network, story.executor());
        story.change_settlement(|it| {
            let body = StorageAck { node: executor, ..it.storage[0].unverified().clone() };
            it.storage[0] = key_of(&executor).sign(&network, body);
        });
    });
    breaks(Link::Storage, |story| {
        resign(story, |receipt| {
            if let Outcome::Done(result) = &mut receipt.outcome {
                result.ciphertext_bytes = 10 << 20;
            }
        });
    });
    breaks(Link::Storage, |story| {
        resign(story, |receipt| {
            if let Outcome::Done(result) = &mut receipt.outcome {
                result.ciphertext = ContentId::of_raw(b"another result");
            }
        });
    });
}

#[test]
fn every_credit_is_counted_again() {
    breaks(Link::Payments, |story| story.change_settlement(|it| it.payments[0].amount += 1));
    breaks(Link::Payments, |story| {
        story.change_settlement(|it| {
            it.payments.pop();
        })
    });
    breaks(Link::Payments, |story| story.change_settlement(|it| it.payments.swap(0, 1)));
    breaks(Link::Payments, |story| story.change_settlement(|it| it.payments[0].to = requester().id()));
    breaks(Link::Payments, |story| story.change_settlement(|it| it.payments[0].reason = "gift".into()));
    breaks(Link::Payments, |story| story.change_settlement(|it| it.payments[0].amount = u64::MAX));
    breaks(Link::Payments, |story| {
        story.change_settlement(|it| {
            it.payments.push(Payment { to: requester().id(), amount: 1_000, reason: "refund".into() });
        });
    });
}

#[test]
fn a_signed_failure_has_a_proof_too() {
    for class in [FailureClass::Guest, FailureClass::Limit, FailureClass::Content] {
        let story = Story::ending(Outcome::Failed(class));
        let verified = verify(&story.bytes(), &story.file()).unwrap();
        assert_eq!(verified.receipt().outcome, Outcome::Failed(class));
        assert!(verified.result().is_none());
        assert!(verified.checklist().to_string().contains(&format!("the task failed: {class}")));
    }
    // A failure of the guest that was paid for without keys.
    let mut story = Story::ending(Outcome::Failed(FailureClass::Guest));
    story.change_settlement(|settlement| settlement.releases.clear());
    assert_eq!(broken(&story).link(), Link::Releases);
}
