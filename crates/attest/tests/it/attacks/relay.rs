//! The protocol under attack: relayed evidence, appraisers that were not drawn, wrong answers, forged votes.

use std::sync::Arc;

use attest::protocol::{
    Answer, Appraiser, AppraiserAction, Challenger, Facts, Message, Presentation, Refusal, Subject, SubjectAction,
};
use model::{AppraisalVote, AttestationResult, Bytes32, Canonical, ContentId, NodeId};

use crate::fixture::{Node, WINDOW_MS, block, fixture, judge, node_id, now_ms, sign};

fn appraiser(index: usize) -> Appraiser {
    Appraiser::new(Arc::new(fixture().genesis.clone()), node_id(index))
}

fn drawn(indices: &[usize]) -> Facts {
    Facts { block: Some(block()), drawn: indices.iter().map(|index| node_id(*index)).collect() }
}

fn presentation(node: &mut Node) -> Presentation {
    Presentation { evidence: node.evidence(), log: node.log.clone() }
}

/// The reason of the refusal that this message gets.
fn refusal(appraiser: &mut Appraiser, now_ms: u64, from: NodeId, message: Message, facts: &Facts) -> String {
    let actions = appraiser.handle(now_ms, from, message, facts, &[5; 32]);
    match &actions[..] {
        [AppraiserAction::Send { to, message: Message::Refusal(Refusal { reason, .. }) }] if *to == from => {
            reason.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn honest_evidence_relayed_by_another_node_is_refused() {
    let mut node = Node::start(0);
    let message = Message::Evidence(Box::new(presentation(&mut node)));
    let reason = refusal(&mut appraiser(2), now_ms(), node_id(1), message, &drawn(&[2]));
    assert!(reason.contains("came from somebody else"), "{reason}");
}

#[test]
fn who_was_not_drawn_is_unknown_or_is_the_subject_itself_does_not_appraise() {
    let mut node = Node::start(0);
    let message = Message::Evidence(Box::new(presentation(&mut node)));
    let reason = refusal(&mut appraiser(1), now_ms(), node.id(), message.clone(), &drawn(&[2]));
    assert!(reason.contains("not drawn"), "{reason}");
    let reason = refusal(&mut appraiser(0), now_ms(), node.id(), message.clone(), &drawn(&[0, 1]));
    assert!(reason.contains("itself"), "{reason}");

    let mut stranger = presentation(&mut node);
    stranger.evidence.registration.node = node_id(7);
    let message = Message::Evidence(Box::new(stranger));
    let reason = refusal(&mut appraiser(1), now_ms(), node_id(7), message, &drawn(&[1]));
    assert!(reason.contains("not approved"), "{reason}");
}

#[test]
fn evidence_for_a_window_that_is_over_or_to_come_is_refused() {
    let mut node = Node::start(0);
    let message = Message::Evidence(Box::new(presentation(&mut node)));
    for now_ms in [now_ms() + 2 * WINDOW_MS, now_ms() - WINDOW_MS] {
        let reason = refusal(&mut appraiser(1), now_ms, node.id(), message.clone(), &drawn(&[1]));
        assert!(reason.contains("window"), "{reason}");
    }
    let unknown = Facts { block: None, ..drawn(&[1]) };
    let reason = refusal(&mut appraiser(1), now_ms(), node.id(), message, &unknown);
    assert!(reason.contains("does not know block 7"), "{reason}");
}

#[test]
fn different_evidence_in_quick_succession_costs_the_appraiser_nothing() {
    let mut node = Node::start(0);
    let mut appraiser = appraiser(1);
    let first = Message::Evidence(Box::new(presentation(&mut node)));
    let second = Message::Evidence(Box::new(presentation(&mut node)));
    let actions = appraiser.handle(now_ms(), node.id(), first, &drawn(&[1]), &[1; 32]);
    assert!(matches!(actions[..], [AppraiserAction::Send { message: Message::Challenge(_), .. }]));
    let reason = refusal(&mut appraiser, now_ms() + 1, node.id(), second, &drawn(&[1]));
    assert!(reason.contains("too much evidence"), "{reason}");
}

#[test]
fn a_wrong_late_repeated_or_unasked_answer_brings_no_vote() {
    let mut node = Node::start(0);
    let presented = presentation(&mut node);
    let evidence = presented.evidence.block_id();
    let message = Message::Evidence(Box::new(presented));
    let ask = |appraiser: &mut Appraiser, now_ms: u64| {
        let actions = appraiser.handle(now_ms, node_id(0), message.clone(), &drawn(&[1]), &[1; 32]);
        let [AppraiserAction::Send { message: Message::Challenge(challenge), .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        challenge.clone()
    };
    let none = &Facts::default();
    let answer = |secret: Bytes32| Message::Answer(Answer { evidence, secret });

    let mut one = appraiser(1);
    let reason = refusal(&mut one, now_ms(), node.id(), answer(Bytes32([0; 32])), none);
    assert!(reason.contains("no challenge"), "unasked: {reason}");

    let challenge = ask(&mut one, now_ms());
    let reason = refusal(&mut one, now_ms(), node.id(), answer(Bytes32([0; 32])), none);
    assert!(reason.contains("wrong"), "{reason}");
    let right = node.attester.activate(&challenge).unwrap();
    let reason = refusal(&mut one, now_ms(), node.id(), answer(right), none);
    assert!(reason.contains("no challenge"), "the right one comes after a wrong one: {reason}");

    ask(&mut one, now_ms() + 2_000);
    let reason = refusal(&mut one, now_ms() + 2_000, node_id(2), answer(right), none);
    assert!(reason.contains("no challenge"), "somebody else answers: {reason}");
    let late = now_ms() + 2_000 + Challenger::ANSWER_MS_MAX;
    let reason = refusal(&mut one, late, node.id(), answer(right), none);
    assert!(reason.contains("no challenge"), "late: {reason}");
}

#[test]
fn only_drawn_appraisers_own_signed_votes_about_this_evidence_count() {
    let mut node = Node::start(0);
    let presented = presentation(&mut node);
    let appraised = judge(&node, &presented.evidence).unwrap();
    let vote = AppraisalVote {
        subject: node.id(),
        registration: node.registration.digest(),
        evidence: appraised.evidence_id(),
        window: presented.evidence.window,
        result: appraised.result(),
        appraiser: node_id(1),
    };
    let network = &fixture().network;
    let mut subject = Subject::new(*network, presented, [node_id(1)], []);
    let mut refused = |from: usize, signer: usize, vote: AppraisalVote| {
        let signed = sign(signer, network, vote);
        assert!(subject.handle(node_id(from), Message::Vote(Box::new(signed))).is_empty());
    };
    refused(1, 2, vote.clone());
    refused(2, 1, vote.clone());
    refused(2, 2, AppraisalVote { appraiser: node_id(2), ..vote.clone() });
    refused(1, 1, AppraisalVote { subject: node_id(2), ..vote.clone() });
    refused(1, 1, AppraisalVote { window: vote.window + 1, ..vote.clone() });
    refused(1, 1, AppraisalVote { evidence: ContentId::of_dag_cbor(b"other"), ..vote.clone() });
    refused(1, 1, AppraisalVote { registration: model::Digest([0; 32]), ..vote.clone() });
    let elsewhere = sign(1, &model::NetworkId([9; 32]), vote.clone());
    assert!(subject.handle(node_id(1), Message::Vote(Box::new(elsewhere))).is_empty());

    let signed = sign(1, network, vote);
    let actions = subject.handle(node_id(1), Message::Vote(Box::new(signed.clone())));
    assert!(matches!(actions[..], [SubjectAction::Submit(_)]));
    assert!(subject.handle(node_id(1), Message::Vote(Box::new(signed))).is_empty(), "once");
}

#[test]
fn votes_that_disagree_do_not_add_up() {
    let mut node = Node::start(0);
    let presented = presentation(&mut node);
    let appraised = judge(&node, &presented.evidence).unwrap();
    let vote = |appraiser: usize, result: AttestationResult| AppraisalVote {
        subject: node_id(0),
        registration: appraised.registration().digest(),
        evidence: appraised.evidence_id(),
        window: appraised.evidence().window,
        result,
        appraiser: node_id(appraiser),
    };
    let network = &fixture().network;
    let mut subject = Subject::new(*network, presented, [node_id(1), node_id(2)], []);
    let honest = appraised.result();
    let flattering = AttestationResult { simulated: false, ..honest };
    let mut cast = |index: usize, result| {
        subject.handle(node_id(index), Message::Vote(Box::new(sign(index, network, vote(index, result)))))
    };
    assert!(cast(1, honest).is_empty());
    assert!(cast(2, flattering).is_empty());
    assert!(matches!(cast(2, honest)[..], [SubjectAction::Submit(_)]));
}

#[test]
fn the_tpm_is_not_lent_to_strangers_nor_without_end() {
    let mut node = Node::start(0);
    let presented = presentation(&mut node);
    let appraised = judge(&node, &presented.evidence).unwrap();
    let challenge = Challenger::new().challenge(now_ms(), appraised, &[1; 32]).unwrap();
    let mut subject = Subject::new(fixture().network, presented, [node_id(1)], []);
    assert!(subject.handle(node_id(7), Message::Challenge(challenge.clone())).is_empty());
    let taken =
        (0..100).filter(|_| !subject.handle(node_id(1), Message::Challenge(challenge.clone())).is_empty()).count();
    assert_eq!(taken, Subject::CHALLENGES_MAX as usize);
}
