//! The attesting side: a node's TPM with its endorsement and its attestation key.

use model::{
    Blob, BlockRef, Bytes32, Canonical, Digest, EventLog, Evidence, NetworkId, NodeId, PcrValue, Registration, Role,
    TpmEvidence,
};

use crate::{
    appraise::binding,
    challenge::Challenge,
    crypto::{StorageKey, StoragePublic, UnusableKey},
    endorsement::{EndorsementError, endorsement_key, trim_der},
    tpm::{
        ENDORSEMENT, Key, Tpm, TpmError,
        template::{self, is_key_of},
        wire::{Auth, Handle},
    },
};

/// Why a TPM gives no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttesterError {
    /// The TPM does not take part.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// Its maker has put no certificate into it.
    #[error("this TPM holds no endorsement certificate that we can use")]
    NoCertificate,
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] EndorsementError),
    /// The certificate is about another key.
    #[error("this TPM's endorsement certificate is about another key than the one it holds")]
    OtherKey,
    /// A challenge that is not about our evidence, or out of bounds.
    #[error("not a challenge for this node's attestation key")]
    NotForUs,
}

impl AttesterError {
    /// Whether there is no TPM at the other end any more: nothing but a new start helps.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Tpm(TpmError::Io(_)))
    }
}

impl From<UnusableKey> for AttesterError {
    fn from(cause: UnusableKey) -> Self {
        Self::Tpm(cause.into())
    }
}

/// The kinds of endorsement keys that we can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndorsementKind {
    /// Template L-2; most hardware TPMs have one.
    P256,
    /// Template H-3; software TPMs have one.
    P384,
    /// Template L-1; nearly every TPM has one.
    Rsa2048,
}

/// Where an endorsement key of one kind and its certificate live (TCG EK credential profile 2.5, 2.2.1.4 and 2.2.1.5).
struct Slot {
    certificate: Handle,
    persistent: Handle,
}

impl EndorsementKind {
    /// In order of preference: elliptic keys answer a hundred times faster than RSA.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::Rsa2048];

    fn slot(self) -> Slot {
        match self {
            Self::P256 => Slot { certificate: 0x01c0_000a, persistent: 0x8101_000a },
            Self::P384 => Slot { certificate: 0x01c0_0016, persistent: 0x8101_0016 },
            Self::Rsa2048 => Slot { certificate: 0x01c0_0002, persistent: 0x8101_0001 },
        }
    }
}

/// A node's TPM, ready to attest.
///
/// Keys are derived from the TPM's seeds whenever they are needed: the same keys after every reset, nothing to store, and no
/// slot of the TPM occupied in between.
#[derive(Debug)]
pub struct Attester {
    tpm: Tpm,
    chain: Vec<Blob>,
    endorsement_key: StorageKey,
    persistent: Handle,
    attestation_key: Blob,
    attestation_name: Blob,
}

impl Attester {
    /// Takes a TPM with whichever endorsement key comes first in [`EndorsementKind::ALL`]. `intermediates` (DER) lead from
    /// its certificate towards its maker's root.
    ///
    /// # Errors
    /// [`AttesterError`].
    pub fn open(tpm: Tpm, intermediates: Vec<Blob>) -> Result<Self, AttesterError> {
        Self::open_with(tpm, intermediates, &EndorsementKind::ALL)
    }

    /// Takes a TPM with the first endorsement key of these kinds: the one whose certificate the committee has approved.
    ///
    /// # Errors
    /// [`AttesterError`].
    pub fn open_with(mut tpm: Tpm, intermediates: Vec<Blob>, kinds: &[EndorsementKind]) -> Result<Self, AttesterError> {
        let (certificate, persistent) = read_certificate(&mut tpm, kinds)?;
        let endorsement_key = endorsement_key(&certificate)?;
        let public = with_attestation_key(&mut tpm, |_, key| Ok::<_, AttesterError>(key.public.clone()))?;
        let name = template::name_of(&public)?;
        Ok(Self {
            tpm,
            chain: [vec![Blob(certificate)], intermediates].concat(),
            endorsement_key,
            persistent,
            attestation_key: Blob(public),
            attestation_name: Blob(name),
        })
    }

    /// Endorsement certificate, then intermediates (DER).
    pub fn endorsement_chain(&self) -> &[Blob] {
        &self.chain
    }

    /// SHA-256 of the endorsement certificate: what a genesis approves.
    pub fn endorsement(&self) -> Digest {
        Digest::of(&self.chain[0].0)
    }

    /// TPMT_PUBLIC of the attestation key.
    pub fn attestation_key(&self) -> &Blob {
        &self.attestation_key
    }

    /// What a node with these keys registers when this is its TPM.
    pub fn registration(&self, node: NodeId, sealing_key: Blob, operator: String, region: String) -> Registration {
        Registration {
            node,
            sealing_key,
            operator,
            region,
            endorsement: self.endorsement(),
            attestation_key: self.attestation_name.clone(),
        }
    }

    /// Makes evidence: quotes `pcrs` (the policy's) for exactly this registration, request and block.
    ///
    /// # Errors
    /// [`AttesterError`].
    pub fn evidence(
        &mut self,
        network: &NetworkId,
        registration: &Registration,
        request: Request,
        pcrs: &[u32],
        log: &EventLog,
    ) -> Result<Evidence, AttesterError> {
        let Request { role, window, block } = request;
        let extra_data = binding(network, &registration.digest(), role, window, &block);
        let values = self.tpm.read_pcrs(pcrs)?;
        let quoted = with_attestation_key(&mut self.tpm, |tpm, key| tpm.quote(key, pcrs, &extra_data))?;
        let pcrs = pcrs.iter().zip(values).map(|(index, value)| PcrValue { index: *index, value }).collect();
        Ok(Evidence {
            registration: registration.clone(),
            role,
            window,
            block,
            tpm: TpmEvidence {
                endorsement_chain: self.chain.clone(),
                attestation_key: self.attestation_key.clone(),
                quote: Blob(quoted.attest),
                signature: Blob(quoted.signature),
                pcrs,
                log: log.content_id(),
            },
        })
    }

    /// Answers a challenge: only this TPM can, and only for its own attestation key.
    ///
    /// # Errors
    /// [`AttesterError`]. A challenge for another TPM shows as a refusal by ours.
    pub fn activate(&mut self, challenge: &Challenge) -> Result<Bytes32, AttesterError> {
        if !challenge.is_bounded() {
            return Err(AttesterError::NotForUs);
        }
        let (persistent, endorsement_key) = (self.persistent, &self.endorsement_key);
        let secret = with_attestation_key(&mut self.tpm, |tpm, key| {
            with_endorsement_key(tpm, persistent, endorsement_key, |tpm, endorsement| {
                activate(tpm, key, endorsement, endorsement_key, challenge)
            })
        })?;
        Bytes32::from_slice(&secret).ok_or(AttesterError::NotForUs)
    }

    /// The TPM, for sealing and unsealing.
    pub fn tpm(&mut self) -> &mut Tpm {
        &mut self.tpm
    }
}

/// What evidence is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// In which role.
    pub role: Role,
    /// For which appraisal window.
    pub window: u64,
    /// A recent finalized block.
    pub block: BlockRef,
}

/// The first endorsement certificate there is, and where its key may be persistent.
fn read_certificate(tpm: &mut Tpm, kinds: &[EndorsementKind]) -> Result<(Vec<u8>, Handle), AttesterError> {
    for slot in kinds.iter().map(|kind| kind.slot()) {
        match tpm.read_nv(slot.certificate) {
            Ok(content) => {
                let certificate = trim_der(&content).ok_or(AttesterError::NoCertificate)?;
                return Ok((certificate.to_vec(), slot.persistent));
            }
            Err(cause) if cause.is_absent() => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Err(AttesterError::NoCertificate)
}

fn with_attestation_key<T, E: From<TpmError>>(
    tpm: &mut Tpm,
    work: impl FnOnce(&mut Tpm, &Key) -> Result<T, E>,
) -> Result<T, E> {
    tpm.with_primary(ENDORSEMENT, &template::encode(&template::attestation_p256()), work)
}

/// Lends the endorsement key: the persistent one, or one created from the template of its kind.
fn with_endorsement_key<T>(
    tpm: &mut Tpm,
    persistent: Handle,
    expected: &StorageKey,
    work: impl FnOnce(&mut Tpm, Handle) -> Result<T, AttesterError>,
) -> Result<T, AttesterError> {
    match tpm.read_public(persistent) {
        Ok(public) if is_key_of(&public, &expected.public) => return work(tpm, persistent),
        Ok(_) => {}
        Err(cause) if cause.is_absent() => {}
        Err(cause) => return Err(cause.into()),
    }
    let template = match &expected.public {
        StoragePublic::Rsa(_) => template::endorsement_rsa(),
        StoragePublic::P256(_) => template::endorsement_p256(),
        // Makers who certify a P-384 key also make it persistent.
        StoragePublic::P384(_) => return Err(AttesterError::OtherKey),
    };
    tpm.with_primary(ENDORSEMENT, &template::encode(&template), |tpm, key| {
        if is_key_of(&key.public, &expected.public) { work(tpm, key.handle) } else { Err(AttesterError::OtherKey) }
    })
}

fn activate(
    tpm: &mut Tpm,
    key: &Key,
    endorsement: Handle,
    endorsement_key: &StorageKey,
    challenge: &Challenge,
) -> Result<zeroize::Zeroizing<Vec<u8>>, AttesterError> {
    let (credential, secret) = (&challenge.credential.0, &challenge.secret.0);
    // Keys of template H-3 take the empty password; those of L-1 and L-2 want proof that we may use the hierarchy.
    if matches!(endorsement_key.public, StoragePublic::P384(_)) {
        return Ok(tpm.activate(key, endorsement, Auth::empty(), credential, secret)?);
    }
    tpm.with_policy(|tpm, session| {
        tpm.policy_secret_endorsement(session)?;
        Ok(tpm.activate(key, endorsement, Auth::session(session), credential, secret)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{Entropy, Hash},
        simulated::{Authority, Device},
    };

    /// Software TPMs come without a P-256 certificate, so this kind is tried below the level of certificates.
    #[test]
    fn a_p256_endorsement_key_recovers_the_secret_for_its_own_neighbour_only() {
        let dir = tempfile::tempdir().unwrap();
        let tpm_dir = dir.path().join("tpm");
        Authority::create(&dir.path().join("ca")).unwrap().manufacture(&tpm_dir, "node").unwrap();
        let mut tpm = Device::start(&tpm_dir).unwrap().into_tpm().unwrap();
        let template = template::encode(&template::endorsement_p256());
        tpm.with_primary(ENDORSEMENT, &template, |tpm, endorsement| {
            let public = template::storage_key(&endorsement.public)?;
            assert_eq!((public.hash, public.aes_bits), (Hash::Sha256, 128));
            with_attestation_key(tpm, |tpm, key| {
                let name = template::name_of(&key.public)?;
                let mut recover = |name: &[u8]| {
                    let (credential, secret) = public.make_credential(name, &[5; 32], &mut Entropy::new(&[6; 32]))?;
                    tpm.with_policy(|tpm, session| {
                        tpm.policy_secret_endorsement(session)?;
                        tpm.activate(key, endorsement.handle, Auth::session(session), &credential, &secret)
                    })
                };
                assert_eq!(*recover(&name)?, [5; 32]);
                assert!(recover(&[&[0x00, 0x0b][..], &[1; 32]].concat()).is_err());
                Ok::<_, TpmError>(())
            })
        })
        .unwrap();
    }
}
