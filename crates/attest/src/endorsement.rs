//! Endorsement: who vouches that a key sits in a TPM (TCG EK credential profile).

use model::{Blob, Digest, TrustAnchors};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
    alg_id,
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::{Decode, asn1::ObjectIdentifier},
    ext::pkix::{ExtendedKeyUsage, SubjectAltName, name::GeneralName},
};

use crate::crypto::{Hash, StorageKey, StoragePublic, sha256};

/// Most certificates from the endorsement key towards the root, the root not counted.
pub const CHAIN_MAX: usize = 5;
/// Most bytes of one certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 8 << 10;

/// Why a chain of certificates endorses nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// The attester sends none or too many, or too long ones.
    #[error("between 1 and {CHAIN_MAX} certificates of at most {CERTIFICATE_BYTES_MAX} bytes are expected")]
    Bounds,
    /// Something in the chain is not a certificate, or of a kind that nobody expects here.
    #[error("certificate: {0}")]
    Malformed(String),
    /// None of the network's roots vouches for it.
    #[error("no trust anchor of this network vouches for this TPM (a software TPM passes on simulated networks only)")]
    NotVouched(#[source] webpki::Error),
    /// It is a certificate for something else.
    #[error("not a certificate of an endorsement key")]
    OtherUse,
    /// The network's own trust anchors cannot be read.
    #[error("a trust anchor of this network is not a certificate")]
    Anchor,
}

/// A TPM that somebody vouches for. Only [`Endorsement::check`] makes one.
///
/// Checking costs about as much as the rest of an appraisal, and its outcome holds until the certificates end: keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    checked: Digest,
    fingerprint: Digest,
    simulated: bool,
    vendor: String,
    valid_until_ms: u64,
}

impl Endorsement {
    /// Checks a chain, endorsement certificate first, against the network's anchors at ledger time `now_ms`.
    ///
    /// # Errors
    /// [`EndorsementError`]; the attester's fault but for `Anchor`.
    pub fn check(chain: &[Blob], anchors: &TrustAnchors, now_ms: u64) -> Result<Self, EndorsementError> {
        let bounded = chain.iter().all(|certificate| certificate.0.len() <= CERTIFICATE_BYTES_MAX);
        let Some((leaf, intermediates)) = chain.split_first().filter(|_| bounded && chain.len() <= CHAIN_MAX) else {
            return Err(EndorsementError::Bounds);
        };
        let simulated = match vouched(leaf, intermediates, &anchors.hardware, now_ms) {
            Ok(()) => false,
            Err(EndorsementError::NotVouched(_)) if anchors.simulated() => {
                vouched(leaf, intermediates, &anchors.simulated, now_ms)?;
                true
            }
            Err(cause) => return Err(cause),
        };
        let parsed = parse(&leaf.0)?;
        // webpki applies a required usage to every intermediate too, and those rarely carry it: the leaf is checked here.
        if !is_for_endorsement(&parsed)? {
            return Err(EndorsementError::OtherUse);
        }
        Ok(Self {
            checked: digest_of(chain, anchors),
            fingerprint: Digest::of(&leaf.0),
            simulated,
            vendor: vendor_of(&parsed),
            valid_until_ms: chain
                .iter()
                .map(valid_until_ms)
                .try_fold(u64::MAX, |least, end| end.map(|end| least.min(end)))?,
        })
    }

    /// SHA-256 of the endorsement certificate.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Whether only a simulated anchor vouches for it.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// Who made the TPM, as the endorsement certificate says: the four letters of the TCG vendor id registry (`INTC`,
    /// `IFX`, …), or the text `id:` with eight digits where they are no letters. `unknown` if it does not say.
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// Whether this is the outcome for `chain` under `anchors` and still holds at `now_ms`.
    pub fn covers(&self, chain: &[Blob], anchors: &TrustAnchors, now_ms: u64) -> bool {
        now_ms <= self.valid_until_ms && digest_of(chain, anchors) == self.checked
    }
}

fn digest_of(chain: &[Blob], anchors: &TrustAnchors) -> Digest {
    let lists = [chain, &anchors.hardware, &anchors.simulated];
    let digests = lists.map(|list| Digest::of_parts(&list.iter().map(AsRef::as_ref).collect::<Vec<_>>()).0);
    Digest::of_parts(&[&digests[0], &digests[1], &digests[2]])
}

fn vouched(leaf: &Blob, intermediates: &[Blob], roots: &[Blob], now_ms: u64) -> Result<(), EndorsementError> {
    let roots: Vec<CertificateDer<'_>> = roots.iter().map(|root| CertificateDer::from(&root.0[..])).collect();
    let anchors: Result<Vec<TrustAnchor<'_>>, _> = roots.iter().map(webpki::anchor_from_trusted_cert).collect();
    let anchors = anchors.map_err(|_| EndorsementError::Anchor)?;
    let intermediates: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|certificate| CertificateDer::from(&certificate.0[..])).collect();
    let leaf = CertificateDer::from(&leaf.0[..]);
    let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(|cause| malformed(&cause))?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now_ms));
    let usage = webpki::KeyUsage::required_if_present(EK_CERTIFICATE_DER);
    leaf.verify_for_usage(ALGORITHMS, &anchors, &intermediates, now, usage, None, None)
        .map(drop)
        .map_err(EndorsementError::NotVouched)
}

/// tcg-kp-EKCertificate, 2.23.133.8.1.
const EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
/// tcg-at-tpmManufacturer.
const TPM_MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
const EK_CERTIFICATE_DER: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// Lenient: certificates of real TPMs break strict readers (negative serials, padding).
type Certificate = CertificateInner<Raw>;

fn parse(certificate: &[u8]) -> Result<Certificate, EndorsementError> {
    Certificate::from_der(certificate).map_err(|cause| malformed(&cause))
}

fn malformed(cause: &impl std::fmt::Display) -> EndorsementError {
    EndorsementError::Malformed(cause.to_string())
}

fn is_for_endorsement(certificate: &Certificate) -> Result<bool, EndorsementError> {
    let usage = certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>().map_err(|cause| malformed(&cause))?;
    Ok(usage.is_some_and(|(_, usage)| usage.0.contains(&EK_CERTIFICATE)))
}

/// The attribute tpmManufacturer in the certificate's alternative names (TCG EK credential profile, 3.2.9).
fn vendor_of(certificate: &Certificate) -> String {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
    let said = names.iter().flat_map(|(_, names)| &names.0).find_map(|name| {
        let GeneralName::DirectoryName(name) = name else { return None };
        let attribute = name.iter().find(|attribute| attribute.oid == TPM_MANUFACTURER)?;
        std::str::from_utf8(attribute.value.value()).ok().map(letters_of_vendor)
    });
    said.unwrap_or_else(|| "unknown".into())
}

/// `id:494E5443` is `INTC`. Whatever is not eight digits of printable letters stays as it is, cut to 16 bytes.
fn letters_of_vendor(id: &str) -> String {
    let id: String = id.chars().filter(char::is_ascii_graphic).take(16).collect();
    let digits = id.strip_prefix("id:").filter(|digits| digits.len() == 8);
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let letters: Option<String> = number.and_then(|number| {
        let bytes: Vec<u8> = number.to_be_bytes().into_iter().filter(|byte| *byte != 0).collect();
        let printable = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        printable.then(|| bytes.into_iter().map(char::from).collect())
    });
    letters.map_or(id, |letters| letters.trim_end().to_owned())
}

fn valid_until_ms(certificate: &Blob) -> Result<u64, EndorsementError> {
    let end = parse(&certificate.0)?.tbs_certificate().validity().not_after.to_unix_duration();
    Ok(u64::try_from(end.as_millis()).unwrap_or(u64::MAX))
}

/// The endorsement key in a certificate. What its template says follows from the kind of key (TCG EK credential
/// profile, annex B: L-1, L-2 and H-3).
pub(crate) fn endorsement_key(certificate: &[u8]) -> Result<StorageKey, EndorsementError> {
    use rsa::{pkcs1::DecodeRsaPublicKey, traits::PublicKeyParts};
    let parsed = parse(certificate)?;
    let info = parsed.tbs_certificate().subject_public_key_info();
    let raw = info.subject_public_key.raw_bytes();
    if let Ok(key) = rsa::RsaPublicKey::from_pkcs1_der(raw) {
        // Template L-1 fixes both; anything else would let the certificate choose our parameters.
        if key.size() != 256 || *key.e() != rsa::BigUint::from(65_537u32) {
            return Err(EndorsementError::Malformed("an RSA endorsement key has 2,048 bits".into()));
        }
        return Ok(StorageKey { public: StoragePublic::Rsa(key), hash: Hash::Sha256, aes_bits: 128 });
    }
    if let Ok(key) = p256::PublicKey::from_sec1_bytes(raw) {
        return Ok(StorageKey { public: StoragePublic::P256(key), hash: Hash::Sha256, aes_bits: 128 });
    }
    if let Ok(key) = p384::PublicKey::from_sec1_bytes(raw) {
        return Ok(StorageKey { public: StoragePublic::P384(key), hash: Hash::Sha384, aes_bits: 256 });
    }
    Err(EndorsementError::Malformed("neither RSA 2048 nor P-256 nor P-384".into()))
}

/// Cuts what a TPM pads its certificate with: an index may be larger than the certificate in it.
pub(crate) fn trim_der(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0x30, 0x82, high, low, ..] => bytes.get(..4 + u16::from_be_bytes([*high, *low]) as usize),
        _ => None,
    }
}

/// What makers of TPMs sign certificates with.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[&RsaSha256, &RsaSha384, &P256Sha256, &P384Sha384];

#[derive(Debug)]
struct RsaSha256;
#[derive(Debug)]
struct RsaSha384;
#[derive(Debug)]
struct P256Sha256;
#[derive(Debug)]
struct P384Sha384;

fn verify_rsa(key: &[u8], scheme: rsa::Pkcs1v15Sign, digest: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    use rsa::{pkcs1::DecodeRsaPublicKey, traits::PublicKeyParts};
    let key = rsa::RsaPublicKey::from_pkcs1_der(key).map_err(|_| InvalidSignature)?;
    if key.size() < 256 {
        return Err(InvalidSignature);
    }
    key.verify(scheme, digest, signature).map_err(|_| InvalidSignature)
}

impl SignatureVerificationAlgorithm for RsaSha256 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        verify_rsa(key, rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha256>(), &sha256(&[message]), signature)
    }
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_PKCS1_SHA256
    }
}

impl SignatureVerificationAlgorithm for RsaSha384 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let digest = Hash::Sha384.of(&[message]);
        verify_rsa(key, rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha384>(), &digest, signature)
    }
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_PKCS1_SHA384
    }
}

impl SignatureVerificationAlgorithm for P256Sha256 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        use p256::ecdsa::{DerSignature, VerifyingKey, signature::Verifier};
        let key = VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = DerSignature::try_from(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

impl SignatureVerificationAlgorithm for P384Sha384 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        use p384::ecdsa::{DerSignature, VerifyingKey, signature::Verifier};
        let key = VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = DerSignature::try_from(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P384
    }
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA384
    }
}

#[cfg(test)]
mod tests {
    use super::letters_of_vendor;

    #[test]
    fn vendors_are_shown_by_their_letters_where_they_have_some() {
        for (id, shown) in [
            ("id:494E5443", "INTC"),
            ("id:49465800", "IFX"),
            ("id:4E544300", "NTC"),
            ("id:00001014", "id:00001014"),
            ("id:49", "id:49"),
            ("\u{202e}something very long and odd", "somethingverylon"),
        ] {
            assert_eq!(letters_of_vendor(id), shown);
        }
    }
}
