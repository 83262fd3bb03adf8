//! Verdicts that somebody shows, and that the ledger would never have taken.

use ledger::{Refusal, check_verdict};
use model::*;

use crate::world::*;

/// A verdict of the ledger, with the registration it is about.
struct Shown {
    world: World,
    registration: Registration,
    verdict: Verdict,
}

fn shown(appraisers: u32) -> Shown {
    let mut world = World::unattested(|genesis| genesis.appraisal.appraisers = appraisers);
    let registration = world.registration(&nodes()[0]);
    let window = world.window();
    let drawn = world.drawn(&registration.node, window);
    let votes =
        drawn.iter().map(|node| world.sign_as(node).sign(&world.network, world.vote(&registration, *node, window)));
    let attestation = Attestation { votes: votes.collect(), registration: registration.clone() };
    let transaction = world.transaction(&nodes()[0], Action::Attest(Box::new(attestation)));
    let records = world.block(vec![transaction]);
    let verdict = records.into_iter().find_map(|record| Verdict::try_from(record).ok()).unwrap();
    Shown { world, registration, verdict }
}

impl Shown {
    fn check(&self) -> Result<(), Refusal> {
        check_verdict(&self.world.genesis, &self.world.network, &self.registration, &self.verdict)
    }

    /// Changes what one appraiser has signed.
    fn vote_otherwise(&mut self, at: usize, change: impl FnOnce(&mut AppraisalVote)) {
        let mut vote = self.verdict.votes[at].unverified().clone();
        change(&mut vote);
        self.verdict.votes[at] = self.world.sign_as(&vote.appraiser).sign(&self.world.network, vote);
    }

    /// Lets all that voted change their minds in the same way.
    fn vote_anew(&mut self, change: impl Fn(&mut AppraisalVote)) {
        (0..self.verdict.votes.len()).for_each(|at| self.vote_otherwise(at, &change));
    }
}

fn refused(change: impl FnOnce(&mut Shown)) -> Refusal {
    let mut shown = shown(3);
    change(&mut shown);
    shown.check().unwrap_err()
}

fn differs(what: &'static str, rule: &'static str) -> Refusal {
    Refusal::Mismatch { what, rule }
}

#[test]
fn what_the_ledger_took_passes_with_all_votes_and_with_two_thirds() {
    let mut shown = shown(3);
    assert_eq!(shown.check(), Ok(()));
    shown.verdict.votes.remove(1);
    assert_eq!(shown.check(), Ok(()));
}

#[test]
fn it_must_be_about_these_keys_of_an_approved_node() {
    let node = nodes()[0].id();
    let otherwise = |what| Refusal::ApprovedOtherwise { node, what };
    assert_eq!(refused(|it| it.registration.operator = "other".into()), otherwise("operator"));
    assert_eq!(refused(|it| it.registration.region = "other".into()), otherwise("region"));
    assert_eq!(refused(|it| it.registration.endorsement = Digest([1; 32])), otherwise("endorsement certificate"));
    assert_eq!(refused(|it| it.world.genesis.validators.clear()), Refusal::NotApproved { node });
    let others = differs("verdict", "the registration");
    assert_eq!(refused(|it| it.registration.sealing_key.0[0] ^= 1), others);
    assert_eq!(refused(|it| it.registration.attestation_key.0[0] ^= 1), others);
    assert_eq!(refused(|it| it.verdict.registration = Digest([1; 32])), others);
    assert_eq!(refused(|it| it.verdict.node = nodes()[1].id()), others);
}

#[test]
fn all_votes_must_say_what_the_verdict_says() {
    let its_votes = differs("verdict", "its votes");
    assert_eq!(refused(|it| it.verdict.evidence = ContentId::of_dag_cbor(b"other")), its_votes);
    assert_eq!(refused(|it| it.verdict.window += 1), its_votes);
    assert_eq!(refused(|it| it.verdict.result.self_measured = false), its_votes);
    assert_eq!(refused(|it| it.vote_anew(|vote| vote.result.release_counter += 1)), its_votes);
    let registration = differs("vote", "the registration");
    assert_eq!(refused(|it| it.vote_anew(|vote| vote.registration = Digest([1; 32]))), registration);
    assert_eq!(refused(|it| it.vote_anew(|vote| vote.subject = nodes()[1].id())), registration);
    // One that disagrees spoils it, although the other two would do.
    let changes: [fn(&mut AppraisalVote); 5] = [
        |vote| vote.subject = nodes()[1].id(),
        |vote| vote.registration = Digest([1; 32]),
        |vote| vote.evidence = ContentId::of_dag_cbor(b"other"),
        |vote| vote.window += 1,
        |vote| vote.result.simulated = false,
    ];
    for change in changes {
        assert_eq!(refused(|it| it.vote_otherwise(2, change)), differs("vote", "the other votes"));
    }
}

#[test]
fn it_names_those_whom_its_seed_draws() {
    let others = differs("drawn", "those whom the seed draws");
    assert_eq!(refused(|it| it.verdict.drawn.truncate(2)), others);
    assert_eq!(refused(|it| it.verdict.drawn.swap(0, 1)), others);
    assert_eq!(refused(|it| it.verdict.drawn[0] = it.verdict.node), others);
    assert_eq!(refused(|it| it.verdict.drawn.push(AccountId([0xff; 32]))), others);
    assert_eq!(refused(|it| it.world.genesis.appraisal.appraisers = 2), others);

    // Other validators have voted, and the verdict says that they were drawn.
    let mut shown = shown(2);
    assert_eq!(shown.check(), Ok(()));
    let is_other = |key: &Key| key.id() != shown.verdict.node && !shown.verdict.drawn.contains(&key.id());
    let other = nodes().into_iter().find(is_other).unwrap().id();
    let honest = shown.verdict.drawn.clone();
    shown.vote_otherwise(0, |vote| vote.appraiser = other);
    shown.verdict.votes.sort_by_key(|vote| vote.unverified().appraiser);
    let (node, window) = (shown.verdict.node, shown.verdict.window);
    assert_eq!(shown.check(), Err(Refusal::NotDrawn { appraiser: other, node, window }));
    shown.verdict.drawn = shown.verdict.votes.iter().map(|vote| vote.unverified().appraiser).collect();
    assert_eq!(shown.check(), Err(others.clone()));
    shown.verdict.drawn = honest;
    shown.verdict.seed = (0..)
        .map(seed)
        .find(|seed| ledger::appraisers(&shown.world.genesis, seed, &shown.verdict.node) != shown.verdict.drawn)
        .unwrap();
    assert_eq!(shown.check(), Err(others));
}

#[test]
fn votes_are_enough_one_of_each_and_signed_by_those_who_gave_them() {
    assert_eq!(refused(|it| it.verdict.votes.clear()), Refusal::Bounds { what: "votes", rule: "at least 1" });
    assert_eq!(refused(|it| it.verdict.votes.truncate(1)), Refusal::VotesNeeded { got: 1, needed: 2, drawn: 3 });
    let order = Refusal::Order { what: "votes" };
    assert_eq!(refused(|it| it.verdict.votes.swap(0, 1)), order);
    assert_eq!(refused(|it| it.verdict.votes[1] = it.verdict.votes[0].clone()), order);
    // The third is forged, although the other two would do.
    let forged = refused(|it| {
        let vote = it.verdict.votes[2].unverified().clone();
        it.verdict.votes[2] = nodes()[0].sign(&it.world.network, vote);
    });
    assert!(matches!(forged, Refusal::Signature(_)));
    assert!(matches!(refused(|it| it.world.network = NetworkId([1; 32])), Refusal::Signature(_)));
}
