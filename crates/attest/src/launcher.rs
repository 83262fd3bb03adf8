//! The launcher's part: measure the node's binary into the TPM and keep the log of what was measured.
//!
//! The log describes, the register proves: an appraiser replays the log and compares. It lies beside the node's data and
//! outlives restarts of the node; a reset of the TPM clears the register and begins a new log.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use model::{Canonical, Digest, EventLog, LogEntry, ReleaseStatement};
use sha2::{Digest as _, Sha256};

use crate::{
    release::extended,
    tpm::{PCR_LAUNCHER, Tpm, TpmError},
};

/// Most entries of a log.
pub const ENTRIES_MAX: usize = 64;
/// Most bytes of a log's canonical encoding.
pub const LOG_BYTES_MAX: usize = 32 << 10;

/// Why a start is not measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The TPM does not take part.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else has extended the register, or the log is lost.
    #[error("register 14 holds {register}, and {path} does not explain it; restart the machine")]
    Unexplained {
        /// The register.
        register: Digest,
        /// The log.
        path: PathBuf,
    },
    /// The node has been started too often.
    #[error("the node was started {ENTRIES_MAX} times since the machine was; restart the machine")]
    Full,
}

/// SHA-256 of an open file, whatever its read position: hash the descriptor that will be executed, not a path that may
/// name another file by then.
///
/// # Errors
/// The I/O error.
pub fn measure(file: &File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => return Ok(Digest(hash.finalize().into())),
            Ok(bytes) => {
                hash.update(&buffer[..bytes]);
                offset += bytes as u64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

/// Extends register 14 with a binary's hash and keeps the log in step. Without a statement the start is measured all the
/// same; appraisers will refuse it.
///
/// The log is written first. If power goes between the two, the next start finds an entry too many and drops it.
///
/// # Errors
/// [`LaunchError`].
pub fn extend_and_log(
    tpm: &mut Tpm,
    log_file: &Path,
    binary: Digest,
    release: Option<ReleaseStatement>,
) -> Result<EventLog, LaunchError> {
    let register = tpm.read_pcrs(&[PCR_LAUNCHER])?[0];
    let mut log = explain(load(log_file)?, &register)
        .ok_or_else(|| LaunchError::Unexplained { register, path: log_file.to_owned() })?;
    if log.entries.len() >= ENTRIES_MAX {
        return Err(LaunchError::Full);
    }
    log.entries.push(LogEntry { binary, release });
    save(log_file, &log)?;
    tpm.extend(PCR_LAUNCHER, &binary)?;
    Ok(log)
}

/// What a log makes of register 14.
pub fn replay(log: &EventLog) -> Digest {
    log.entries.iter().fold(Digest([0; 32]), |register, entry| extended(&register, &entry.binary))
}

/// The log that led to `register`: the stored one, without its last entry if that was never extended, or a new one after a
/// reset. `None` if none of them does.
fn explain(mut stored: EventLog, register: &Digest) -> Option<EventLog> {
    if replay(&stored) == *register {
        return Some(stored);
    }
    stored.entries.pop();
    [stored, EventLog::default()].into_iter().find(|log| replay(log) == *register)
}

/// Reads the log; an absent one is empty, and so is one that is damaged: it explains nothing but a fresh register.
///
/// # Errors
/// [`LaunchError::File`].
pub fn load(log_file: &Path) -> Result<EventLog, LaunchError> {
    match fs::read(log_file) {
        Ok(bytes) => Ok(EventLog::from_bytes(&bytes, LOG_BYTES_MAX).unwrap_or_default()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(EventLog::default()),
        Err(source) => Err(LaunchError::File { path: log_file.to_owned(), source }),
    }
}

/// Replaces the log in one step, on disk before it returns.
fn save(log_file: &Path, log: &EventLog) -> Result<(), LaunchError> {
    let written = || -> io::Result<()> {
        let next = log_file.with_extension("next");
        let mut file = File::create(&next)?;
        file.write_all(&log.to_bytes())?;
        file.sync_all()?;
        fs::rename(&next, log_file)?;
        let dir = log_file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    };
    written().map_err(|source| LaunchError::File { path: log_file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(binaries: &[&str]) -> EventLog {
        let entry = |name: &&str| LogEntry { binary: Digest::of(name.as_bytes()), release: None };
        EventLog { entries: binaries.iter().map(entry).collect() }
    }

    #[test]
    fn a_log_explains_its_register_a_lost_last_step_and_a_reset_and_nothing_else() {
        let check = |stored: &EventLog, register: &EventLog, expected: Option<&EventLog>| {
            assert_eq!(explain(stored.clone(), &replay(register)).as_ref(), expected);
        };
        check(&log(&["a", "b"]), &log(&["a", "b"]), Some(&log(&["a", "b"])));
        check(&log(&["a", "b"]), &log(&["a"]), Some(&log(&["a"])));
        check(&log(&["a", "b"]), &log(&[]), Some(&log(&[])));
        check(&log(&["a"]), &log(&["b"]), None);
        check(&log(&["a", "b"]), &log(&["b", "a"]), None);
        check(&log(&[]), &log(&["a"]), None);
    }

    #[test]
    fn a_file_is_measured_wherever_its_position_stands() {
        use std::io::{Seek, SeekFrom};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"the binary").unwrap();
        file.seek(SeekFrom::Start(4)).unwrap();
        assert_eq!(measure(&file).unwrap(), Digest::of(b"the binary"));
    }
}
