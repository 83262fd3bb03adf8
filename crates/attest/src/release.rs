//! Releases: which builds of the node are approved, and in which states of the TPM they may open what is sealed.
//!
//! The release key signs two kinds of things about a binary with hash H:
//!
//! * a [`ReleaseStatement`]: H is an approved build with this counter. Appraisers ask for it.
//! * for each k from 1 to [`STARTS_MAX`], the TPM policy "register 14 is what k starts of H make of it". The TPM itself asks
//!   for that one before it unseals the node's seed, so an approved update opens what its predecessor has sealed.
//!
//! The messages differ in length (58 and 50 bytes before hashing), so neither signature passes for the other.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use model::{Blob, Bytes64, Canonical, Digest, ReleaseStatement};
use p256::ecdsa::{
    Signature, SigningKey, VerifyingKey,
    signature::hazmat::{PrehashSigner, PrehashVerifier},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    crypto::sha256,
    tpm::{PCR_LAUNCHER, TpmError, random, template},
};

/// How often a node may start after a reset of the TPM and still open its seed. Restarting the machine begins anew.
pub const STARTS_MAX: usize = 16;
/// Qualifies policy signatures, and begins the message of statements.
pub(crate) const POLICY_REF: &[u8] = b"samovar/v1/release";

/// Why a release is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not {expected}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// It is for another binary.
    #[error("{path} is for the binary {binary}")]
    OtherBinary {
        /// Which file.
        path: PathBuf,
        /// The binary it names.
        binary: Digest,
    },
    /// The signature on a statement is not the release key's.
    #[error("the release key has not signed this statement")]
    Signature,
    /// Not a P-256 public key.
    #[error("the release key is not a P-256 public key (65 bytes, uncompressed)")]
    Key,
    /// No randomness for a new key.
    #[error("cannot make a release key")]
    Randomness(#[source] TpmError),
}

/// The public half of a release key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasePublicKey(VerifyingKey);

impl ReleasePublicKey {
    /// Reads what a genesis names: SEC1, uncompressed, 65 bytes.
    ///
    /// # Errors
    /// [`ReleaseError::Key`].
    pub fn from_bytes(sec1: &[u8]) -> Result<Self, ReleaseError> {
        let key = VerifyingKey::from_sec1_bytes(sec1).map_err(|_| ReleaseError::Key)?;
        if sec1.len() == 65 { Ok(Self(key)) } else { Err(ReleaseError::Key) }
    }

    /// The same bytes.
    pub fn to_bytes(&self) -> Blob {
        Blob(self.0.to_sec1_bytes().to_vec())
    }

    /// Checks that the release key vouches for a binary.
    ///
    /// # Errors
    /// [`ReleaseError::Signature`].
    pub fn check(&self, statement: &ReleaseStatement) -> Result<(), ReleaseError> {
        let digest = statement_digest(&statement.binary, statement.counter);
        let signature = Signature::from_slice(&statement.signature.0).map_err(|_| ReleaseError::Signature)?;
        self.0.verify_prehash(&digest, &signature).map_err(|_| ReleaseError::Signature)
    }

    /// TPMT_PUBLIC, as the TPM loads it.
    pub(crate) fn to_tpm(&self) -> Vec<u8> {
        template::encode(&template::policy_signer(&self.0))
    }
}

/// A development release key: whoever has the file approves binaries. Real networks keep theirs in hardware.
pub struct ReleaseKey(SigningKey);

impl std::fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReleaseKey")
    }
}

impl ReleaseKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`ReleaseError::Randomness`].
    pub fn generate() -> Result<Self, ReleaseError> {
        loop {
            // One draw in 2^32 is out of range.
            if let Ok(key) = SigningKey::from_slice(&random::<32>().map_err(ReleaseError::Randomness)?[..]) {
                return Ok(Self(key));
            }
        }
    }

    /// Writes the key to a new file that only its owner reads.
    ///
    /// # Errors
    /// [`ReleaseError::File`], also if the file exists.
    pub fn save(&self, path: &Path) -> Result<(), ReleaseError> {
        let scalar = Zeroizing::new(self.0.to_bytes());
        let text = Zeroizing::new(scalar.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(file_error(path))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn load(path: &Path) -> Result<Self, ReleaseError> {
        let malformed = || ReleaseError::Malformed { path: path.to_owned(), expected: "a release key" };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(file_error(path))?);
        let scalar: Digest = text.trim_end().parse().map_err(|_| malformed())?;
        let scalar = Zeroizing::new(scalar.0);
        SigningKey::from_slice(&scalar[..]).map(Self).map_err(|_| malformed())
    }

    /// The public half: what a genesis names.
    pub fn public(&self) -> ReleasePublicKey {
        ReleasePublicKey(*self.0.verifying_key())
    }

    /// Approves a binary.
    pub fn release(&self, binary: Digest, counter: u64) -> ReleaseFile {
        let statement = ReleaseStatement { binary, counter, signature: self.sign(&statement_digest(&binary, counter)) };
        let policies =
            (1..=STARTS_MAX).map(|starts| self.sign(&sha256(&[&policy_after(&binary, starts), POLICY_REF]))).collect();
        ReleaseFile { statement, policies }
    }

    /// Deterministic (RFC 6979), so the same release has the same bytes wherever it is made.
    fn sign(&self, digest: &[u8; 32]) -> Bytes64 {
        let signature: Signature = self.0.sign_prehash(digest).expect("a SHA-256 digest is as long as P-256 asks for");
        Bytes64(signature.to_bytes().into())
    }
}

/// Everything the release key says about one binary, as one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseFile {
    /// The binary is approved.
    pub statement: ReleaseStatement,
    /// Signatures (r ‖ s) over the policies for 1, 2, … [`STARTS_MAX`] starts since the TPM was reset.
    pub policies: Vec<Bytes64>,
}

impl ReleaseFile {
    /// Most bytes of a release file.
    pub const BYTES_MAX: usize = 8 << 10;

    /// Where the release of `binary` lies in a folder of releases.
    pub fn path(releases: &Path, binary: &Digest) -> PathBuf {
        releases.join(format!("{binary}.release"))
    }

    /// Writes it into a folder of releases.
    ///
    /// # Errors
    /// [`ReleaseError::File`].
    pub fn save(&self, releases: &Path) -> Result<PathBuf, ReleaseError> {
        let path = Self::path(releases, &self.statement.binary);
        fs::create_dir_all(releases).and_then(|()| fs::write(&path, self.to_bytes())).map_err(file_error(&path))?;
        Ok(path)
    }

    /// The release of `binary`; `None` if nobody vouches for it. Signatures are checked by whoever relies on them: the
    /// TPM and the appraisers.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn load(releases: &Path, binary: &Digest) -> Result<Option<Self>, ReleaseError> {
        let path = Self::path(releases, binary);
        let bytes = match fs::read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(file_error(&path))?,
        };
        let file = Self::from_bytes(&bytes, Self::BYTES_MAX)
            .map_err(|_| ReleaseError::Malformed { path: path.clone(), expected: "a release" })?;
        if file.statement.binary != *binary {
            return Err(ReleaseError::OtherBinary { path, binary: file.statement.binary });
        }
        Ok(Some(file))
    }
}

fn statement_digest(binary: &Digest, counter: u64) -> [u8; 32] {
    sha256(&[POLICY_REF, &binary.0, &counter.to_be_bytes()])
}

/// What extending a register does to it.
pub(crate) fn extended(register: &Digest, digest: &Digest) -> Digest {
    Digest(sha256(&[&register.0, &digest.0]))
}

/// The register 14 after this many starts of one binary since a reset.
pub(crate) fn register_after(binary: &Digest, starts: usize) -> Digest {
    (0..starts).fold(Digest([0; 32]), |register, _| extended(&register, binary))
}

/// The policy digest of PolicyPCR(sha256:14) at that value.
pub(crate) fn policy_after(binary: &Digest, starts: usize) -> [u8; 32] {
    const POLICY_PCR: [u8; 4] = [0, 0, 0x01, 0x7f];
    let registers = sha256(&[&register_after(binary, starts).0]);
    sha256(&[&[0; 32], &POLICY_PCR, &template::selection(&[PCR_LAUNCHER]), &registers])
}

/// The policy digest of PolicyAuthorize by `signer` (TPMT_PUBLIC) for releases.
pub(crate) fn policy_authorize(signer_name: &[u8]) -> [u8; 32] {
    const POLICY_AUTHORIZE: [u8; 4] = [0, 0, 0x01, 0x6a];
    sha256(&[&sha256(&[&[0; 32], &POLICY_AUTHORIZE, signer_name]), POLICY_REF])
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> ReleaseError {
    let path = path.to_owned();
    move |source| ReleaseError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_for_one_binary_one_counter_and_one_key() {
        let (key, other) = (ReleaseKey::generate().unwrap(), ReleaseKey::generate().unwrap());
        let statement = key.release(Digest::of(b"binary"), 3).statement;
        assert!(key.public().check(&statement).is_ok());
        assert!(other.public().check(&statement).is_err());
        assert!(key.public().check(&ReleaseStatement { counter: 4, ..statement.clone() }).is_err());
        assert!(key.public().check(&ReleaseStatement { binary: Digest::of(b"other"), ..statement }).is_err());
    }

    #[test]
    fn a_policy_signature_is_no_statement() {
        let key = ReleaseKey::generate().unwrap();
        let release = key.release(Digest::of(b"binary"), 3);
        let statement = ReleaseStatement { signature: release.policies[0], ..release.statement };
        assert!(key.public().check(&statement).is_err());
    }

    #[test]
    fn keys_and_releases_survive_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release.key");
        let key = ReleaseKey::generate().unwrap();
        key.save(&path).unwrap();
        assert!(key.save(&path).is_err(), "an existing key is not overwritten");
        assert_eq!(ReleaseKey::load(&path).unwrap().public(), key.public());
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);

        let binary = Digest::of(b"binary");
        assert!(ReleaseFile::load(dir.path(), &binary).unwrap().is_none());
        let release = key.release(binary, 1);
        let path = release.save(dir.path()).unwrap();
        assert_eq!(ReleaseFile::load(dir.path(), &binary).unwrap(), Some(release));
        fs::rename(path, ReleaseFile::path(dir.path(), &Digest::of(b"other"))).unwrap();
        assert!(ReleaseFile::load(dir.path(), &Digest::of(b"other")).is_err());
    }
}
