//! Frames: one command out, one response in. Secrets pass through here, so buffers are wiped.

use zeroize::Zeroizing;

use super::transport::HEADER_BYTES;

const TAG_NO_SESSIONS: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;

/// A handle: of a register, an index, a session or an object.
pub(crate) type Handle = u32;

/// The commands we send (part 2, TPM_CC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    CreatePrimary = 0x131,
    Shutdown = 0x145,
    ActivateCredential = 0x147,
    NvRead = 0x14e,
    PolicySecret = 0x151,
    Create = 0x153,
    Load = 0x157,
    Quote = 0x158,
    Unseal = 0x15e,
    FlushContext = 0x165,
    LoadExternal = 0x167,
    NvReadPublic = 0x169,
    PolicyAuthorize = 0x16a,
    ReadPublic = 0x173,
    StartAuthSession = 0x176,
    VerifySignature = 0x177,
    PcrRead = 0x17e,
    PolicyPcr = 0x17f,
    PcrExtend = 0x182,
}

impl Code {
    pub(crate) fn bytes(self) -> [u8; 4] {
        (self as u32).to_be_bytes()
    }

    /// Handles at the beginning of its response.
    fn response_handles(self) -> usize {
        match self {
            Self::CreatePrimary | Self::Load | Self::LoadExternal | Self::StartAuthSession => 1,
            _ => 0,
        }
    }
}

/// One authorization in a command (part 2, TPMS_AUTH_COMMAND).
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    pub(crate) session: Handle,
    pub(crate) nonce: Vec<u8>,
    pub(crate) attributes: u8,
    pub(crate) hmac: Vec<u8>,
}

impl Auth {
    /// The session goes on after the command.
    pub(crate) const CONTINUE: u8 = 1 << 0;
    /// The first parameter of the command is encrypted.
    pub(crate) const DECRYPT: u8 = 1 << 5;
    /// The first parameter of the response is encrypted.
    pub(crate) const ENCRYPT: u8 = 1 << 6;

    /// The empty password.
    pub(crate) fn empty() -> Self {
        Self::session(0x4000_0009)
    }

    /// A session that needs no proof besides its state.
    pub(crate) fn session(session: Handle) -> Self {
        Self { session, nonce: Vec::new(), attributes: Self::CONTINUE, hmac: Vec::new() }
    }
}

/// A command.
pub(crate) struct Command<'a> {
    pub(crate) code: Code,
    pub(crate) handles: &'a [Handle],
    pub(crate) auths: &'a [Auth],
    pub(crate) parameters: &'a [u8],
}

impl Command<'_> {
    pub(crate) fn frame(&self) -> Zeroizing<Vec<u8>> {
        let mut auths = Vec::new();
        for auth in self.auths {
            auths.extend_from_slice(&auth.session.to_be_bytes());
            push_tpm2b(&mut auths, &auth.nonce);
            auths.push(auth.attributes);
            push_tpm2b(&mut auths, &auth.hmac);
        }
        let auths_len = if self.auths.is_empty() { 0 } else { 4 + auths.len() };
        let bytes = HEADER_BYTES + 4 * self.handles.len() + auths_len + self.parameters.len();
        let mut frame = Zeroizing::new(Vec::with_capacity(bytes));
        let tag = if self.auths.is_empty() { TAG_NO_SESSIONS } else { TAG_SESSIONS };
        frame.extend_from_slice(&tag.to_be_bytes());
        frame.extend_from_slice(&(bytes as u32).to_be_bytes());
        frame.extend_from_slice(&self.code.bytes());
        for handle in self.handles {
            frame.extend_from_slice(&handle.to_be_bytes());
        }
        if !self.auths.is_empty() {
            frame.extend_from_slice(&(auths.len() as u32).to_be_bytes());
            frame.extend_from_slice(&auths);
        }
        frame.extend_from_slice(self.parameters);
        frame
    }
}

/// What came back from a command that succeeded.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) handle: Option<Handle>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// The responses' authorizations, undecoded; empty without sessions.
    pub(crate) auths: Vec<u8>,
}

impl Response {
    /// The response code of a frame, and what follows the header; `None` if it is not a frame.
    pub(crate) fn split(frame: &[u8]) -> Option<(u32, &[u8])> {
        let mut reader = Reader(frame);
        let (_tag, bytes, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
        (bytes as usize == frame.len()).then_some((code, reader.0))
    }

    /// Decodes what follows the header of a successful response to `command`.
    pub(crate) fn decode(command: &Command<'_>, body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let handle = if command.code.response_handles() == 1 { Some(reader.u32()?) } else { None };
        let parameters = if command.auths.is_empty() {
            reader.rest()
        } else {
            let bytes = reader.u32()? as usize;
            reader.take(bytes)?
        };
        Some(Self { handle, parameters: Zeroizing::new(parameters.to_vec()), auths: reader.0.to_vec() })
    }
}

/// Appends a TPM2B.
pub(crate) fn push_tpm2b(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Reads the TPM's big-endian encoding; every step is `None` beyond the end.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(bytes)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn tpm2b(&mut self) -> Option<&'a [u8]> {
        let bytes = self.u16()? as usize;
        self.take(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_carries_handles_authorizations_and_parameters_in_this_order() {
        let command =
            Command { code: Code::Unseal, handles: &[0x8000_0001], auths: &[Auth::empty()], parameters: &[7] };
        let expected = "8002\
            0000001c\
            0000015e\
            80000001\
            00000009\
            40000009 0000 01 0000\
            07"
        .replace(' ', "");
        let hex: String = command.frame().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn responses_that_are_cut_or_overlong_are_no_responses() {
        let frame = [0x80, 2, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 1, 9, 8, 7];
        let command = Command { code: Code::Unseal, handles: &[], auths: &[Auth::empty()], parameters: &[] };
        let (code, body) = Response::split(&frame).unwrap();
        assert_eq!(code, 0);
        let response = Response::decode(&command, body).unwrap();
        assert_eq!((&response.parameters[..], &response.auths[..]), (&[9][..], &[8, 7][..]));
        for end in 0..frame.len() {
            assert!(Response::split(&frame[..end]).is_none());
        }
        assert!(Response::decode(&command, &[0, 0, 0, 200, 1]).is_none());
    }
}
