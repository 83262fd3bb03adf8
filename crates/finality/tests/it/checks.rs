//! What an honest network serves is accepted.

use finality::testing::{Chain, Committee};
use model::{Digest, Fact, NetworkId, Releases, TaskId};

pub(crate) const NOW: u64 = 1_790_000_000_000;

pub(crate) fn fact(number: u8) -> Fact {
    Fact::Releases(Box::new(Releases { task: TaskId([number; 32]), releases: Vec::new() }))
}

/// Three blocks with 2, 0 and 3 records.
pub(crate) fn chain() -> Chain {
    let mut chain = Committee::deal(1).chain(NetworkId([7; 32]));
    chain.block(NOW, vec![fact(0), fact(1)]);
    chain.block(NOW + 10, vec![]);
    chain.block(NOW + 20, vec![fact(2), fact(3), fact(4)]);
    chain
}

#[test]
fn records_are_final_with_their_place_and_time() {
    let chain = chain();
    let (head, records) = chain.network().check_proven(&chain.prove(&[1, 2, 4])).unwrap();
    assert_eq!((head.height(), head.time_ms(), head.log_size()), (3, NOW + 20, 5));
    assert_eq!(head.block_ref().digest, head.digest());
    let places: Vec<_> = records.iter().map(|record| (record.index(), record.height(), record.time_ms())).collect();
    assert_eq!(places, [(1, 1, NOW), (2, 3, NOW + 20), (4, 3, NOW + 20)]);
    assert_eq!(records[2].get().fact, fact(4));

    let narrowed = records[0].clone().try_map(|record| match record.fact {
        Fact::Releases(releases) => Ok(releases.task),
        _ => Err("something else"),
    });
    assert_eq!(narrowed.unwrap().get(), &TaskId([1; 32]));
}

#[test]
fn no_records_need_no_proof() {
    let chain = chain();
    assert!(chain.network().check_proven(&chain.prove(&[])).unwrap().1.is_empty());
}

#[test]
fn one_head_serves_several_answers() {
    let chain = chain();
    let head = chain.network().check_head(&chain.head()).unwrap();
    assert_eq!(head.check_records(&chain.prove(&[0])).unwrap().len(), 1);
    assert_eq!(head.check_records(&chain.prove(&[3, 4])).unwrap().len(), 2);
    // An answer at another head is refused, however right it is there.
    assert!(head.check_records(&chain.prove_at(2, &[0])).is_err());
}

#[test]
fn growth_is_shown() {
    let chain = chain();
    let old = chain.network().check_head(&chain.head_at(1)).unwrap();
    let newer = chain.prove_extension(old.log_size());
    let head = chain.network().check_extension(old.log_size(), &old.log_root(), &newer).unwrap();
    assert_eq!(head.height(), 3);
    assert!(chain.network().check_extension(old.log_size(), &Digest::of(b"rewritten"), &newer).is_err());
}

#[test]
fn seeds_verify() {
    let chain = chain();
    let head = chain.network().check_head(&chain.head()).unwrap();
    let seed = head.header().seed().unwrap();
    assert_eq!(seed, chain.seed(2));
    chain.network().check_seed(&seed).unwrap();
}
