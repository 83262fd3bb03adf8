//! What one peer wants from us: a bounded queue, answered about one mebibyte at a time.

use std::collections::{BTreeMap, HashMap, hash_map};

use bytes::Bytes;
use model::Digest;

use super::message::{Entry, Message, Payload, Presence, Wanted};
use crate::{Store, block::sha2_256_of};

/// Most entries waiting for one peer. Those above are not answered; the peer asks again.
pub(crate) const QUEUE_MAX: usize = 4096;
/// A reply is sent once it has about this many bytes of blocks.
const REPLY_BYTES: u64 = 1 << 20;
/// Most presences of a reply: with their CIDs well below a mebibyte.
const REPLY_PRESENCES: usize = 4096;
/// A block this small is sent even when only its presence was asked for.
const SMALL_BLOCK_BYTES: u64 = 1024;
/// What a presence counts for in a reply.
const PRESENCE_BYTES: u64 = 64;

/// The wants of one peer. Whatever it says costs a logarithm at most: a peer that wants and cancels by turns is as cheap as
/// any other.
#[derive(Default)]
pub(crate) struct Queue {
    /// In the order in which they came.
    waiting: BTreeMap<u64, Entry>,
    /// Where each of them is, so that repeating a want costs the peer its place and us nothing.
    places: HashMap<Key, u64>,
    next_place: u64,
}

/// A CID, and whether the block itself is wanted.
type Key = (Bytes, bool);

impl Queue {
    /// Takes in a wantlist. Returns how many entries were dropped because the queue is full.
    pub(crate) fn take(&mut self, full: bool, entries: Vec<Entry>) -> usize {
        if full {
            self.waiting.clear();
            self.places.clear();
        }
        let mut dropped = 0;
        for entry in entries {
            if entry.cancel {
                self.cancel(&entry.cid);
            } else if self.waiting.len() >= QUEUE_MAX {
                dropped += 1;
            } else if let hash_map::Entry::Vacant(place) = self.places.entry(key(&entry)) {
                place.insert(self.next_place);
                self.waiting.insert(self.next_place, entry);
                self.next_place += 1;
            }
        }
        dropped
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next entries to answer: as many as make about one reply, judged by `bytes_of`.
    pub(crate) fn next(&mut self, bytes_of: &dyn Fn(&Digest) -> Option<u64>) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut bytes = 0;
        while bytes < REPLY_BYTES && answers.len() < REPLY_PRESENCES {
            let Some((_, entry)) = self.waiting.pop_first() else { break };
            self.places.remove(&key(&entry));
            let Some(answer) = Answer::to(entry, bytes_of) else { continue };
            bytes += answer.bytes();
            answers.push(answer);
        }
        answers
    }

    fn cancel(&mut self, cid: &Bytes) {
        for block in [true, false] {
            if let Some(place) = self.places.remove(&(cid.clone(), block)) {
                self.waiting.remove(&place);
            }
        }
    }
}

fn key(entry: &Entry) -> Key {
    (entry.cid.clone(), entry.wanted == Wanted::Block)
}

/// How one entry is answered.
pub(crate) enum Answer {
    /// With the block, or with its absence if it cannot be read after all.
    Block { cid: Bytes, digest: Digest, bytes: u64, send_dont_have: bool },
    /// With its presence or absence.
    Presence(Presence),
}

impl Answer {
    fn to(entry: Entry, bytes_of: &dyn Fn(&Digest) -> Option<u64>) -> Option<Self> {
        let found = sha2_256_of(&entry.cid).and_then(|digest| bytes_of(&digest).map(|bytes| (digest, bytes)));
        match found {
            Some((digest, bytes)) if entry.wanted == Wanted::Block || bytes <= SMALL_BLOCK_BYTES => {
                Some(Self::Block { cid: entry.cid, digest, bytes, send_dont_have: entry.send_dont_have })
            }
            Some(_) => Some(Self::Presence(Presence { cid: entry.cid, have: true })),
            None if entry.send_dont_have => Some(Self::Presence(Presence { cid: entry.cid, have: false })),
            None => None,
        }
    }

    /// About how much memory the answer takes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Block { bytes, .. } => *bytes + PRESENCE_BYTES,
            Self::Presence(_) => PRESENCE_BYTES,
        }
    }
}

/// Reads the blocks and makes the reply. Blocks: call it on a blocking thread.
pub(crate) fn reply(store: &Store, answers: Vec<Answer>) -> Message {
    let mut message = Message::default();
    for answer in answers {
        match answer {
            Answer::Presence(presence) => message.presences.push(presence),
            Answer::Block { cid, digest, send_dont_have, .. } => match read(store, &digest) {
                Some(data) => message.blocks.push(Payload::answering(&cid, data)),
                None if send_dont_have => message.presences.push(Presence { cid, have: false }),
                None => {}
            },
        }
    }
    message
}

/// A block that cannot be read, or has changed on disk, is as good as absent for a peer.
fn read(store: &Store, digest: &Digest) -> Option<Bytes> {
    let hash = cid::multihash::Multihash::wrap(crate::block::SHA2_256, &digest.0).ok()?;
    let cid = model::ContentId(cid::Cid::new_v1(crate::block::RAW, hash));
    Some(store.get(&cid).ok()??.into_data())
}

#[cfg(test)]
mod tests {
    use model::ContentId;

    use super::{super::message::WANTS_MAX, *};

    fn want(number: usize, wanted: Wanted) -> Entry {
        let cid = ContentId::of_raw(&number.to_be_bytes()).0.to_bytes().into();
        Entry { cid, cancel: false, wanted, send_dont_have: true }
    }

    #[test]
    fn a_flood_of_wants_is_cut_off() {
        let mut queue = Queue::default();
        let flood = (0..QUEUE_MAX + 100).map(|number| want(number, Wanted::Block)).collect();
        assert_eq!(queue.take(false, flood), 100);
        assert_eq!(queue.waiting.len(), QUEUE_MAX);
    }

    #[test]
    fn a_repeated_want_is_answered_once() {
        let mut queue = Queue::default();
        queue.take(false, vec![want(1, Wanted::Block); 50]);
        assert_eq!(queue.next(&|_| Some(5)).len(), 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_cancelled_want_is_not_answered() {
        let mut queue = Queue::default();
        queue.take(false, vec![want(1, Wanted::Block), want(2, Wanted::Block)]);
        queue.take(false, vec![Entry { cancel: true, ..want(1, Wanted::Block) }]);
        assert_eq!(queue.next(&|_| Some(5)).len(), 1);
    }

    /// Searching the queue for each cancel would take thousands of millions of steps here.
    #[test]
    fn wanting_and_cancelling_by_turns_costs_no_more_than_wanting() {
        let mut queue = Queue::default();
        queue.take(false, (0..QUEUE_MAX - 1).map(|number| want(number, Wanted::Block)).collect());
        let by_turns = [want(QUEUE_MAX, Wanted::Block), Entry { cancel: true, ..want(QUEUE_MAX, Wanted::Block) }];
        let begun = std::time::Instant::now();
        for _ in 0..100 {
            queue.take(false, by_turns.iter().cloned().cycle().take(WANTS_MAX).collect());
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!((queue.waiting.len(), queue.places.len()), (QUEUE_MAX - 1, QUEUE_MAX - 1));
    }

    #[test]
    fn wants_are_answered_in_the_order_in_which_they_came() {
        let mut queue = Queue::default();
        queue.take(false, (0..20).rev().map(|number| want(number, Wanted::Have)).collect());
        queue.take(false, vec![Entry { cancel: true, ..want(7, Wanted::Have) }, want(19, Wanted::Have)]);
        let expected: Vec<Bytes> =
            (0..20).rev().filter(|number| *number != 7).map(|number| want(number, Wanted::Have).cid).collect();
        let answered: Vec<Bytes> = queue
            .next(&|_| None)
            .into_iter()
            .map(|answer| match answer {
                Answer::Presence(Presence { cid, .. }) | Answer::Block { cid, .. } => cid,
            })
            .collect();
        assert_eq!(answered, expected);
    }

    #[test]
    fn a_reply_holds_about_a_mebibyte() {
        let mut queue = Queue::default();
        queue.take(false, (0..10).map(|number| want(number, Wanted::Block)).collect());
        assert_eq!(queue.next(&|_| Some(600 << 10)).len(), 2);
        assert_eq!(queue.waiting.len(), 8);
    }

    #[test]
    fn presence_is_answered_with_presence_and_small_blocks_with_themselves() {
        let mut queue = Queue::default();
        queue.take(false, vec![want(1, Wanted::Have)]);
        assert!(matches!(queue.next(&|_| Some(1 << 20))[..], [Answer::Presence(Presence { have: true, .. })]));
        queue.take(false, vec![want(1, Wanted::Have)]);
        assert!(matches!(queue.next(&|_| Some(1024))[..], [Answer::Block { .. }]));
        queue.take(false, vec![want(1, Wanted::Have)]);
        assert!(matches!(queue.next(&|_| None)[..], [Answer::Presence(Presence { have: false, .. })]));
        queue.take(false, vec![Entry { send_dont_have: false, ..want(1, Wanted::Block) }]);
        assert!(queue.next(&|_| None).is_empty());
    }
}
