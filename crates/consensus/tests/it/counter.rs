//! A small machine with everything consensus has to serve: signed transactions with nonces, state, records, alarms.
//! The tests and the benchmark share it.

use consensus::{BlockInput, Due, Executed, Key, Machine, Mode, Reads, Reason, Stop, TransactionMeta};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use model::{Canonical as _, Digest, Fact, NetworkId, Record, Releases, TaskId};

/// Adds numbers up, by account, and writes a record for each addition.
pub struct Counter {
    /// Named in every record.
    pub network: NetworkId,
}

/// Amounts from here on set an alarm so many milliseconds ahead, minus this.
pub const ALARM: u64 = 1 << 40;

const PARTS: usize = 32 + 8 + 8;

/// The transaction `nonce` of the account with this key.
pub fn transaction(key: &SigningKey, nonce: u64, amount: u64) -> Vec<u8> {
    let mut bytes = key.verifying_key().to_bytes().to_vec();
    bytes.extend_from_slice(&nonce.to_be_bytes());
    bytes.extend_from_slice(&amount.to_be_bytes());
    let signature = key.sign(&bytes);
    [&bytes[..], &signature.to_bytes()].concat()
}

/// Where the state keeps an account.
pub fn account_key(account: &[u8; 32]) -> Key {
    Digest::of_parts(&[b"account", account]).0
}

fn alarm_key() -> Key {
    Digest::of(b"alarm").0
}

fn integer(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn meta(transaction: &[u8]) -> TransactionMeta {
    let account = transaction[..32].try_into().expect("checked before");
    TransactionMeta { account, nonce: integer(transaction, 32) }
}

impl Machine for Counter {
    fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, Reason> {
        let (parts, signature) = transaction.split_at_checked(PARTS).ok_or("too short")?;
        let meta = meta(parts);
        let signature = Signature::from_slice(signature).map_err(|_| "no signature")?;
        VerifyingKey::from_bytes(&meta.account)
            .and_then(|key| key.verify_strict(parts, &signature))
            .map_err(|_| "not signed by this account")?;
        Ok(meta)
    }

    fn reads(&self, transactions: &[Vec<u8>]) -> Vec<Key> {
        // The alarm is left out, so that asking for more is exercised as well.
        transactions.iter().map(|transaction| account_key(&meta(transaction).account)).collect()
    }

    fn execute(&self, block: &BlockInput<'_>, reads: &dyn Reads, mode: Mode) -> Result<Executed, Stop> {
        let mut alarm = reads.read(&alarm_key()).ok_or_else(|| Stop::Missing(vec![alarm_key()]))?;
        let mut accounts = std::collections::BTreeMap::new();
        let mut executed = Executed::default();
        for (at, transaction) in block.transactions.iter().enumerate() {
            let (meta, amount) = (meta(transaction), integer(transaction, 40));
            let key = account_key(&meta.account);
            if let std::collections::btree_map::Entry::Vacant(place) = accounts.entry(key) {
                place.insert(reads.read(&key).ok_or_else(|| Stop::Missing(vec![key]))?);
            }
            let known = accounts[&key].clone().unwrap_or(vec![0; 16]);
            let (nonce, sum) = (integer(&known, 0), integer(&known, 8));
            if meta.nonce != nonce {
                match mode {
                    Mode::Propose => continue,
                    Mode::Verify => {
                        return Err(Stop::Invalid(format!("nonce {} instead of {nonce}", meta.nonce).into()));
                    }
                }
            }
            if let Some(wait) = amount.checked_sub(ALARM) {
                alarm = Some((block.time_ms + wait).to_be_bytes().to_vec());
            }
            let value = [(nonce + 1).to_be_bytes(), sum.wrapping_add(amount).to_be_bytes()].concat();
            accounts.insert(key, Some(value));
            executed.records.push(self.record(block, Digest::of(transaction)));
            executed.included.push(at);
        }
        if let Some(bytes) = &alarm {
            let at_ms = integer(bytes, 0);
            if block.time_ms >= at_ms {
                executed.records.push(self.record(block, Digest::of(b"the alarm rang")));
                alarm = None;
            } else {
                executed.due = Due { next_block: false, at_ms: Some(at_ms) };
            }
        }
        executed.writes = accounts.into_iter().collect();
        executed.writes.push((alarm_key(), alarm));
        Ok(executed)
    }
}

impl Counter {
    fn record(&self, block: &BlockInput<'_>, what: Digest) -> Vec<u8> {
        let fact = Fact::Releases(Box::new(Releases { task: TaskId(what.0), releases: Vec::new() }));
        Record { network: self.network, height: block.height, time_ms: block.time_ms, fact }.to_bytes()
    }
}
