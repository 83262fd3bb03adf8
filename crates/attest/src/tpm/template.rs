//! Public areas: the templates of the keys we create, and what names are.

use tpm2_protocol::{TpmMarshal, TpmUnmarshal, TpmWriter, basic::*, data::*};

use crate::crypto::{Hash, StorageKey, StoragePublic, UnusableKey, pad};

/// Attributes of a key (part 2, TPMA_OBJECT).
pub(crate) mod attribute {
    pub(crate) const FIXED_TPM: u32 = 1 << 1;
    pub(crate) const FIXED_PARENT: u32 = 1 << 4;
    pub(crate) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub(crate) const USER_WITH_AUTH: u32 = 1 << 6;
    pub(crate) const ADMIN_WITH_POLICY: u32 = 1 << 7;
    pub(crate) const NO_DA: u32 = 1 << 10;
    pub(crate) const RESTRICTED: u32 = 1 << 16;
    pub(crate) const DECRYPT: u32 = 1 << 17;
    pub(crate) const SIGN: u32 = 1 << 18;
    /// The key was made in this TPM and never leaves it.
    pub(crate) const RESIDENT: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN;
}
use attribute::*;

/// PolicySecret(endorsement hierarchy): PolicyA of the TCG EK credential profile, B.6.2, SHA-256.
const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// Separates our attestation key from those of other programs on the same TPM.
const ATTESTATION_KEY_LABEL: [u8; 32] = *b"samovar/v1/attestation-key\0\0\0\0\0\0";

/// An endorsement key RSA 2048, template L-1 of the TCG EK credential profile.
pub(crate) fn endorsement_rsa() -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::Rsa,
        name_alg: TpmAlgId::Sha256,
        object_attributes: attributes(RESIDENT | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT),
        auth_policy: buffer(&POLICY_A),
        parameters: TpmuPublicParms::Rsa(TpmsRsaParms {
            symmetric: aes_cfb(128),
            scheme: TpmtRsaScheme::default(),
            key_bits: TpmUint16::new(2048),
            exponent: TpmUint32::new(0),
        }),
        unique: TpmuPublicId::Rsa(buffer(&[0; 256])),
    }
}

/// An endorsement key P-256, template L-2.
pub(crate) fn endorsement_p256() -> TpmtPublic {
    ecc(
        RESIDENT | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT,
        buffer(&POLICY_A),
        aes_cfb(128),
        TpmtEccScheme::default(),
        point(&[0; 32], &[0; 32]),
    )
}

/// The attestation key: P-256, restricted, so that it signs only what the TPM itself says. Its primary seed gives the same
/// key after every reset, so nothing needs storing.
///
/// `noDA` is set: without it three power losses lock the key (TPM_RC_LOCKOUT).
pub(crate) fn attestation_p256() -> TpmtPublic {
    ecc(
        RESIDENT | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN,
        Tpm2bDigest::new(),
        no_symmetric(),
        ecdsa_sha256(),
        point(&ATTESTATION_KEY_LABEL, &[0; 32]),
    )
}

/// The storage key under which secrets are sealed: P-256, as the TCG provisioning guidance has it.
pub(crate) fn storage_p256() -> TpmtPublic {
    ecc(
        RESIDENT | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT,
        Tpm2bDigest::new(),
        aes_cfb(128),
        TpmtEccScheme::default(),
        point(&[0; 32], &[0; 32]),
    )
}

/// A sealed secret. Without `userWithAuth` nothing but the policy opens it.
pub(crate) fn sealed(policy: &[u8; 32]) -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::KeyedHash,
        name_alg: TpmAlgId::Sha256,
        object_attributes: attributes(FIXED_TPM | FIXED_PARENT | NO_DA),
        auth_policy: buffer(policy),
        parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms { scheme: TpmtKeyedhashScheme::default() }),
        unique: TpmuPublicId::KeyedHash(Tpm2bDigest::new()),
    }
}

/// A key outside the TPM that signs policies.
pub(crate) fn policy_signer(key: &p256::ecdsa::VerifyingKey) -> TpmtPublic {
    let sec1 = key.to_sec1_bytes();
    ecc(
        USER_WITH_AUTH | SIGN,
        Tpm2bDigest::new(),
        no_symmetric(),
        ecdsa_sha256(),
        // Uncompressed SEC1 has 65 bytes: 04, x, y.
        point(&sec1[1..33], &sec1[33..65]),
    )
}

fn ecc(
    bits: u32,
    auth_policy: Tpm2bDigest,
    symmetric: TpmtSymDef,
    scheme: TpmtEccScheme,
    unique: TpmsEccPoint,
) -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: attributes(bits),
        auth_policy,
        parameters: TpmuPublicParms::Ecc(TpmsEccParms {
            symmetric,
            scheme,
            curve_id: TpmEccCurve::NistP256,
            kdf: TpmtKdfScheme::default(),
        }),
        unique: TpmuPublicId::Ecc(unique),
    }
}

fn attributes(bits: u32) -> TpmaObject {
    TpmaObject::from_bits_truncate(bits)
}

fn point(x: &[u8], y: &[u8]) -> TpmsEccPoint {
    TpmsEccPoint { x: buffer(x), y: buffer(y) }
}

fn aes_cfb(bits: u16) -> TpmtSymDef {
    TpmtSymDef {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(TpmUint16::new(bits)),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

fn no_symmetric() -> TpmtSymDef {
    TpmtSymDef { algorithm: TpmAlgId::Null, key_bits: TpmuSymKeyBits::Null, mode: TpmuSymMode::Null }
}

fn ecdsa_sha256() -> TpmtEccScheme {
    TpmtEccScheme {
        scheme: TpmAlgId::Ecdsa,
        details: TpmuAsymScheme::Hash(TpmsSchemeHash { hash_alg: TpmAlgId::Sha256 }),
    }
}

/// Puts bytes whose length the caller knows into a TPM2B. Longer ones than the type allows come out empty, which every
/// TPM refuses.
fn buffer<B: Default + for<'a> TryFrom<&'a [u8]>>(bytes: &[u8]) -> B {
    B::try_from(bytes).unwrap_or_default()
}

/// The TPM's encoding of a structure.
pub(crate) fn encode(structure: &impl TpmMarshal) -> Vec<u8> {
    let mut bytes = vec![0; super::FRAME_BYTES_MAX];
    let mut writer = TpmWriter::new(&mut bytes);
    // A public area or a selection is far smaller than a frame; an empty result would be refused by whoever reads it.
    let written = structure.marshal(&mut writer).map_or(0, |()| writer.len());
    bytes.truncate(written);
    bytes
}

/// Reads a TPMT_PUBLIC that fills `bytes` exactly.
pub(crate) fn decode_public(bytes: &[u8]) -> Option<TpmtPublic> {
    let (public, rest) = TpmtPublic::unmarshal(bytes).ok()?;
    rest.is_empty().then_some(public)
}

/// The name of an object (part 1, 16): `nameAlg ‖ H(public area)`.
pub(crate) fn name_of(public: &[u8]) -> Result<Vec<u8>, UnusableKey> {
    // A public area begins with its type and the name algorithm.
    let algorithm: [u8; 2] =
        public.get(2..4).and_then(|bytes| bytes.try_into().ok()).ok_or(UnusableKey("no name algorithm"))?;
    let hash = match u16::from_be_bytes(algorithm) {
        0x000b => Hash::Sha256,
        0x000c => Hash::Sha384,
        _ => return Err(UnusableKey("its name algorithm is neither SHA-256 nor SHA-384")),
    };
    Ok([&algorithm[..], &hash.of(&[public])].concat())
}

/// What it takes to be an attestation key: made in a TPM, never leaving it, and signing nothing but the TPM's own words.
pub(crate) fn attestation_public(public: &[u8]) -> Result<p256::ecdsa::VerifyingKey, UnusableKey> {
    const MUST: u32 = RESIDENT | RESTRICTED | SIGN;
    let public = decode_public(public).ok_or(UnusableKey("not a TPMT_PUBLIC"))?;
    let bits = public.object_attributes.bits();
    if bits & MUST != MUST || bits & DECRYPT != 0 {
        return Err(UnusableKey("its attributes are not those of an attestation key"));
    }
    let (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(point)) = (&public.parameters, &public.unique) else {
        return Err(UnusableKey("not an elliptic key"));
    };
    if parameters.curve_id != TpmEccCurve::NistP256 || parameters.scheme != ecdsa_sha256() {
        return Err(UnusableKey("not ECDSA on P-256 with SHA-256"));
    }
    let sec1 = sec1_p256(point).ok_or(UnusableKey("coordinates too long"))?;
    p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(|_| UnusableKey("not a point of P-256"))
}

/// Our storage key as others encrypt to it.
pub(crate) fn storage_key(public: &[u8]) -> Result<StorageKey, UnusableKey> {
    const MUST: u32 = RESIDENT | RESTRICTED | DECRYPT;
    let public = decode_public(public).ok_or(UnusableKey("not a TPMT_PUBLIC"))?;
    let TpmuPublicId::Ecc(point) = &public.unique else { return Err(UnusableKey("not an elliptic key")) };
    if public.object_attributes.bits() & MUST != MUST {
        return Err(UnusableKey("its attributes are not those of a storage key"));
    }
    let sec1 = sec1_p256(point).ok_or(UnusableKey("coordinates too long"))?;
    let key = p256::PublicKey::from_sec1_bytes(&sec1).map_err(|_| UnusableKey("not a point of P-256"))?;
    Ok(StorageKey { public: StoragePublic::P256(key), hash: Hash::Sha256, aes_bits: 128 })
}

fn sec1_p256(point: &TpmsEccPoint) -> Option<Vec<u8>> {
    Some([&[4][..], &pad::<32>(&point.x)?, &pad::<32>(&point.y)?].concat())
}

/// Whether a public area carries exactly the key of a certificate.
pub(crate) fn is_key_of(public: &[u8], key: &StoragePublic) -> bool {
    use rsa::traits::PublicKeyParts;
    let Some(public) = decode_public(public) else { return false };
    match (&public.unique, key) {
        (TpmuPublicId::Rsa(modulus), StoragePublic::Rsa(key)) => key.n().to_bytes_be() == modulus.as_ref() as &[u8],
        (TpmuPublicId::Ecc(point), StoragePublic::P256(key)) => {
            sec1_p256(point).as_deref() == Some(&key.to_sec1_bytes()[..])
        }
        (TpmuPublicId::Ecc(point), StoragePublic::P384(key)) => {
            let (x, y) = (pad::<48>(&point.x), pad::<48>(&point.y));
            x.zip(y).is_some_and(|(x, y)| [&[4][..], &x, &y].concat() == key.to_sec1_bytes()[..])
        }
        _ => false,
    }
}

/// A selection of registers of the SHA-256 bank: a TPML_PCR_SELECTION with one entry of three bytes. Registers above 23
/// do not exist and are left out.
pub(crate) fn selection(pcrs: &[u32]) -> [u8; 10] {
    let mut list = [0, 0, 0, 1, 0x00, 0x0b, 3, 0, 0, 0];
    for pcr in pcrs.iter().filter(|pcr| **pcr < 24) {
        list[7 + (*pcr / 8) as usize] |= 1 << (*pcr % 8);
    }
    list
}
