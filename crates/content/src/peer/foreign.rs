//! What other peers have us remember about them: records of what they provide, and their addresses. Both cost them nothing,
//! so both are bounded, for each and for all strangers together, and records are forgotten when they expire. No I/O; time is
//! an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    kad::{self, ProviderRecord, RecordKey, store::MemoryStore},
    multiaddr::Protocol,
};

/// Records that others may store with us.
pub(super) const RECORDS_MAX: usize = 48 << 10;
/// Those of all strangers together: the rest is for peers that we stay connected to.
const STRANGERS_RECORDS_MAX: usize = RECORDS_MAX / 2;
/// Those of one stranger.
const RECORDS_PER_STRANGER: usize = 4 << 10;
/// Longest key: a multihash.
const KEY_BYTES_MAX: usize = 80;
/// Addresses remembered of a peer.
const ADDRESSES_MAX: usize = 8;
/// Longest address: a relayed one with two peer ids is below it.
const ADDRESS_BYTES_MAX: usize = 256;

/// Which records are stored for whom, and until when.
#[derive(Default)]
pub(super) struct Records {
    by_peer: HashMap<PeerId, Kept>,
    count: usize,
    strangers_count: usize,
}

struct Kept {
    stranger: bool,
    until: HashMap<RecordKey, Instant>,
}

impl Records {
    /// Takes a record of a peer that provides something, cut to what is worth keeping; `None` if there is no room for it.
    pub(super) fn admit(
        &mut self,
        mut record: ProviderRecord,
        is_known: bool,
        ttl: Duration,
        now: Instant,
    ) -> Option<ProviderRecord> {
        if record.key.as_ref().len() > KEY_BYTES_MAX {
            return None;
        }
        let (count, strangers_count) = (self.count, self.strangers_count);
        let kept =
            self.by_peer.entry(record.provider).or_insert_with(|| Kept { stranger: !is_known, until: HashMap::new() });
        let is_new = !kept.until.contains_key(&record.key);
        let full = count >= RECORDS_MAX
            || (kept.stranger
                && (strangers_count >= STRANGERS_RECORDS_MAX || kept.until.len() >= RECORDS_PER_STRANGER));
        if is_new && full {
            if kept.until.is_empty() {
                self.by_peer.remove(&record.provider);
            }
            return None;
        }
        kept.until.insert(record.key.clone(), now + ttl);
        self.count += usize::from(is_new);
        self.strangers_count += usize::from(is_new && kept.stranger);
        record.addresses = worth_keeping(record.addresses);
        Some(record)
    }

    /// The records that have expired; they are forgotten here, and to be removed from the table.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<(RecordKey, PeerId)> {
        let mut expired = Vec::new();
        for (peer, kept) in &mut self.by_peer {
            let before = kept.until.len();
            kept.until.retain(|key, until| {
                let holds = now < *until;
                if !holds {
                    expired.push((key.clone(), *peer));
                }
                holds
            });
            let gone = before - kept.until.len();
            self.count -= gone;
            self.strangers_count -= if kept.stranger { gone } else { 0 };
        }
        self.by_peer.retain(|_, kept| !kept.until.is_empty());
        expired
    }
}

/// Notes where a peer says it listens. It may say something else every second: the oldest addresses give way, but for the
/// one we were told to dial it at.
pub(super) fn learn_addresses(
    table: &mut kad::Behaviour<MemoryStore>,
    peer: &PeerId,
    told: Vec<Multiaddr>,
    configured: Option<&Multiaddr>,
) {
    for address in worth_keeping(told) {
        table.add_address(peer, address);
    }
    for address in too_many(&addresses_of(table, peer), configured) {
        table.remove_address(peer, &address);
    }
}

fn worth_keeping(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    addresses.into_iter().filter(|address| address.len() <= ADDRESS_BYTES_MAX).take(ADDRESSES_MAX).collect()
}

/// The addresses of a peer in the table, oldest first.
fn addresses_of(table: &mut kad::Behaviour<MemoryStore>, peer: &PeerId) -> Vec<Multiaddr> {
    let key = kad::KBucketKey::from(*peer);
    let bucket = table.kbucket(*peer);
    let entry = bucket.iter().flat_map(|bucket| bucket.iter()).find(|entry| *entry.node.key == key);
    entry.map(|entry| entry.node.value.iter().cloned().collect()).unwrap_or_default()
}

fn too_many(addresses: &[Multiaddr], configured: Option<&Multiaddr>) -> Vec<Multiaddr> {
    let bare = |address: &Multiaddr| -> Multiaddr {
        address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
    };
    let configured = configured.map(bare);
    let count = addresses.len().saturating_sub(ADDRESSES_MAX);
    addresses.iter().filter(|address| Some(bare(address)) != configured).take(count).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(100);

    fn record(provider: PeerId, number: usize) -> ProviderRecord {
        ProviderRecord::new(RecordKey::new(&number.to_be_bytes()), provider, Vec::new())
    }

    fn address(number: usize) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{}", 1 + number % 60_000).parse().unwrap()
    }

    #[test]
    fn one_stranger_gets_its_share_and_no_more() {
        let (mut records, now) = (Records::default(), Instant::now());
        let [greedy, modest] = [PeerId::random(), PeerId::random()];
        let taken = (0..10_000).filter(|number| records.admit(record(greedy, *number), false, TTL, now).is_some());
        assert_eq!(taken.count(), RECORDS_PER_STRANGER);
        assert!(records.admit(record(greedy, 0), false, TTL, now).is_some(), "the same again costs nothing");
        assert!(records.admit(record(modest, 0), false, TTL, now).is_some());
        assert_eq!(records.count, RECORDS_PER_STRANGER + 1);
    }

    #[test]
    fn made_up_strangers_leave_room_for_known_peers_and_for_later() {
        let (mut records, now) = (Records::default(), Instant::now());
        for _ in 0..40 {
            let stranger = PeerId::random();
            (0..1000).for_each(|number| drop(records.admit(record(stranger, number), false, TTL, now)));
        }
        assert_eq!(records.count, STRANGERS_RECORDS_MAX);
        assert!(records.by_peer.len() <= 25, "whoever has no record is not remembered");
        assert!(records.admit(record(PeerId::random(), 1), false, TTL, now).is_none());
        let known = PeerId::random();
        assert!((0..10_000).all(|number| records.admit(record(known, number), true, TTL, now).is_some()));

        assert!(records.expired(now).is_empty());
        assert_eq!(records.expired(now + TTL).len(), STRANGERS_RECORDS_MAX + 10_000);
        assert!(records.by_peer.is_empty());
        assert_eq!((records.count, records.strangers_count), (0, 0));
        assert!(records.admit(record(PeerId::random(), 1), false, TTL, now + TTL).is_some());
    }

    #[test]
    fn a_record_is_cut_to_a_few_addresses_of_bearable_length() {
        let (mut records, provider) = (Records::default(), PeerId::random());
        let long: Multiaddr = format!("/dns4/{}/tcp/1", "x".repeat(300)).parse().unwrap();
        let addresses = [vec![long], (0..500).map(address).collect()].concat();
        let told = ProviderRecord::new(RecordKey::new(&[1; 34]), provider, addresses);
        let kept = records.admit(told, false, TTL, Instant::now()).unwrap();
        assert_eq!(kept.addresses, (0..ADDRESSES_MAX).map(address).collect::<Vec<_>>());
        let odd = ProviderRecord::new(RecordKey::new(&[1; KEY_BYTES_MAX + 1]), provider, Vec::new());
        assert!(records.admit(odd, true, TTL, Instant::now()).is_none());
    }

    #[test]
    fn a_peer_that_tells_other_addresses_all_the_time_is_remembered_by_the_last_few() {
        let local = PeerId::random();
        let mut table = kad::Behaviour::new(local, MemoryStore::new(local));
        let peer = PeerId::random();
        let configured = address(0);
        table.add_address(&peer, configured.clone());
        for round in 0..100 {
            let told = (0..100).map(|number| address(1 + 100 * round + number)).collect();
            learn_addresses(&mut table, &peer, told, Some(&configured));
        }
        let kept = addresses_of(&mut table, &peer);
        assert_eq!(kept.len(), ADDRESSES_MAX);
        let with_peer = |number| address(number).with(Protocol::P2p(peer));
        assert_eq!(kept[0], with_peer(0), "where we were told to dial it");
        assert_eq!(kept[ADDRESSES_MAX - 1], with_peer(1 + 9_900 + ADDRESSES_MAX - 1));
    }
}
