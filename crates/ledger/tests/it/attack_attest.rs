//! Verdicts that were not earned.

use ledger::Refusal;
use model::*;

use crate::world::*;

fn send(world: &mut World, node: &Key, attestation: Attestation) -> Refusal {
    let transaction = world.transaction(node, Action::Attest(Box::new(attestation)));
    world.refused(transaction)
}

/// An attestation about a changed registration, with the votes of everybody drawn.
fn voted(world: &World, node: &Key, change: impl FnOnce(&mut Registration)) -> Attestation {
    let mut registration = world.registration(node);
    change(&mut registration);
    let window = world.window();
    let votes = world.drawn(&node.id(), window);
    let votes = votes
        .iter()
        .map(|appraiser| world.sign_as(appraiser).sign(&world.network, world.vote(&registration, *appraiser, window)));
    Attestation { votes: votes.collect(), registration }
}

#[test]
fn the_committee_must_have_approved_the_node_as_it_is() {
    let mut world = World::unattested(|_| {});
    let node = nodes()[0].clone();
    let changes: [(fn(&mut Registration), &str); 3] = [
        (|registration| registration.operator = "other".into(), "operator"),
        (|registration| registration.region = "other".into(), "region"),
        (|registration| registration.endorsement = Digest::of(b"other"), "endorsement certificate"),
    ];
    for (change, what) in changes {
        let attestation = voted(&world, &node, change);
        assert_eq!(send(&mut world, &node, attestation), Refusal::ApprovedOtherwise { node: node.id(), what });
    }
    let outsider = requester();
    let registration = Registration { node: outsider.id(), ..world.registration(&node) };
    let vote = world.vote(&registration, node.id(), world.window());
    let attestation = Attestation { votes: vec![node.sign(&world.network, vote)], registration };
    assert_eq!(send(&mut world, &outsider, attestation), Refusal::NotApproved { node: outsider.id() });
}

#[test]
fn fewer_than_two_thirds_of_the_votes_are_no_verdict() {
    let mut world = World::unattested(|_| {});
    let node = nodes()[0].clone();
    let mut attestation = world.attestation(&node);
    attestation.votes.truncate(1);
    assert_eq!(send(&mut world, &node, attestation.clone()), Refusal::VotesNeeded { got: 1, needed: 2, drawn: 3 });
    attestation.votes = world.attestation(&node).votes;
    attestation.votes.truncate(2);
    let enough = world.transaction(&node, Action::Attest(Box::new(attestation)));
    world.block(vec![enough]);
}

#[test]
fn votes_of_the_subject_or_of_appraisers_not_drawn_are_refused() {
    let mut world = World::unattested(|genesis| genesis.appraisal.appraisers = 2);
    let node = nodes()[0].clone();
    let registration = world.registration(&node);
    let window = world.window();
    let drawn = ledger::appraisers(&world.genesis, &seed(2), &node.id());
    for appraiser in nodes().iter().filter(|other| !drawn.contains(&other.id())) {
        let mut votes: Vec<_> = drawn[..1].iter().chain([&appraiser.id()]).copied().collect();
        votes.sort_unstable();
        let votes =
            votes.iter().map(|id| world.sign_as(id).sign(&world.network, world.vote(&registration, *id, window)));
        let attestation = Attestation { votes: votes.collect(), registration: registration.clone() };
        let expected = Refusal::NotDrawn { appraiser: appraiser.id(), node: node.id(), window };
        assert_eq!(send(&mut world, &node, attestation), expected);
    }
}

#[test]
fn votes_that_disagree_or_are_about_other_keys_are_refused() {
    let mut world = World::unattested(|_| {});
    let node = nodes()[0].clone();
    let changes: [fn(&mut AppraisalVote); 5] = [
        |vote| vote.result.simulated = false,
        |vote| vote.evidence = ContentId::of_dag_cbor(b"other"),
        |vote| vote.window += 1,
        |vote| vote.registration = Digest::of(b"other keys"),
        |vote| vote.subject = nodes()[1].id(),
    ];
    for change in changes {
        let mut attestation = world.attestation(&node);
        let mut vote = attestation.votes[1].unverified().clone();
        change(&mut vote);
        attestation.votes[1] = world.sign_as(&vote.appraiser).sign(&world.network, vote);
        assert!(matches!(send(&mut world, &node, attestation), Refusal::Mismatch { what: "vote", .. }));
    }
    // A vote under another's name.
    let mut attestation = world.attestation(&node);
    let vote = attestation.votes[0].unverified().clone();
    attestation.votes[0] = node.sign(&world.network, vote);
    assert!(matches!(send(&mut world, &node, attestation), Refusal::Signature(_)));
}

#[test]
fn one_verdict_per_window_and_only_for_this_window_or_the_one_before() {
    let mut world = World::unattested(|_| {});
    let node = nodes()[0].clone();
    let (window, early) = (world.window(), world.attestation(&node));
    let first = world.attest(&node);
    world.block(vec![first]);
    assert_eq!(send(&mut world, &node, early), Refusal::AlreadyAppraised { node: node.id(), window });

    let other = nodes()[1].clone();
    let kept = world.attestation(&other);
    world.pass(2 * WINDOW_MS);
    let over = Refusal::Window { window, now: window + 2 };
    assert_eq!(send(&mut world, &other, kept), over);

    // Votes of the window before still count, votes of the next do not yet.
    let kept = world.attestation(&other);
    world.pass(WINDOW_MS);
    let late = world.transaction(&other, Action::Attest(Box::new(kept)));
    world.block(vec![late]);
    let registration = world.registration(&node);
    let next = world.window() + 1;
    let vote = world.vote(&registration, other.id(), next);
    let attestation = Attestation { votes: vec![other.sign(&world.network, vote)], registration };
    assert_eq!(send(&mut world, &node, attestation), Refusal::Window { window: next, now: next - 1 });
}

#[test]
fn a_window_that_nobody_saw_begin_has_no_appraisers() {
    let mut world = World::unattested(|_| {});
    let node = nodes()[0].clone();
    // The network is dark for a window; votes for it cannot exist, its seed was never drawn.
    world.pass(2 * WINDOW_MS);
    let registration = world.registration(&node);
    let window = world.window() - 1;
    let vote = world.vote(&registration, nodes()[1].id(), window);
    let attestation = Attestation { votes: vec![nodes()[1].sign(&world.network, vote)], registration };
    assert_eq!(send(&mut world, &node, attestation), Refusal::Window { window, now: window + 1 });
}

#[test]
fn a_node_that_cannot_pay_its_appraisers_gets_no_verdict() {
    let mut world = World::unattested(|genesis| genesis.fees.appraisal = 5_000);
    let node = nodes()[0].clone();
    let attest = world.attest(&node);
    assert!(matches!(world.refused(attest), Refusal::Balance { .. }));
    assert_eq!(world.roster().nodes, []);
}
