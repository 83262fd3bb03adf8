//! Credits out of nothing, nonces out of turn, sums that overflow.

use ledger::{BlockInput, MemoryState, Mode, Refusal, Stop, execute};
use model::*;

use crate::world::*;

#[test]
fn a_nonce_counts_once_and_in_turn() {
    let mut world = World::new();
    let transfer = |world: &World, nonce| {
        world.transaction_at(&requester(), nonce, Action::Transfer { to: stranger().id(), amount: 1 })
    };
    let expect = |expected, got| Refusal::Nonce { account: requester().id(), expected, got };
    let early = transfer(&world, 1);
    assert_eq!(world.refused(early), expect(0, 1));
    let first = transfer(&world, 0);
    world.block(vec![first.clone()]);
    assert_eq!(world.refused(first.clone()), expect(1, 0), "the same transaction again");
    let (_, refused) = {
        let (second, again) = (transfer(&world, 1), transfer(&world, 1));
        world.propose(vec![second, again])
    };
    assert_eq!(refused, [(1, expect(2, 1))], "twice in one block");
    let last = transfer(&world, u64::MAX);
    assert_eq!(world.refused(last), expect(2, u64::MAX));
}

#[test]
fn nobody_spends_what_they_do_not_have() {
    let mut world = World::new();
    let balance = world.balance(&requester().id());
    for amount in [balance, balance + 1, u64::MAX] {
        let transfer = world.transaction(&requester(), Action::Transfer { to: stranger().id(), amount });
        let (account, needed) = (requester().id(), amount.saturating_add(world.fee(&transfer)));
        let refusal = Refusal::Balance { account, available: balance, needed };
        assert_eq!(world.refused(transfer), refusal, "no room for the fee, and both sums are told with it");
    }
    let to_self = world.transaction(&requester(), Action::Transfer { to: requester().id(), amount: balance + 1 });
    assert!(matches!(world.refused(to_self), Refusal::Balance { .. }));
    let nothing = world.transaction(&requester(), Action::Transfer { to: stranger().id(), amount: 0 });
    assert!(matches!(world.refused(nothing), Refusal::Bounds { what: "amount", .. }));
    let poor = world.transaction(&stranger(), Action::Transfer { to: requester().id(), amount: 1 });
    assert!(matches!(world.refused(poor), Refusal::Balance { available: 0, .. }), "not even the fee");
    let all = world.transaction(&requester(), Action::Transfer { to: stranger().id(), amount: 1 });
    let fee = world.fee(&all);
    let all = world.transaction(&requester(), Action::Transfer { to: stranger().id(), amount: balance - fee });
    assert_eq!(world.fee(&all), fee);
    world.block(vec![all]);
    assert_eq!(world.balance(&requester().id()), 0);
}

#[test]
fn a_top_up_is_bounded_and_ends_with_the_faucet() {
    let mut world = World::with(|genesis| {
        for allocation in &mut genesis.allocations {
            if allocation.account == AccountId::FAUCET {
                allocation.amount = 6_000;
            } else if allocation.account == requester().id() {
                allocation.amount += SUPPLY - 70_000 - 6_000;
            }
        }
    });
    let too_much = world.transaction(&stranger(), Action::TopUp { amount: 5_001 });
    assert_eq!(world.refused(too_much), Refusal::TopUp { amount: 5_001, max: 5_000 });
    let all = world.transaction(&stranger(), Action::TopUp { amount: u64::MAX });
    assert!(matches!(world.refused(all), Refusal::TopUp { .. }));
    let first = world.transaction(&stranger(), Action::TopUp { amount: 5_000 });
    world.block(vec![first]);
    let second = world.transaction(&stranger(), Action::TopUp { amount: 5_000 });
    let dry = Refusal::Balance { account: AccountId::FAUCET, available: 1_000, needed: 5_000 };
    assert_eq!(world.refused(second), dry);
    let tiny = world.transaction(&Key::new(9), Action::TopUp { amount: 1 });
    assert!(matches!(world.refused(tiny), Refusal::Balance { .. }), "less than the fee");
}

#[test]
fn networks_with_real_money_have_no_top_ups() {
    let mut world = World::with(|genesis| genesis.top_up_max = 0);
    let top_up = world.transaction(&stranger(), Action::TopUp { amount: 1 });
    assert_eq!(world.refused(top_up), Refusal::TopUp { amount: 1, max: 0 });
}

#[test]
fn prices_that_overflow_are_refused() {
    let mut world = World::new();
    let program = world.publish(&program_owner(), ObjectKind::Program, "program", |terms| terms.price = u64::MAX);
    let data = world.publish(&data_owner(), ObjectKind::Data, "data", |_| {});
    let task = Task { price_max: u64::MAX, ..world.ask(program, data) };
    let submit = world.submit_action(&task);
    assert_eq!(world.refused(submit), Refusal::Overflow { what: "the price of the task" });

    world.genesis.fees.transaction_kib = u64::MAX;
    let transfer = world.transaction(&requester(), Action::Transfer { to: stranger().id(), amount: 1 });
    assert_eq!(world.refused(transfer), Refusal::Overflow { what: "the transaction fee" });
}

#[test]
fn a_genesis_with_more_credits_than_fit_makes_no_block() {
    let mut genesis = genesis();
    genesis.allocations = vec![
        Allocation { account: requester().id(), amount: u64::MAX },
        Allocation { account: stranger().id(), amount: 1 },
    ];
    let block = BlockInput { height: 1, time_ms: 1, seed: None, transactions: &[] };
    let executed = execute(&genesis, &genesis.network_id(), &block, &MemoryState::default(), Mode::Propose);
    assert!(matches!(executed, Err(Stop::Block(_))));
}
