//! What must work.

use std::collections::BTreeMap;
use std::sync::Arc;

use attest::{
    Attester, AttesterError, Challenge, Endorsement, EndorsementKind, appraise_endorsed, launcher,
    protocol::{
        Appraiser, AppraiserAction, Challenger, Facts, Message, Presentation, Subject, SubjectAction, Subjects,
    },
    seal_secret,
    simulated::intermediates,
    tpm::PCR_LAUNCHER,
    unseal_secret,
};
use model::{Attestation, Blob, Canonical, ContentId, Digest, NodeId};

use crate::fixture::{NODES, Node, binary, block, expectation, fixture, judge, node_id, now_ms, open, power_on, sign};

#[test]
fn honest_evidence_passes_and_says_what_it_is() {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    assert!(evidence.to_bytes().len() <= model::Evidence::BYTES_MAX);
    let appraised = judge(&node, &evidence).unwrap();
    assert_eq!(appraised.registration(), &node.registration);
    assert_eq!(appraised.evidence_id(), evidence.block_id());
    // swtpm says it is IBM's, by number.
    assert_eq!(appraised.vendor(), "id:00001014");
    let result = appraised.result();
    assert!(result.simulated && result.self_measured);
    assert_eq!(result.release_counter, 2);
}

#[test]
fn a_remembered_endorsement_gives_the_same_outcome() {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    let anchors = &fixture().genesis.trust_anchors;
    let endorsement = Endorsement::check(&evidence.tpm.endorsement_chain, anchors, now_ms()).unwrap();
    let again = appraise_endorsed(&evidence, &node.log, &expectation(0), &endorsement).unwrap();
    assert_eq!(again, judge(&node, &evidence).unwrap());
    assert!(!endorsement.covers(&evidence.tpm.endorsement_chain[..1], anchors, now_ms()));
    // Another node's remembered endorsement is not taken for this one's: the chain is checked anew.
    let other = Node::start(1).attester;
    let endorsement = Endorsement::check(other.endorsement_chain(), anchors, now_ms()).unwrap();
    assert_eq!(appraise_endorsed(&evidence, &node.log, &expectation(0), &endorsement).unwrap(), again);
}

#[test]
fn a_restart_keeps_the_attestation_key_and_a_power_cut_begins_a_new_log() {
    let node = Node::start(0);
    let (key, dir) = (node.attester.attestation_key().clone(), node.dir);
    drop(node.attester);
    assert_eq!(open(dir.path()).attestation_key(), &key);

    let mut tpm = power_on(dir.path());
    assert_eq!(tpm.read_pcrs(&[PCR_LAUNCHER]).unwrap(), [Digest([0; 32])]);
    let log = launcher::extend_and_log(&mut tpm, &dir.path().join("log"), binary(), None).unwrap();
    assert_eq!(log.entries.len(), 1, "the log of before the power cut is gone");
}

#[test]
fn several_starts_and_an_update_since_the_reset_pass() {
    let mut node = Node::start(0);
    let log_file = node.dir.path().join("log");
    let update = Digest::of(b"samovar 1.1.0");
    for (binary, counter) in [(binary(), 2), (update, 3), (update, 3)] {
        let statement = fixture().release_key.release(binary, counter).statement;
        node.log = launcher::extend_and_log(node.attester.tpm(), &log_file, binary, Some(statement)).unwrap();
    }
    assert_eq!(node.log.entries.len(), 4);
    let evidence = node.evidence();
    assert_eq!(judge(&node, &evidence).unwrap().result().release_counter, 3);
}

#[test]
fn every_kind_of_endorsement_key_answers_a_challenge() {
    for kind in [EndorsementKind::P384, EndorsementKind::Rsa2048] {
        let dir = fixture().tpm_dir("tpm-0");
        let chain = intermediates(dir.path()).unwrap();
        let mut attester = Attester::open_with(power_on(dir.path()), chain, &[kind]).unwrap();
        Endorsement::check(attester.endorsement_chain(), &fixture().genesis.trust_anchors, now_ms()).unwrap();
        let registration = attester.registration(node_id(0), Blob(vec![]), String::new(), String::new());
        let about = ContentId::of_dag_cbor(b"some evidence");
        let certificate = &attester.endorsement_chain()[0].0;
        let (challenge, expected) =
            Challenge::make(certificate, &registration.attestation_key.0, about, &[9; 32]).unwrap();
        assert!(expected.is(&attester.activate(&challenge).unwrap()), "{kind:?}");
    }
    let dir = fixture().tpm_dir("tpm-0");
    let none = Attester::open_with(power_on(dir.path()), vec![], &[EndorsementKind::P256]);
    assert!(matches!(none, Err(AttesterError::NoCertificate)));
}

#[test]
fn a_seed_survives_power_cuts_and_approved_updates() {
    let fixture = fixture();
    let dir = fixture.tpm_dir("tpm-0");
    let seed = [42; 32];
    let sealed = seal_secret(&mut power_on(dir.path()), &seed, &fixture.release_key.public()).unwrap();
    let sealed = attest::SealedSecret::decode(&sealed.encode()).unwrap();

    for (round, name) in [&b"samovar 1.0.0"[..], b"samovar 1.0.0", b"samovar 1.1.0, rebuilt"].into_iter().enumerate() {
        let release = fixture.release_key.release(Digest::of(name), round as u64);
        let mut tpm = power_on(dir.path());
        for start in 1..=3 {
            tpm.extend(PCR_LAUNCHER, &release.statement.binary).unwrap();
            let opened = unseal_secret(&mut tpm, &sealed, &release).unwrap();
            assert_eq!(*opened, seed, "round {round}, start {start}");
        }
    }
}

/// Carries messages between subjects and appraisers until nothing moves.
struct Network {
    nodes: BTreeMap<NodeId, Node>,
    appraisers: BTreeMap<NodeId, Appraiser>,
    drawn: Vec<NodeId>,
}

impl Network {
    fn start() -> Self {
        let genesis = Arc::new(fixture().genesis.clone());
        let nodes: BTreeMap<_, _> = (0..NODES).map(Node::start).map(|node| (node.id(), node)).collect();
        let appraisers = nodes.keys().map(|id| (*id, Appraiser::new(Arc::clone(&genesis), *id))).collect();
        let mut drawn = vec![node_id(1), node_id(2)];
        drawn.sort();
        Self { nodes, appraisers, drawn }
    }

    fn subject(&mut self, index: usize) -> Subject {
        let node = self.nodes.get_mut(&node_id(index)).unwrap();
        let presentation = Presentation { evidence: node.evidence(), log: node.log.clone() };
        let committee = fixture().genesis.validators.iter().map(|validator| validator.node);
        Subject::new(fixture().network, presentation, self.drawn.clone(), committee)
    }

    /// The appraiser's replies, as messages over the wire.
    fn deliver(&mut self, now_ms: u64, from: NodeId, to: NodeId, message: &Message) -> Vec<Message> {
        let message = Message::decode(&message.encode()).unwrap();
        let facts = Facts { block: Some(block()), drawn: self.drawn.clone() };
        let appraiser = self.appraisers.get_mut(&to).unwrap();
        let index = self.nodes[&to].index;
        let mut entropy = [7; 32];
        entropy[0] = index as u8;
        appraiser
            .handle(now_ms, from, message, &facts, &entropy)
            .into_iter()
            .map(|action| match action {
                AppraiserAction::Send { to, message } => {
                    assert_eq!(to, from);
                    message
                }
                AppraiserAction::Vote(vote) => Message::Vote(Box::new(sign(index, &fixture().network, vote))),
            })
            .collect()
    }

    /// Plays a whole round and returns what goes to the ledger.
    fn appraise(&mut self, now_ms: u64, subject: &mut Subject, me: NodeId) -> Vec<Attestation> {
        let mut actions = subject.tick(now_ms);
        let mut submitted = Vec::new();
        while let Some(action) = actions.pop() {
            match action {
                SubjectAction::Send { to, message } => {
                    for reply in self.deliver(now_ms, me, to, &message) {
                        let reply = Message::decode(&reply.encode()).unwrap();
                        actions.extend(subject.handle(to, reply));
                    }
                }
                SubjectAction::Activate { from, challenge } => {
                    let node = self.nodes.get_mut(&me).unwrap();
                    actions.extend(subject.activated(from, node.attester.activate(&challenge).unwrap()));
                }
                SubjectAction::Submit(attestation) => submitted.push(*attestation),
            }
        }
        submitted
    }
}

#[test]
fn a_node_is_appraised_by_those_drawn_and_submits_their_votes_once() {
    let mut network = Network::start();
    let me = node_id(0);
    let mut subject = network.subject(0);
    let submitted = network.appraise(now_ms(), &mut subject, me);
    assert_eq!(submitted.len(), 1);
    assert!(subject.is_done() && subject.refusals().is_empty());
    let votes = &submitted[0].votes;
    assert_eq!(votes.len(), 2);
    assert!(votes.windows(2).all(|pair| pair[0].unverified().appraiser < pair[1].unverified().appraiser));
    for vote in votes {
        let vote = vote.verify(&fixture().network).unwrap();
        assert_eq!((vote.subject, vote.evidence), (me, subject.evidence_id()));
        assert!(vote.result.simulated);
    }
    assert!(subject.tick(now_ms() + 10_000).is_empty(), "nothing is left to ask for");
}

#[test]
fn a_lost_vote_is_cast_again_without_another_challenge() {
    let mut network = Network::start();
    let me = node_id(0);
    let node = network.nodes.get_mut(&me).unwrap();
    let presentation = Presentation { evidence: node.evidence(), log: node.log.clone() };
    let mut subject = Subject::new(fixture().network, presentation.clone(), network.drawn.clone(), []);
    network.appraise(now_ms(), &mut subject, me);
    let message = Message::Evidence(Box::new(presentation));
    assert!(matches!(network.deliver(now_ms() + 1, me, node_id(1), &message)[..], [Message::Vote(_)]));

    // Other evidence, even from the same TPM, is challenged anew.
    let node = network.nodes.get_mut(&me).unwrap();
    let presentation = Presentation { evidence: node.evidence(), log: node.log.clone() };
    let message = Message::Evidence(Box::new(presentation));
    assert!(matches!(network.deliver(now_ms() + 5_000, me, node_id(1), &message)[..], [Message::Challenge(_)]));
}

#[test]
fn a_custodian_challenges_the_evidence_behind_a_verdict_for_itself() {
    let mut network = Network::start();
    let me = node_id(0);
    let mut subject = network.subject(0);
    let node = network.nodes.get_mut(&me).unwrap();
    let evidence = node.evidence();
    let appraised = judge(node, &evidence).unwrap();
    let mut challenger = Challenger::new();
    // About other evidence than the subject's present one: it does not react.
    let challenge = challenger.challenge(now_ms(), appraised.clone(), &[3; 32]).unwrap();
    assert!(subject.handle(node_id(2), Message::Challenge(challenge.clone())).is_empty());

    let presentation = Presentation { evidence, log: node.log.clone() };
    let mut subject = Subject::new(fixture().network, presentation, [], [node_id(2)]);
    let actions = subject.handle(node_id(2), Message::Challenge(challenge));
    let [SubjectAction::Activate { from, challenge }] = &actions[..] else { panic!("{actions:?}") };
    let secret = node.attester.activate(challenge).unwrap();
    let actions = subject.activated(*from, secret);
    let [SubjectAction::Send { message: Message::Answer(answer), .. }] = &actions[..] else { panic!("{actions:?}") };
    let activated = challenger.answer(now_ms() + 10, &me, answer).unwrap();
    assert_eq!(activated.appraised(), &appraised);
    assert!(challenger.answer(now_ms() + 10, &me, answer).is_err(), "a challenge is answered once");
}

/// A node may be killed between its request for a verdict and the block with it, and rounds may fail while it holds.
#[test]
fn what_a_verdict_rests_on_is_answered_for_after_a_restart_and_after_rounds_that_failed() {
    let mut network = Network::start();
    let drawn = network.drawn.clone();
    let node = network.nodes.get_mut(&node_id(0)).unwrap();
    let [behind_verdict, earlier] = [(); 2].map(|()| Presentation { evidence: node.evidence(), log: node.log.clone() });
    let challenge = |presentation: &Presentation| {
        let appraised = judge(node, &presentation.evidence).unwrap();
        Message::Challenge(Challenger::new().challenge(now_ms(), appraised, &[3; 32]).unwrap())
    };
    let [challenge, about_earlier] = [&behind_verdict, &earlier].map(challenge);
    let evidence = behind_verdict.evidence.block_id();

    let mut started = Subjects::new(fixture().network, [node_id(2)]);
    assert!(started.misses(&evidence) && started.handle(node_id(2), &challenge).is_none());
    started.take_up(earlier);
    assert!(started.misses(&evidence), "that is what an earlier verdict rested on");
    started.take_up(behind_verdict);
    assert!(started.handle(node_id(2), &about_earlier).is_none(), "one verdict holds at a time");
    for _ in 0..=Subjects::ROUNDS_MAX {
        let node = network.nodes.get_mut(&node_id(0)).unwrap();
        let presentation = Presentation { evidence: node.evidence(), log: node.log.clone() };
        started.begin(presentation, drawn.clone());
    }
    assert!(!started.misses(&evidence));
    let action = started.handle(node_id(2), &challenge);
    let Some(SubjectAction::Activate { from, challenge }) = action else { panic!("{action:?}") };
    let node = network.nodes.get_mut(&node_id(0)).unwrap();
    let secret = node.attester.activate(&challenge).unwrap();
    assert!(matches!(started.activated(from, &evidence, secret), Some(SubjectAction::Send { .. })));
    assert!(started.handle(node_id(3), &Message::Challenge(challenge)).is_none(), "not of the committee");
}
