//! R4. A node that was not drawn asks for shares; or one that was drawn but, with strict custody, should not have been.

use custody::Refusal;
use model::CustodyMode;

use crate::world::{NETWORK, World, stranger};

#[test]
fn a_node_that_was_not_drawn_gets_no_share() {
    let world = World::new();
    let stage = world.stage();
    for other in [world.nodes[1].clone(), stranger()] {
        let mut custodian = world.custodian(0);
        stage.appraise(&world, &mut custodian);
        let mut request = stage.signed_request(&world, &mut custodian, 0, &world.collector(&stage)).into_unverified();
        request.executor = other.node_id();
        let refusal = stage.send(&mut custodian, other.sign(&NETWORK, request)).unwrap_err();
        assert!(matches!(refusal, Refusal::NotAssigned { .. }) && refusal.rule() == "R4", "{refusal}");
    }
}

#[test]
fn with_strict_custody_an_executor_holds_no_share_of_its_inputs() {
    let mut world = World::new();
    world.nodes.swap(2, 3); // the third holder is drawn
    let stage = world.stage();
    stage.ask(&world, &mut world.custodian(0), 0, &world.collector(&stage)).unwrap();

    world.mode = CustodyMode::Strict;
    let refusal = stage.refusal(&world);
    assert!(matches!(refusal, Refusal::ExecutorHoldsShare { .. }) && refusal.rule() == "R4", "{refusal}");
}

#[test]
fn with_strict_custody_an_executor_is_not_of_the_custodians_operator() {
    let mut world = World::new();
    world.mode = CustodyMode::Strict;
    let stage = world.stage();
    stage.ask(&world, &mut world.custodian(0), 0, &world.collector(&stage)).unwrap();

    world.operator = world.config().operator;
    let refusal = world.stage().refusal(&world);
    assert!(matches!(refusal, Refusal::SameOperator { .. }) && refusal.rule() == "R4", "{refusal}");
}
