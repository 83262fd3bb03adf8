//! Commands that the crate itself never sends, for attackers who own a TPM.

use std::os::unix::net::UnixStream;

use attest::tpm::{Stream, Transport};

pub(crate) const CREATE_PRIMARY: u32 = 0x131;
pub(crate) const CERTIFY: u32 = 0x148;
pub(crate) const QUOTE: u32 = 0x158;
pub(crate) const SIGN: u32 = 0x15d;
pub(crate) const UNSEAL: u32 = 0x15e;
pub(crate) const LOAD: u32 = 0x157;
pub(crate) const FLUSH: u32 = 0x165;
pub(crate) const ENDORSEMENT: u32 = 0x4000_000b;
pub(crate) const OWNER: u32 = 0x4000_0001;

/// A TPM, spoken to by hand.
pub(crate) struct Raw(Stream);

impl Raw {
    pub(crate) fn new(socket: &UnixStream) -> Self {
        Self(Stream::new(socket.try_clone().unwrap()).unwrap())
    }

    /// Sends a command with `auths` empty passwords. The body of the response, or the response code.
    pub(crate) fn call(&mut self, code: u32, handles: &[u32], auths: usize, parameters: &[u8]) -> Result<Vec<u8>, u32> {
        let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        if auths > 0 {
            body.extend_from_slice(&(9 * auths as u32).to_be_bytes());
            body.extend_from_slice(&[0x40, 0, 0, 9, 0, 0, 1, 0, 0].repeat(auths));
        }
        body.extend_from_slice(parameters);
        let mut frame = vec![0x80, if auths > 0 { 2 } else { 1 }];
        frame.extend_from_slice(&(10 + body.len() as u32).to_be_bytes());
        frame.extend_from_slice(&code.to_be_bytes());
        frame.extend_from_slice(&body);
        loop {
            let answer = self.0.exchange(&frame).unwrap();
            match u32::from_be_bytes(answer[6..10].try_into().unwrap()) {
                0 => return Ok(answer[10..].to_vec()),
                0x922 | 0x908 | 0x90a => {}
                code => return Err(code),
            }
        }
    }

    /// Creates a primary key; returns its handle and TPMT_PUBLIC.
    pub(crate) fn create_primary(&mut self, hierarchy: u32, template: &[u8]) -> (u32, Vec<u8>) {
        let parameters = [&[0, 4, 0, 0, 0, 0][..], &tpm2b(template), &[0; 6]].concat();
        let body = self.call(CREATE_PRIMARY, &[hierarchy], 1, &parameters).unwrap();
        let handle = u32::from_be_bytes(body[..4].try_into().unwrap());
        let bytes = u16::from_be_bytes([body[8], body[9]]) as usize;
        (handle, body[10..10 + bytes].to_vec())
    }

    /// Quote or Certify: returns TPMS_ATTEST and TPMT_SIGNATURE.
    pub(crate) fn attest(&mut self, code: u32, handles: &[u32], extra_data: &[u8], rest: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let parameters = [&tpm2b(extra_data)[..], &[0x00, 0x10], rest].concat();
        let body = self.call(code, handles, handles.len(), &parameters).unwrap();
        let parameters = &body[4..4 + u32::from_be_bytes(body[..4].try_into().unwrap()) as usize];
        let bytes = u16::from_be_bytes([parameters[0], parameters[1]]) as usize;
        (parameters[2..2 + bytes].to_vec(), parameters[2 + bytes..].to_vec())
    }

    /// Signs a digest; returns TPMT_SIGNATURE.
    pub(crate) fn sign(&mut self, key: u32, digest: &[u8; 32]) -> Result<Vec<u8>, u32> {
        // A null scheme, and the ticket that says the digest is of data from outside.
        let ticket = [0x80, 0x24, 0x40, 0, 0, 7, 0, 0];
        let parameters = [&tpm2b(digest)[..], &[0x00, 0x10], &ticket].concat();
        let body = self.call(SIGN, &[key], 1, &parameters)?;
        Ok(body[4..4 + u32::from_be_bytes(body[..4].try_into().unwrap()) as usize].to_vec())
    }
}

pub(crate) fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// TPML_PCR_SELECTION of the SHA-256 bank.
pub(crate) fn selection(pcrs: &[u32]) -> Vec<u8> {
    let mut list = vec![0, 0, 0, 1, 0x00, 0x0b, 3, 0, 0, 0];
    pcrs.iter().for_each(|pcr| list[7 + *pcr as usize / 8] |= 1 << (pcr % 8));
    list
}

/// The template that a node's attestation key came from, with these attributes instead.
pub(crate) fn attestation_template(public: &[u8], attributes: u32) -> Vec<u8> {
    let mut template = public[..public.len() - 68].to_vec();
    template[4..8].copy_from_slice(&attributes.to_be_bytes());
    template.extend_from_slice(&tpm2b(b"samovar/v1/attestation-key\0\0\0\0\0\0"));
    template.extend_from_slice(&tpm2b(&[0; 32]));
    template
}

/// The attributes of an attestation key.
pub(crate) const ATTESTATION: u32 = 0x0005_0472;
/// The same without `restricted`.
pub(crate) const UNRESTRICTED: u32 = 0x0004_0472;

pub(crate) fn name_of(public: &[u8]) -> Vec<u8> {
    [&[0x00, 0x0b][..], &model::Digest::of(public).0].concat()
}
