//! Where keys come from: HKDF-SHA256 (RFC 5869) from other keys, or the operating system's randomness.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// 32 secret bytes, wiped when dropped.
pub(crate) type Secret32 = Zeroizing<[u8; 32]>;

/// The operating system gave no random bytes, so no key was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// Derives 32 bytes; `info` is the concatenation of its parts.
pub(crate) fn derive(secret: &[u8], salt: &[u8], info: &[&[u8]]) -> Secret32 {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand_multi_info(info, key.as_mut())
        .expect("32 bytes are fewer than the 8,160 that HKDF-SHA256 can give");
    key
}

/// Fresh bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// A generator seeded by the operating system once, so that nothing after it can run out of randomness.
pub(crate) fn system_rng() -> Result<ChaCha20Rng, NoRandomness> {
    Ok(ChaCha20Rng::from_seed(*random::<32>()?))
}
