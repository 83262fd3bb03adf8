//! Sealing the node's seed: only this TPM opens it, and only for a binary that the release key approves.

use model::{Blob, Canonical, Digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    crypto::UnusableKey,
    release::{
        POLICY_REF, ReleaseError, ReleaseFile, ReleasePublicKey, STARTS_MAX, policy_after, policy_authorize,
        register_after,
    },
    tpm::{Approval, Key, OWNER, PCR_LAUNCHER, Tpm, TpmError, template},
};

/// 32 bytes that only one TPM opens. Not secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSecret {
    /// TPM2B_PRIVATE's content, encrypted under the TPM's storage key.
    private: Blob,
    /// TPMT_PUBLIC, with the policy.
    public: Blob,
    /// Name of that storage key. Another key in its place would be somebody between us and the TPM.
    storage_key: Blob,
    /// Who approves binaries (SEC1, 65 bytes).
    release_key: Blob,
}

impl SealedSecret {
    /// Most bytes of its canonical encoding.
    pub const BYTES_MAX: usize = 4 << 10;
}

/// Why a secret is not sealed or not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The TPM does not take part.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The sealed secret was made by another TPM, or somebody stands between us and ours.
    #[error("this secret was sealed by another TPM")]
    OtherTpm,
    /// The release key in the sealed secret is none.
    #[error(transparent)]
    ReleaseKey(ReleaseError),
    /// The release is for another binary than the one that was measured, or starts of others are measured too.
    #[error(
        "register 14 holds {register}, which is not 1 to {STARTS_MAX} starts of the binary {binary}; \
         after an update, and after {STARTS_MAX} starts, restart the machine"
    )]
    OtherState {
        /// The register.
        register: Digest,
        /// The released binary.
        binary: Digest,
    },
    /// The release file has no signature for this state.
    #[error("the release file has no policy for start {starts}")]
    NoPolicy {
        /// How many starts the register shows.
        starts: usize,
    },
    /// The release key that the secret is sealed for has not signed this release.
    #[error("the release key has not approved the binary {binary}")]
    NotApproved {
        /// Which.
        binary: Digest,
        /// What the TPM says.
        #[source]
        source: TpmError,
    },
    /// What came out is not 32 bytes.
    #[error("the sealed secret has the wrong length")]
    Length,
}

impl From<UnusableKey> for SealError {
    fn from(cause: UnusableKey) -> Self {
        Self::Tpm(cause.into())
    }
}

/// Seals 32 bytes to this TPM and to whatever binaries `release_key` approves, now or later.
///
/// # Errors
/// [`SealError`].
pub fn seal_secret(
    tpm: &mut Tpm,
    secret: &[u8; 32],
    release_key: &ReleasePublicKey,
) -> Result<SealedSecret, SealError> {
    let policy = policy_authorize(&template::name_of(&release_key.to_tpm())?);
    tpm.with_primary(OWNER, &template::encode(&template::storage_p256()), |tpm, storage| {
        let (private, public) = tpm.seal(storage, &template::encode(&template::sealed(&policy)), secret)?;
        Ok(SealedSecret {
            private: Blob(private),
            public: Blob(public),
            storage_key: Blob(template::name_of(&storage.public)?),
            release_key: release_key.to_bytes(),
        })
    })
}

/// Opens a sealed secret: the running binary must have been measured into register 14, and `release` must approve it.
///
/// # Errors
/// [`SealError`].
pub fn unseal_secret(
    tpm: &mut Tpm,
    sealed: &SealedSecret,
    release: &ReleaseFile,
) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let signer = ReleasePublicKey::from_bytes(&sealed.release_key.0).map_err(SealError::ReleaseKey)?.to_tpm();
    let (policy, signature) = policy_now(tpm, release)?;
    let approval = Approval { signer: &signer, policy, policy_ref: POLICY_REF, signature };
    tpm.with_primary(OWNER, &template::encode(&template::storage_p256()), |tpm, storage: &Key| {
        if template::name_of(&storage.public)? != sealed.storage_key.0 {
            return Err(SealError::OtherTpm);
        }
        let secret = tpm
            .unseal(storage, &sealed.private.0, &sealed.public.0, PCR_LAUNCHER, &approval)
            .map_err(|cause| refusal(cause, release))?;
        secret.as_slice().try_into().map(Zeroizing::new).map_err(|_| SealError::Length)
    })
}

/// The signed policy that fits the present state of the register.
fn policy_now(tpm: &mut Tpm, release: &ReleaseFile) -> Result<([u8; 32], [u8; 64]), SealError> {
    let binary = release.statement.binary;
    let register = tpm.read_pcrs(&[PCR_LAUNCHER])?[0];
    let starts = (1..=STARTS_MAX)
        .find(|starts| register_after(&binary, *starts) == register)
        .ok_or(SealError::OtherState { register, binary })?;
    let signature = release.policies.get(starts - 1).ok_or(SealError::NoPolicy { starts })?;
    Ok((policy_after(&binary, starts), signature.0))
}

/// A refused signature or policy means that the release key has not approved the binary; the rest is the TPM's.
fn refusal(cause: TpmError, release: &ReleaseFile) -> SealError {
    match &cause {
        TpmError::Refused { command, .. }
            if ["VerifySignature", "PolicyAuthorize", "Unseal"].contains(&&command[..]) =>
        {
            SealError::NotApproved { binary: release.statement.binary, source: cause }
        }
        _ => SealError::Tpm(cause),
    }
}

impl SealedSecret {
    /// Canonical bytes, for a file.
    pub fn encode(&self) -> Vec<u8> {
        self.to_bytes()
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// [`model::EncodingError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, model::EncodingError> {
        Self::from_bytes(bytes, Self::BYTES_MAX)
    }
}
