//! Admission and execution of transactions: bounds, signatures, rules, whatever comes.
//!
//! The first byte says in which state of the story, and whether the changed transaction is signed again by its account: then
//! it gets past the signature and into the rules.
#![no_main]

use std::sync::LazyLock;

use ledger::{BlockInput, Checked, Mode};
use libfuzzer_sys::fuzz_target;
use model::{Canonical, Transaction};
use samovar_fuzz::{STORY, changed, input};

static SIGNED: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| STORY.transactions().iter().map(Canonical::to_bytes).collect());
static UNSIGNED: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| STORY.transactions().iter().map(|it| it.unverified().to_bytes()).collect());

fn transaction(bytes: &[u8]) -> Option<Vec<u8>> {
    match bytes.split_first()? {
        (number, rest) if *number < 128 => Some(input(&SIGNED, rest).into_owned()),
        (_, rest) => {
            let (number, changes) = rest.split_first()?;
            let body = changed(&UNSIGNED[usize::from(*number) % UNSIGNED.len()], changes);
            let body = Transaction::from_bytes(&body, Transaction::BYTES_MAX).ok()?;
            Some(STORY.sign(body)?.to_bytes())
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(transaction) = transaction(bytes) else { return };
    let network = STORY.network_id();
    let checked = Checked::from_bytes(&transaction, &network);
    let history = STORY.history();
    let step = usize::from(bytes[0] % 128) % history.len();
    let (state, _) = &history[step];
    let (height, time_ms) = (step as u64 + 1, STORY.genesis().created_ms + 1_000 * (step as u64 + 1));
    let block = BlockInput { height, time_ms, seed: None, transactions: &[transaction] };
    let executed = ledger::execute(STORY.rules(), &network, &block, state, Mode::Propose).expect("all of it is there");
    assert_eq!(executed.included.len() + executed.refused.len(), 1);
    assert!(checked.is_ok() || executed.included.is_empty(), "in a block without passing admission");
});
