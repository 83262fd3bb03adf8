//! One task, from publishing to payment.

use ledger::state::TaskState;
use model::*;

use crate::world::*;

#[test]
fn a_task_is_published_drawn_run_and_paid() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let before = world.balance(&requester().id());
    let task = world.ask(program, data);
    let submit = world.submit_action(&task);
    let fee = world.fee(&submit);
    let records = world.block(vec![submit]);
    assert!(matches!(&records[0].fact, Fact::Task(recorded) if **recorded == task));
    // 10 + 2 seconds + 64 MiB, 7 for each of two objects, 2 copies of 3, 9 for validators, 5 for each owner.
    let price = 10 + 2 + 1 + 14 + 6 + 9 + 10;
    assert_eq!(world.balance(&requester().id()), before - fee - price);
    assert_eq!(world.balance(&AccountId::ESCROW), price);
    assert!(world.last.due.next_block, "the draw waits for its seed");

    assert_eq!(world.block(vec![]), []);
    assert!(world.last.due.next_block);
    let assigned = assignment(&world.block(vec![]));
    assert!(!world.last.due.next_block);
    assert_eq!(world.last.due.at_ms, Some(assigned.deadline_ms));
    assert_eq!(assigned.seed, seed(world.height));
    assert_eq!(assigned.eligible_size, 4);
    let executor = Digest(assigned.executor.0);
    let (size, index) = (u64::from(assigned.eligible_size), u64::from(assigned.index));
    assert!(log::check_path(&assigned.eligible_root, size, index, &executor, &assigned.path));
    assert_eq!(assigned.index, ledger::draw_index(&assigned.seed, &task.id(), 1, 4));
    let record = world.records.iter().find(|record| record.digest() == assigned.verdict).unwrap();
    assert!(matches!(&record.fact, Fact::Verdict(verdict) if verdict.node == assigned.executor));
    assert_eq!(world.object(&data).uses, 1);

    let custodian = nodes()[0].clone();
    let own: Vec<_> = world.releases(&task.id(), 2);
    let own: Vec<_> = own.into_iter().filter(|release| release.unverified().custodian == custodian.id()).collect();
    let post = world.transaction(&custodian, Action::PostReleases { task: task.id(), releases: own });
    assert_eq!(world.block(vec![post])[0].fact.kind(), FactKind::Releases);

    let balances = |world: &World| -> Vec<u64> { nodes().iter().map(|node| world.balance(&node.id())).collect() };
    let (owner_before, nodes_before) = (world.balance(&data_owner().id()), balances(&world));
    let complete = world.complete(&world.done(&task.id()));
    let fee = world.fee(&complete);
    let settled = settlement(&world.block(vec![complete]));
    assert_eq!(settled.failure(), None);
    assert_eq!(settled.payments.iter().map(|payment| payment.amount).sum::<u64>(), price);
    assert_eq!(world.balance(&AccountId::ESCROW), 0);
    assert_eq!(world.balance(&data_owner().id()), owner_before + 5);
    let of = |reason: &str| -> u64 {
        settled.payments.iter().filter(|payment| payment.reason == reason).map(|payment| payment.amount).sum()
    };
    assert_eq!(
        [of("program"), of("data"), of("executor"), of("custodian"), of("storage"), of("validator"), of("remainder")],
        // 7 among two custodians is 3 each, 9 among four validators 2 each: 1 + 1 + 1 remain.
        [5, 5, 13, 12, 6, 8, 3]
    );
    let gained: u64 = balances(&world).iter().sum::<u64>() - nodes_before.iter().sum::<u64>();
    assert_eq!(gained + fee, 13 + 12 + 6 + 8);
    assert!(matches!(world.task(&task.id()), TaskState::Settled(settled) if settled.failure.is_none()));
    assert_eq!(world.node(&assigned.executor).running, 0);
    assert_eq!(world.last.due.at_ms, None);
}

#[test]
fn a_fault_of_the_guest_costs_the_network_fee_and_nothing_else() {
    for class in [FailureClass::Guest, FailureClass::Limit] {
        let mut world = World::new();
        let (program, data) = world.publish_both();
        let task = world.assigned(program, data);
        let (owner, before) = (world.balance(&data_owner().id()), world.balance(&requester().id()));
        let complete = world.complete(&world.completion(&task, Outcome::Failed(class)));
        let settled = settlement(&world.block(vec![complete]));
        assert_eq!(settled.failure(), Some(class));
        assert_eq!(world.balance(&data_owner().id()), owner);
        assert_eq!(world.balance(&requester().id()), before + 10, "both owners' prices come back");
        assert_eq!(world.balance(&AccountId::ESCROW), 0);
    }
}

#[test]
fn a_fault_of_the_network_costs_the_requester_nothing() {
    for class in [FailureClass::Keys, FailureClass::Content, FailureClass::Node] {
        let mut world = World::new();
        let (program, data) = world.publish_both();
        let task = world.assigned(program, data);
        let before = world.balance(&requester().id());
        let complete = world.complete(&world.completion(&task, Outcome::Failed(class)));
        let settled = settlement(&world.block(vec![complete]));
        assert_eq!(settled.failure(), Some(class));
        assert_eq!(settled.payments, [Payment { to: requester().id(), amount: 52, reason: "refund".into() }]);
        assert_eq!(world.balance(&requester().id()), before + 52);
        assert_eq!(world.balance(&AccountId::ESCROW), 0);
    }
}

#[test]
fn credits_are_topped_up_and_sent() {
    let mut world = World::new();
    let new = Key::new(9);
    let top_up = world.transaction(&new, Action::TopUp { amount: 5_000 });
    let fee = world.fee(&top_up);
    world.block(vec![top_up]);
    assert_eq!(world.balance(&new.id()), 5_000 - fee);
    let transfer = world.transaction(&new, Action::Transfer { to: stranger().id(), amount: 10 });
    let second = world.transaction_at(&new, 2, Action::Transfer { to: stranger().id(), amount: 20 });
    world.block(vec![transfer, second]);
    assert_eq!(world.balance(&stranger().id()), 30);
    assert_eq!(world.account(&new.id()).nonce, 3);
}

#[test]
fn terms_change_and_the_strictest_output_holds() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let stricter = world.set_terms(&data_owner(), data, |terms| terms.output_bytes_max = Some(100));
    world.block(vec![stricter]);
    assert_eq!(world.object(&data).terms_serial, 2);
    let task = world.ask(program, data);
    let submit = world.submit_action(&task);
    world.block(vec![submit]);
    // Between request and draw the owner becomes cheaper; the difference goes back.
    let cheaper = world.set_terms(&data_owner(), data, |terms| terms.price = 2);
    world.block(vec![cheaper]);
    let assigned = assignment(&world.block(vec![]));
    assert_eq!(assigned.output_bytes_max, 100);
    assert_eq!(assigned.terms[1].serial, 3);
    let complete = world.complete(&world.done(&task.id()));
    let settled = settlement(&world.block(vec![complete]));
    assert!(settled.payments.contains(&Payment { to: data_owner().id(), amount: 2, reason: "data".into() }));
    assert!(settled.payments.contains(&Payment { to: requester().id(), amount: 3, reason: "refund".into() }));
}

#[test]
fn the_first_verdict_also_records_the_registration() {
    let mut world = World::unattested(|_| {});
    let node = nodes()[0].clone();
    let before = world.balance(&node.id());
    let attest = world.attest(&node);
    let fee = world.fee(&attest);
    let kinds: Vec<_> = world.block(vec![attest]).iter().map(|record| record.fact.kind()).collect();
    assert_eq!(kinds, [FactKind::Registration, FactKind::Verdict]);
    assert_eq!(world.balance(&node.id()), before - fee - 3 * 2, "three appraisers are paid");
    assert_eq!(world.roster().nodes, [node.id()]);
    assert_eq!(world.node(&node.id()).expires_ms, world.time_ms + VERDICT_MS);

    world.pass(WINDOW_MS);
    let renew = world.attest(&node);
    let kinds: Vec<_> = world.block(vec![renew]).iter().map(|record| record.fact.kind()).collect();
    assert_eq!(kinds, [FactKind::Verdict]);
}
