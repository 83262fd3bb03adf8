//! Values that are not fetched yet: asked for, never guessed.

use std::{cell::RefCell, collections::BTreeSet};

use ledger::{BlockInput, Checked, Key, MemoryState, Mode, Reads, Stop, dry_run, execute, reads};
use model::*;

use crate::world::*;

/// Hands out only what was asked for before.
struct Lazy<'a> {
    state: &'a MemoryState,
    fetched: RefCell<BTreeSet<Key>>,
}

impl Reads for Lazy<'_> {
    fn read(&self, key: &Key) -> Option<Option<Vec<u8>>> {
        self.fetched.borrow().contains(key).then(|| self.state.read(key).flatten())
    }
}

fn rounds(world: &World, transactions: &[Vec<u8>], hinted: bool) -> usize {
    let lazy = Lazy { state: &world.state, fetched: RefCell::default() };
    if hinted {
        let hints = transactions.iter().flat_map(|bytes| {
            let checked = Checked::from_bytes(bytes, &world.network).unwrap();
            reads(checked.transaction())
        });
        lazy.fetched.borrow_mut().extend(hints);
    }
    let input: BlockInput = world.input(transactions);
    let whole = execute(&world.genesis, &world.network, &input, &world.state, Mode::Verify).unwrap();
    for round in 0..20 {
        match execute(&world.genesis, &world.network, &input, &lazy, Mode::Verify) {
            Ok(executed) => {
                assert_eq!(executed, whole, "what was fetched when makes no difference");
                return round;
            }
            Err(Stop::Missing(keys)) => {
                assert!(!keys.is_empty());
                assert!(keys.iter().all(|key| !lazy.fetched.borrow().contains(key)), "asked for twice");
                lazy.fetched.borrow_mut().extend(keys);
            }
            Err(stop) => panic!("{stop:?}"),
        }
    }
    panic!("asks without end");
}

#[test]
fn a_few_fetches_bring_everything_and_the_outcome_is_the_same() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let transfer =
        |world: &World| world.transaction(&data_owner(), Action::Transfer { to: stranger().id(), amount: 1 });
    let list = [transfer(&world)];
    assert_eq!(rounds(&world, &list, false), 1);
    assert!(rounds(&world, &list, true) <= 1);

    let task = world.ask(program, data);
    let list = [world.submit_action(&task), transfer(&world)];
    assert!(rounds(&world, &list, false) <= 2);
    world.block(list.to_vec());
    world.block(vec![]);
    assert!(rounds(&world, &[], false) <= 5, "a draw");
    world.block(vec![]);
    let list = [world.complete(&world.done(&task.id()))];
    assert!(rounds(&world, &list, false) <= 3);
    world.time_ms += 60_000;
    let lapse = rounds(&world, &[], false);
    assert!(lapse <= 4, "a lapse takes {lapse} fetches");
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let mut world = World::new();
    let (program, data) = world.publish_both();
    let attempt = |world: &World, bytes: &[u8]| {
        let checked = Checked::from_bytes(bytes, &world.network).unwrap();
        dry_run(&world.genesis, &world.network, &checked, &world.state, world.height + 1, world.time_ms)
    };
    let good = world.submit_action(&world.ask(program, data));
    assert_eq!(attempt(&world, &good), Ok(Ok(())));
    let dear = world.submit_action(&Task { price_max: 51, ..world.ask(program, data) });
    let refusal = attempt(&world, &dear).unwrap().unwrap_err();
    assert_eq!(refusal.to_string(), "the task costs 52 credits, at most 51 are offered");
    let lazy = Lazy { state: &world.state, fetched: RefCell::default() };
    let checked = Checked::from_bytes(&good, &world.network).unwrap();
    let missing = dry_run(&world.genesis, &world.network, &checked, &lazy, world.height + 1, world.time_ms);
    assert!(matches!(missing, Err(Stop::Missing(keys)) if keys.len() > 5));
}
