//! Sealed secrets that must stay closed.

use attest::{
    SealError, SealedSecret,
    release::{ReleaseFile, ReleaseKey, STARTS_MAX},
    seal_secret,
    simulated::Device,
    tpm::{PCR_LAUNCHER, Stream, Tpm},
    unseal_secret,
};
use model::{Blob, Bytes64, Canonical, Digest};
use serde::{Deserialize, Serialize};

use crate::{
    fixture::{binary, fixture, power_on},
    raw::{FLUSH, LOAD, OWNER, Raw, UNSEAL, tpm2b},
};

const SEED: [u8; 32] = [42; 32];

fn seal(tpm: &mut Tpm) -> SealedSecret {
    seal_secret(tpm, &SEED, &fixture().release_key.public()).unwrap()
}

fn release() -> ReleaseFile {
    fixture().release_key.release(binary(), 2)
}

/// A TPM that has started the approved binary once and sealed the seed.
fn sealed() -> (tempfile::TempDir, Tpm, SealedSecret) {
    let dir = fixture().tpm_dir("tpm-0");
    let mut tpm = power_on(dir.path());
    tpm.extend(PCR_LAUNCHER, &binary()).unwrap();
    let sealed = seal(&mut tpm);
    assert_eq!(*unseal_secret(&mut tpm, &sealed, &release()).unwrap(), SEED);
    (dir, tpm, sealed)
}

#[test]
fn nothing_opens_before_the_binary_is_measured_or_after_something_else_was() {
    let dir = fixture().tpm_dir("tpm-0");
    let mut tpm = power_on(dir.path());
    let sealed = seal(&mut tpm);
    assert!(matches!(unseal_secret(&mut tpm, &sealed, &release()), Err(SealError::OtherState { .. })));
    tpm.extend(PCR_LAUNCHER, &binary()).unwrap();
    assert!(unseal_secret(&mut tpm, &sealed, &release()).is_ok());
    tpm.extend(PCR_LAUNCHER, &Digest::of(b"evil")).unwrap();
    let refused = unseal_secret(&mut tpm, &sealed, &release()).unwrap_err();
    assert!(matches!(refused, SealError::OtherState { .. }), "{refused}");
}

#[test]
fn a_binary_approved_by_another_key_does_not_open_it() {
    let (_dir, mut tpm, sealed) = sealed();
    let foreign = ReleaseKey::generate().unwrap().release(binary(), 2);
    let refused = unseal_secret(&mut tpm, &sealed, &foreign).unwrap_err();
    assert!(matches!(refused, SealError::NotApproved { .. }), "{refused}");
    // Nor does one that claims our key in the sealed file: the policy inside the TPM's own blob names the key.
    let stranger = ReleaseKey::generate().unwrap();
    let swapped = with_field(&sealed, |parts| parts.release_key = stranger.public().to_bytes());
    let refused = unseal_secret(&mut tpm, &swapped, &stranger.release(binary(), 2)).unwrap_err();
    assert!(matches!(refused, SealError::NotApproved { .. }), "{refused}");
}

#[test]
fn signatures_for_another_number_of_starts_or_another_binary_do_not_open_it() {
    let (_dir, mut tpm, sealed) = sealed();
    let mut rotated = release();
    rotated.policies.rotate_left(1);
    let mut other = fixture().release_key.release(Digest::of(b"another approved build"), 2);
    other.statement.binary = binary();
    let mut damaged = release();
    damaged.policies[0] = Bytes64([7; 64]);
    for release in [rotated, other, damaged] {
        let refused = unseal_secret(&mut tpm, &sealed, &release).unwrap_err();
        assert!(matches!(refused, SealError::NotApproved { .. }), "{refused}");
    }
    let mut short = release();
    short.policies.clear();
    assert!(matches!(unseal_secret(&mut tpm, &sealed, &short), Err(SealError::NoPolicy { starts: 1 })));
}

#[test]
fn more_starts_than_were_signed_for_need_a_reset() {
    let (_dir, mut tpm, sealed) = sealed();
    for _ in 1..STARTS_MAX {
        tpm.extend(PCR_LAUNCHER, &binary()).unwrap();
    }
    assert!(unseal_secret(&mut tpm, &sealed, &release()).is_ok());
    tpm.extend(PCR_LAUNCHER, &binary()).unwrap();
    let refused = unseal_secret(&mut tpm, &sealed, &release()).unwrap_err();
    assert!(refused.to_string().contains("restart the machine"), "{refused}");
}

#[test]
fn a_blob_of_another_tpm_stays_closed() {
    let (_dir, _tpm, sealed) = sealed();
    let other = fixture().tpm_dir("tpm-1");
    let mut tpm = power_on(other.path());
    tpm.extend(PCR_LAUNCHER, &binary()).unwrap();
    assert!(matches!(unseal_secret(&mut tpm, &sealed, &release()), Err(SealError::OtherTpm)));
    // With the storage key's name adjusted the TPM itself refuses.
    let own = seal(&mut tpm);
    let storage_key = parts(&own).storage_key;
    let adjusted = with_field(&sealed, |parts| parts.storage_key = storage_key);
    assert!(matches!(unseal_secret(&mut tpm, &adjusted, &release()), Err(SealError::Tpm(_))));
}

#[test]
fn a_damaged_blob_stays_closed() {
    let (_dir, mut tpm, sealed) = sealed();
    let length = parts(&sealed).private.0.len();
    for position in (0..length).step_by(7) {
        let damaged = with_field(&sealed, |parts| parts.private.0[position] ^= 1);
        assert!(unseal_secret(&mut tpm, &damaged, &release()).is_err(), "position {position}");
    }
    assert!(unseal_secret(&mut tpm, &sealed, &release()).is_ok(), "and the TPM is in good health");
}

#[test]
fn the_password_does_not_open_it() {
    let dir = fixture().tpm_dir("tpm-0");
    let socket = Device::start(dir.path()).unwrap().into_socket();
    let mut tpm = Tpm::new(Stream::new(socket.try_clone().unwrap()).unwrap());
    tpm.extend(PCR_LAUNCHER, &binary()).unwrap();
    let sealed = parts(&seal(&mut tpm));
    let mut raw = Raw::new(&socket);
    // The storage key's template: as its public area, with an empty unique field.
    let storage = storage_template();
    let (parent, _) = raw.create_primary(OWNER, &storage);
    let blob = [tpm2b(&sealed.private.0), tpm2b(&sealed.public.0)].concat();
    let loaded = raw.call(LOAD, &[parent], 1, &blob).unwrap();
    let item = u32::from_be_bytes(loaded[..4].try_into().unwrap());
    // TPM_RC_AUTH_UNAVAILABLE
    assert_eq!(raw.call(UNSEAL, &[item], 1, &[]).unwrap_err(), 0x12f);
    raw.call(FLUSH, &[], 0, &item.to_be_bytes()).unwrap();
}

/// P-256, restricted decryption, AES-128-CFB, SHA-256 (TCG provisioning guidance).
fn storage_template() -> Vec<u8> {
    let head = [0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x04, 0x72, 0x00, 0x00];
    let parameters = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10];
    [&head[..], &parameters, &tpm2b(&[0; 32]), &tpm2b(&[0; 32])].concat()
}

/// What a sealed file looks like to somebody who edits it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    private: Blob,
    public: Blob,
    storage_key: Blob,
    release_key: Blob,
}

fn parts(sealed: &SealedSecret) -> Parts {
    Parts::from_bytes(&sealed.encode(), SealedSecret::BYTES_MAX).unwrap()
}

fn with_field(sealed: &SealedSecret, change: impl FnOnce(&mut Parts)) -> SealedSecret {
    let mut parts = parts(sealed);
    change(&mut parts);
    SealedSecret::decode(&parts.to_bytes()).unwrap()
}
