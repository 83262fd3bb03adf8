//! Signatures: who says a record, on which network, for which purpose.

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Bytes64, Canonical, NetworkId};

/// A record that somebody signs.
pub trait Signable: Canonical {
    /// The last part of the signing domain; no two types share one.
    const PURPOSE: &'static str;

    /// Who must have signed it. Taken from the record itself, so that a signature cannot be put under another name.
    fn signer(&self) -> AccountId;
}

/// The signature does not verify under the key that the record names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature on this {purpose} is not one of {signer} on this network")]
pub struct BadSignature {
    /// Which kind of record.
    pub purpose: &'static str,
    /// Who should have signed.
    pub signer: AccountId,
}

/// A record with the Ed25519 signature of the account that [`Signable::signer`] names.
///
/// The content is handed out by [`Signed::verify`]; [`Signed::unverified`] is for showing and for look-ups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed<T> {
    body: T,
    signature: Bytes64,
}

impl<T: Signable> Signed<T> {
    /// What is signed: `u16 length of domain ‖ domain ‖ canonical bytes`, with domain `samovar/v1/<network id>/<purpose>`.
    pub fn message(network: &NetworkId, body: &T) -> Vec<u8> {
        domain_message(network, T::PURPOSE, &body.to_bytes())
    }

    /// Puts a record and its signature together without checking; keys live in `custody`, which calls this.
    pub fn assemble(body: T, signature: Bytes64) -> Self {
        Self { body, signature }
    }

    /// The content, if its signer signed it on `network`.
    ///
    /// # Errors
    /// [`BadSignature`]; strict verification (no small-order keys, no malleable encodings).
    pub fn verify(&self, network: &NetworkId) -> Result<&T, BadSignature> {
        let signer = self.body.signer();
        let message = Self::message(network, &self.body);
        VerifyingKey::from_bytes(&signer.0)
            .and_then(|key| key.verify_strict(&message, &Signature::from_bytes(&self.signature.0)))
            .map(|()| &self.body)
            .map_err(|_| BadSignature { purpose: T::PURPOSE, signer })
    }

    /// The content, whoever wrote it.
    pub fn unverified(&self) -> &T {
        &self.body
    }

    /// The content of something already verified, by value.
    pub fn into_unverified(self) -> T {
        self.body
    }

    /// The signature.
    pub fn signature(&self) -> &Bytes64 {
        &self.signature
    }
}

/// Binds `payload` to a network and a purpose: `u16 length of domain ‖ domain ‖ payload`.
pub fn domain_message(network: &NetworkId, purpose: &str, payload: &[u8]) -> Vec<u8> {
    let domain = domain(network, purpose);
    let mut message = Vec::with_capacity(2 + domain.len() + payload.len());
    message.extend_from_slice(&(domain.len() as u16).to_be_bytes());
    message.extend_from_slice(domain.as_bytes());
    message.extend_from_slice(payload);
    message
}

/// The domain string `samovar/v1/<network id>/<purpose>` of signatures, key derivations and seals.
pub fn domain(network: &NetworkId, purpose: &str) -> String {
    format!("samovar/v1/{network}/{purpose}")
}
