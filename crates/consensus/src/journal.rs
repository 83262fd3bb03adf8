//! What finalized blocks leave on this node's disk: headers, digests of transactions, bodies of state values, records.
//!
//! One append-only file, one entry per block, written and synced before the engine makes the state of that block
//! durable. So there is never a state on disk that names a body which is not. Appending a block again, as the engine
//! does when it replays after a crash, changes nothing. A torn last entry is cut off at start; the engine then replays
//! that block. An entry that is not whole although a whole one follows it was not torn but damaged later: then the journal
//! is left as it is and refused.
//!
//! ```text
//! entry   = u32 length of payload ‖ SHA-256 of payload ‖ payload
//! payload = part header ‖ list of transaction digests ‖ list of bodies ‖ list of records
//! list    = u32 count ‖ parts        part = u32 length ‖ bytes        integers big-endian
//! ```
//!
//! Positions of everything are kept in memory (about 50 bytes each), and so are the inner nodes of the log
//! (64 bytes a record). Bodies that the state no longer names stay in the file; compacting it is left for later.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use finality::Header;
use model::{
    Blob, Digest,
    api::{CertifiedHead, IndexedRecord, ProvenExtension, ProvenRecords},
    log::Tree,
};

use crate::handle::{FinalizedBlock, QueryError};

/// Most bytes of one entry; far above what a block of 1 MiB of transactions causes.
const ENTRY_BYTES_MAX: usize = 256 << 20;
const FRAME_BYTES: usize = 4 + 32;

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
        "{path} is damaged at byte {offset}, and not by a power cut, for what was written later is whole; nothing was \
         changed: check this node's disk, then restore the node's folder from a copy as a whole"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
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

/// One block to be kept.
pub(crate) struct Entry<'a> {
    pub(crate) header: &'a Header,
    pub(crate) transactions: &'a [Digest],
    pub(crate) bodies: &'a [Vec<u8>],
    pub(crate) records: &'a [Vec<u8>],
}

/// A stretch of the file.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
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
struct Index {
    /// By height, from 1.
    blocks: Vec<Block>,
    transactions: HashMap<Digest, u64>,
    bodies: HashMap<Digest, Place>,
    records: Vec<Place>,
    tree: Tree,
    end: u64,
}

/// The journal. Reading goes on while a block is appended.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    index: Mutex<Index>,
}

impl Journal {
    /// Opens or creates the journal and reads it once.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("opened"))?;
        let index = scan(&mut file, path)?;
        file.set_len(index.end).map_err(failed("cut to its last whole entry"))?;
        if let Some(folder) = path.parent() {
            // The name of a new file must survive a crash as well.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("synced"))?;
        }
        Ok(Self { path: path.to_owned(), file, index: Mutex::new(index) })
    }

    fn damaged(&self, offset: u64) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), offset }
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
        let end = {
            let index = self.index();
            let last = index.blocks.len() as u64;
            if height <= last {
                let same = height > 0 && index.blocks[height as usize - 1].digest == digest;
                return if same { Ok(()) } else { Err(JournalError::Conflict { height }) };
            }
            if height != last + 1 {
                return Err(JournalError::Behind { height: last, next: height });
            }
            index.end
        };
        let payload = encode(entry);
        let framed = [&(payload.len() as u32).to_be_bytes()[..], &Digest::of(&payload).0, &payload].concat();
        self.file.write_all_at(&framed, end).map_err(failed("written"))?;
        self.file.sync_data().map_err(failed("synced"))?;
        // Only one block at a time is finalized, so nobody else has appended meanwhile.
        self.index().add(&payload, end + FRAME_BYTES as u64).ok_or_else(|| self.damaged(end))
    }

    /// The header at `height`.
    pub(crate) fn header(&self, height: u64) -> Result<Option<Header>, JournalError> {
        let place = {
            let index = self.index();
            let Some(block) = height.checked_sub(1).and_then(|at| index.blocks.get(at as usize)) else {
                return Ok(None);
            };
            block.header
        };
        let header = Header::from_bytes(&self.read(place)?);
        header.map(Some).map_err(|_| self.damaged(place.offset))
    }

    /// The block at `height`.
    pub(crate) fn block(&self, height: u64) -> Result<Option<FinalizedBlock>, JournalError> {
        let Some(header) = self.header(height)? else { return Ok(None) };
        let (transactions, first, places) = {
            let index = self.index();
            let at = height as usize - 1;
            let first = index.blocks[at].records;
            let next = index.blocks.get(at + 1).map_or(index.records.len() as u64, |block| block.records);
            (index.blocks[at].transactions, first, index.records[first as usize..next as usize].to_vec())
        };
        let digests = self.read(transactions)?;
        let records = places.into_iter().map(|place| self.read(place)).collect::<Result<Vec<_>, _>>()?;
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
        let Some(place) = self.index().bodies.get(digest).copied() else { return Ok(None) };
        let body = self.read(place)?;
        // The machine takes what it is given for the state. A disk that changed since the start must not decide a vote.
        if Digest::of(&body) == *digest { Ok(Some(body)) } else { Err(self.damaged(place.offset)) }
    }

    /// The record with this index.
    pub(crate) fn record(&self, index: u64) -> Result<Option<Vec<u8>>, JournalError> {
        let place = self.index().records.get(index as usize).copied();
        place.map(|place| self.read(place)).transpose()
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

    fn read(&self, place: Place) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; place.length as usize];
        self.file.read_exact_at(&mut bytes, place.offset).map_err(failed("read"))?;
        Ok(bytes)
    }
}

/// Reads all whole entries. Only the last may be torn.
fn scan(file: &mut File, path: &Path) -> Result<Index, JournalError> {
    let length = file.metadata().map_err(failed("read"))?.len();
    file.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
    let mut reader = io::BufReader::with_capacity(1 << 20, &*file);
    let mut index = Index::default();
    while index.end < length {
        let offset = index.end;
        let payload = read_entry(&mut reader, length - offset).map_err(failed("read"))?;
        let Some(payload) = payload else {
            return if is_torn(file, &index, length)? {
                Ok(index)
            } else {
                Err(JournalError::Damaged { path: path.to_owned(), offset })
            };
        };
        let added = index.add(&payload, offset + FRAME_BYTES as u64);
        added.ok_or_else(|| JournalError::Damaged { path: path.to_owned(), offset })?;
    }
    Ok(index)
}

/// The payload of the entry that begins here, if it is whole and ends within the `left` bytes of the file.
fn read_entry(reader: &mut impl io::Read, left: u64) -> io::Result<Option<Vec<u8>>> {
    if left < FRAME_BYTES as u64 {
        return Ok(None);
    }
    let mut frame = [0; FRAME_BYTES];
    reader.read_exact(&mut frame)?;
    let (size, checksum) = frame.split_at(4);
    let size = integer(size);
    if size > ENTRY_BYTES_MAX || (FRAME_BYTES + size) as u64 > left {
        return Ok(None);
    }
    let mut payload = vec![0; size];
    reader.read_exact(&mut payload)?;
    Ok((Digest::of(&payload).0 == checksum).then_some(payload))
}

/// Whether nothing whole follows the broken entry at the end of `index`. Every entry is synced before the next is written, so
/// a power cut breaks the last one only.
fn is_torn(file: &File, index: &Index, length: u64) -> Result<bool, JournalError> {
    let mut rest = vec![0; (length - index.end) as usize];
    file.read_exact_at(&mut rest, index.end).map_err(failed("read"))?;
    let height = index.blocks.len() as u64;
    let follows = (1..rest.len()).any(|at| {
        // Few places look like an entry's beginning; only those are hashed.
        let header = rest.get(at + FRAME_BYTES..).and_then(|payload| Cursor { bytes: payload, at: 0 }.header());
        header.is_some_and(|header| header.height > height)
            && read_entry(&mut &rest[at..], (rest.len() - at) as u64).is_ok_and(|entry| entry.is_some())
    });
    Ok(!follows)
}

fn integer(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | *byte as usize)
}

impl Index {
    /// Indexes the payload that stands at `offset`; `None` if it is not laid out as one.
    fn add(&mut self, payload: &[u8], offset: u64) -> Option<()> {
        let mut cursor = Cursor { bytes: payload, at: 0 };
        let header = cursor.part()?;
        let block = Header::from_bytes(&payload[header.clone()]).ok()?;
        let place = |range: std::ops::Range<usize>| Place {
            offset: offset + range.start as u64,
            length: (range.end - range.start) as u32,
        };
        let transactions = cursor.digests()?;
        let bodies = cursor.list()?;
        let records = cursor.list()?;
        if cursor.at != payload.len() || block.height != self.blocks.len() as u64 + 1 {
            return None;
        }
        let ids = payload[transactions.clone()].chunks_exact(Digest::LEN).filter_map(Digest::from_slice);
        self.transactions.extend(ids.map(|id| (id, block.height)));
        self.blocks.push(Block {
            digest: block.digest(),
            header: place(header),
            transactions: place(transactions),
            records: self.tree.size(),
        });
        for body in bodies {
            self.bodies.insert(Digest::of(&payload[body.clone()]), place(body));
        }
        for record in records {
            self.tree.append(&Digest::of(&payload[record.clone()]));
            self.records.push(place(record));
        }
        self.end = offset + payload.len() as u64;
        Some(())
    }
}

fn encode(entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    push_part(&mut out, &entry.header.to_bytes());
    out.extend_from_slice(&(entry.transactions.len() as u32).to_be_bytes());
    entry.transactions.iter().for_each(|digest| out.extend_from_slice(&digest.0));
    for list in [entry.bodies, entry.records] {
        out.extend_from_slice(&(list.len() as u32).to_be_bytes());
        list.iter().for_each(|part| push_part(&mut out, part));
    }
    out
}

fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_be_bytes());
    out.extend_from_slice(part);
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Option<std::ops::Range<usize>> {
        let range = self.at..self.at.checked_add(length)?;
        (range.end <= self.bytes.len()).then(|| self.at = range.end)?;
        Some(range)
    }

    fn integer(&mut self) -> Option<usize> {
        let range = self.take(4)?;
        Some(integer(&self.bytes[range]))
    }

    fn header(&mut self) -> Option<Header> {
        let length = self.integer().filter(|length| *length <= Header::BYTES_MAX)?;
        let range = self.take(length)?;
        Header::from_bytes(&self.bytes[range]).ok()
    }

    fn part(&mut self) -> Option<std::ops::Range<usize>> {
        let length = self.integer()?;
        self.take(length)
    }

    fn list(&mut self) -> Option<Vec<std::ops::Range<usize>>> {
        let count = self.integer()?;
        (0..count).map(|_| self.part()).collect()
    }

    fn digests(&mut self) -> Option<std::ops::Range<usize>> {
        let count = self.integer()?;
        self.take(count.checked_mul(Digest::LEN)?)
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
        let before = Journal::open(&path).unwrap();
        (1..=3).for_each(|height| append(&before, height).unwrap());
        let block = before.block(2).unwrap().unwrap();
        assert_eq!(block.records, [(1, b"record 2".to_vec())]);
        assert_eq!(block.transactions, [Digest::of(b"transaction 2")]);

        let after = Journal::open(&path).unwrap();
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
        let journal = Journal::open(&folder.path().join("journal")).unwrap();
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
        let journal = Journal::open(&path).unwrap();
        append(&journal, 1).unwrap();
        let one = std::fs::metadata(&path).unwrap().len() as usize;
        append(&journal, 2).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in one..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(Journal::open(&path).unwrap().height(), 1, "cut at {length}");
        }
        let mut torn = whole.clone();
        *torn.last_mut().unwrap() ^= 1;
        std::fs::write(&path, torn).unwrap();
        assert_eq!(Journal::open(&path).unwrap().height(), 1);

        // A disk that changes any bit of what was synced, lengths too, is not taken for a power cut.
        append(&journal, 3).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for (offset, entry) in [(0, 0..one), (one as u64, one..2 * one)] {
            for at in entry {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x80;
                std::fs::write(&path, &damaged).unwrap();
                let Err(JournalError::Damaged { path: named, offset: found }) = Journal::open(&path) else {
                    panic!("a change at byte {at} went unseen");
                };
                assert_eq!((named, found), (path.clone(), offset));
                assert_eq!(std::fs::read(&path).unwrap(), damaged, "evidence must be left as it is");
            }
        }
    }

    #[test]
    fn a_body_that_the_disk_changed_is_not_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::open(&path).unwrap();
        append(&journal, 1).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(6).position(|window| window == b"body 1").unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(journal.body(&Digest::of(b"body 1")), Err(JournalError::Damaged { .. })));
    }
}
