//! Files that no honest sealer makes, made by an owner who has the key and lies: they must not open.

use model::{Bytes32, Digest, log::Frontier};
use zeroize::Zeroizing;

use super::{
    ContentKey, OpenError, Opener, Sealed, TAG_BYTES,
    format::{Core, FileKeys, Meta, leaf},
    seal::seal_leaves,
    seal_bytes,
};

const SALT: Bytes32 = Bytes32([3; 32]);

fn key() -> ContentKey {
    ContentKey::from_secret(Zeroizing::new([1; 32]))
}

fn keys() -> FileKeys {
    FileKeys::derive(&key(), &Core::new(&key(), SALT))
}

/// A seal over one chunk that is properly encrypted, with a list of leaves and a length of the owner's choosing.
fn seal_of(leaves: &[Digest], length: u64, chunks: u64) -> Sealed {
    let (_, mut sealed) = seal_bytes(b"", &key()).unwrap();
    let mut root = Frontier::default();
    leaves.iter().for_each(|leaf| root.append(leaf));
    let meta = Meta { length, leaf_key: Zeroizing::new([2; 32]) };
    sealed.seal.salt = SALT;
    sealed.seal.key_commitment = key().commitment(&SALT);
    sealed.seal.chunks = chunks;
    sealed.seal.plaintext_root = root.root();
    sealed.seal.sealed_meta.0 = keys().seal_meta(&meta, chunks, &root.root());
    sealed.leaves = seal_leaves(&keys().leaves, &leaves.iter().flat_map(|leaf| leaf.0).collect::<Vec<_>>());
    sealed
}

fn chunk(plaintext: &[u8]) -> Vec<u8> {
    let mut chunk = [plaintext, &[0; TAG_BYTES]].concat();
    keys().chunks.seal(0, true, &mut chunk);
    chunk
}

fn leaf_of(plaintext: &[u8]) -> Digest {
    leaf(&Zeroizing::new([2; 32]), 0, plaintext)
}

#[test]
fn the_maker_of_these_files_can_also_be_honest() {
    let plaintext = [vec![7; 100], vec![0; 3996]].concat();
    let sealed = seal_of(&[leaf_of(&plaintext)], 100, 1);
    let opener = Opener::new(&key(), &sealed.seal, &sealed.leaves).unwrap();
    assert_eq!(opener.open_chunk(0, chunk(&plaintext)).unwrap().as_slice(), [7; 100]);
}

#[test]
fn a_chunk_that_decrypts_to_something_else_than_committed_is_refused() {
    let (committed, shown) = (vec![0; 4096], [vec![9; 1], vec![0; 4095]].concat());
    let sealed = seal_of(&[leaf_of(&committed)], 100, 1);
    let opener = Opener::new(&key(), &sealed.seal, &sealed.leaves).unwrap();
    let mut buffer = chunk(&shown);
    assert!(matches!(opener.open_in_place(0, &mut buffer), Err(OpenError::Plaintext { index: 0 })));
    assert!(buffer[..4096].iter().all(|byte| *byte == 0), "nothing of it is left in the buffer");
}

#[test]
fn something_hidden_in_the_padding_is_refused() {
    let plaintext = [vec![7; 100], vec![0; 3995], vec![1]].concat();
    let sealed = seal_of(&[leaf_of(&plaintext)], 100, 1);
    let opener = Opener::new(&key(), &sealed.seal, &sealed.leaves).unwrap();
    assert!(matches!(opener.open_chunk(0, chunk(&plaintext)), Err(OpenError::Plaintext { index: 0 })));
}

#[test]
fn a_length_that_does_not_fit_the_chunks_is_refused() {
    let leaves = [leaf_of(&[0; 4096])];
    for (length, chunks) in [(1_048_577, 1), (u64::MAX, 1), (100, 2), (100, 1 << 20)] {
        let sealed = seal_of(&leaves, length, chunks);
        let opened = Opener::new(&key(), &sealed.seal, &sealed.leaves);
        assert!(matches!(opened, Err(OpenError::Seal(_))), "{length} in {chunks}");
    }
}

#[test]
fn a_list_whose_root_is_not_the_seals_is_refused() {
    let mut sealed = seal_of(&[leaf_of(&[0; 4096])], 100, 1);
    sealed.leaves = seal_of(&[leaf_of(&[1; 4096])], 100, 1).leaves;
    assert!(matches!(Opener::new(&key(), &sealed.seal, &sealed.leaves), Err(OpenError::Leaves)));
}

#[test]
fn sealing_again_under_another_key_keeps_the_plaintext_root() {
    let (first, sealed) = seal_bytes(b"the same patients", &key()).unwrap();
    let opener = Opener::new(&key(), &sealed.seal, &sealed.leaves).unwrap();
    let other = ContentKey::generate().unwrap();
    let leaf_key = Zeroizing::new(opener.leaf_key().0);
    let mut sealer = super::Sealer::with_randomness(&b"the same patients"[..], &other, Bytes32([9; 32]), leaf_key);
    let second = sealer.next_chunk().unwrap().unwrap().to_vec();
    assert_eq!(sealer.next_chunk().unwrap(), None);
    assert_ne!(first, second);
    assert_eq!(sealer.finish().unwrap().seal.plaintext_root, sealed.seal.plaintext_root);
}
