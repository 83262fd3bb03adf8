//! The cryptography of TPM 2.0 (library specification, part 1, 11.4.10, 24 and annexes B and C), without a TPM.
//!
//! Everything here is a function of its arguments; randomness comes in as [`Entropy`].

use aes::cipher::KeyIvInit;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256, Sha384};
use zeroize::Zeroizing;

/// A key that cannot do what it is asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unusable key: {0}")]
pub struct UnusableKey(pub(crate) &'static str);

/// The hashes that endorsement keys use for their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::Sha256 => 256,
            Self::Sha384 => 384,
        }
    }

    pub(crate) fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => sha256(parts).to_vec(),
            Self::Sha384 => {
                let mut hash = Sha384::new();
                parts.iter().for_each(|part| hash.update(part));
                hash.finalize().to_vec()
            }
        }
    }

    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac_of::<Hmac<Sha256>>(key, parts),
            Self::Sha384 => mac_of::<Hmac<Sha384>>(key, parts),
        }
    }
}

fn mac_of<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// SHA-256 over the concatenation of `parts`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// KDFa (part 1, 11.4.10.2): SP 800-108 in counter mode, the label ended by a zero byte.
pub(crate) fn kdfa(hash: Hash, key: &[u8], label: &str, u: &[u8], v: &[u8], bits: u32) -> Zeroizing<Vec<u8>> {
    expand(bits, |counter| hash.hmac(key, &[&counter.to_be_bytes(), label.as_bytes(), &[0], u, v, &bits.to_be_bytes()]))
}

/// KDFe (part 1, 11.4.10.3): the concatenation KDF of SP 800-56A.
fn kdfe(hash: Hash, z: &[u8], label: &str, u: &[u8], v: &[u8]) -> Zeroizing<Vec<u8>> {
    expand(hash.bits(), |counter| hash.of(&[&counter.to_be_bytes(), z, label.as_bytes(), &[0], u, v]))
}

fn expand(bits: u32, block: impl Fn(u32) -> Vec<u8>) -> Zeroizing<Vec<u8>> {
    let bytes = (bits as usize).div_ceil(8);
    // Room for the last block too, so that growing leaves no copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(bytes + 64));
    for counter in 1u32.. {
        if out.len() >= bytes {
            break;
        }
        out.extend_from_slice(&Zeroizing::new(block(counter)));
    }
    out.truncate(bytes);
    out
}

/// AES in CFB mode with a zero or derived initial vector, as TPMs protect parameters and credentials.
pub(crate) fn aes_cfb_encrypt(key: &[u8], iv: &[u8], data: &mut [u8]) -> Result<(), UnusableKey> {
    const WRONG: UnusableKey = UnusableKey("AES keys have 16 or 32 bytes");
    match key.len() {
        16 => cfb_mode::Encryptor::<aes::Aes128>::new_from_slices(key, iv).map_err(|_| WRONG)?.encrypt(data),
        32 => cfb_mode::Encryptor::<aes::Aes256>::new_from_slices(key, iv).map_err(|_| WRONG)?.encrypt(data),
        _ => return Err(WRONG),
    }
    Ok(())
}

/// The inverse of [`aes_cfb_encrypt`] for the 128-bit keys of our sessions.
pub(crate) fn aes128_cfb_decrypt(key: &[u8], iv: &[u8], data: &mut [u8]) -> Result<(), UnusableKey> {
    cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(key, iv)
        .map_err(|_| UnusableKey("AES-128 keys and vectors have 16 bytes"))?
        .decrypt(data);
    Ok(())
}

/// A TPM2B: `u16 length ‖ bytes`. Callers pass what fits.
pub(crate) fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + bytes.len());
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

/// Pads a coordinate to the size of its field: TPMs may leave leading zeros out.
pub(crate) fn pad<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    out.get_mut(N.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(out)
}

/// Random bytes from a 32-byte seed that somebody else drew: HMAC-SHA256 in counter mode. Use a seed once.
pub(crate) struct Entropy {
    seed: Zeroizing<[u8; 32]>,
    counter: u64,
}

impl Entropy {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { seed: Zeroizing::new(*seed), counter: 0 }
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = Hash::Sha256.hmac(&self.seed[..], &[b"samovar/v1/entropy", &self.counter.to_be_bytes()]);
            chunk.copy_from_slice(&Zeroizing::new(block)[..chunk.len()]);
            self.counter += 1;
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0; N]);
        self.fill(&mut out[..]);
        out
    }
}

// `rsa` 0.9 wants the generator of an older generation of traits.
impl rand_core06::RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        u32::from_be_bytes(*self.array::<4>())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(*self.array::<8>())
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core06::Error> {
        self.fill(out);
        Ok(())
    }
}

impl rand_core06::CryptoRng for Entropy {}

/// A TPM's decryption key with what its template says about names and protection: an endorsement or storage key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorageKey {
    pub(crate) public: StoragePublic,
    /// The key's nameAlg.
    pub(crate) hash: Hash,
    /// Bits of its AES key.
    pub(crate) aes_bits: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoragePublic {
    Rsa(rsa::RsaPublicKey),
    P256(p256::PublicKey),
    P384(p384::PublicKey),
}

impl StorageKey {
    /// Makes a seed that only the TPM with this key learns (part 1, annexes B.10 and C.6). Returns the seed and the
    /// content of the TPM2B_ENCRYPTED_SECRET.
    pub(crate) fn protect_seed(
        &self,
        label: &str,
        entropy: &mut Entropy,
    ) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), UnusableKey> {
        match &self.public {
            StoragePublic::Rsa(key) => self.protect_seed_rsa(key, label, entropy),
            StoragePublic::P256(key) => self.protect_seed_p256(key, label, entropy),
            StoragePublic::P384(key) => self.protect_seed_p384(key, label, entropy),
        }
    }

    fn protect_seed_rsa(
        &self,
        key: &rsa::RsaPublicKey,
        label: &str,
        entropy: &mut Entropy,
    ) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), UnusableKey> {
        let mut seed = Zeroizing::new(vec![0; self.hash.bytes()]);
        entropy.fill(&mut seed);
        // The label of OAEP includes its final zero byte.
        let label = format!("{label}\0");
        let padding = match self.hash {
            Hash::Sha256 => rsa::Oaep::new_with_label::<rsa::sha2::Sha256, _>(label),
            Hash::Sha384 => rsa::Oaep::new_with_label::<rsa::sha2::Sha384, _>(label),
        };
        let secret = key.encrypt(entropy, padding, &seed).map_err(|_| UnusableKey("RSA encryption"))?;
        Ok((seed, secret))
    }

    fn protect_seed_p256(
        &self,
        key: &p256::PublicKey,
        label: &str,
        entropy: &mut Entropy,
    ) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), UnusableKey> {
        let ephemeral = ephemeral(|| p256::SecretKey::from_slice(&entropy.array::<32>()[..]).ok())?;
        let shared = p256::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), key.as_affine());
        Ok(self.seed_of(
            label,
            shared.raw_secret_bytes(),
            &ephemeral.public_key().to_sec1_bytes(),
            &key.to_sec1_bytes(),
        ))
    }

    fn protect_seed_p384(
        &self,
        key: &p384::PublicKey,
        label: &str,
        entropy: &mut Entropy,
    ) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), UnusableKey> {
        let ephemeral = ephemeral(|| p384::SecretKey::from_slice(&entropy.array::<48>()[..]).ok())?;
        let shared = p384::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), key.as_affine());
        Ok(self.seed_of(
            label,
            shared.raw_secret_bytes(),
            &ephemeral.public_key().to_sec1_bytes(),
            &key.to_sec1_bytes(),
        ))
    }

    /// The last step of both curves. Points are uncompressed SEC1: `04 ‖ x ‖ y`.
    fn seed_of(&self, label: &str, shared: &[u8], ephemeral: &[u8], key: &[u8]) -> (Zeroizing<Vec<u8>>, Vec<u8>) {
        let (own_x, own_y) = coordinates(ephemeral);
        let seed = kdfe(self.hash, shared, label, own_x, coordinates(key).0);
        (seed, [tpm2b(own_x), tpm2b(own_y)].concat())
    }

    /// TPM2_MakeCredential: encrypts `secret` so that only the TPM with this key recovers it, and only if an object
    /// with `name` is loaded in that same TPM. Returns the contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
    pub(crate) fn make_credential(
        &self,
        name: &[u8],
        secret: &[u8; 32],
        entropy: &mut Entropy,
    ) -> Result<(Vec<u8>, Vec<u8>), UnusableKey> {
        let (seed, encrypted_seed) = self.protect_seed("IDENTITY", entropy)?;
        let key = kdfa(self.hash, &seed, "STORAGE", name, &[], self.aes_bits);
        let mut identity = tpm2b(secret);
        aes_cfb_encrypt(&key, &[0; 16], &mut identity)?;
        let mac_key = kdfa(self.hash, &seed, "INTEGRITY", &[], &[], self.hash.bits());
        let mac = self.hash.hmac(&mac_key, &[&identity, name]);
        Ok(([tpm2b(&mac), identity].concat(), encrypted_seed))
    }
}

fn coordinates(point: &[u8]) -> (&[u8], &[u8]) {
    point[1..].split_at((point.len() - 1) / 2)
}

/// Draws until a scalar is in range; each draw misses with a chance below 2^-32.
fn ephemeral<K>(mut draw: impl FnMut() -> Option<K>) -> Result<K, UnusableKey> {
    (0..8).find_map(|_| draw()).ok_or(UnusableKey("no ephemeral key in range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kdfa_is_sp800_108_counter_mode() {
        // One block by hand: HMAC(key, 00000001 ‖ "ATH" ‖ 00 ‖ u ‖ v ‖ 00000100).
        let by_hand = Hash::Sha256.hmac(b"key", &[b"\0\0\0\x01ATH\0", b"uuvv", &256u32.to_be_bytes()]);
        assert_eq!(*kdfa(Hash::Sha256, b"key", "ATH", b"uu", b"vv", 256), by_hand);
        assert_eq!(kdfa(Hash::Sha256, b"key", "ATH", b"uu", b"vv", 600).len(), 75);
    }

    #[test]
    fn a_coordinate_is_padded_and_never_cut() {
        assert_eq!(pad::<4>(&[1, 2]), Some([0, 0, 1, 2]));
        assert_eq!(pad::<4>(&[]), Some([0; 4]));
        assert_eq!(pad::<4>(&[1, 2, 3, 4, 5]), None);
    }

    #[test]
    fn the_same_entropy_gives_the_same_bytes_and_another_seed_others() {
        let draw = |seed: u8| *Entropy::new(&[seed; 32]).array::<70>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1)[..32], draw(1)[32..64]);
    }
}
