//! A node's identity: everything derives from one 32-byte seed, which the machine's TPM seals.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ed25519_dalek::SigningKey;
use model::{Blob, Digest, NetworkId, NodeId, Signable, Signed};
use zeroize::Zeroizing;

use crate::{
    SealingKey,
    account::sign,
    derive::{NoRandomness, Secret32, derive, random},
};

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// The keys of one node: it signs with one, shares are sealed to another, and its own files are encrypted under further ones.
pub struct NodeIdentity {
    seed: Secret32,
    signing: SigningKey,
    sealing: SealingKey,
}

/// Why a file of this node was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalSealError {
    /// Damaged, or written by another node or for another purpose.
    #[error("this file was not sealed by this node for this purpose, or it is damaged")]
    DoesNotOpen,
    /// This machine's fault.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl NodeIdentity {
    /// The identity of a seed. The same seed gives the same identity for ever.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let seed = Zeroizing::new(*seed);
        Self {
            signing: SigningKey::from_bytes(&derive(seed.as_ref(), b"", &[b"samovar/v1/node/sign"])),
            sealing: SealingKey::from_seed(&derive(seed.as_ref(), b"", &[b"samovar/v1/node/seal"])),
            seed,
        }
    }

    /// The node's public name: its signing key.
    pub fn node_id(&self) -> NodeId {
        model::AccountId(self.signing.verifying_key().to_bytes())
    }

    /// Signs a record for one network.
    pub fn sign<T: Signable>(&self, network: &NetworkId, body: T) -> Signed<T> {
        sign(&self.signing, network, body)
    }

    /// X-Wing public key that shares are sealed to ([`model::Registration::sealing_key`]).
    pub fn sealing_public(&self) -> Blob {
        self.sealing.public()
    }

    /// SHA-256 of [`Self::sealing_public`], as deposits name it.
    pub(crate) fn sealing_digest(&self) -> Digest {
        self.sealing.public_digest()
    }

    pub(crate) fn sealing(&self) -> &SealingKey {
        &self.sealing
    }

    /// The seed of the signing key itself, for the transports that must sign with it by themselves (consensus, libp2p).
    pub fn expose_signing_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// Encrypts a file of this node, for example its share of the network key: nonce ‖ AES-256-GCM ciphertext ‖ tag, under a
    /// key of its own for each `purpose`. Takes the nonce from the operating system.
    ///
    /// # Errors
    /// [`LocalSealError::NoRandomness`].
    pub fn seal_local(&self, purpose: &str, plaintext: &[u8]) -> Result<Vec<u8>, LocalSealError> {
        let nonce = random::<NONCE_BYTES>()?;
        let mut sealed = Vec::with_capacity(NONCE_BYTES + plaintext.len() + TAG_BYTES);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(plaintext);
        let tag = self
            .local_key(purpose)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(purpose.as_bytes()),
                &mut sealed[NONCE_BYTES..],
            )
            .expect("a file of this node is shorter than the 64 GiB one nonce is good for");
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Decrypts what [`Self::seal_local`] made on this node for this `purpose`.
    ///
    /// # Errors
    /// [`LocalSealError::DoesNotOpen`].
    pub fn open_local(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, LocalSealError> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(LocalSealError::DoesNotOpen)?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        let length = self
            .local_key(purpose)
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(purpose.as_bytes()), &mut plaintext)
            .map_err(|_| LocalSealError::DoesNotOpen)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    fn local_key(&self, purpose: &str) -> LessSafeKey {
        let key = derive(self.seed.as_ref(), b"", &[b"samovar/v1/node/local/", purpose.as_bytes()]);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("AES-256 takes any 32 bytes"))
    }
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeIdentity({})", self.node_id())
    }
}
