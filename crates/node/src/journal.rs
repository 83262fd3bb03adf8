//! What custody must never forget: keys and values in one append-only file, synced before anything that rests on them.
//!
//! A batch of changes is one frame, `u32 length ‖ SHA-256 of payload ‖ payload` (DAG-CBOR), written with one sync. A
//! process that is killed while it writes leaves a torn last frame, which was never acted on and is cut off at the next
//! start. Damage anywhere else is an error: a custodian that has forgotten something must not release anything.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use model::{Blob, Canonical, Digest};
use serde::{Deserialize, Serialize};

const FILE: &str = "journal";
const LENGTH_BYTES: usize = 4;
const HEADER_BYTES: usize = LENGTH_BYTES + Digest::LEN;
/// Most bytes of one frame.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// The file is written anew if it is longer than this and mostly outdated.
const COMPACT_BYTES_MIN: usize = 1 << 20;

/// The open file.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: usize,
    /// At this length it is looked at whether it is mostly outdated.
    compact_at: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    key: String,
    value: Option<Blob>,
}

/// Why the journal cannot be used. The disk, or whoever wrote to it, is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It is not what this node wrote.
    #[error(
        "{path} is damaged at byte {offset}: what was synced there is not there any more, which no power cut does. Nothing \
         was changed: check this node's disk, then restore the node's folder from a copy as a whole"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: usize,
    },
}

impl Journal {
    /// Opens the journal in `dir`, making both if there are none; returns what it holds.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn open(dir: &Path) -> Result<(Self, BTreeMap<String, Vec<u8>>), JournalError> {
        let path = dir.join(FILE);
        let failed = |cause| JournalError::File { path: path.clone(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        let bytes = fs::read(&path).map_err(failed)?;
        let (values, whole) = replay(&bytes, &path)?;
        if whole < bytes.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let mut journal = Self { path: path.clone(), file, bytes: whole, compact_at: 0 };
        journal.compact(&values).map_err(failed)?;
        sync_folder(dir).map_err(failed)?;
        Ok((journal, values))
    }

    /// Writes changes down. When this returns they survive a power cut.
    ///
    /// # Errors
    /// [`JournalError`]; the node must stop then, for its memory is ahead of its disk.
    pub(crate) fn append(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), JournalError> {
        if changes.is_empty() {
            return Ok(());
        }
        let frame = frame(changes);
        self.file.write_all(&frame).and_then(|()| self.file.sync_data()).map_err(|cause| self.failed(cause))?;
        self.bytes += frame.len();
        if self.bytes < self.compact_at {
            return Ok(());
        }
        let written = fs::read(&self.path).map_err(|cause| self.failed(cause))?;
        let (values, _) = replay(&written, &self.path)?;
        self.compact(&values).map_err(|cause| self.failed(cause))
    }

    /// Writes the live values into a new file and puts it in the place of the old one, if that is worth it.
    fn compact(&mut self, values: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
        let live: usize = values.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.compact_at = COMPACT_BYTES_MIN.max(4 * live);
        if self.bytes < self.compact_at {
            return Ok(());
        }
        let dir = self.path.parent().unwrap_or(Path::new(""));
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        self.bytes = 0;
        for (key, value) in values {
            let frame = frame(vec![(key.clone(), Some(value.clone()))]);
            file.write_all(&frame)?;
            self.bytes += frame.len();
        }
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        sync_folder(dir)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        // Many small values take more room in frames than they have bytes: it grows by half at least before the next time.
        self.compact_at = self.compact_at.max(self.bytes + self.bytes / 2);
        Ok(())
    }

    fn failed(&self, cause: io::Error) -> JournalError {
        JournalError::File { path: self.path.clone(), cause }
    }
}

fn frame(changes: Vec<(String, Option<Vec<u8>>)>) -> Vec<u8> {
    let changes: Vec<Change> = changes.into_iter().map(|(key, value)| Change { key, value: value.map(Blob) }).collect();
    let payload = changes.to_bytes();
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    // A frame holds the few values that one message changes.
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(Digest::of(&payload).as_ref());
    frame.extend_from_slice(&payload);
    frame
}

/// The values, and how many bytes of whole frames there are.
fn replay(bytes: &[u8], path: &Path) -> Result<(BTreeMap<String, Vec<u8>>, usize), JournalError> {
    let mut values = BTreeMap::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let damaged = || JournalError::Damaged { path: path.to_owned(), offset };
        match read_frame(&bytes[offset..]) {
            Some((payload, length)) => {
                apply(&mut values, payload).ok_or_else(damaged)?;
                offset += length;
            }
            None if has_frame(&bytes[offset + 1..]) => return Err(damaged()),
            None => break,
        }
    }
    Ok((values, offset))
}

/// The payload and the length of the frame that begins here, if it is whole.
fn read_frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let (length, digest) = header.split_at(LENGTH_BYTES);
    let length = length.iter().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
    let payload = rest.get(..length).filter(|_| length <= FRAME_BYTES_MAX)?;
    (Digest::of(payload).as_ref() == digest).then_some((payload, HEADER_BYTES + length))
}

/// Whether a whole frame begins anywhere. Every frame is synced before the next is written, so a power cut breaks the last one
/// only, and nothing whole follows it.
fn has_frame(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| read_frame(&bytes[at..]).is_some())
}

fn apply(values: &mut BTreeMap<String, Vec<u8>>, payload: &[u8]) -> Option<()> {
    let changes = Vec::<Change>::from_bytes(payload, FRAME_BYTES_MAX).ok()?;
    for Change { key, value } in changes {
        match value {
            Some(value) => values.insert(key, value.0),
            None => values.remove(&key),
        };
    }
    Some(())
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &[u8]) -> (String, Option<Vec<u8>>) {
        (key.into(), Some(value.to_vec()))
    }

    fn write(dir: &Path, batches: Vec<Vec<(String, Option<Vec<u8>>)>>) {
        let (mut journal, _) = Journal::open(dir).unwrap();
        for batch in batches {
            journal.append(batch).unwrap();
        }
    }

    fn read(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, JournalError> {
        Journal::open(dir).map(|(_, values)| values)
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), vec![vec![set("a", b"1"), set("b", b"2")], vec![("a".into(), None), set("c", b"3")]]);
        let values = read(dir.path()).unwrap();
        assert_eq!(values.into_iter().collect::<Vec<_>>(), [("b".into(), b"2".to_vec()), ("c".into(), b"3".to_vec())]);
    }

    #[test]
    fn a_torn_last_frame_is_cut_off_wherever_it_tore() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), vec![vec![set("a", b"1")]]);
        let file = dir.path().join(FILE);
        let whole = fs::read(&file).unwrap();
        let next = frame(vec![set("b", b"2")]);
        for tear in 0..next.len() {
            fs::write(&file, [&whole[..], &next[..tear]].concat()).unwrap();
            assert_eq!(read(dir.path()).unwrap().len(), 1, "torn at {tear}");
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
        let mut zeros = next.clone();
        zeros[HEADER_BYTES..].fill(0);
        fs::write(&file, [&whole[..], &zeros].concat()).unwrap();
        assert_eq!(read(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), vec![vec![set("a", b"1")], vec![set("b", b"2")], vec![set("c", b"3")]]);
        let file = dir.path().join(FILE);
        let whole = fs::read(&file).unwrap();
        let one = whole.len() / 3;
        // Any bit of a frame, its length too, if another follows.
        for at in 0..2 * one {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x80;
            fs::write(&file, &damaged).unwrap();
            let Err(JournalError::Damaged { path, offset }) = read(dir.path()) else {
                panic!("a change at byte {at} went unseen");
            };
            assert_eq!((path, offset), (file.clone(), at / one * one));
            assert_eq!(fs::read(&file).unwrap(), damaged, "evidence must be left as it is");
        }
    }

    #[test]
    fn outdated_values_are_dropped_while_it_is_written_and_at_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let value = vec![7; 64 << 10];
        let file = dir.path().join(FILE);
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        for number in 0..100u8 {
            journal.append(vec![set("a", &value), set("last", &[number])]).unwrap();
            assert!(fs::metadata(&file).unwrap().len() <= COMPACT_BYTES_MIN as u64);
        }
        drop(journal);
        let values = read(dir.path()).unwrap();
        assert_eq!((values["a"].clone(), values["last"].clone(), values.len()), (value.clone(), vec![99], 2));

        let outdated: Vec<u8> = (0..64).flat_map(|_| frame(vec![set("a", &value)])).collect();
        fs::write(&file, outdated).unwrap();
        assert_eq!(read(dir.path()).unwrap()["a"], value);
        assert!(fs::metadata(&file).unwrap().len() < 128 << 10);
        write(dir.path(), vec![vec![set("b", b"2")]]);
        assert_eq!(read(dir.path()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_outdated_stays_whatever_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let value = vec![7; 64 << 10];
        for number in 0..40 {
            journal.append(vec![set(&number.to_string(), &value)]).unwrap();
        }
        drop(journal);
        assert_eq!(read(dir.path()).unwrap().len(), 40);
    }
}
