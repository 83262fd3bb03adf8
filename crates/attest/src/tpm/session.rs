//! Salted sessions (part 1, 19 and 21): a secret between us and one key of the TPM, so that whoever listens on the bus
//! neither reads what is sealed nor alters the answer.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    ALG_SHA256, Key, NULL, Tpm, TpmError, random,
    template::{name_of, storage_key},
    wire::{Auth, Code, Command, Handle, Reader},
};
use crate::crypto::{Entropy, Hash, aes_cfb_encrypt, aes128_cfb_decrypt, kdfa, sha256, tpm2b};

pub(super) const TYPE_HMAC: u8 = 0;
pub(super) const TYPE_POLICY: u8 = 1;

/// AES-128 in CFB mode, TPMT_SYM_DEF.
const AES_128_CFB: [u8; 6] = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43];

/// A session whose key only we and the TPM know. Good for one command.
pub(super) struct SaltedSession {
    handle: Handle,
    key: Zeroizing<Vec<u8>>,
    nonce_tpm: Vec<u8>,
}

impl SaltedSession {
    /// Starts one, salted to `parent`. Callers compare the parent's name with one they know, or an interposer could put
    /// its own key here.
    pub(super) fn start(tpm: &mut Tpm, parent: &Key, kind: u8) -> Result<Self, TpmError> {
        let mut entropy = Entropy::new(&*random()?);
        let (salt, encrypted_salt) = storage_key(&parent.public)?.protect_seed("SECRET", &mut entropy)?;
        let nonce_caller = random::<32>()?;
        let parameters =
            [&tpm2b(&nonce_caller[..])[..], &tpm2b(&encrypted_salt), &[kind], &AES_128_CFB, &ALG_SHA256].concat();
        let (handle, response) =
            tpm.run_for_handle(Code::StartAuthSession, &[parent.handle, NULL], &[], &parameters)?;
        let nonce_tpm =
            Reader(&response.parameters).tpm2b().ok_or_else(|| TpmError::malformed(Code::StartAuthSession))?.to_vec();
        let key = kdfa(Hash::Sha256, &salt, "ATH", &nonce_tpm, &nonce_caller[..], 256);
        Ok(Self { handle, key, nonce_tpm })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    /// Runs a command on `object`, which the empty password opens, with its first parameter encrypted. Returns the
    /// response's parameters, known to come from the TPM.
    pub(super) fn run_encrypting(
        &self,
        tpm: &mut Tpm,
        code: Code,
        object: &Key,
        first: &[u8],
        others: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let nonce_caller = random::<32>()?;
        let mut encrypted = Zeroizing::new(first.to_vec());
        let (key, iv) = self.parameter_key(&nonce_caller[..], &self.nonce_tpm);
        aes_cfb_encrypt(&key, &iv, &mut encrypted)?;
        let parameters = [&tpm2b(&encrypted)[..], others].concat();
        let attributes = Auth::CONTINUE | Auth::DECRYPT;
        let own = self.authorize(code, object, &parameters, &nonce_caller, attributes)?;
        let command =
            Command { code, handles: &[object.handle], auths: &[Auth::empty(), own], parameters: &parameters };
        let response = tpm.call(&command)?;
        self.check(code, &response.parameters, &response.auths, 1, &nonce_caller[..])?;
        Ok(response.parameters)
    }

    /// Runs a command without parameters on `object`, authorized by this session's policy. Returns the response's first
    /// parameter, decrypted.
    pub(super) fn run_decrypting(
        &self,
        tpm: &mut Tpm,
        code: Code,
        object: &Key,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let nonce_caller = random::<32>()?;
        let own = self.authorize(code, object, &[], &nonce_caller, Auth::CONTINUE | Auth::ENCRYPT)?;
        let response = tpm.call(&Command { code, handles: &[object.handle], auths: &[own], parameters: &[] })?;
        let nonce_tpm = self.check(code, &response.parameters, &response.auths, 0, &nonce_caller[..])?;
        let first = Reader(&response.parameters).tpm2b().ok_or_else(|| TpmError::malformed(code))?;
        let mut first = Zeroizing::new(first.to_vec());
        let (key, iv) = self.parameter_key(&nonce_tpm, &nonce_caller[..]);
        aes128_cfb_decrypt(&key, &iv, &mut first)?;
        Ok(first)
    }

    /// Our proof that we know the session's key, over the command.
    fn authorize(
        &self,
        code: Code,
        object: &Key,
        parameters: &[u8],
        nonce_caller: &[u8; 32],
        attributes: u8,
    ) -> Result<Auth, TpmError> {
        let command = sha256(&[&code.bytes(), &name_of(&object.public)?, parameters]);
        let hmac = Hash::Sha256.hmac(&self.key, &[&command, nonce_caller, &self.nonce_tpm, &[attributes]]);
        Ok(Auth { session: self.handle, nonce: nonce_caller.to_vec(), attributes, hmac })
    }

    /// Checks the TPM's proof over its response; ours is the authorization at `position`. Returns its new nonce.
    fn check(
        &self,
        code: Code,
        parameters: &[u8],
        auths: &[u8],
        position: usize,
        nonce_caller: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let (nonce, attributes, hmac) = authorization_at(auths, position).ok_or_else(|| TpmError::malformed(code))?;
        let response = sha256(&[&[0; 4], &code.bytes(), parameters]);
        let expected = Hash::Sha256.hmac(&self.key, &[&response, nonce, nonce_caller, &[attributes]]);
        if bool::from(expected.ct_eq(hmac)) {
            Ok(nonce.to_vec())
        } else {
            Err(TpmError::Tampered { command: format!("{code:?}") })
        }
    }

    /// Key and initial vector of an encrypted parameter; the sender's nonce comes first.
    fn parameter_key(&self, newer: &[u8], older: &[u8]) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
        let both = kdfa(Hash::Sha256, &self.key, "CFB", newer, older, 256);
        let (key, iv) = both.split_at(16);
        (Zeroizing::new(key.to_vec()), Zeroizing::new(iv.to_vec()))
    }
}

/// The authorization at `position` of a response: nonce, attributes, HMAC.
fn authorization_at(auths: &[u8], position: usize) -> Option<(&[u8], u8, &[u8])> {
    let mut reader = Reader(auths);
    for _ in 0..position {
        reader.tpm2b()?;
        reader.u8()?;
        reader.tpm2b()?;
    }
    Some((reader.tpm2b()?, reader.u8()?, reader.tpm2b()?))
}
