//! One file of the journal. Only the last is appended to; the others are replaced as a whole or left alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{
    JournalError,
    entry::{self, FRAME_BYTES},
    failed,
};

/// What a part is written under until it is whole.
const UNFINISHED: &str = "new";

/// An open file. Whoever holds it reads on from it even after it was replaced.
pub(super) struct Part {
    pub(super) path: PathBuf,
    file: File,
}

impl Part {
    pub(super) fn path_of(folder: &Path, number: usize) -> PathBuf {
        folder.join(format!("{number:08}"))
    }

    /// Opens a part to read it.
    pub(super) fn open(path: PathBuf) -> Result<Self, JournalError> {
        Ok(Self { file: File::open(&path).map_err(failed("opened"))?, path })
    }

    /// Opens the last part to write to it, or makes an empty one.
    pub(super) fn create(path: PathBuf) -> Result<Self, JournalError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        Ok(Self { file: file.map_err(failed("opened"))?, path })
    }

    /// Writes another file with these payloads beside the one at `path`.
    pub(super) fn prepare<'a>(
        path: &Path,
        payloads: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Unfinished, JournalError> {
        let unfinished = path.with_extension(UNFINISHED);
        let bytes = payloads.flat_map(entry::frame).collect::<Vec<_>>();
        let mut file = File::create(&unfinished).map_err(failed("opened"))?;
        file.write_all(&bytes).map_err(failed("written"))?;
        file.sync_all().map_err(failed("synced"))?;
        Ok(Unfinished { path: path.to_owned() })
    }

    /// Removes what a replacement left that was interrupted.
    pub(super) fn clean(path: &Path) -> Result<(), JournalError> {
        match fs::remove_file(path.with_extension(UNFINISHED)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed("cleaned")(cause)),
            _ => Ok(()),
        }
    }

    pub(super) fn damaged(&self, offset: u64) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), offset }
    }

    pub(super) fn sync_name(&self) -> Result<(), JournalError> {
        sync_folder_of(&self.path)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), JournalError> {
        self.file.write_all_at(bytes, offset).map_err(failed("written"))?;
        self.file.sync_data().map_err(failed("synced"))
    }

    pub(super) fn cut(&self, length: u64) -> Result<(), JournalError> {
        self.file.set_len(length).map_err(failed("cut to its last whole entry"))
    }

    pub(super) fn read(&self, offset: u32, length: u32) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset.into()).map_err(failed("read"))?;
        Ok(bytes)
    }

    /// Calls `visit` with each payload and its position until one is not whole. Returns where the whole ones end, and what
    /// stands there if that is not the end of the file.
    pub(super) fn scan(
        &self,
        mut visit: impl FnMut(&[u8], u64) -> Result<(), JournalError>,
    ) -> Result<(u64, Option<Vec<u8>>), JournalError> {
        let length = self.file.metadata().map_err(failed("read"))?.len();
        let mut reader = io::BufReader::with_capacity(1 << 20, At { file: &self.file, offset: 0 });
        let mut end = 0;
        while end < length {
            let Some(payload) = entry::read_frame(&mut reader, length - end).map_err(failed("read"))? else {
                let mut rest = vec![0; (length - end) as usize];
                self.file.read_exact_at(&mut rest, end).map_err(failed("read"))?;
                return Ok((end, Some(rest)));
            };
            visit(&payload, end + FRAME_BYTES as u64)?;
            end += (FRAME_BYTES + payload.len()) as u64;
        }
        Ok((end, None))
    }
}

/// A whole file that waits to take a part's place.
#[must_use]
pub(super) struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// Puts it in the part's place; there is never half of it there. Whoever has the old file open reads on from that.
    pub(super) fn put(self) -> Result<(), JournalError> {
        fs::rename(self.path.with_extension(UNFINISHED), &self.path).map_err(failed("replaced"))?;
        sync_folder_of(&self.path)
    }
}

/// The name of a new file must survive a crash as well.
fn sync_folder_of(path: &Path) -> Result<(), JournalError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("synced"))
}

/// Reads a file from its beginning without moving anybody else's place in it.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl io::Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
