//! R5. A corrupt ledger admits what an owner's terms forbid. Custodians read the terms for themselves.

use custody::{AccountKey, Message, Refusal};
use model::{Allow, Fact, NetworkId, NotAdmitted, ObjectId, ObjectKind, Signed, Terms};

use crate::world::{NETWORK, SECRET, START_MS, World, finalized, publish, terms};

/// What R5 says about a world; nothing but the terms is wrong with it.
fn refusal(world: &World) -> Refusal {
    let refusal = world.stage().refusal(world);
    assert_eq!(refusal.rule(), "R5", "{refusal}");
    refusal
}

fn not_admitted(change: impl Fn(&mut World)) -> NotAdmitted {
    let mut world = World::new();
    change(&mut world);
    match refusal(&world) {
        Refusal::NotAdmitted(why) => why,
        other => panic!("{other}"),
    }
}

fn foreign_object() -> ObjectId {
    let owner = AccountKey::generate().unwrap();
    publish(&owner, ObjectKind::Data, SECRET, &World::new().nodes[..3], 2).id()
}

#[test]
fn requesters_that_either_owner_does_not_list_are_refused() {
    let nobody = || Allow::Only(vec![]);
    assert!(matches!(not_admitted(|w| w.data_terms.requesters = nobody()), NotAdmitted::Requester { .. }));
    assert!(matches!(not_admitted(|w| w.program_terms.requesters = nobody()), NotAdmitted::Requester { .. }));
}

#[test]
fn programs_that_the_data_owner_does_not_list_are_refused_and_the_other_way_round() {
    let others = || Allow::Only(vec![foreign_object()]);
    assert!(matches!(not_admitted(|w| w.data_terms.counterparts = others()), NotAdmitted::Counterpart { .. }));
    assert!(matches!(not_admitted(|w| w.program_terms.counterparts = others()), NotAdmitted::Counterpart { .. }));
}

#[test]
fn a_task_accepted_after_the_terms_expired_is_refused() {
    let accepted_ms = START_MS + 3_000;
    for change in [
        |w: &mut World, at| w.data_terms.expires_ms = Some(at),
        |w: &mut World, at| w.program_terms.expires_ms = Some(at),
    ] {
        assert!(matches!(not_admitted(|w| change(w, accepted_ms)), NotAdmitted::Expired { .. }));
    }
}

#[test]
fn an_assignment_that_lets_more_out_than_the_terms_is_refused() {
    let mut world = World::new();
    world.data_terms.output_bytes_max = Some(100);
    world.edit_assignment = Box::new(|assignment| assignment.output_bytes_max = 101);
    assert!(matches!(refusal(&world), Refusal::OutputCap { bytes: 101, bytes_max: 100 }));

    let mut world = World::new();
    world.program_terms.output_bytes_max = Some(50);
    world.edit_assignment = Box::new(|assignment| assignment.output_bytes_max = 100);
    assert!(matches!(refusal(&world), Refusal::OutputCap { bytes: 100, bytes_max: 50 }));

    let mut world = World::new();
    world.edit_assignment = Box::new(|assignment| assignment.output_bytes_max += 1);
    assert!(matches!(refusal(&world), Refusal::OutputCap { .. }), "more than the task itself asks for");
}

#[test]
fn terms_that_the_owner_did_not_sign_are_refused() {
    let forger = AccountKey::generate().unwrap();
    let owner = World::new();
    let cases: [(&str, Box<dyn Fn(Signed<Terms>) -> Signed<Terms>>); 3] = [
        (
            "changed after signing",
            Box::new(|signed| {
                let mut body = signed.unverified().clone();
                body.price += 1;
                Signed::assemble(body, *signed.signature())
            }),
        ),
        (
            "signed for another network",
            Box::new(move |signed| {
                let body = signed.into_unverified();
                let owner =
                    if body.owner == owner.data_owner.account() { &owner.data_owner } else { &owner.program_owner };
                owner.sign(&NetworkId([1; 32]), body)
            }),
        ),
        (
            "signed by somebody in its own name",
            Box::new(move |signed| {
                let body = signed.into_unverified();
                forger.sign(&NETWORK, Terms { owner: forger.account(), ..body })
            }),
        ),
    ];
    for (what, edit) in cases {
        let mut world = World::new();
        world.edit_terms = edit;
        assert!(matches!(refusal(&world), Refusal::TermsSignature { .. }), "{what}");
    }
}

#[test]
fn terms_older_than_any_seen_are_refused() {
    let mut world = World::new();
    let old = world.stage();
    world.data_terms.serial = 2;
    let new = world.stage();
    let mut custodian = world.custodian(0);
    for record in finalized(&new.chain, new.chain.height()).1 {
        if matches!(record.get().fact, Fact::Terms(_)) {
            custodian.handle(START_MS, Message::Final(Box::new(record))).unwrap();
        }
    }
    let refusal = old.ask(&world, &mut custodian, 0, &world.collector(&old)).unwrap_err();
    assert!(matches!(refusal, Refusal::TermsOutdated { serial: 1, serial_seen: 2, .. }), "{refusal}");
    assert_eq!(refusal.rule(), "R5");
}

#[test]
fn releasing_under_newer_terms_forgets_the_older_for_good() {
    let mut world = World::new();
    let old = world.stage();
    world.data_terms.serial = 2;
    let new = world.stage();
    let mut custodian = world.custodian(0);
    new.ask(&world, &mut custodian, 0, &world.collector(&new)).unwrap();
    let refusal = old.ask(&world, &mut custodian, 0, &world.collector(&old)).unwrap_err();
    assert!(matches!(refusal, Refusal::TermsOutdated { .. }), "{refusal}");
}

#[test]
fn the_assignment_must_apply_the_terms_that_hold() {
    let mut world = World::new();
    world.edit_assignment = Box::new(|assignment| assignment.terms[1].serial = 0);
    assert!(matches!(refusal(&world), Refusal::TermsNotApplied { .. }));
    world.edit_assignment = Box::new(|assignment| assignment.terms[1].digest = model::Digest([0; 32]));
    assert!(matches!(refusal(&world), Refusal::TermsNotApplied { .. }));

    // None at all: no honest executor would even ask.
    let collector = world.collector(&world.stage());
    world.edit_assignment = Box::new(|assignment| assignment.terms.truncate(1));
    let stage = world.stage();
    let mut custodian = world.custodian(0);
    stage.appraise(&world, &mut custodian);
    let mut request = stage.signed_request(&world, &mut custodian, 0, &collector).into_unverified();
    request.assignment = stage.facts.assignment.digest();
    let refusal = stage.send(&mut custodian, world.executor().sign(&NETWORK, request)).unwrap_err();
    assert!(matches!(refusal, Refusal::TermsNotApplied { .. }), "{refusal}");
}

#[test]
fn data_is_not_run_and_a_program_is_not_read() {
    let mut world = World::new();
    world.data = publish(&world.data_owner, ObjectKind::Program, SECRET, &world.nodes[..3], 2);
    world.data_terms = terms(&world.data_owner, world.data.id());
    world.task.inputs[0].object = world.data.id();
    assert!(matches!(refusal(&world), Refusal::WrongKind { .. }));
}
