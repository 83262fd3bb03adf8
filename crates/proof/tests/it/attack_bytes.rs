//! Any single changed byte.

use proof::{Proof, verify};

use crate::story::Story;

#[test]
fn every_changed_byte_is_refused() {
    let story = Story::success();
    let (bytes, network) = (story.bytes(), story.file());
    verify(&bytes, &network).unwrap();
    let flip_all = |positions: std::ops::Range<usize>| {
        let mut other = bytes.clone();
        for position in positions {
            // Each byte another bit: flips within text, within integers, within tags.
            other[position] ^= 1 << (position % 8);
            assert!(verify(&other, &network).is_err(), "byte {position} of {}", bytes.len());
            other[position] = bytes[position];
        }
    };
    // Four threads, so that this is not what everybody waits for.
    let part = bytes.len().div_ceil(4);
    std::thread::scope(|scope| {
        for start in (0..bytes.len()).step_by(part) {
            let (flip_all, range) = (&flip_all, start..bytes.len().min(start + part));
            scope.spawn(move || flip_all(range));
        }
    });
}

#[test]
fn bytes_cut_or_added_are_refused() {
    let story = Story::success();
    let (bytes, network) = (story.bytes(), story.file());
    for length in (0..bytes.len()).step_by(97) {
        assert!(verify(&bytes[..length], &network).is_err());
    }
    assert!(verify(&[&bytes[..], &[0]].concat(), &network).is_err());
    assert!(verify(&vec![0; Proof::BYTES_MAX + 1], &network).is_err());
}

#[test]
fn a_proof_is_small() {
    let bytes = Story::success().bytes();
    println!("proof of one program and one dataset: {} bytes", bytes.len());
    assert!(bytes.len() < 32 << 10, "{} bytes", bytes.len());
}
