//! A TPM 2.0, and the commands that we need of it (library specification, part 3).
//!
//! Frames are written by hand: the commands are few, their responses carry secrets that must be wiped, and one of them
//! (LoadExternal of a public key) cannot be said with the structures of `tpm2-protocol`, which serve for public areas and
//! attestation structures only.
//!
//! Nothing stays loaded between calls: a TPM without resource manager has three slots.

mod session;
pub(crate) mod template;
mod transport;
pub(crate) mod wire;

use std::{io, thread, time::Duration};

use model::Digest;
use zeroize::Zeroizing;

pub use transport::{Device, FRAME_BYTES_MAX, Stream, Transport};

use crate::{
    crypto::{UnusableKey, tpm2b},
    tpm::{
        session::SaltedSession,
        template::selection,
        wire::{Auth, Code, Command, Handle, Reader, Response, push_tpm2b},
    },
};

/// The register that holds the launcher's measurements. Software cannot reset it without resetting the TPM.
pub const PCR_LAUNCHER: u32 = 14;

pub(crate) const OWNER: Handle = 0x4000_0001;
pub(crate) const ENDORSEMENT: Handle = 0x4000_000b;
const NULL: Handle = 0x4000_0007;

/// A null scheme or algorithm.
const ALG_NULL: [u8; 2] = [0x00, 0x10];
const ALG_SHA256: [u8; 2] = [0x00, 0x0b];
const ALG_ECDSA: [u8; 2] = [0x00, 0x18];

/// What goes wrong between us and a TPM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The bytes do not get through: the software TPM has ended, or the device is gone.
    #[error("cannot talk to the TPM")]
    Io(#[source] io::Error),
    /// The TPM answered, and the answer is no.
    #[error("the TPM refuses {command}: {reason}")]
    Refused {
        /// Which command.
        command: String,
        /// Its response code.
        code: u32,
        /// The code in words.
        reason: String,
    },
    /// The TPM answered something that is not a response to this command.
    #[error("the TPM's answer to {command} is malformed")]
    Malformed {
        /// Which command.
        command: String,
    },
    /// The TPM asked for patience too often.
    #[error("the TPM is still busy with {command}")]
    Busy {
        /// Which command.
        command: String,
    },
    /// Somebody between us and the TPM altered a protected response.
    #[error("the answer to {command} was not made by this TPM")]
    Tampered {
        /// Which command.
        command: String,
    },
    /// A key in the TPM is not the kind of key it should be.
    #[error(transparent)]
    Key(#[from] UnusableKey),
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Randomness(String),
}

impl TpmError {
    fn malformed(code: Code) -> Self {
        Self::Malformed { command: format!("{code:?}") }
    }

    /// Whether the TPM says that a handle names nothing.
    pub(crate) fn is_absent(&self) -> bool {
        // TPM_RC_HANDLE, whichever handle it is.
        matches!(self, Self::Refused { code, .. } if code & 0xff == 0x8b)
    }
}

/// A key in the TPM.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) handle: Handle,
    /// TPMT_PUBLIC.
    pub(crate) public: Vec<u8>,
}

/// What a quote or a certification says, and the signature under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// TPMS_ATTEST, exactly as signed.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

/// A connection to a TPM. One command at a time.
pub struct Tpm {
    transport: Box<dyn Transport + Send>,
}

impl std::fmt::Debug for Tpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tpm")
    }
}

impl Tpm {
    /// A TPM behind `transport`.
    pub fn new(transport: impl Transport + Send + 'static) -> Self {
        Self { transport: Box::new(transport) }
    }

    /// Sends a command; asks again as long as the TPM wants that, a bounded number of times.
    fn call(&mut self, command: &Command<'_>) -> Result<Response, TpmError> {
        const TRIES_MAX: u64 = 40;
        let frame = command.frame();
        for round in 0..TRIES_MAX {
            let answer = self.transport.exchange(&frame).map_err(TpmError::Io)?;
            let (code, body) = Response::split(&answer).ok_or_else(|| TpmError::malformed(command.code))?;
            match code {
                0 => return Response::decode(command, body).ok_or_else(|| TpmError::malformed(command.code)),
                // TPM_RC_RETRY, TPM_RC_YIELDED, TPM_RC_TESTING: the identical command again.
                0x922 | 0x908 | 0x90a => thread::sleep(Duration::from_millis(1 + 2 * round)),
                code => return Err(refused(command.code, code)),
            }
        }
        Err(TpmError::Busy { command: format!("{:?}", command.code) })
    }

    fn run(&mut self, code: Code, handles: &[Handle], auths: &[Auth], parameters: &[u8]) -> Result<Response, TpmError> {
        self.call(&Command { code, handles, auths, parameters })
    }

    fn run_for_handle(
        &mut self,
        code: Code,
        handles: &[Handle],
        auths: &[Auth],
        parameters: &[u8],
    ) -> Result<(Handle, Response), TpmError> {
        let response = self.run(code, handles, auths, parameters)?;
        Ok((response.handle.ok_or_else(|| TpmError::malformed(code))?, response))
    }

    fn flush(&mut self, handle: Handle) -> Result<(), TpmError> {
        self.run(Code::FlushContext, &[], &[], &handle.to_be_bytes()).map(drop)
    }

    /// Runs `work` and flushes `handle` afterwards, whatever came of it.
    fn flushing<T, E: From<TpmError>>(
        &mut self,
        handle: Handle,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let outcome = work(self);
        let flushed = self.flush(handle);
        let value = outcome?;
        flushed?;
        Ok(value)
    }

    /// Creates a primary key from a template, lends it to `work`, and flushes it.
    pub(crate) fn with_primary<T, E: From<TpmError>>(
        &mut self,
        hierarchy: Handle,
        template: &[u8],
        work: impl FnOnce(&mut Self, &Key) -> Result<T, E>,
    ) -> Result<T, E> {
        // inSensitive without authorization or data, the template, no outside info, no creation PCRs.
        let parameters = [&[0, 4, 0, 0, 0, 0][..], &tpm2b(template), &[0, 0], &[0; 4]].concat();
        let (handle, response) =
            self.run_for_handle(Code::CreatePrimary, &[hierarchy], &[Auth::empty()], &parameters)?;
        self.flushing(handle, |tpm| {
            let public =
                Reader(&response.parameters).tpm2b().ok_or_else(|| TpmError::malformed(Code::CreatePrimary))?.to_vec();
            work(tpm, &Key { handle, public })
        })
    }

    /// The TPMT_PUBLIC of a loaded or persistent object.
    pub(crate) fn read_public(&mut self, handle: Handle) -> Result<Vec<u8>, TpmError> {
        let response = self.run(Code::ReadPublic, &[handle], &[], &[])?;
        let public = Reader(&response.parameters).tpm2b().ok_or_else(|| TpmError::malformed(Code::ReadPublic))?;
        Ok(public.to_vec())
    }

    /// The content of a non-volatile index that the empty password opens.
    ///
    /// # Errors
    /// [`TpmError`]; if there is no such index, one for which `is_absent` holds.
    pub(crate) fn read_nv(&mut self, index: Handle) -> Result<Vec<u8>, TpmError> {
        const CHUNK_BYTES: u16 = 512;
        let public = self.run(Code::NvReadPublic, &[index], &[], &[])?;
        let bytes = nv_data_bytes(&public.parameters).ok_or_else(|| TpmError::malformed(Code::NvReadPublic))?;
        let mut content = Vec::with_capacity(bytes as usize);
        while content.len() < bytes as usize {
            let offset = content.len() as u16;
            let size = (bytes - offset).min(CHUNK_BYTES);
            let parameters = [size.to_be_bytes(), offset.to_be_bytes()].concat();
            let response = self.run(Code::NvRead, &[index, index], &[Auth::empty()], &parameters)?;
            let chunk = Reader(&response.parameters).tpm2b().filter(|chunk| chunk.len() == size as usize);
            content.extend_from_slice(chunk.ok_or_else(|| TpmError::malformed(Code::NvRead))?);
        }
        Ok(content)
    }

    /// Extends a register of the SHA-256 bank.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn extend(&mut self, pcr: u32, digest: &Digest) -> Result<(), TpmError> {
        let parameters = [&[0, 0, 0, 1][..], &ALG_SHA256, &digest.0].concat();
        self.run(Code::PcrExtend, &[pcr], &[Auth::empty()], &parameters).map(drop)
    }

    /// Reads registers of the SHA-256 bank, in the order of `pcrs`. What it says is confirmed only by a quote.
    ///
    /// # Errors
    /// [`TpmError`]; `Malformed` too if the TPM has no such register or bank.
    pub fn read_pcrs(&mut self, pcrs: &[u32]) -> Result<Vec<Digest>, TpmError> {
        let mut values = Vec::with_capacity(pcrs.len());
        for pcr in pcrs {
            let response = self.run(Code::PcrRead, &[], &[], &selection(&[*pcr]))?;
            values.push(pcr_value(&response.parameters).ok_or_else(|| TpmError::malformed(Code::PcrRead))?);
        }
        Ok(values)
    }

    /// Quotes registers under an attestation key.
    pub(crate) fn quote(&mut self, key: &Key, pcrs: &[u32], extra_data: &[u8; 32]) -> Result<Attestation, TpmError> {
        let parameters = [&tpm2b(extra_data)[..], &ALG_NULL, &selection(pcrs)].concat();
        let response = self.run(Code::Quote, &[key.handle], &[Auth::empty()], &parameters)?;
        attestation(&response.parameters).ok_or_else(|| TpmError::malformed(Code::Quote))
    }

    /// Starts an unsalted policy session, lends it to `work`, and flushes it.
    pub(crate) fn with_policy<T, E: From<TpmError>>(
        &mut self,
        work: impl FnOnce(&mut Self, Handle) -> Result<T, E>,
    ) -> Result<T, E> {
        let nonce = random::<16>()?;
        let parameters = [&tpm2b(&nonce[..])[..], &[0, 0], &[session::TYPE_POLICY], &ALG_NULL, &ALG_SHA256].concat();
        let (handle, _) = self.run_for_handle(Code::StartAuthSession, &[NULL, NULL], &[], &parameters)?;
        self.flushing(handle, |tpm| work(tpm, handle))
    }

    /// Satisfies PolicyA of endorsement keys in a policy session: we know the (empty) endorsement password.
    pub(crate) fn policy_secret_endorsement(&mut self, session: Handle) -> Result<(), TpmError> {
        // No nonce, no cpHash, no policyRef, no expiration.
        self.run(Code::PolicySecret, &[ENDORSEMENT, session], &[Auth::empty()], &[0; 10]).map(drop)
    }

    /// Binds a policy session to the present value of a register.
    fn policy_pcr(&mut self, session: Handle, pcr: u32) -> Result<(), TpmError> {
        let parameters = [&[0, 0][..], &selection(&[pcr])].concat();
        self.run(Code::PolicyPcr, &[session], &[], &parameters).map(drop)
    }

    /// Recovers the secret of a credential: `key` must be the object it names and `endorsement` the key it is made for.
    pub(crate) fn activate(
        &mut self,
        key: &Key,
        endorsement: Handle,
        endorsement_auth: Auth,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let parameters = [tpm2b(credential), tpm2b(secret)].concat();
        let auths = [Auth::empty(), endorsement_auth];
        let response = self.run(Code::ActivateCredential, &[key.handle, endorsement], &auths, &parameters)?;
        let secret =
            Reader(&response.parameters).tpm2b().ok_or_else(|| TpmError::malformed(Code::ActivateCredential))?;
        Ok(Zeroizing::new(secret.to_vec()))
    }

    /// Seals `secret` under `parent`; it crosses the bus encrypted. Returns TPM2B_PRIVATE's content and TPMT_PUBLIC.
    pub(crate) fn seal(
        &mut self,
        parent: &Key,
        public: &[u8],
        secret: &[u8; 32],
    ) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        // TPMS_SENSITIVE_CREATE: no authorization, then the data.
        let mut sensitive = Zeroizing::new(Vec::with_capacity(4 + secret.len()));
        sensitive.extend_from_slice(&[0, 0]);
        push_tpm2b(&mut sensitive, secret);
        let others = [&tpm2b(public)[..], &[0, 0], &[0; 4]].concat();
        let salted = SaltedSession::start(self, parent, session::TYPE_HMAC)?;
        let handle = salted.handle();
        let parameters =
            self.flushing(handle, |tpm| salted.run_encrypting(tpm, Code::Create, parent, &sensitive, &others))?;
        let mut reader = Reader(&parameters);
        let sealed = reader.tpm2b().zip(reader.tpm2b()).ok_or_else(|| TpmError::malformed(Code::Create))?;
        Ok((sealed.0.to_vec(), sealed.1.to_vec()))
    }

    /// Loads a sealed object under `parent` and opens it with a policy: register `pcr` must be in a state that the policy
    /// key has signed. The secret crosses the bus encrypted.
    pub(crate) fn unseal(
        &mut self,
        parent: &Key,
        private: &[u8],
        public: &[u8],
        pcr: u32,
        approval: &Approval<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let parameters = [tpm2b(private), tpm2b(public)].concat();
        let (handle, _) = self.run_for_handle(Code::Load, &[parent.handle], &[Auth::empty()], &parameters)?;
        self.flushing(handle, |tpm| {
            let salted = SaltedSession::start(tpm, parent, session::TYPE_POLICY)?;
            let session = salted.handle();
            tpm.flushing(session, |tpm| {
                tpm.policy_pcr(session, pcr)?;
                tpm.policy_authorize(session, approval)?;
                salted.run_decrypting(tpm, Code::Unseal, &Key { handle, public: public.to_vec() })
            })
        })
    }

    /// Replaces the policy of a session by the policy key's authorization of it (part 3, PolicyAuthorize).
    fn policy_authorize(&mut self, session: Handle, approval: &Approval<'_>) -> Result<(), TpmError> {
        let ticket = self.verify_approval(approval)?;
        let parameters = [
            &tpm2b(&approval.policy)[..],
            &tpm2b(approval.policy_ref),
            &tpm2b(&template::name_of(approval.signer)?),
            &ticket,
        ]
        .concat();
        self.run(Code::PolicyAuthorize, &[session], &[], &parameters).map(drop)
    }

    /// Lets the TPM check the policy key's signature. Returns its ticket, TPMT_TK_VERIFIED.
    fn verify_approval(&mut self, approval: &Approval<'_>) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        // No private part; the ticket must belong to a hierarchy.
        let load = [&[0, 0][..], &tpm2b(approval.signer), &OWNER.to_be_bytes()].concat();
        let (handle, _) = self.run_for_handle(Code::LoadExternal, &[], &[], &load)?;
        let digest = crate::crypto::sha256(&[&approval.policy, approval.policy_ref]);
        let (r, s) = approval.signature.split_at(32);
        let parameters = [&tpm2b(&digest)[..], &ALG_ECDSA, &ALG_SHA256, &tpm2b(r), &tpm2b(s)].concat();
        self.flushing(handle, |tpm| {
            tpm.run(Code::VerifySignature, &[handle], &[], &parameters).map(|response| response.parameters)
        })
    }

    /// Tells the TPM that power will go, so that its counters stay orderly.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn shutdown(&mut self) -> Result<(), TpmError> {
        self.run(Code::Shutdown, &[], &[], &[0, 0]).map(drop)
    }
}

/// A policy that a key outside the TPM has signed.
pub(crate) struct Approval<'a> {
    /// TPMT_PUBLIC of that key.
    pub(crate) signer: &'a [u8],
    /// The policy's digest.
    pub(crate) policy: [u8; 32],
    /// Qualifies what the signature is for.
    pub(crate) policy_ref: &'a [u8],
    /// ECDSA P-256, r ‖ s, over SHA-256 of `policy ‖ policy_ref`.
    pub(crate) signature: [u8; 64],
}

fn refused(command: Code, code: u32) -> TpmError {
    let reason =
        tpm2_protocol::data::TpmRc::try_from(code).map_or_else(|_| format!("{code:#x}"), |code| code.to_string());
    TpmError::Refused { command: format!("{command:?}"), code, reason }
}

/// The size in a TPM2B_NV_PUBLIC.
fn nv_data_bytes(parameters: &[u8]) -> Option<u16> {
    let mut public = Reader(Reader(parameters).tpm2b()?);
    let (_index, _name_algorithm, _attributes) = (public.u32()?, public.u16()?, public.u32()?);
    public.tpm2b()?;
    public.u16()
}

/// The one digest in the response to PCR_Read: `u32 counter ‖ TPML_PCR_SELECTION ‖ TPML_DIGEST`.
fn pcr_value(parameters: &[u8]) -> Option<Digest> {
    let mut reader = Reader(parameters);
    reader.u32()?;
    for _ in 0..reader.u32()?.min(16) {
        reader.u16()?;
        let bytes = reader.u8()? as usize;
        reader.take(bytes)?;
    }
    if reader.u32()? != 1 {
        return None;
    }
    Digest::from_slice(reader.tpm2b()?)
}

/// TPM2B_ATTEST ‖ TPMT_SIGNATURE; the raw bytes are kept, because those were signed.
fn attestation(parameters: &[u8]) -> Option<Attestation> {
    let mut reader = Reader(parameters);
    let attest = reader.tpm2b()?.to_vec();
    Some(Attestation { attest, signature: reader.rest().to_vec() })
}

/// Bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, TpmError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut bytes[..]).map_err(|cause| TpmError::Randomness(cause.to_string()))?;
    Ok(bytes)
}
