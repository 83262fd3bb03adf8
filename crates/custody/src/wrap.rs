//! Sealing a few bytes to one recipient: HPKE (RFC 9180) with X-Wing, base mode, one fixed suite.
//!
//! The suite is KEM 0x647a (X-Wing: ML-KEM-768 and X25519), KDF 0x0001 (HKDF-SHA256), AEAD 0x0003 (ChaCha20-Poly1305). It is
//! never read from input. What a box is for stands in `info`, so a box moved elsewhere does not open.
//!
//! Source: draft-ietf-hpke-pq-05, draft-connolly-cfrg-xwing-kem-10.

use chacha20::rand_core::CryptoRng;
use hpke::{
    Deserializable, Kem as _, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::XWing,
};
use model::{Blob, Digest};
use zeroize::Zeroizing;

use crate::derive::{NoRandomness, Secret32, random};

type PrivateKey = <XWing as hpke::Kem>::PrivateKey;
type PublicKey = <XWing as hpke::Kem>::PublicKey;
type Encapsulated = <XWing as hpke::Kem>::EncappedKey;

/// Bytes of an X-Wing public key.
pub const PUBLIC_KEY_BYTES: usize = 1216;
/// Bytes of the encapsulated key at the beginning of every box.
const ENCAPSULATED_BYTES: usize = 1120;
/// What a box is longer than its content.
pub(crate) const OVERHEAD_BYTES: usize = ENCAPSULATED_BYTES + 16;

/// Why sealing to somebody, or opening what was sealed, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The recipient's fault: these bytes are no key.
    #[error("these bytes are not an X-Wing public key of 1,216 bytes")]
    PublicKey,
    /// The sender's fault, or the box was meant for somebody or something else.
    #[error("it does not open with this key, or not for this purpose")]
    DoesNotOpen,
    /// Nobody's fault but this machine's.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// An X-Wing key pair: what is sealed to its public half opens with it.
pub struct SealingKey(PrivateKey);

impl SealingKey {
    /// A fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self::from_seed(&random()?))
    }

    /// The key pair of a 32-byte seed, which is the private key's own form (X-Wing, 5.2).
    pub(crate) fn from_seed(seed: &Secret32) -> Self {
        Self(PrivateKey::from_bytes(seed.as_ref()).expect("an X-Wing private key is any 32 bytes"))
    }

    /// The public half, [`PUBLIC_KEY_BYTES`] long.
    pub fn public(&self) -> Blob {
        Blob(XWing::sk_to_pk(&self.0).to_bytes().to_vec())
    }

    /// SHA-256 of the public half.
    pub(crate) fn public_digest(&self) -> Digest {
        Digest::of(&self.public().0)
    }

    /// Opens what [`seal_to`] made for this key and this `info`.
    pub(crate) fn open(&self, info: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let (encapsulated, ciphertext) = sealed.split_at_checked(ENCAPSULATED_BYTES).ok_or(WrapError::DoesNotOpen)?;
        let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| WrapError::DoesNotOpen)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.0,
            &encapsulated,
            info,
            ciphertext,
            b"",
        )
        .map(Zeroizing::new)
        .map_err(|_| WrapError::DoesNotOpen)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingKey({})", self.public_digest())
    }
}

/// Whether these bytes are an X-Wing public key.
pub(crate) fn is_public_key(bytes: &[u8]) -> bool {
    PublicKey::from_bytes(bytes).is_ok()
}

/// Seals `plaintext` to a public key: encapsulated key ‖ ciphertext ‖ tag.
pub(crate) fn seal_to(
    public: &[u8],
    info: &[u8],
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Blob, WrapError> {
    let public = PublicKey::from_bytes(public).map_err(|_| WrapError::PublicKey)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &public,
        info,
        plaintext,
        b"",
        rng,
    )
    .map_err(|_| WrapError::PublicKey)?;
    let mut sealed = encapsulated.to_bytes().to_vec();
    sealed.extend_from_slice(&ciphertext);
    Ok(Blob(sealed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::system_rng;

    #[test]
    fn opens_for_its_key_and_purpose_only() {
        let (key, other) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let sealed = seal_to(&key.public().0, b"purpose", b"content", &mut system_rng().unwrap()).unwrap();
        assert_eq!(sealed.0.len(), OVERHEAD_BYTES + 7);
        assert_eq!(key.open(b"purpose", &sealed.0).unwrap().as_slice(), b"content");
        assert_eq!(key.open(b"other", &sealed.0), Err(WrapError::DoesNotOpen));
        assert_eq!(other.open(b"purpose", &sealed.0), Err(WrapError::DoesNotOpen));
        for length in [0, ENCAPSULATED_BYTES, sealed.0.len() - 1] {
            assert_eq!(key.open(b"purpose", &sealed.0[..length]), Err(WrapError::DoesNotOpen));
        }
    }

    #[test]
    fn bytes_that_are_no_public_key_are_refused() {
        let mut rng = system_rng().unwrap();
        for bytes in [vec![], vec![0; PUBLIC_KEY_BYTES - 1], vec![0xff; PUBLIC_KEY_BYTES]] {
            assert!(!is_public_key(&bytes));
            assert_eq!(seal_to(&bytes, b"", b"content", &mut rng), Err(WrapError::PublicKey));
        }
    }

    /// The ledger asks the same of every key in a task and a registration: what it takes can be sealed to.
    #[test]
    fn a_public_key_is_numbers_below_3329_and_any_32_bytes() {
        let mut rng = system_rng().unwrap();
        let key = |first: u16, curve: u8| {
            let mut bytes = vec![0; PUBLIC_KEY_BYTES];
            bytes[..2].copy_from_slice(&first.to_le_bytes());
            bytes[PUBLIC_KEY_BYTES - 32..].fill(curve);
            bytes
        };
        assert!(!is_public_key(&key(3329, 9)));
        for key in [key(3328, 9), key(0, 0), key(0, 0xff)] {
            assert!(seal_to(&key, b"", b"content", &mut rng).is_ok());
        }
    }
}
