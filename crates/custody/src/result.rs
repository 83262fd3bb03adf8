//! Results: everything a run leaves, sealed to whoever asked for it.
//!
//! A result is one archive, sealed like any file under a key of its own; the key is sealed to the task's result key. Nobody
//! but the requester opens it, not even another run of the same task.

use std::io::Read;

use model::{Blob, Canonical as _, Digest, EncodingError, NetworkId, NodeId, ResultSeal, Seal, TaskId, domain_message};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    ContentKey, NoRandomness, OpenError, Opener, SealError, Sealed, SealingKey,
    derive::system_rng,
    seal_bytes,
    wrap::{WrapError, seal_to},
};

/// Most files in an archive: no guest can leave more.
const FILES_MAX: usize = 4096;
/// Most bytes of a path in an archive.
const PATH_BYTES_MAX: usize = 1024;

/// What a run leaves. Canonical DAG-CBOR; wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultArchive {
    /// What the guest exited with.
    pub exit_code: i32,
    /// Its standard output.
    pub stdout: Blob,
    /// Its standard error, at most 64 KiB.
    pub stderr: Blob,
    /// What it left under `/out`, ascending by path.
    pub files: Vec<ResultFile>,
}

/// One file of a result.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultFile {
    /// Where, below `/out`: [`is_result_path`].
    pub path: String,
    /// Its content.
    pub bytes: Blob,
}

/// Why bytes are no archive.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Not this encoding.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// A path that could write outside the folder it is unpacked to.
    #[error("'{0}' is not a path inside a result")]
    Path(String),
    /// Paths must be ascending, each once, and no file inside another.
    #[error("'{0}' is out of order, twice there, or inside another file")]
    Order(String),
    /// More than anybody should unpack.
    #[error("{0} files are too many")]
    TooManyFiles(usize),
}

/// Why a result was not sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The executor's fault.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The requester's fault.
    #[error("the task's result key is not an X-Wing key")]
    ResultKey,
    /// The executor's fault, or this is the wrong account key.
    #[error("the result's key does not open: it was sealed for another account, task or executor")]
    WrappedKey,
    /// See there.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// See there.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// This machine's fault.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// A sealed result, before it is stored: the CIDs of its two files make it a [`model::ResultSeal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedResult {
    /// The ciphertext.
    pub ciphertext: Vec<u8>,
    /// Its seal and the sealed list of leaf hashes.
    pub sealed: Sealed,
    /// The content key, sealed to the result key.
    pub wrapped_key: Blob,
}

impl ResultArchive {
    /// Checks paths, order and number of the files.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn check(&self) -> Result<(), ArchiveError> {
        if self.files.len() > FILES_MAX {
            return Err(ArchiveError::TooManyFiles(self.files.len()));
        }
        if let Some(file) = self.files.iter().find(|file| !is_result_path(&file.path)) {
            return Err(ArchiveError::Path(file.path.clone()));
        }
        let disordered = |path: &str| Err(ArchiveError::Order(path.to_owned()));
        // In ascending order everything that begins with some path follows it without a gap: only such paths are kept.
        let mut beginnings: Vec<&str> = Vec::new();
        let mut last = None;
        for file in &self.files {
            let path = file.path.as_str();
            while beginnings.pop_if(|beginning| !path.starts_with(*beginning)).is_some() {}
            let inside = |file: &&str| path.as_bytes().get(file.len()) == Some(&b'/');
            if last.is_some_and(|last| path <= last) || beginnings.iter().any(inside) {
                return disordered(path);
            }
            beginnings.push(path);
            last = Some(path);
        }
        Ok(())
    }

    /// The bytes that are sealed.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
        self.check()?;
        Ok(Zeroizing::new(self.to_bytes()))
    }

    /// Reads an archive of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn decode(bytes: &[u8], bytes_max: usize) -> Result<Self, ArchiveError> {
        let archive = Self::from_bytes(bytes, bytes_max)?;
        archive.check()?;
        Ok(archive)
    }
}

impl Drop for ResultArchive {
    fn drop(&mut self) {
        self.stdout.0.zeroize();
        self.stderr.0.zeroize();
        for file in &mut self.files {
            file.bytes.0.zeroize();
        }
    }
}

impl std::fmt::Debug for ResultArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResultArchive({} files, secret)", self.files.len())
    }
}

impl std::fmt::Debug for ResultFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResultFile({} bytes, secret)", self.bytes.0.len())
    }
}

/// Whether this is a path of plain names, so that whoever unpacks it stays in the folder: at most 1,024 bytes, names separated by
/// `/`, none of them empty, `.` or `..`, without `\` and control characters.
pub fn is_result_path(path: &str) -> bool {
    let plain = |name: &str| !name.is_empty() && name != "." && name != "..";
    let printable = !path.chars().any(|c| c == '\\' || c.is_control());
    path.len() <= PATH_BYTES_MAX && printable && path.split('/').all(plain)
}

/// Where a result comes from: its key opens for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultOrigin {
    /// On which network.
    pub network: NetworkId,
    /// For which task.
    pub task: TaskId,
    /// Who ran it.
    pub executor: NodeId,
}

impl ResultOrigin {
    /// HPKE info of the wrapped content key.
    fn info(&self, seal: &Seal) -> Vec<u8> {
        let context = ResultContext { task: self.task, executor: self.executor, seal: seal.digest() };
        domain_message(&self.network, "result", &context.to_bytes())
    }
}

/// What a wrapped result key is bound to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultContext {
    task: TaskId,
    executor: NodeId,
    seal: Digest,
}

/// Seals a result to `result_key`, the key in the task, under a fresh content key. Randomness comes from the operating system.
///
/// # Errors
/// [`ResultError`].
pub fn seal_result(
    origin: &ResultOrigin,
    result_key: &Blob,
    archive: &ResultArchive,
) -> Result<SealedResult, ResultError> {
    let plaintext = archive.encode()?;
    let key = ContentKey::generate()?;
    let (ciphertext, sealed) = seal_bytes(&plaintext, &key)?;
    let info = origin.info(&sealed.seal);
    let wrapped_key = seal_to(&result_key.0, &info, key.expose(), &mut system_rng()?).map_err(|cause| match cause {
        WrapError::NoRandomness(cause) => ResultError::NoRandomness(cause),
        _ => ResultError::ResultKey,
    })?;
    Ok(SealedResult { ciphertext, sealed, wrapped_key })
}

/// The opener of a result, by the requester's [`crate::AccountKey::result_key`]; `leaves` is its sealed list of leaf hashes.
///
/// # Errors
/// [`ResultError::WrappedKey`], [`ResultError::Open`].
pub fn result_opener(
    origin: &ResultOrigin,
    result_key: &SealingKey,
    result: &ResultSeal,
    leaves: &[u8],
) -> Result<Opener, ResultError> {
    let secret = result_key.open(&origin.info(&result.seal), &result.wrapped_key.0);
    let secret = secret.map_err(|_| ResultError::WrappedKey)?;
    let secret = Zeroizing::new(secret.as_slice().try_into().map_err(|_| ResultError::WrappedKey)?);
    Ok(Opener::new(&ContentKey::from_secret(secret), &result.seal, leaves)?)
}

/// Opens a result of at most `bytes_max` bytes.
///
/// # Errors
/// [`ResultError`].
pub fn open_result(opener: &Opener, ciphertext: impl Read, bytes_max: usize) -> Result<ResultArchive, ResultError> {
    let length = usize::try_from(opener.length()).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(ArchiveError::Encoding(EncodingError::TooLong { bytes: length, bytes_max }).into());
    }
    let mut plaintext = Zeroizing::new(Vec::with_capacity(length));
    opener.open_all(ciphertext, &mut *plaintext)?;
    Ok(ResultArchive::decode(&plaintext, bytes_max)?)
}
