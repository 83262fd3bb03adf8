//! Fast enough that execution is never what a block waits for.

use std::time::Instant;

use ledger::{Checked, Mode, execute_remembering};
use model::*;

use crate::world::*;

#[test]
fn five_hundred_simple_transactions_take_milliseconds() {
    let world = World::new();
    let sender = data_owner();
    let nonce = world.account(&sender.id()).nonce;
    let list: Vec<_> = (0..500)
        .map(|at| world.transaction_at(&sender, nonce + at, Action::Transfer { to: stranger().id(), amount: 1 }))
        .collect();
    for transaction in &list {
        Checked::remembering(transaction, &world.network, &world.memo).unwrap();
    }
    let input = world.input(&list);
    let began = Instant::now();
    let executed =
        execute_remembering(&world.genesis, &world.network, &input, &world.state, Mode::Verify, &world.memo).unwrap();
    let taken = began.elapsed();
    assert_eq!(executed.included.len(), 500);
    println!("500 transfers executed in {taken:?}");
    // A bound that only something quadratic, or signatures checked again, would break on a loaded machine.
    assert!(taken.as_millis() < 500, "{taken:?}");
}

#[test]
fn a_settled_task_leaves_little_state() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let (_, before) = world.state.size();
    let task = world.assigned(program, data);
    let complete = world.complete(&world.done(&task));
    world.block(vec![complete]);
    let (_, after) = world.state.size();
    println!("state bytes per settled task: {}", after as i64 - before as i64);
    assert!(after - before < 400, "{} bytes", after - before);
}
