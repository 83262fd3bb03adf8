//! Somebody sits between the node and its TPM, reads everything and changes answers.

use std::{
    io,
    sync::{Arc, Mutex},
};

use attest::{
    SealError, SealedSecret, seal_secret,
    simulated::Device,
    tpm::{PCR_LAUNCHER, Stream, Tpm, Transport},
    unseal_secret,
};
use model::Canonical;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::{
    fixture::{Node, binary, fixture, judge},
    mutations::Dice,
};

const SEED: [u8; 32] = *b"thirty-two bytes nobody may read";

type Tamper = Box<dyn FnMut(&[u8], &mut Vec<u8>) + Send>;

/// Sees every frame; may change every answer.
struct Interposer {
    inner: Stream,
    seen: Arc<Mutex<Vec<u8>>>,
    tamper: Tamper,
}

impl Transport for Interposer {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut answer = self.inner.exchange(command)?.to_vec();
        self.seen.lock().unwrap().extend([command, &answer].concat());
        (self.tamper)(command, &mut answer);
        Ok(Zeroizing::new(answer))
    }
}

/// A TPM behind an interposer, with the approved binary measured.
fn tapped(dir: &TempDir, tamper: Tamper) -> (Tpm, Arc<Mutex<Vec<u8>>>) {
    let socket = Device::start(dir.path()).unwrap().into_socket();
    let mut direct = Tpm::new(Stream::new(socket.try_clone().unwrap()).unwrap());
    direct.extend(PCR_LAUNCHER, &binary()).unwrap();
    let seen = Arc::default();
    let interposer = Interposer { inner: Stream::new(socket).unwrap(), seen: Arc::clone(&seen), tamper };
    (Tpm::new(interposer), seen)
}

fn sealed(dir: &TempDir) -> SealedSecret {
    let (mut tpm, _) = tapped(dir, Box::new(|_, _| {}));
    seal_secret(&mut tpm, &SEED, &fixture().release_key.public()).unwrap()
}

fn code(command: &[u8]) -> u32 {
    u32::from_be_bytes(command[6..10].try_into().unwrap())
}

#[test]
fn the_seed_never_crosses_the_bus_in_clear() {
    let dir = fixture().tpm_dir("tpm-0");
    let (mut tpm, seen) = tapped(&dir, Box::new(|_, _| {}));
    let sealed = seal_secret(&mut tpm, &SEED, &fixture().release_key.public()).unwrap();
    let release = fixture().release_key.release(binary(), 2);
    assert_eq!(*unseal_secret(&mut tpm, &sealed, &release).unwrap(), SEED);
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 2_000);
    assert!(!seen.windows(16).any(|window| window == &SEED[..16] || window == &SEED[16..]));
}

#[test]
fn another_storage_key_in_the_tpms_name_is_noticed() {
    let dir = fixture().tpm_dir("tpm-0");
    let sealed = sealed(&dir);
    let (mut tpm, _) = tapped(
        &dir,
        Box::new(|command, answer| {
            if code(command) == crate::raw::CREATE_PRIMARY {
                // The last byte of y in the public area: `handle, size, TPM2B_PUBLIC` follow the header.
                let bytes = u16::from_be_bytes([answer[18], answer[19]]) as usize;
                answer[19 + bytes] ^= 1;
            }
        }),
    );
    let refused = unseal_secret(&mut tpm, &sealed, &fixture().release_key.release(binary(), 2)).unwrap_err();
    assert!(matches!(refused, SealError::OtherTpm), "{refused}");
}

#[test]
fn an_altered_secret_is_noticed() {
    let dir = fixture().tpm_dir("tpm-0");
    let sealed = sealed(&dir);
    let (mut tpm, _) = tapped(
        &dir,
        Box::new(|command, answer| {
            if code(command) == crate::raw::UNSEAL {
                // `header, parameter size, TPM2B size`, then the encrypted secret.
                answer[16] ^= 1;
            }
        }),
    );
    let refused = unseal_secret(&mut tpm, &sealed, &fixture().release_key.release(binary(), 2)).unwrap_err();
    assert!(refused.to_string().contains("not made by this TPM"), "{refused}");
}

#[test]
fn damaged_answers_are_errors_and_never_another_seed_or_forged_evidence() {
    let release = fixture().release_key.release(binary(), 2);
    let dir = fixture().tpm_dir("tpm-0");
    let sealed = sealed(&dir);
    for round in 0..8 {
        let mut dice = Dice(round + 1);
        // Every seventh answer is damaged, beginning somewhere else each round; flushing is left alone.
        let (mut tpm, _) = tapped(
            &dir,
            Box::new(move |command, answer| {
                if code(command) != crate::raw::FLUSH && dice.roll(7) == 0 {
                    *answer = dice.damage(answer);
                }
            }),
        );
        for _ in 0..20 {
            if let Ok(seed) = unseal_secret(&mut tpm, &sealed, &release) {
                assert_eq!(*seed, SEED);
            }
        }
    }
}

#[test]
fn evidence_made_through_a_lying_bus_does_not_pass_for_more_than_it_is() {
    // The interposer reports clean registers; the quote says otherwise.
    let mut node = Node::start_with(0, model::Digest::of(b"evil"), None);
    let mut evidence = node.evidence();
    let honest = Node::start(0);
    evidence.tpm.log = honest.log.content_id();
    for register in &mut evidence.tpm.pcrs {
        if register.index == PCR_LAUNCHER {
            register.value = attest::launcher::replay(&honest.log);
        }
    }
    let refused = judge(&honest, &evidence).unwrap_err();
    assert!(matches!(refused, attest::AppraiseError::Registers), "{refused}");
}
