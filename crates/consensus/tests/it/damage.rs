//! A validator whose own disk or state is damaged stops and says so. It calls no good block bad, and the others go on.

use std::{os::unix::fs::FileExt as _, sync::Arc};

use consensus::{BlockInput, Consensus, Executed, Key, Machine, Mode, Reads, Reason, Stop, TransactionMeta};
use ed25519_dalek::SigningKey;

use crate::{
    counter::{Counter, transaction},
    finalized,
    network::Net,
    within,
};

/// A counter that finds its state damaged when it has to add this amount.
struct Damaged(Counter);

const UNLUCKY: u64 = 13;

impl Machine for Damaged {
    fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, Reason> {
        self.0.check(transaction)
    }

    fn reads(&self, transactions: &[Vec<u8>]) -> Vec<Key> {
        self.0.reads(transactions)
    }

    fn execute(&self, block: &BlockInput<'_>, reads: &dyn Reads, mode: Mode) -> Result<Executed, Stop> {
        let unlucky = |transaction: &Vec<u8>| transaction[40..48] == UNLUCKY.to_be_bytes();
        if block.transactions.iter().any(unlucky) {
            return Err(Stop::Damaged("a value is not one the machine wrote".into()));
        }
        self.0.execute(block, reads, mode)
    }
}

/// The last of four stops because of what `fault` does to it, when `amount` is to be added; the others go on.
fn story(machine: impl Fn(&Net) -> Arc<dyn Machine>, fault: impl Fn(&Net), amount: u64, says: &str) {
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new(4, folder.path());
    let mut validators: Vec<Consensus> = (0..3).map(|member| net.start(member)).collect();
    validators.push(net.start_with(3, machine(&net)));
    let key = SigningKey::from_bytes(&[1; 32]);
    within(180, async {
        let first = validators[0].submit(transaction(&key, 0, AMOUNT)).unwrap();
        for validator in &validators {
            finalized(validator, &[first]).await;
        }
        fault(&net);
        let second = validators[0].submit(transaction(&key, 1, amount)).unwrap();
        validators[3].stopped().await;
        let failure = validators[3].failure().unwrap();
        assert!(failure.contains(says), "{failure}");
        finalized(&validators[0], &[second]).await;
        let third = validators[1].submit(transaction(&key, 2, 1)).unwrap();
        for validator in &validators[..3] {
            finalized(validator, &[third]).await;
            assert_eq!(validator.failure(), None);
            validator.shutdown().await;
        }
    });
}

const AMOUNT: u64 = 0x0123_4567_89ab_cdef;

#[test]
fn a_damaged_state_stops_its_validator_alone() {
    let machine = |net: &Net| Arc::new(Damaged(Counter { network: net.id() })) as Arc<dyn Machine>;
    story(machine, |_| {}, UNLUCKY, "not one the machine wrote");
}

#[test]
fn a_damaged_disk_stops_its_validator_alone() {
    let machine = |net: &Net| Arc::new(Counter { network: net.id() }) as Arc<dyn Machine>;
    let fault = |net: &Net| {
        // The account's value, as the first block has left it.
        let path = net.config(3).storage.join("journal/00000000");
        let bytes = std::fs::read(&path).unwrap();
        let value = AMOUNT.to_be_bytes();
        let at = bytes.windows(8).position(|window| window == value).unwrap() as u64;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[value[0] ^ 1], at).unwrap();
    };
    story(machine, fault, 1, "damaged at byte");
}
