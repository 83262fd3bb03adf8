//! Blocks that are full, and state that stays small.

use ledger::{Checked, Mode, execute_remembering};
use model::*;

use crate::world::*;

#[test]
fn five_hundred_transfers_of_one_account_fit_one_block() {
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
    let executed =
        execute_remembering(&world.genesis, &world.network, &input, &world.state, Mode::Verify, &world.memo).unwrap();
    assert_eq!(executed.included.len(), 500);
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
    assert!(after - before < 400, "{} bytes", after - before);
}
