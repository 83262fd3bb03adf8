//! Responses of a TPM that has been taken over. It answers as a real one would, but for what the input changes in one answer.
#![no_main]

use std::io;

use attest::{
    Attester, Request,
    tpm::{Tpm, Transport},
};
use libfuzzer_sys::fuzz_target;
use model::{Canonical, EventLog, Evidence, Role};
use samovar_fuzz::{STORY, changed};
use zeroize::Zeroizing;

const RETRIES: [u32; 3] = [0x922, 0x908, 0x90a];

struct Changed {
    evidence: Evidence,
    /// Which answer is changed.
    which: u8,
    changes: Vec<u8>,
    said: u8,
}

impl Changed {
    fn answer(&self, command: &[u8]) -> Option<Vec<u8>> {
        let tpm2b = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let with_sessions = |parameters: Vec<u8>| {
            [&(parameters.len() as u32).to_be_bytes()[..], &parameters, &[0, 0, 1, 0, 0]].concat()
        };
        let certificate = &self.evidence.tpm.endorsement_chain[0].0;
        let code = u32::from_be_bytes(command.get(6..10)?.try_into().ok()?);
        Some(match code {
            // NvReadPublic: index, hash, attributes, no policy, bytes; then a name.
            0x169 => {
                let index = &command[10..14];
                let public =
                    [index, &[0, 11], &[0, 0, 0, 0], &[0, 0], &(certificate.len() as u16).to_be_bytes()].concat();
                [tpm2b(&public), tpm2b(&[0; 34])].concat()
            }
            0x14e => {
                let parameters = &command[command.len() - 4..];
                let size = usize::from(u16::from_be_bytes([parameters[0], parameters[1]]));
                let from = usize::from(u16::from_be_bytes([parameters[2], parameters[3]]));
                with_sessions(tpm2b(certificate.get(from..from + size)?))
            }
            0x131 => {
                let handle = 0x8000_0001_u32.to_be_bytes();
                [&handle[..], &with_sessions(tpm2b(&self.evidence.tpm.attestation_key.0))].concat()
            }
            0x173 => tpm2b(&self.evidence.tpm.attestation_key.0),
            0x17e => {
                let value = &self.evidence.tpm.pcrs.last()?.value.0;
                [&[0, 0, 0, 1][..], &[0, 0, 0, 1, 0, 11, 3, 0, 0x40, 0], &[0, 0, 0, 1], &tpm2b(value)].concat()
            }
            0x158 => {
                let attest = tpm2b(&self.evidence.tpm.quote.0);
                with_sessions([attest, self.evidence.tpm.signature.0.clone()].concat())
            }
            _ => with_sessions(Vec::new()),
        })
    }
}

impl Transport for Changed {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        let body = self.answer(command).ok_or(io::ErrorKind::InvalidInput)?;
        let len = (body.len() as u32 + 10).to_be_bytes();
        let mut frame = [&[0x80, 2][..], &len, &[0; 4], &body].concat();
        self.said += 1;
        if self.said == self.which {
            frame = changed(&frame, &self.changes);
            // Its length is right more often than chance would have it; and nobody waits for a busy one.
            if frame.len() >= 10 && self.changes.len() % 2 == 0 {
                let len = frame.len() as u32;
                frame[2..6].copy_from_slice(&len.to_be_bytes());
            }
            let code = frame.get(6..10).and_then(|code| Some(u32::from_be_bytes(code.try_into().ok()?)));
            if code.is_some_and(|code| RETRIES.contains(&code)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        if self.said == u8::MAX { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(Zeroizing::new(frame)) }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, changes)) = bytes.split_first() else { return };
    let evidence = Evidence::from_bytes(STORY.evidence_and_log().0, Evidence::BYTES_MAX).expect("the story's own");
    let transport = Changed { evidence: evidence.clone(), which: which % 16, changes: changes.to_vec(), said: 0 };
    let mut tpm = Tpm::new(transport);
    let _ = tpm.read_pcrs(&[14]);
    let Ok(mut attester) = Attester::open(tpm, Vec::new()) else { return };
    let request = Request { role: Role::Executor, window: evidence.window, block: evidence.block };
    let log = EventLog::default();
    let _ = attester.evidence(&STORY.network_id(), &evidence.registration, request, &[14], &log);
    let _ = attester.tpm().extend(14, &evidence.registration.endorsement);
});
