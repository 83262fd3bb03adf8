//! What one command at a time works on: the folder OUT, in which what it did not write stays, and a publication.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::Path,
};

use crate::{
    error::ClientError,
    file::{FileError, UNFINISHED},
};

/// The right to work on something. It ends with this value or with the process, however that ends.
pub(crate) struct Held(#[expect(dead_code, reason = "the lock is as long as the file is open")] File);

/// Makes a folder, unless there is one, and takes it for this process alone. Two that ask for a task in one folder would
/// both find none there, and pay for two.
pub(crate) fn hold(out: &Path) -> Result<Held, ClientError> {
    let failed = |cause| FileError::write(out, cause);
    fs::create_dir_all(out).map_err(failed)?;
    match lock(File::open(out).map_err(failed)?) {
        Ok(held) => held.ok_or_else(|| in_use(out)),
        Err(cause) => Err(ClientError::Folder {
            reason: format!("{} cannot be kept from other processes: {cause}", out.display()),
            hint: "name a folder on a disk of this machine with --out; nothing was sent and nothing was paid"
                .to_owned(),
        }),
    }
}

/// Takes the file of this name, which nobody reads, for this process alone; `None` if another has it. It stays where it is:
/// whoever removes it takes it away from somebody who has just opened it.
pub(crate) fn hold_name(path: &Path) -> Result<Option<Held>, FileError> {
    let failed = |cause| FileError::write(path, cause);
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    lock(file).map_err(failed)
}

fn lock(file: File) -> io::Result<Option<Held>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

pub(crate) fn in_use(out: &Path) -> ClientError {
    ClientError::Folder {
        reason: format!("another samovar process works in {}", out.display()),
        hint:
            "wait until it has ended; the same command then goes on with its task and pays nothing more. For another \
               task name another --out"
                .to_owned(),
    }
}

/// A folder that is about to receive a result must be new or empty, or something would be mixed up. What an interrupted
/// command did not finish does not count.
///
/// # Errors
/// [`ClientError::Folder`] names what is there; [`ClientError::File`].
pub fn check_is_empty(out: &Path) -> Result<(), ClientError> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(FileError::read(out, cause).into()),
    };
    for entry in entries {
        let name = entry.map_err(|cause| FileError::read(out, cause))?.file_name();
        if !name.to_string_lossy().starts_with(UNFINISHED) {
            return Err(ClientError::Folder {
                reason: format!("{} is not empty: it holds {}", out.display(), name.display()),
                hint: "name a new folder with --out".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/out");
        let held = hold(&out).unwrap();
        let error = hold(&out).err().unwrap();
        assert!(error.to_string().contains("another samovar process works in"), "{error}");
        assert!(error.hint().contains("pays nothing more"));
        hold(&folder.path().join("other")).unwrap();
        drop(held);
        hold(&out).unwrap();
        check_is_empty(&out).unwrap();
    }

    #[test]
    fn a_name_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("publishing/a.lock");
        let held = hold_name(&name).unwrap();
        assert!(held.is_some() && hold_name(&name).unwrap().is_none());
        assert!(hold_name(&folder.path().join("publishing/b.lock")).unwrap().is_some());
        drop(held);
        assert!(hold_name(&name).unwrap().is_some());
    }

    #[test]
    fn only_what_was_not_finished_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{UNFINISHED}a1")), "half").unwrap();
        check_is_empty(folder.path()).unwrap();
        fs::write(folder.path().join(".notes"), "").unwrap();
        let error = check_is_empty(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not empty: it holds .notes"), "{error}");
    }
}
