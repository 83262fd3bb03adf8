//! Proofs about the log: for every tree and question exactly one list of digests is accepted.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use model::{Digest, log};
use samovar_fuzz::changed;

fn flat(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.0).collect()
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    bytes.chunks(32).map(|chunk| Digest::from_slice(chunk).unwrap_or(Digest::of(chunk))).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let [size, index, old, picked, changes @ ..] = bytes else { return };
    let (size, index, old) = (u64::from(*size) + 1, u64::from(*index), u64::from(*old));
    let leaf = |index: u64| Digest::of(&index.to_be_bytes());
    let tree = log::Tree::of((0..size).map(leaf));
    let root = tree.root(size).expect("the size it has");

    let picked: BTreeSet<u64> =
        (0..8).filter(|bit| picked >> bit & 1 == 1).map(|bit| (index + bit * 7) % size).collect();
    let leaves: Vec<(u64, Digest)> = picked.iter().map(|index| (*index, leaf(*index))).collect();
    if let Some(true_digests) = tree.prove_many(size, &picked.into_iter().collect::<Vec<_>>()) {
        let told = digests(&changed(&flat(&true_digests), changes));
        assert_eq!(log::check_many(&root, size, &leaves, &told), told == true_digests);
    }
    let path = tree.prove_path(size, index);
    let told = digests(&changed(&flat(path.as_deref().unwrap_or_default()), changes));
    assert_eq!(log::check_path(&root, size, index, &leaf(index), &told), Some(&told) == path.as_ref());

    let old_root = log::Tree::of((0..old).map(leaf)).root(old).expect("the size it has");
    let true_digests = tree.prove_consistency(old, size);
    let told = digests(&changed(&flat(true_digests.as_deref().unwrap_or_default()), changes));
    let accepted = log::check_consistency(old, &old_root, size, &root, &told);
    assert_eq!(accepted, Some(&told) == true_digests.as_ref());
});
