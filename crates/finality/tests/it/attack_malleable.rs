//! Somebody changes a proof on its way: no bit of it may be changed without being refused.

use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_math::algebra::Additive as _;
use finality::{FinalityError, engine};
use model::{
    Blob, Bytes48, Canonical as _, Digest, Record,
    api::{CertifiedHead, ProvenRecords},
};

use crate::checks::{NOW, chain, fact};

/// Each variant of `bytes` with one bit changed, one byte less, one more, and nothing at all.
fn changes(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let flipped = (0..bytes.len() * 8).map(|position| {
        let mut other = bytes.to_vec();
        other[position / 8] ^= 1 << (position % 8);
        other
    });
    flipped.chain([bytes[..bytes.len() - 1].to_vec(), [bytes, &[0]].concat(), Vec::new()])
}

#[test]
fn no_bit_of_a_certificate_can_be_changed() {
    let chain = chain();
    let (network, head) = (chain.network(), chain.head());
    for certificate in changes(&head.certificate.0) {
        let changed = CertifiedHead { certificate: Blob(certificate), ..head.clone() };
        assert!(network.check_head(&changed).is_err());
    }
}

#[test]
fn no_bit_of_a_header_can_be_changed() {
    let chain = chain();
    let (network, head) = (chain.network(), chain.head());
    for header in changes(&head.header.0) {
        let changed = CertifiedHead { header: Blob(header), ..head.clone() };
        assert!(matches!(network.check_head(&changed), Err(FinalityError::OtherHeader | FinalityError::Header(_))));
    }
}

#[test]
fn no_bit_of_records_and_digests_can_be_changed() {
    let chain = chain();
    let proven = chain.prove(&[1, 3]);
    let head = chain.network().check_head(&proven.head).unwrap();
    for position in 0..proven.records.len() {
        for record in changes(&proven.records[position].record.0) {
            let mut changed = proven.clone();
            changed.records[position].record = Blob(record);
            assert_eq!(head.check_records(&changed), Err(FinalityError::Log));
        }
        let mut changed = proven.clone();
        changed.records[position].index += 1;
        assert_eq!(head.check_records(&changed), Err(FinalityError::Log));
    }
    for position in 0..proven.digests.len() {
        for digest in changes(&proven.digests[position].0) {
            let mut changed = proven.clone();
            let Some(digest) = Digest::from_slice(&digest) else { continue };
            changed.digests[position] = digest;
            assert_eq!(head.check_records(&changed), Err(FinalityError::Log));
        }
    }
    let longer = ProvenRecords { digests: [&proven.digests[..], &[Digest::of(b"")]].concat(), ..proven.clone() };
    assert_eq!(head.check_records(&longer), Err(FinalityError::Log));
    let empty = ProvenRecords { records: Vec::new(), ..proven.clone() };
    assert_eq!(head.check_records(&empty), Err(FinalityError::Log));
    let mut swapped = proven;
    swapped.records.swap(0, 1);
    assert_eq!(head.check_records(&swapped), Err(FinalityError::Log));
}

/// As one unweighted sum, `(vote + d, seed - d)` verifies as well as `(vote, seed)`, and the seed could be chosen.
#[test]
fn what_one_signature_gains_the_other_must_not_pay_for() {
    let chain = chain();
    let head = chain.head();
    let bytes = &head.certificate.0;
    let (rest, signatures) = bytes.split_at(bytes.len() - 96);
    let point = |bytes: &[u8]| engine::signature(&Bytes48::from_slice(bytes).unwrap()).unwrap();
    let (vote, seed) = (point(&signatures[..48]), point(&signatures[48..]));
    let assembled = |vote: engine::Signature, seed: engine::Signature| CertifiedHead {
        certificate: Blob([rest, &vote.encode()[..], &seed.encode()[..]].concat()),
        ..head.clone()
    };
    assert!(chain.network().check_head(&assembled(vote, seed)).is_ok());
    let other = point(&chain.seed(1).signature.0);
    for (changed_vote, changed_seed) in [
        (vote + &other, seed - &other),
        (vote - &other, seed + &other),
        (seed, vote),
        (-vote, seed),
        (vote, -seed),
        (-vote, -seed),
        (vote, other),
    ] {
        let changed = assembled(changed_vote, changed_seed);
        assert_eq!(chain.network().check_head(&changed), Err(FinalityError::Signature));
    }
    let infinity = engine::Signature::zero();
    assert!(chain.network().check_head(&assembled(infinity, infinity)).is_err());
    assert!(engine::Signature::decode(infinity.encode()).is_err());
}

#[test]
fn no_bit_of_a_seed_can_be_changed() {
    let chain = chain();
    let seed = chain.seed(2);
    for signature in changes(&seed.signature.0) {
        let Some(signature) = Bytes48::from_slice(&signature) else { continue };
        let changed = model::Seed { signature, ..seed };
        assert_eq!(chain.network().check_seed(&changed), Err(FinalityError::Seed));
    }
    let mut other_round = seed;
    other_round.round.view += 1;
    assert_eq!(chain.network().check_seed(&other_round), Err(FinalityError::Seed));
}

#[test]
fn a_certificate_does_not_carry_over_to_another_header() {
    let chain = chain();
    let mixed = CertifiedHead { header: chain.head_at(1).header, ..chain.head() };
    assert_eq!(chain.network().check_head(&mixed), Err(FinalityError::OtherHeader));
}

#[test]
fn log_entries_that_no_honest_block_has_are_refused() {
    let mut chain = chain();
    let record = |height, time_ms| Record { network: chain.network().id, height, time_ms, fact: fact(9) }.to_bytes();
    let entries = vec![record(5, NOW + 30), record(4, NOW + 31), b"no record".to_vec(), record(4, NOW + 30)];
    chain.raw_block(NOW + 30, entries);
    let check = |index: u64| chain.network().check_proven(&chain.prove(&[index])).map(|_| ());
    assert_eq!(check(5), Err(FinalityError::Younger { index: 5 }));
    assert_eq!(check(6), Err(FinalityError::Younger { index: 6 }));
    assert!(matches!(check(7), Err(FinalityError::Record { index: 7, .. })));
    assert_eq!(check(8), Ok(()));
}
