//! Credential activation: shows that an attestation key sits in the very TPM that the endorsement certificate is about.
//!
//! A quote alone does not: its key says of itself that it is in a TPM. Whoever appraises encrypts a secret to the
//! endorsement key under the condition that an object with the attestation key's name is loaded beside it. Appraisers do
//! this before they vote, and custodians before they rely on evidence (rule R7).

use model::{Blob, Bytes32, ContentId};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    appraise::Appraised,
    crypto::{Entropy, UnusableKey},
    endorsement::{EndorsementError, endorsement_key},
};

/// A credential for one attestation key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The evidence it is about.
    pub evidence: ContentId,
    /// Content of TPM2B_ID_OBJECT, at most [`Challenge::PART_BYTES_MAX`].
    pub credential: Blob,
    /// Content of TPM2B_ENCRYPTED_SECRET, at most [`Challenge::PART_BYTES_MAX`].
    pub secret: Blob,
}

/// Why no challenge can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The endorsement certificate holds no key that we know how to encrypt to: the attester's fault.
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    /// Encryption fails.
    #[error(transparent)]
    Key(#[from] UnusableKey),
}

impl Challenge {
    /// Most bytes of either part: an RSA 2048 ciphertext, with room.
    pub const PART_BYTES_MAX: usize = 512;

    /// A challenge for evidence that passed, and what the answer must be. `entropy` is 32 random bytes, used once.
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn for_appraised(appraised: &Appraised, entropy: &[u8; 32]) -> Result<(Self, Expected), ChallengeError> {
        let tpm = &appraised.evidence().tpm;
        // Appraisal has seen the chain, so there is a first certificate.
        let certificate = tpm.endorsement_chain.first().map_or(&[][..], AsRef::as_ref);
        Self::make(certificate, &appraised.registration().attestation_key.0, appraised.evidence_id(), entropy)
    }

    /// A challenge for the attestation key with `name` in the TPM that `certificate` (DER) is about.
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn make(
        certificate: &[u8],
        name: &[u8],
        evidence: ContentId,
        entropy: &[u8; 32],
    ) -> Result<(Self, Expected), ChallengeError> {
        let mut entropy = Entropy::new(entropy);
        let expected = entropy.array::<32>();
        let (credential, secret) = endorsement_key(certificate)?.make_credential(name, &expected, &mut entropy)?;
        Ok((Self { evidence, credential: Blob(credential), secret: Blob(secret) }, Expected(expected)))
    }

    pub(crate) fn is_bounded(&self) -> bool {
        [&self.credential, &self.secret].iter().all(|part| part.0.len() <= Self::PART_BYTES_MAX)
    }
}

/// The secret that answers a challenge. The challenger keeps it.
pub struct Expected(Zeroizing<[u8; 32]>);

impl Expected {
    /// Whether this is the answer; takes the same time either way.
    pub fn is(&self, answer: &Bytes32) -> bool {
        self.0.ct_eq(&answer.0).into()
    }
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expected")
    }
}
