//! R7. Appraisers are bribed, or a verdict is about another machine. Custodians believe only evidence that they appraised.

use attest::Appraised;
use custody::{Message, Refusal};

use crate::world::{START_MS, World, stranger};

#[test]
fn a_verdict_alone_is_not_believed() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.custodian(0);
    let request = stage.signed_request(&world, &mut custodian, 0, &world.collector(&stage));
    let refusal = stage.send(&mut custodian, request.clone()).unwrap_err();
    let wanted = stage.evidence.block_id();
    assert!(matches!(refusal, Refusal::NotAppraised { evidence } if evidence == wanted), "{refusal}");
    assert_eq!(refusal.rule(), "R7");

    stage.appraise(&world, &mut custodian);
    stage.send(&mut custodian, request).unwrap();
}

#[test]
fn other_evidence_does_not_stand_in() {
    let world = World::new();
    let stage = world.stage();
    let mut custodian = world.custodian(0);
    let mut evidence = stage.evidence.clone();
    evidence.window = 2;
    let appraised = Box::new(Appraised::for_tests(evidence, world.result));
    let verdict = Box::new(stage.facts.verdict.clone());
    let refusal = custodian.handle(stage.now_ms, Message::Appraised { appraised, verdict }).unwrap_err();
    assert!(matches!(refusal, Refusal::NotAppraised { .. }), "{refusal}");
}

#[test]
fn a_verdict_that_says_more_than_its_evidence_is_refused() {
    let mut world = World::new();
    world.edit_verdict = Box::new(|verdict| verdict.result.self_measured = false);
    let refusal = world.stage().refusal(&world);
    assert!(matches!(refusal, Refusal::VerdictDiffers { .. }) && refusal.rule() == "R7", "{refusal}");
}

#[test]
fn a_verdict_about_another_node_is_refused() {
    let mut world = World::new();
    world.edit_verdict = Box::new(|verdict| verdict.node = stranger().node_id());
    assert!(matches!(world.stage().refusal(&world), Refusal::VerdictDiffers { .. }));
}

#[test]
fn evidence_for_other_keys_is_refused() {
    let world = World::new();
    let mut stage = world.stage();
    // The quote was made for another machine's keys; the verdict names it all the same.
    let mut forged = World::new();
    let mut other = stage.evidence.clone();
    other.registration.node = stranger().node_id();
    let named = other.block_id();
    forged.edit_verdict = Box::new(move |verdict| verdict.evidence = named);
    let forged_stage = forged.stage();
    stage.evidence = other;
    let mut custodian = forged.custodian(0);
    let appraised = Box::new(Appraised::for_tests(stage.evidence, world.result));
    let verdict = Box::new(forged_stage.facts.verdict.clone());
    custodian.handle(forged_stage.now_ms, Message::Appraised { appraised, verdict }).unwrap();
    let request = forged_stage.signed_request(&forged, &mut custodian, 0, &forged.collector(&forged_stage));
    assert!(matches!(forged_stage.send(&mut custodian, request), Err(Refusal::VerdictDiffers { .. })));
}

#[test]
fn a_verdict_other_than_the_assigned_one_is_refused() {
    let mut world = World::new();
    let mut stage = world.stage();
    world.edit_verdict = Box::new(|verdict| verdict.window = 2);
    stage.facts.verdict = world.stage().facts.verdict.clone();
    assert!(matches!(stage.refusal(&world), Refusal::VerdictDiffers { .. }));
}

#[test]
fn an_ended_verdict_is_refused() {
    let mut world = World::new();
    world.edit_verdict = Box::new(|verdict| verdict.expires_ms = START_MS + 4_000);
    let refusal = world.stage().refusal(&world);
    assert!(matches!(refusal, Refusal::VerdictEnded { .. }) && refusal.rule() == "R7", "{refusal}");
}
