//! What finalized blocks leave on this node's disk: headers, digests of transactions, bodies of state values, records.
//!
//! A folder of numbered files ("parts"), filled one after the other. One entry per block, written and synced before the
//! engine makes the state of that block durable. So there is never a state on disk that names a body which is not. Appending
//! a block again, as the engine does when it replays after a crash, changes nothing.
//!
//! A torn last entry is cut off at start; the engine then replays that block. An entry that is not whole although a whole one
//! follows it was not torn but damaged later: then everything is left as it is and refused.
//!
//! Headers, digests and records are kept for ever. Bodies that the state no longer names are left out when a part is written
//! anew ([`Journal::compact`]): the new file takes the place of the old one at once, or, if the node is killed before, never.
//!
//! Positions of everything are kept in memory (about 50 bytes each), and so are the inner nodes of the log
//! (64 bytes a record).

mod entry;
mod part;

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use finality::Header;
use model::{
    Blob, Digest,
    api::{CertifiedHead, Extension, IndexedRecord, ProvenExtension, ProvenRecords},
    log::Tree,
};

pub(crate) use self::entry::Entry;
use self::{
    entry::{FRAME_BYTES, Layout, frame, holds_later_frame},
    part::Part,
};
use crate::handle::{FinalizedBlock, QueryError};

/// A part is written anew if at least one in so many of its bytes goes away.
const WORTHWHILE: u64 = 4;

/// This node's disk is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system refused.
    #[error("the ledger's journal cannot be {action}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Bytes are not what was written, although they were synced.
    #[error(
        "{path} is damaged at byte {offset}: what was synced there is not there any more, which no power cut does. Nothing \
         was changed: check this node's disk, then restore the node's folder from a copy as a whole"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A file of the journal is gone.
    #[error(
        "{path} is missing, although a later part of the ledger's journal is there; restore the node's folder as a whole"
    )]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// The engine is ahead of the journal.
    #[error("the journal ends at height {height}, the engine goes on at {next}; restore the node's folder as a whole")]
    Behind {
        /// Last height in the journal.
        height: u64,
        /// What was to be appended.
        next: u64,
    },
    /// Another block stands at this height.
    #[error("the journal holds another block at height {height}; the node's folder was put together from two networks")]
    Conflict {
        /// Where.
        height: u64,
    },
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    move |cause| JournalError::Io { action, cause }
}

/// A stretch of a part.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    part: u32,
    offset: u32,
    length: u32,
}

struct Block {
    digest: Digest,
    header: Place,
    transactions: Place,
    /// Index of its first record.
    records: u64,
}

#[derive(Default)]
struct PartIndex {
    bytes: u64,
    /// What bodies take of that, whether they still count or not.
    body_bytes: u64,
}

struct Index {
    folder: PathBuf,
    parts: Vec<PartIndex>,
    /// The last part. The others are opened when they are read: there may be more of them than files may be open.
    last: Arc<Part>,
    /// By height, from 1.
    blocks: Vec<Block>,
    transactions: HashMap<Digest, u64>,
    bodies: HashMap<Digest, Place>,
    records: Vec<Place>,
    tree: Tree,
}

/// The journal. Reading goes on while a block is appended or a part is replaced.
pub(crate) struct Journal {
    /// A part that has so many bytes is followed by another.
    part_bytes: u64,
    index: Mutex<Index>,
}

impl Journal {
    /// Opens or creates the journal in `folder` and reads it once.
    pub(crate) fn open(folder: &Path, part_bytes: u32) -> Result<Self, JournalError> {
        fs::create_dir_all(folder).map_err(failed("opened"))?;
        let count = parts_in(folder)?.max(1);
        let last = Arc::new(Part::create(Part::path_of(folder, count - 1))?);
        last.sync_name()?;
        let mut index = Index::new(folder, last);
        for number in 0..count {
            Part::clean(&Part::path_of(folder, number))?;
            index.parts.push(PartIndex::default());
            index.scan(number, number + 1 == count)?;
        }
        Ok(Self { part_bytes: part_bytes.into(), index: Mutex::new(index) })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing panics while the lock is held with the index half changed.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Height of the last block; 0 if there is none.
    pub(crate) fn height(&self) -> u64 {
        self.index().blocks.len() as u64
    }

    /// Records in the log.
    pub(crate) fn log_size(&self) -> u64 {
        self.index().tree.size()
    }

    /// Height of the block that holds a transaction.
    pub(crate) fn height_of(&self, transaction: &Digest) -> Option<u64> {
        self.index().transactions.get(transaction).copied()
    }

    /// Appends a block and syncs it; does nothing if it is there already.
    pub(crate) fn append(&self, entry: &Entry<'_>) -> Result<(), JournalError> {
        let (height, digest) = (entry.header.height, entry.header.digest());
        let (part, end) = {
            let index = self.index();
            let last = index.blocks.len() as u64;
            if height <= last {
                let same = height > 0 && index.blocks[height as usize - 1].digest == digest;
                return if same { Ok(()) } else { Err(JournalError::Conflict { height }) };
            }
            if height != last + 1 {
                return Err(JournalError::Behind { height: last, next: height });
            }
            (index.last.clone(), index.end())
        };
        // Only one block at a time is finalized, so nobody else appends meanwhile.
        let (part, end) = if end < self.part_bytes { (part, end) } else { (self.next_part()?, 0) };
        let payload = entry.payload();
        part.write(&frame(&payload), end)?;
        self.index().append(&payload).ok_or_else(|| part.damaged(end))
    }

    fn next_part(&self) -> Result<Arc<Part>, JournalError> {
        let mut index = self.index();
        let part = Arc::new(Part::create(Part::path_of(&index.folder, index.parts.len()))?);
        part.sync_name()?;
        index.parts.push(PartIndex::default());
        index.last = part.clone();
        Ok(part)
    }

    /// How many parts are full; they are numbered from 0.
    pub(crate) fn full_parts(&self) -> usize {
        self.index().parts.len() - 1
    }

    /// Those of the first `full` parts that are much smaller without the bodies that are not `live`.
    pub(crate) fn worn(&self, full: usize, live: &HashSet<Digest>) -> Vec<usize> {
        let index = self.index();
        let mut kept = vec![0; index.parts.len()];
        for (_, body) in index.bodies.iter().filter(|(digest, _)| live.contains(*digest)) {
            kept[body.part as usize] += u64::from(body.length);
        }
        let parts = index.parts.iter().zip(kept).take(full).enumerate();
        parts
            .filter(|(_, (part, kept))| (part.body_bytes - kept) * WORTHWHILE >= part.bytes.max(1))
            .map(|(number, _)| number)
            .collect()
    }

    /// Writes a full part anew without the bodies that are not `live`. Returns how many bytes that freed.
    ///
    /// Nobody may need the other bodies any more, not even to replay blocks after a crash, nor any body that stands again in
    /// a later part for its copy here.
    pub(crate) fn compact(&self, number: usize, live: &HashSet<Digest>) -> Result<u64, JournalError> {
        let part = self.index().part(number)?;
        let mut payloads = Vec::new();
        let (before, broken) = part.scan(|payload, offset| {
            payloads.push((offset, payload.to_vec()));
            Ok(())
        })?;
        if broken.is_some() {
            return Err(part.damaged(before));
        }
        let kept = payloads.into_iter().map(|(offset, payload)| {
            let layout = Layout::of(&payload).ok_or_else(|| part.damaged(offset))?;
            let index = self.index();
            Ok(layout.keep(&payload, |body| {
                let digest = Digest::of(&payload[body.clone()]);
                live.contains(&digest) && index.bodies.get(&digest) == Some(&place(number, offset, body))
            }))
        });
        let kept = kept.collect::<Result<Vec<_>, JournalError>>()?;
        let after = kept.iter().map(|(payload, _)| (FRAME_BYTES + payload.len()) as u64).sum::<u64>();
        // Nobody may look up a place in the old file and read it from the new one.
        let unfinished = Part::prepare(&part.path, kept.iter().map(|(payload, _)| payload.as_slice()))?;
        let mut index = self.index();
        unfinished.put()?;
        index.replace(number, &kept);
        Ok(before - after)
    }

    /// The header at `height`.
    pub(crate) fn header(&self, height: u64) -> Result<Option<Header>, JournalError> {
        let found = {
            let index = self.index();
            let block = height.checked_sub(1).and_then(|at| index.blocks.get(at as usize));
            block.map(|block| index.found(block.header)).transpose()?
        };
        let Some(found) = found else { return Ok(None) };
        Header::from_bytes(&found.read()?).map(Some).map_err(|_| found.damaged())
    }

    /// The block at `height`.
    pub(crate) fn block(&self, height: u64) -> Result<Option<FinalizedBlock>, JournalError> {
        let Some(header) = self.header(height)? else { return Ok(None) };
        let (transactions, first, records) = {
            let index = self.index();
            let at = height as usize - 1;
            let first = index.blocks[at].records;
            let next = index.blocks.get(at + 1).map_or(index.records.len() as u64, |block| block.records);
            let records = &index.records[first as usize..next as usize];
            let records = records.iter().map(|record| index.found(*record)).collect::<Result<Vec<_>, _>>()?;
            (index.found(index.blocks[at].transactions)?, first, records)
        };
        let digests = transactions.read()?;
        let records = records.into_iter().map(|record| record.read()).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(FinalizedBlock {
            height,
            time_ms: header.time_ms,
            digest: header.digest(),
            seed: header.seed(),
            transactions: digests.chunks_exact(Digest::LEN).filter_map(Digest::from_slice).collect(),
            records: (first..).zip(records).collect(),
        }))
    }

    /// The body with this digest.
    pub(crate) fn body(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        let found = {
            let index = self.index();
            index.bodies.get(digest).map(|body| index.found(*body)).transpose()?
        };
        let Some(found) = found else { return Ok(None) };
        let body = found.read()?;
        // The machine takes what it is given for the state. A disk that changed since the start must not decide a vote.
        if Digest::of(&body) == *digest { Ok(Some(body)) } else { Err(found.damaged()) }
    }

    /// Bytes of the body with this digest.
    pub(crate) fn body_bytes(&self, digest: &Digest) -> Option<u32> {
        self.index().bodies.get(digest).map(|body| body.length)
    }

    /// The record with this index.
    pub(crate) fn record(&self, index: u64) -> Result<Option<Vec<u8>>, JournalError> {
        let found = {
            let known = self.index();
            known.records.get(index as usize).map(|record| known.found(*record)).transpose()?
        };
        found.map(|found| found.read()).transpose()
    }

    /// Records with one proof for the log as it was at `log_size`.
    pub(crate) fn prove(
        &self,
        head: CertifiedHead,
        log_size: u64,
        indices: &[u64],
    ) -> Result<ProvenRecords, QueryError> {
        let digests = match indices {
            [] => Vec::new(),
            [.., last] => self.index().tree.prove_many(log_size, indices).ok_or(QueryError::NoRecord(*last))?,
        };
        let records = indices
            .iter()
            .map(|index| {
                let record = self.record(*index).map_err(QueryError::Storage)?.ok_or(QueryError::NoRecord(*index))?;
                Ok(IndexedRecord { index: *index, record: Blob(record) })
            })
            .collect::<Result<_, QueryError>>()?;
        Ok(ProvenRecords { head, records, digests })
    }

    /// Shows that the log at `size` extends the one at `old_size`.
    pub(crate) fn prove_extension(
        &self,
        head: CertifiedHead,
        old_size: u64,
        size: u64,
    ) -> Result<ProvenExtension, QueryError> {
        let digests = self.index().tree.prove_consistency(old_size, size);
        Ok(ProvenExtension { head, digests: digests.ok_or(QueryError::Shorter { old_size, size })? })
    }

    /// Shows that the log of `to` records extends the log of `from` records.
    pub(crate) fn prove_growth(&self, from: u64, to: u64) -> Result<Extension, QueryError> {
        let digests = self.index().tree.prove_consistency(from, to);
        Ok(Extension { from, to, digests: digests.ok_or(QueryError::Shorter { old_size: to, size: self.log_size() })? })
    }
}

/// How many parts there are; an error if one before the last is gone.
fn parts_in(folder: &Path) -> Result<usize, JournalError> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(folder).map_err(failed("opened"))? {
        let name = file.map_err(failed("opened"))?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<usize>().ok()));
    }
    numbers.sort_unstable();
    match numbers.iter().enumerate().find(|(expected, number)| expected != *number) {
        Some((expected, _)) => Err(JournalError::Missing { path: Part::path_of(folder, expected) }),
        None => Ok(numbers.len()),
    }
}

/// Something to be read from a file, which another may replace meanwhile.
struct Found {
    part: Arc<Part>,
    place: Place,
}

impl Found {
    fn read(&self) -> Result<Vec<u8>, JournalError> {
        self.part.read(self.place.offset, self.place.length)
    }

    fn damaged(&self) -> JournalError {
        self.part.damaged(self.place.offset.into())
    }
}

/// Where a range of a payload stands in a part; parts are far smaller than 4 GiB.
fn place(part: usize, payload_at: u64, range: &Range<usize>) -> Place {
    Place {
        part: part as u32,
        offset: (payload_at + range.start as u64) as u32,
        length: (range.end - range.start) as u32,
    }
}

impl Index {
    fn new(folder: &Path, last: Arc<Part>) -> Self {
        Self {
            folder: folder.to_owned(),
            parts: Vec::new(),
            last,
            blocks: Vec::new(),
            transactions: HashMap::new(),
            bodies: HashMap::new(),
            records: Vec::new(),
            tree: Tree::default(),
        }
    }

    /// Where the last part ends.
    fn end(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.bytes)
    }

    fn part(&self, number: usize) -> Result<Arc<Part>, JournalError> {
        if number + 1 == self.parts.len() {
            return Ok(self.last.clone());
        }
        Part::open(Part::path_of(&self.folder, number)).map(Arc::new)
    }

    fn found(&self, place: Place) -> Result<Found, JournalError> {
        Ok(Found { part: self.part(place.part as usize)?, place })
    }

    /// Reads a part. Only the last may be torn: every entry is synced before the next is written.
    fn scan(&mut self, number: usize, is_last: bool) -> Result<(), JournalError> {
        let part =
            if is_last { self.last.clone() } else { Part::open(Part::path_of(&self.folder, number)).map(Arc::new)? };
        let (end, broken) = part.scan(|payload, offset| {
            let added = self.add(number, payload, offset);
            added.ok_or_else(|| part.damaged(offset - FRAME_BYTES as u64))
        })?;
        let Some(rest) = broken else { return Ok(()) };
        let torn = is_last && !holds_later_frame(&rest[1..], self.blocks.len() as u64);
        if torn { part.cut(end) } else { Err(part.damaged(end)) }
    }

    /// Indexes a payload that was written to the last part.
    fn append(&mut self, payload: &[u8]) -> Option<()> {
        let offset = self.end() + FRAME_BYTES as u64;
        self.add(self.parts.len() - 1, payload, offset)
    }

    /// Indexes the payload that stands at `offset` of a part; `None` if it is not laid out as the next one.
    fn add(&mut self, part: usize, payload: &[u8], offset: u64) -> Option<()> {
        let layout = Layout::of(payload).filter(|layout| layout.header.height == self.blocks.len() as u64 + 1)?;
        let place = |range: &Range<usize>| place(part, offset, range);
        let ids = payload[layout.transactions.clone()].chunks_exact(Digest::LEN).filter_map(Digest::from_slice);
        self.transactions.extend(ids.map(|id| (id, layout.header.height)));
        self.blocks.push(Block {
            digest: layout.header.digest(),
            header: place(&layout.header_at),
            transactions: place(&layout.transactions),
            records: self.tree.size(),
        });
        self.measure(part, payload, &layout);
        let bodies = layout.bodies.iter().map(|body| (Digest::of(&payload[body.clone()]), place(body)));
        self.bodies.extend(bodies);
        for record in &layout.records {
            self.tree.append(&Digest::of(&payload[record.clone()]));
            self.records.push(place(record));
        }
        Some(())
    }

    fn measure(&mut self, number: usize, payload: &[u8], layout: &Layout) {
        let part = &mut self.parts[number];
        part.bytes += (FRAME_BYTES + payload.len()) as u64;
        part.body_bytes += layout.bodies.iter().map(|body| body.len() as u64).sum::<u64>();
    }

    /// Points to another file with the same blocks and fewer bodies in the place of a part.
    fn replace(&mut self, number: usize, payloads: &[(Vec<u8>, Layout)]) {
        self.parts[number] = PartIndex::default();
        self.bodies.retain(|_, body| body.part != number as u32);
        let mut offset = 0;
        for (payload, layout) in payloads {
            offset += FRAME_BYTES as u64;
            let place = |range: &Range<usize>| place(number, offset, range);
            self.measure(number, payload, layout);
            let block = &mut self.blocks[layout.header.height as usize - 1];
            (block.header, block.transactions) = (place(&layout.header_at), place(&layout.transactions));
            for (at, record) in (block.records as usize..).zip(&layout.records) {
                self.records[at] = place(record);
            }
            for body in &layout.bodies {
                // A copy in a later part stays the one that counts.
                self.bodies.entry(Digest::of(&payload[body.clone()])).or_insert_with(|| place(body));
            }
            offset += payload.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Bytes48, NodeId, Round};

    use super::*;

    fn header(height: u64, log_size: u64) -> Header {
        Header {
            round: Round { epoch: 0, view: height },
            leader: NodeId::from_slice(&[0; 32]).unwrap(),
            parent_view: height - 1,
            parent: Digest::of(b"parent"),
            height,
            time_ms: height * 10,
            state_root: Digest::of(b"state"),
            state_ops: finality::StateOps { root: Digest::of(b"ops"), start: 0, end: height },
            transactions: Digest::of(b""),
            log_size,
            log_root: Digest::of(b"log"),
            parent_seed: (height > 1).then_some(Bytes48([1; 48])),
            payload: None,
        }
    }

    fn append(journal: &Journal, height: u64) -> Result<(), JournalError> {
        let text = |what: &str| format!("{what} {height}").into_bytes();
        journal.append(&Entry {
            header: &header(height, height),
            transactions: &[Digest::of(&text("transaction"))],
            bodies: &[text("body"), Vec::new()],
            records: &[text("record")],
        })
    }

    #[test]
    fn blocks_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let before = Journal::open(&path, u32::MAX).unwrap();
        (1..=3).for_each(|height| append(&before, height).unwrap());
        let block = before.block(2).unwrap().unwrap();
        assert_eq!(block.records, [(1, b"record 2".to_vec())]);
        assert_eq!(block.transactions, [Digest::of(b"transaction 2")]);

        let after = Journal::open(&path, u32::MAX).unwrap();
        assert_eq!((after.height(), after.log_size()), (3, 3));
        assert_eq!(after.block(2).unwrap().unwrap(), block);
        assert_eq!(after.body(&Digest::of(b"body 3")).unwrap().unwrap(), b"body 3");
        assert_eq!(after.body(&Digest::of(b"")).unwrap().unwrap(), b"");
        assert_eq!(after.height_of(&Digest::of(b"transaction 1")), Some(1));
        assert!(after.block(0).unwrap().is_none() && after.block(4).unwrap().is_none());
        append(&after, 4).unwrap();
    }

    #[test]
    fn a_block_is_appended_once_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal"), u32::MAX).unwrap();
        append(&journal, 1).unwrap();
        append(&journal, 1).unwrap();
        assert_eq!(journal.log_size(), 1);
        let other = Header { time_ms: 11, ..header(1, 1) };
        let entry = Entry { header: &other, transactions: &[], bodies: &[], records: &[] };
        assert!(matches!(journal.append(&entry), Err(JournalError::Conflict { height: 1 })));
        assert!(matches!(append(&journal, 3), Err(JournalError::Behind { height: 1, next: 3 })));
    }

    #[test]
    fn a_torn_end_is_cut_off_and_damage_before_it_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let file = Part::path_of(&path, 0);
        let journal = Journal::open(&path, u32::MAX).unwrap();
        append(&journal, 1).unwrap();
        append(&journal, 2).unwrap();
        let one = fs::metadata(&file).unwrap().len() as usize;
        append(&journal, 3).unwrap();
        let whole = fs::read(&file).unwrap();
        for length in one..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(Journal::open(&path, u32::MAX).unwrap().height(), 2, "cut at {length}");
        }
        let mut torn = whole.clone();
        *torn.last_mut().unwrap() ^= 1;
        fs::write(&file, torn).unwrap();
        assert_eq!(Journal::open(&path, u32::MAX).unwrap().height(), 2);

        // A disk that changes any bit of what was synced, lengths too, is not taken for a power cut.
        fs::write(&file, &whole).unwrap();
        for at in 0..one {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x80;
            fs::write(&file, &damaged).unwrap();
            let Err(JournalError::Damaged { path: named, offset }) = Journal::open(&path, u32::MAX) else {
                panic!("a change at byte {at} went unseen");
            };
            assert_eq!(named, file);
            assert!(offset as usize <= at, "byte {at} was changed, {offset} is reported");
            assert_eq!(fs::read(&file).unwrap(), damaged, "evidence must be left as it is");
        }
    }

    #[test]
    fn only_the_last_part_may_be_torn_and_none_may_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::open(&path, 1).unwrap();
        (1..=3).for_each(|height| append(&journal, height).unwrap());
        assert_eq!(journal.full_parts(), 2);
        let middle = Part::path_of(&path, 1);
        let whole = fs::read(&middle).unwrap();
        fs::write(&middle, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(Journal::open(&path, 1), Err(JournalError::Damaged { path, offset: 0 }) if path == middle));
        fs::remove_file(&middle).unwrap();
        assert!(matches!(Journal::open(&path, 1), Err(JournalError::Missing { path }) if path == middle));
        fs::write(&middle, whole).unwrap();
        assert_eq!(Journal::open(&path, 1).unwrap().height(), 3);
    }

    #[test]
    fn a_body_that_the_disk_changed_is_not_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::open(&path, u32::MAX).unwrap();
        append(&journal, 1).unwrap();
        let file = Part::path_of(&path, 0);
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.windows(6).position(|window| window == b"body 1").unwrap();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(matches!(journal.body(&Digest::of(b"body 1")), Err(JournalError::Damaged { .. })));
    }

    /// Blocks that leave one value each, of which the state holds the newest `LIVE`.
    const LIVE: u64 = 4;
    const PART_BYTES: u32 = 4_096;

    fn value(height: u64) -> Vec<u8> {
        format!("value {height} ").into_bytes().repeat(20)
    }

    fn append_value(journal: &Journal, height: u64) {
        let entry = Entry {
            header: &header(height, height),
            transactions: &[Digest::of(&height.to_be_bytes())],
            // The empty body stands in every part and is always live.
            bodies: &[value(height), Vec::new()],
            records: &[format!("record {height}").into_bytes()],
        };
        journal.append(&entry).unwrap();
    }

    fn live_at(height: u64) -> HashSet<Digest> {
        let newest = (height.saturating_sub(LIVE) + 1..=height).map(|height| Digest::of(&value(height)));
        newest.chain([Digest::of(b"")]).collect()
    }

    /// Everything but forgotten values is as it was.
    fn check(journal: &Journal) {
        let height = journal.height();
        for digest in live_at(height) {
            assert!(journal.body(&digest).unwrap().is_some(), "a live value is gone at height {height}");
        }
        for at in 1..=height {
            let block = journal.block(at).unwrap().unwrap();
            assert_eq!((block.height, block.digest), (at, header(at, at).digest()));
            assert_eq!(block.records, [(at - 1, format!("record {at}").into_bytes())]);
            assert_eq!(journal.height_of(&Digest::of(&at.to_be_bytes())), Some(at));
        }
    }

    fn bytes_in(folder: &Path) -> u64 {
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn values_nobody_holds_are_forgotten_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), PART_BYTES).unwrap();
        (1..=100).for_each(|height| append_value(&journal, height));
        let (before, live, full) = (bytes_in(folder.path()), live_at(100), journal.full_parts());
        assert!(full > 5);
        let freed: u64 = journal.worn(full, &live).into_iter().map(|part| journal.compact(part, &live).unwrap()).sum();
        assert_eq!(bytes_in(folder.path()), before - freed);
        assert!(freed > before / 4, "{freed} of {before} bytes");
        assert!(journal.body(&Digest::of(&value(1))).unwrap().is_none());
        assert!(journal.worn(full, &live).is_empty(), "there is nothing left to win");
        check(&journal);
        // What was forgotten may come again, and all of it is there after a restart.
        append_value(&journal, 101);
        let entry =
            Entry { header: &header(102, 101), transactions: &[], bodies: &[value(1), value(102)], records: &[] };
        journal.append(&entry).unwrap();
        let again = Journal::open(folder.path(), PART_BYTES).unwrap();
        for journal in [journal, again] {
            assert_eq!(journal.body(&Digest::of(&value(1))).unwrap().unwrap(), value(1));
            assert_eq!(journal.body(&Digest::of(&value(98))).unwrap().unwrap(), value(98));
            assert_eq!((journal.height(), journal.log_size()), (102, 101));
        }
    }

    #[test]
    fn what_is_left_of_a_payload_is_laid_out_as_it_reads() {
        let bodies = [b"held".to_vec(), b"forgotten".to_vec(), Vec::new()];
        let (header, records) = (header(1, 1), [b"record".to_vec()]);
        let entry =
            Entry { header: &header, transactions: &[Digest::of(b"transaction")], bodies: &bodies, records: &records };
        let payload = entry.payload();
        let layout = Layout::of(&payload).unwrap();
        let forgotten = layout.bodies[1].clone();
        let (left, laid_out) = layout.keep(&payload, |body| *body != forgotten);
        assert_eq!(left.len() + 4 + forgotten.len(), payload.len());
        assert_eq!(Layout::of(&left).unwrap(), laid_out);
    }

    #[test]
    fn a_damaged_part_is_not_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), PART_BYTES).unwrap();
        (1..=50).for_each(|height| append_value(&journal, height));
        let file = Part::path_of(folder.path(), 0);
        let mut damaged = fs::read(&file).unwrap();
        damaged[200] ^= 1;
        fs::write(&file, &damaged).unwrap();
        assert!(matches!(journal.compact(0, &live_at(50)), Err(JournalError::Damaged { .. })));
        assert_eq!(fs::read(&file).unwrap(), damaged);
    }

    const COMPACTED: &str = "SAMOVAR_TEST_COMPACTED";

    /// Not a test by itself: the process that [`compaction_survives_kill_9`] starts and kills.
    #[test]
    fn compacting_process() {
        let Ok(folder) = std::env::var(COMPACTED) else { return };
        let journal = Journal::open(Path::new(&folder), PART_BYTES).unwrap();
        loop {
            let height = journal.height() + 1;
            append_value(&journal, height);
            println!("\nheight {height}");
            // Worn or not: most of the time of this process is in here.
            for part in journal.full_parts().saturating_sub(3)..journal.full_parts() {
                journal.compact(part, &live_at(height)).unwrap();
            }
        }
    }

    #[test]
    fn compaction_survives_kill_9() {
        use std::io::BufRead as _;
        let folder = tempfile::tempdir().unwrap();
        let mut height = 0;
        for life in 1..=8 {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "journal::tests::compacting_process", "--nocapture", "--test-threads=1"])
                .env(COMPACTED, folder.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let lines = io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let heights = lines.filter_map(|line| line.strip_prefix("height ")?.parse::<u64>().ok());
            // Killed at another moment of its work in every life.
            let promised = heights.take(10 + 3 * life).last().expect("it appends blocks until it is killed");
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(promised > height, "it does not go on");
            let journal = Journal::open(folder.path(), PART_BYTES).unwrap();
            height = journal.height();
            assert!(height >= promised, "block {promised} was promised, {height} is there");
            check(&journal);
        }
        assert!(Journal::open(folder.path(), PART_BYTES).unwrap().body(&Digest::of(&value(1))).unwrap().is_none());
    }

    #[test]
    fn an_interrupted_replacement_leaves_the_part_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), PART_BYTES).unwrap();
        (1..=30).for_each(|height| append_value(&journal, height));
        let unfinished = Part::path_of(folder.path(), 0).with_extension("new");
        for half in [&b""[..], b"half of it"] {
            fs::write(&unfinished, half).unwrap();
            let journal = Journal::open(folder.path(), PART_BYTES).unwrap();
            assert_eq!(journal.height(), 30);
            check(&journal);
            assert!(!unfinished.exists());
        }
    }
}
