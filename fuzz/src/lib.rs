//! What the fuzz targets share: valid values to begin with, and a small language for changing them.
//!
//! Formats with hashes, signatures and one canonical encoding turn random bytes away at the door. So an input is either the
//! bytes themselves, or the number of a valid value and a list of changes to it ([`input`]). The values come from the story
//! that the tests of `proof` tell: a task on a network of four nodes, by the real ledger, certified by a real committee.

#[path = "../../crates/proof/tests/it/story.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a file of the tests; targets use some of it")]
mod story;

use std::{borrow::Cow, sync::LazyLock};

use model::*;

/// What the story's file takes from its neighbour in the tests.
mod fixture {
    use model::{Blob, Canonical as _, Digest, EventLog};
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Fixture {
        pub(crate) time_ms: u64,
        pub(crate) root: Blob,
        pub(crate) release_key: Blob,
        pub(crate) event_log: EventLog,
        pub(crate) nodes: Vec<FixtureNode>,
    }

    #[derive(Serialize, Deserialize)]
    pub(crate) struct FixtureNode {
        pub(crate) endorsement: Digest,
        pub(crate) attestation_key: Blob,
        pub(crate) evidence: Blob,
    }

    impl Fixture {
        pub(crate) fn load() -> &'static Self {
            static FIXTURE: std::sync::OnceLock<Fixture> = std::sync::OnceLock::new();
            FIXTURE.get_or_init(|| {
                let bytes = include_bytes!("../../crates/proof/tests/it/tpm.fixture");
                Self::from_bytes(bytes, usize::MAX).expect("the fixture is readable")
            })
        }
    }
}

/// A story that has been told.
pub struct Told(story::Story);

/// The story of a task that succeeds.
pub static STORY: LazyLock<Told> = LazyLock::new(|| Told(story::Story::success()));

impl Told {
    pub fn genesis(&self) -> &Genesis {
        &self.0.genesis
    }

    /// The genesis that the ledger goes by.
    pub fn rules(&self) -> &Genesis {
        &self.0.rules
    }

    pub fn network_id(&self) -> NetworkId {
        self.0.network
    }

    pub fn network_file(&self) -> proof::Network {
        self.0.file()
    }

    pub fn committee(&self) -> &finality::testing::Committee {
        &self.0.committee
    }

    /// Canonical bytes of the executor's evidence, and of the log behind it.
    pub fn evidence_and_log(&self) -> (&[u8], &[u8]) {
        (&self.0.evidence, &self.0.event_log)
    }

    pub fn all_records(&self) -> Vec<Record> {
        self.0.records().into_iter().map(|(_, record)| record).collect()
    }

    pub fn whole_proof(&self) -> proof::Proof {
        self.0.proof()
    }

    /// The state before each block, and the block's transactions.
    pub fn history(&self) -> &[(ledger::MemoryState, Vec<Vec<u8>>)] {
        &self.0.steps
    }

    /// Signs for an account of the story; for any other account `None`.
    pub fn sign<T: Signable>(&self, body: T) -> Option<Signed<T>> {
        let people = [story::data_owner, story::program_owner, story::requester];
        let keys = people.iter().map(|key| key()).chain((0..4).map(story::node_key));
        let key = keys.into_iter().find(|key| key.id() == body.signer())?;
        Some(key.sign(&self.0.network, body))
    }

    /// Signed transactions of every kind that the story has, and two that it has not.
    pub fn transactions(&self) -> Vec<Signed<Transaction>> {
        let told = self.0.steps.iter().flat_map(|(_, transactions)| transactions);
        let told = told.map(|bytes| Signed::from_bytes(bytes, Transaction::BYTES_MAX).expect("the story's own"));
        let account = story::requester().id();
        let extra = [Action::TopUp { amount: 10 }, Action::Transfer { to: story::data_owner().id(), amount: 1 }];
        let extra =
            extra.map(|action| self.sign(Transaction { account, nonce: 1, action }).expect("one of the story's"));
        told.chain(extra).collect()
    }
}

/// What a fuzzer's bytes stand for: after a zero, themselves; after any other number, one of `values` with changes.
pub fn input<'a>(values: &[Vec<u8>], bytes: &'a [u8]) -> Cow<'a, [u8]> {
    match bytes.split_first() {
        None => Cow::Borrowed(bytes),
        Some((0, rest)) => Cow::Borrowed(rest),
        Some((number, changes)) => Cow::Owned(changed(&values[usize::from(number - 1) % values.len()], changes)),
    }
}

/// Applies changes of four bytes each: what to do, where (two bytes), with what.
pub fn changed(value: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    for change in changes.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[1], change[2]])) % (value.len() + 1);
        let count = usize::from(change[3]).min(value.len() - at);
        match change[0] % 6 {
            0 => value.insert(at, change[3]),
            1 => drop(value.drain(at..at + count.min(32))),
            2 => {
                let again = value[at..at + count].to_vec();
                value.splice(at..at, again);
            }
            3 => value.truncate(if change[3] == 0 { at } else { value.len() }),
            kind => {
                if let Some(byte) = value.get_mut(at) {
                    *byte = if kind == 4 { change[3] } else { byte.wrapping_add(change[3]) };
                }
            }
        }
        if value.len() > 1 << 20 {
            break; // doubled again and again
        }
    }
    value
}

/// Splits a fuzzer's bytes in two: the first byte says where, in 256ths.
pub fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.split_first() {
        None => (bytes, bytes),
        Some((part, rest)) => rest.split_at(rest.len() * usize::from(*part) / 256),
    }
}

/// Decodes `T`; what decodes must encode to the same bytes.
pub fn check_canonical<T: Canonical>(bytes: &[u8]) -> Option<T> {
    let value = T::from_bytes(bytes, 1 << 20).ok()?;
    assert_eq!(value.to_bytes(), bytes, "two encodings of one value");
    Some(value)
}
