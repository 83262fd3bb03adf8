//! A result on disk: fetched, opened, compared with its proof, and checked again by anybody who is given the folder.
//!
//! ```text
//! OUT/result/stdout      OUT/result/stderr      OUT/result/exit-code      OUT/result/out/…
//! OUT/result/opening     with it anybody can recompute the plaintext root that the receipt names
//! OUT/proof              OUT/extension, which links it with the checkpoint of the network file, if that pins one
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use content::unixfs;
use custody::{AccountKey, ResultArchive, ResultFile, ResultOrigin};
use model::{Blob, Canonical as _, FailureClass, Outcome, Payment, ResultSeal, Task, TaskId, api::Extension};
use proof::{ProofError, ResultOpening, Verified};

use crate::{
    client::Client,
    error::ClientError,
    file::{FileError, UNFINISHED, read_bounded, read_text, write_atomically, write_privately},
    listing::TaskView,
    network::Checkpoint,
    nodes::{Miss, Question},
    progress::{Progress, Watch},
    quote::OutputBound,
    transfer::blocking,
    trust::Trust,
};

/// Framing of a CAR and rounding of a seal: how much longer an archive may be on its way than in its manifest.
const OVERHEAD_BYTES_MAX: u64 = 1 << 20;

/// Most bytes of one file of a result that is checked.
const FILE_BYTES_MAX: u64 = 1 << 32;

/// Most files of a result that is checked.
const FILES_MAX: usize = 65_536;

/// A task whose result and proof are on disk, verified.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which.
    pub task: TaskId,
    /// What the guest exited with.
    pub exit_code: i32,
    /// Folder of the result.
    pub result: PathBuf,
    /// File of the proof.
    pub proof: PathBuf,
    /// Who was paid.
    pub payments: Vec<Payment>,
    /// What the proof rests on.
    pub trust: Trust,
}

/// A proof that was verified here, and what links it with the checkpoint that the network file pins.
struct Proven {
    bytes: Vec<u8>,
    verified: Verified,
    extension: Option<Extension>,
}

impl Proven {
    fn write(&self, out: &Path) -> Result<PathBuf, FileError> {
        let file = out.join("proof");
        // First, so that no proof is ever without the link that it needs.
        if let Some(extension) = &self.extension {
            write_atomically(&file.with_file_name(EXTENSION_FILE), &extension.to_bytes())?;
        }
        // It is its owner's to show: it says who asked whom for what.
        write_privately(&file, &self.bytes)?;
        Ok(file)
    }
}

/// The file beside a proof that links it with a checkpoint.
pub const EXTENSION_FILE: &str = "extension";

impl Client {
    /// Fetches proof and result of a settled task, checks both, and writes them.
    pub(crate) async fn collect(
        &self,
        key: &AccountKey,
        task: TaskView,
        out: &Path,
        watch: &dyn Watch,
    ) -> Result<Finished, ClientError> {
        let Some(settled) = task.settlement.as_ref().map(|settled| settled.settlement.clone()) else {
            return Err(ClientError::NotFinal { what: format!("task {}", task.id), waited_s: 0 });
        };
        if let Some(class) = settled.failure() {
            let proof = self.collect_failure(&task.id, &settled, out).await?;
            let bound = if class == FailureClass::Limit { self.binding(&task.task).await } else { None };
            return Err(ClientError::TaskFailed { task: task.id, class, proof, bound });
        }
        let (proven, archive) = tokio::join!(self.proof_of(&task.id), self.open(key, &task, &settled));
        let (proven, (archive, opening)) = (proven?, archive?);
        watch.see(Progress::Step("proof verified, result opened"));
        let exit_code = archive.exit_code;
        // The proof first: a result never lies there without what says whose it is.
        let (proof, result) = (proven.write(out)?, out.join("result"));
        let folder = result.clone();
        blocking("write the result", move || Ok(write_result(&folder, &archive, &opening)?)).await?;
        let payments = settled.payments;
        Ok(Finished { task: task.id, exit_code, result, proof, payments, trust: Trust::of(&proven.verified) })
    }

    /// The terms under which a task may let out no more than it asked for already, so that it cannot be asked for more. Only a
    /// hint depends on it.
    async fn binding(&self, task: &Task) -> Option<OutputBound> {
        let bound = self.output_bound_of_terms(task.objects()).await.ok().flatten();
        bound.filter(|bound| bound.bytes <= task.limits.output_bytes)
    }

    /// Writes the proof of a signed failure. Where nobody has signed anything there is none, and the ledger's word stands.
    async fn collect_failure(
        &self,
        id: &TaskId,
        settled: &model::Settlement,
        out: &Path,
    ) -> Result<Option<PathBuf>, ClientError> {
        if settled.receipt.is_none() {
            return Ok(None);
        }
        Ok(Some(self.proof_of(id).await?.write(out)?))
    }

    /// A proof of a task that verifies; a node that sends another is passed over.
    async fn proof_of(&self, id: &TaskId) -> Result<Proven, ClientError> {
        let network = self.file.proof_network();
        let path = format!("/v1/tasks/{id}/proof");
        let check = |bytes: Vec<u8>| {
            let verified = proof::verify(&bytes, &network).map_err(Miss::disbelieve)?;
            let same = verified.task_id() == *id;
            same.then_some((bytes, verified)).ok_or_else(|| Miss::Disbelieved("it proves another task".to_owned()))
        };
        let what = format!("the proof of task {id}");
        let (bytes, verified) = self.nodes.ask(&what, || Question::get(&path), check).await?;
        self.link(verified.head()).await?;
        let extension = match &self.file.checkpoint {
            None => None,
            Some(pinned) => {
                let what = "the link from the pinned checkpoint to the proof";
                Some(self.extension(what, pinned, &Checkpoint::of(verified.head())).await?)
            }
        };
        Ok(Proven { bytes, verified, extension })
    }

    /// Fetches and opens a result.
    async fn open(
        &self,
        key: &AccountKey,
        task: &TaskView,
        settled: &model::Settlement,
    ) -> Result<(ResultArchive, ResultOpening), ClientError> {
        let bytes_max = self.genesis().await?.limits.task.output_bytes.saturating_mul(2) + OVERHEAD_BYTES_MAX;
        let (executor, seal) = match settled.receipt.as_ref().map(|receipt| receipt.unverified()) {
            Some(receipt) => match &receipt.outcome {
                Outcome::Done(seal) => (receipt.executor, (**seal).clone()),
                Outcome::Failed(class) => {
                    return Err(ClientError::TaskFailed { task: task.id, class: *class, proof: None, bound: None });
                }
            },
            None => {
                let class = FailureClass::Lapsed;
                return Err(ClientError::TaskFailed { task: task.id, class, proof: None, bound: None });
            }
        };
        let (_guard, store) = self.scratch_store()?;
        let what = format!("the result of task {}", task.id);
        for root in [&seal.ciphertext, &seal.leaves] {
            self.download(&what, &store, root, bytes_max).await?;
        }
        let origin = ResultOrigin { network: self.network.id, task: task.id, executor };
        let result_key = key.result_key(&self.network.id);
        let id = task.id;
        let opened =
            tokio::task::spawn_blocking(move || open_from(&store, &origin, &result_key, &seal, bytes_max)).await;
        let failed = |cause| ClientError::Result { task: id, cause };
        opened.map_err(|cause| failed(cause.into()))?.map_err(failed)
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn open_from(
    store: &content::Store,
    origin: &ResultOrigin,
    result_key: &custody::SealingKey,
    seal: &ResultSeal,
    bytes_max: u64,
) -> Result<(ResultArchive, ResultOpening), Cause> {
    let (mut ciphertext, mut leaves) = (Vec::new(), Vec::new());
    unixfs::export(store, &seal.ciphertext, &mut ciphertext)?;
    unixfs::export(store, &seal.leaves, &mut leaves)?;
    let opener = custody::result_opener(origin, result_key, seal, &leaves)?;
    let archive = custody::open_result(&opener, ciphertext.as_slice(), usize::try_from(bytes_max)?)?;
    let opening = ResultOpening { length: opener.length(), leaf_key: opener.leaf_key() };
    Ok((archive, opening))
}

/// What a folder with a result holds.
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
const EXIT_CODE: &str = "exit-code";
const OPENING: &str = "opening";
const FILES: &str = "out";

/// Writes a result for its owner's eyes. A new folder is there as a whole or not at all. Into one that an earlier command wrote,
/// each file is written anew, and what is none of ours stays.
fn write_result(folder: &Path, archive: &ResultArchive, opening: &ResultOpening) -> Result<(), FileError> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    if folder.exists() {
        if !folder.join(OPENING).exists() {
            return Err(FileError::whole(folder, "there already, and no result of a task: name another --out"));
        }
        return write_files(folder, parent, archive, opening);
    }
    let at_parent = |cause| FileError::write(parent, cause);
    fs::create_dir_all(parent).map_err(at_parent)?;
    let mut fresh = tempfile::Builder::new();
    let fresh = fresh.prefix(UNFINISHED).permissions(fs::Permissions::from_mode(0o700)).tempdir_in(parent);
    let fresh = fresh.map_err(at_parent)?;
    write_files(fresh.path(), parent, archive, opening)?;
    fs::rename(fresh.keep(), folder).map_err(|cause| FileError::write(folder, cause))
}

/// Writes every file of a result into a folder; `unfinished` is where they are until they are whole.
fn write_files(
    folder: &Path,
    unfinished: &Path,
    archive: &ResultArchive,
    opening: &ResultOpening,
) -> Result<(), FileError> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        put(&path, unfinished, bytes).map_err(|cause| FileError::write(&path, cause))
    };
    let files = folder.join(FILES);
    make_folder(&files).map_err(|cause| FileError::write(&files, cause))?;
    write(STDOUT, &archive.stdout.0)?;
    write(STDERR, &archive.stderr.0)?;
    write(EXIT_CODE, format!("{}\n", archive.exit_code).as_bytes())?;
    for file in &archive.files {
        // The archive was checked: no path leaves its folder.
        write(&format!("{FILES}/{}", file.path), &file.bytes.0)?;
    }
    write(OPENING, &opening.to_bytes())
}

fn put(path: &Path, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), make_folder)?;
    // Its owner alone may read what is made this way.
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(unfinished)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Why a folder does not hold the result that a proof is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultMismatch {
    /// A file is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something in the folder is not as `run` and `fetch` write it.
    #[error("{} is not a folder that `samovar run` wrote: {what}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The files are not those that the executor sealed.
    #[error("the files in {} are not the proven result", folder.display())]
    Other {
        /// Which folder.
        folder: PathBuf,
        /// What differs.
        #[source]
        cause: ProofError,
    },
}

/// Most bytes of an opening.
const OPENING_BYTES_MAX: usize = 256;

/// Checks that `folder` holds the result that a verified proof is about, byte for byte. What else lies there, of which the
/// proof says nothing, is returned by name.
///
/// # Errors
/// [`ResultMismatch`].
pub fn check_result(folder: &Path, verified: &Verified) -> Result<Vec<String>, ResultMismatch> {
    let bad = |what| ResultMismatch::Folder { folder: folder.to_owned(), what };
    let archive = read_result(folder)?.encode().map_err(|_| bad("a file in out/ could not come from a guest"))?;
    let opening = read_bounded(&folder.join(OPENING), OPENING_BYTES_MAX as u64)?;
    let opening = ResultOpening::from_bytes(&opening, OPENING_BYTES_MAX).map_err(|_| bad("its opening is damaged"))?;
    proof::check_result(verified, &opening, &archive)
        .map_err(|cause| ResultMismatch::Other { folder: folder.to_owned(), cause })?;
    Ok(beside_result(folder)?)
}

/// What lies beside a result, by name. In `out` there is nothing beside it: whatever is there was compared.
fn beside_result(folder: &Path) -> Result<Vec<String>, FileError> {
    let at = |cause| FileError::read(folder, cause);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let name = entry.map_err(at)?.file_name().to_string_lossy().into_owned();
        if ![STDOUT, STDERR, EXIT_CODE, OPENING, FILES].contains(&name.as_str()) {
            names.push(name);
        }
        if names.len() > FILES_MAX {
            return Err(FileError::whole(folder, "too many files beside the result"));
        }
    }
    names.sort();
    Ok(names)
}

fn read_result(folder: &Path) -> Result<ResultArchive, ResultMismatch> {
    let read = |name: &str| read_bounded(&folder.join(name), FILE_BYTES_MAX);
    let exit_code = read_text(&folder.join(EXIT_CODE))?;
    let exit_code = exit_code
        .trim()
        .parse()
        .map_err(|_| ResultMismatch::Folder { folder: folder.to_owned(), what: "its exit-code is not a number" })?;
    let mut files = Vec::new();
    gather(&folder.join(FILES), "", &mut files)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(ResultArchive { exit_code, stdout: Blob(read(STDOUT)?), stderr: Blob(read(STDERR)?), files })
}

fn gather(folder: &Path, prefix: &str, files: &mut Vec<ResultFile>) -> Result<(), FileError> {
    let at = |cause| FileError::read(folder, cause);
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(FileError::whole(&entry.path(), "its name is not UTF-8"));
        };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(at)?;
        if kind.is_dir() {
            gather(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() && files.len() < FILES_MAX {
            files.push(ResultFile { path, bytes: Blob(read_bounded(&entry.path(), FILE_BYTES_MAX)?) });
        } else {
            return Err(FileError::whole(&entry.path(), "neither a file nor a folder, or one too many"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::Bytes32;

    use super::*;

    const OPENING_OF_IT: ResultOpening = ResultOpening { length: 9, leaf_key: Bytes32([5; 32]) };

    fn archive() -> ResultArchive {
        let file = |path: &str, bytes: &[u8]| ResultFile { path: path.to_owned(), bytes: Blob(bytes.to_vec()) };
        ResultArchive {
            exit_code: 3,
            stdout: Blob(b"hello\n".to_vec()),
            stderr: Blob(Vec::new()),
            files: vec![file("a.csv", b"1"), file("b/c.csv", b"2"), file("b/d.csv", b"")],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("result");
        for _ in 0..2 {
            write_result(&result, &archive(), &OPENING_OF_IT).unwrap();
        }
        assert_eq!(read_result(&result).unwrap(), archive());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn what_somebody_else_put_there_stays_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("result");
        write_result(&result, &archive(), &OPENING_OF_IT).unwrap();
        fs::write(result.join("notes.txt"), "mine").unwrap();
        fs::write(result.join("out/notes.txt"), "mine").unwrap();
        fs::write(result.join("stdout"), "changed").unwrap();
        write_result(&result, &archive(), &OPENING_OF_IT).unwrap();
        assert_eq!(fs::read(result.join("stdout")).unwrap(), b"hello\n");
        assert_eq!(fs::read(result.join("notes.txt")).unwrap(), b"mine");
        assert_eq!(fs::read(result.join("out/notes.txt")).unwrap(), b"mine");
        assert_eq!(beside_result(&result).unwrap(), ["notes.txt"]);
        // What lies in `out` would be taken for a file of the result, and is compared.
        assert_ne!(read_result(&result).unwrap(), archive());
    }

    #[test]
    fn a_result_is_for_its_owners_eyes() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("result");
        write_result(&result, &archive(), &OPENING_OF_IT).unwrap();
        for (name, mode) in [("", 0o700), ("out", 0o700), ("out/b", 0o700), ("stdout", 0o600), ("out/b/c.csv", 0o600)] {
            let about = fs::metadata(result.join(name)).unwrap();
            assert_eq!(about.permissions().mode() & 0o777, mode, "{name}");
        }
    }

    #[test]
    fn a_folder_that_is_no_result_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("result");
        fs::create_dir(&result).unwrap();
        fs::write(result.join("thesis.txt"), "years of work").unwrap();
        assert!(write_result(&result, &archive(), &OPENING_OF_IT).is_err());
        assert!(result.join("thesis.txt").exists());
    }

    #[test]
    fn a_changed_folder_is_another_result() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("result");
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(result.join("stdout"), "hullo\n").unwrap(),
            &|| fs::remove_file(result.join("out/b/d.csv")).unwrap(),
            &|| fs::write(result.join("exit-code"), "0\n").unwrap(),
            &|| fs::write(result.join("out/more"), "").unwrap(),
        ];
        for change in changes {
            write_result(&result, &archive(), &OPENING_OF_IT).unwrap();
            assert_eq!(read_result(&result).unwrap(), archive());
            change();
            assert_ne!(read_result(&result).unwrap(), archive());
        }
        fs::remove_file(result.join("stderr")).unwrap();
        assert!(read_result(&result).is_err());
    }
}
