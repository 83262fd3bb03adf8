//! The files people write: terms, descriptions and networks in TOML. Every complaint names the file and the line.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Most bytes of a file somebody wrote by hand.
const BYTES_MAX: u64 = 1 << 20;

/// Why a file cannot be used; always the fault of whoever wrote it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// It says something that cannot be.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// It is longer than it may be.
    #[error("{}: {what} of {bytes} bytes, at most {bytes_max} are allowed", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        bytes_max: u64,
    },
    /// It is wrong as a whole.
    #[error("{}: {reason}", path.display())]
    Whole {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl FileError {
    pub(crate) fn whole(path: &Path, reason: impl Into<String>) -> Self {
        Self::Whole { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn write(path: &Path, cause: std::io::Error) -> Self {
        Self::Write { path: path.to_owned(), cause }
    }

    pub(crate) fn read(path: &Path, cause: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), cause }
    }
}

/// A parsed file together with its text, so that later complaints can still point at a line.
pub(crate) struct Parsed<T> {
    pub(crate) value: T,
    path: PathBuf,
    text: String,
}

impl<T> Parsed<T> {
    /// A complaint about the line where `field` is set, or about the whole file if it is nowhere.
    pub(crate) fn complain(&self, field: &str, reason: impl Into<String>) -> FileError {
        let sets =
            |line: &str| line.trim_start().strip_prefix(field).is_some_and(|rest| rest.trim_start().starts_with('='));
        match self.text.lines().position(sets) {
            Some(index) => FileError::Line { path: self.path.clone(), line: index + 1, reason: reason.into() },
            None => FileError::whole(&self.path, reason),
        }
    }
}

/// Reads a small text file.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let bytes = read_bounded(path, BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| FileError::whole(path, "not a text file (UTF-8)"))
}

/// Reads a file of at most `bytes_max` bytes.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|cause| FileError::read(path, cause))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|cause| FileError::read(path, cause))?;
    if bytes.len() as u64 > bytes_max {
        return Err(FileError::whole(path, format!("longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Reads and parses a TOML file.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Parsed<T>, FileError> {
    parse_toml(path, read_text(path)?)
}

/// Parses TOML that came from `path`.
pub(crate) fn parse_toml<T: DeserializeOwned>(path: &Path, text: String) -> Result<Parsed<T>, FileError> {
    match toml::from_str(&text) {
        Ok(value) => Ok(Parsed { value, path: path.to_owned(), text }),
        Err(cause) => Err(point_at(path, &text, &cause)),
    }
}

fn point_at(path: &Path, text: &str, cause: &toml::de::Error) -> FileError {
    let reason = cause.message().trim().replace('\n', ", ");
    match cause.span() {
        Some(span) if !span.is_empty() || span.start > 0 => {
            let line = text.get(..span.start).unwrap_or(text).matches('\n').count() + 1;
            FileError::Line { path: path.to_owned(), line, reason }
        }
        _ => FileError::whole(path, reason),
    }
}

/// What the names of files begin with that are not yet whole.
pub(crate) const UNFINISHED: &str = ".samovar-";

/// Readable like any other file.
const FOR_ALL: u32 = 0o666;
/// Readable by whoever runs the command, and nobody else.
const FOR_OWNER: u32 = 0o600;

/// Writes a file so that it is either wholly there or not at all, also after a power cut.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, FOR_ALL, true)
}

/// The same, for what is nobody else's business.
pub(crate) fn write_privately(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, FOR_OWNER, true)
}

/// The same as [`write_atomically`], unless there is such a file already: that one stays as it is.
pub(crate) fn write_first(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, FOR_ALL, false)
}

fn write(path: &Path, bytes: &[u8], mode: u32, replace: bool) -> Result<(), FileError> {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let permissions = std::fs::Permissions::from_mode(mode);
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        let kept = if replace { file.persist(path) } else { file.persist_noclobber(path) };
        kept.map_err(|failed| failed.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    written().map_err(|cause| FileError::write(path, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_writes_first_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("task");
        write_first(&file, b"first").unwrap();
        assert!(matches!(write_first(&file, b"second"), Err(FileError::Write { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), b"first");
        write_privately(&file, b"third").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"third");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left behind");
    }
}
