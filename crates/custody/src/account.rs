//! The keys of people: one Ed25519 key per account, in a file that only its owner can read.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signer as _, SigningKey};
use model::{AccountId, Bytes64, NetworkId, Signable, Signed, domain};
use zeroize::Zeroizing;

use crate::{
    SealingKey,
    derive::{NoRandomness, derive, random},
};

const HEADER: &str = "samovar account key 1";
/// Header, did:key and 64 digits are fewer than 200 bytes; the rest is room for somebody's newlines.
const FILE_BYTES_MAX: u64 = 1024;

/// The secret key of an account.
///
/// Its file is text: the line `samovar account key 1`, the account's `did:key`, and the 32-byte seed in hexadecimal. The
/// account in the file must be the seed's, so that a damaged file is noticed before anything is signed with it.
pub struct AccountKey(SigningKey);

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Key files are never overwritten.
    #[error("{} exists already; key files are never overwritten", .0.display())]
    Exists(PathBuf),
    /// Somebody else could have read it.
    #[error("{} can be read by others (mode {mode:03o}); make it private: chmod 600 {}", .path.display(), .path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what [`AccountKey::save`] writes.
    #[error("{} is not an account key file: {reason}", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file system's word.
    #[error("cannot {verb} the key file {}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// What happened.
        #[source]
        cause: io::Error,
    },
}

impl AccountKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self(SigningKey::from_bytes(&*random()?)))
    }

    /// The account this key signs for.
    pub fn account(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    /// Signs a record for one network.
    pub fn sign<T: Signable>(&self, network: &NetworkId, body: T) -> Signed<T> {
        sign(&self.0, network, body)
    }

    /// The key that results on `network` are sealed to. It derives from the account key, so nothing else must be kept.
    pub fn result_key(&self, network: &NetworkId) -> SealingKey {
        let info = domain(network, "result-key");
        SealingKey::from_seed(&derive(self.0.as_bytes(), b"", &[info.as_bytes()]))
    }

    /// Writes the key to a new file that only its owner may read, and syncs it.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if anything is there already; [`KeyFileError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let seed = Zeroizing::new(hex::encode(self.0.as_bytes()));
        let text = Zeroizing::new(format!("{HEADER}\n{}\n{}\n", self.account(), *seed));
        let io_error = |cause: io::Error| match cause.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
            _ => KeyFileError::Io { verb: "write", path: path.to_owned(), cause },
        };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io_error)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError::TooOpen`] if group or others may read it; [`KeyFileError::Malformed`]; [`KeyFileError::Io`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let io_error = |cause| KeyFileError::Io { verb: "read", path: path.to_owned(), cause };
        let file = File::open(path).map_err(io_error)?;
        // Of the open file, so that it cannot be exchanged between the question and the reading.
        let mode = file.metadata().map_err(io_error)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::TooOpen { path: path.to_owned(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize + 1));
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io_error)?;
        Self::parse(&bytes).map_err(|reason| KeyFileError::Malformed { path: path.to_owned(), reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err("it is too long");
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let mut lines = text.trim_end().lines();
        if lines.next() != Some(HEADER) {
            return Err("its first line is not 'samovar account key 1'");
        }
        let account: AccountId =
            lines.next().and_then(|line| line.parse().ok()).ok_or("its second line is not a did:key")?;
        let mut seed = Zeroizing::new([0; 32]);
        let digits = lines.next().ok_or("its third line is missing")?;
        hex::decode_to_slice(digits, seed.as_mut()).map_err(|_| "its third line is not 64 hexadecimal digits")?;
        if lines.next().is_some() {
            return Err("it has more than three lines");
        }
        let key = Self(SigningKey::from_bytes(&seed));
        if key.account() == account { Ok(key) } else { Err("its key does not belong to its account; it is damaged") }
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({})", self.account())
    }
}

pub(crate) fn sign<T: Signable>(key: &SigningKey, network: &NetworkId, body: T) -> Signed<T> {
    let signature = key.sign(&Signed::message(network, &body));
    Signed::assemble(body, Bytes64(signature.to_bytes()))
}
