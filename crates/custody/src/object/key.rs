//! The content key: 32 bytes from which everything about one sealed file derives.

use model::{Bytes32, Seal};
use subtle::ConstantTimeEq as _;

use super::{OpenError, format};
use crate::derive::{NoRandomness, Secret32, derive, random};

/// The key of one object. Whoever has it can read the object; nobody has it but its owner, while sealing, and an executor,
/// while running. Wiped when dropped; it cannot be copied, printed or written by accident.
pub struct ContentKey(Secret32);

impl ContentKey {
    /// A fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    pub(crate) fn from_secret(secret: Secret32) -> Self {
        Self(secret)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What a seal commits to. Authenticated encryption alone does not: without this, one ciphertext could be made to open
    /// to two plaintexts under two keys.
    pub(super) fn commitment(&self, salt: &Bytes32) -> Bytes32 {
        Bytes32(*derive(self.expose(), &salt.0, &[format::INFO_COMMITMENT]))
    }

    /// Whether this is the key that `seal` commits to.
    ///
    /// # Errors
    /// [`OpenError::WrongKey`].
    pub fn check(&self, seal: &Seal) -> Result<(), OpenError> {
        let matches = self.commitment(&seal.salt).0.ct_eq(&seal.key_commitment.0);
        if bool::from(matches) { Ok(()) } else { Err(OpenError::WrongKey) }
    }
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentKey(secret)")
    }
}
