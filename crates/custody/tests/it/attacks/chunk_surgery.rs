//! Whoever stores ciphertext rearranges it: chunks are reordered, dropped, added, spliced, or the seal is made to lie.

use custody::{CHUNK_BYTES, ContentKey, OpenError, Opener, PLAINTEXT_CHUNK_BYTES, Sealed, seal_bytes};
use model::{Bytes32, Digest, Seal};

struct File {
    key: ContentKey,
    plaintext: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    sealed: Sealed,
}

/// Three chunks, the last one short.
fn file(fill: u8) -> File {
    let key = ContentKey::generate().unwrap();
    let (plaintext, chunks, sealed) = seal(&key, fill);
    File { key, plaintext, chunks, sealed }
}

fn seal(key: &ContentKey, fill: u8) -> (Vec<u8>, Vec<Vec<u8>>, Sealed) {
    let plaintext: Vec<u8> = (0..2 * PLAINTEXT_CHUNK_BYTES + 1000).map(|i| (i % 251) as u8 ^ fill).collect();
    let (ciphertext, sealed) = seal_bytes(&plaintext, key).unwrap();
    let chunks: Vec<_> = ciphertext.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
    assert_eq!(chunks.len(), 3);
    (plaintext, chunks, sealed)
}

impl File {
    fn opener(&self) -> Opener {
        Opener::new(&self.key, &self.sealed.seal, &self.sealed.leaves).unwrap()
    }

    fn opener_of(&self, change: impl Fn(&mut Seal)) -> Result<Opener, OpenError> {
        let mut seal = self.sealed.seal.clone();
        change(&mut seal);
        Opener::new(&self.key, &seal, &self.sealed.leaves)
    }
}

fn refused(opener: &Opener, index: u64, chunk: &[u8]) {
    let result = opener.open_chunk(index, chunk.to_vec());
    assert!(matches!(result, Err(OpenError::Chunk { index: named }) if named == index), "{index}");
}

#[test]
fn any_chunk_opens_by_itself_in_any_order() {
    let file = file(0);
    let opener = file.opener();
    for index in [2, 0, 1, 0] {
        let start = index * PLAINTEXT_CHUNK_BYTES;
        let end = file.plaintext.len().min(start + PLAINTEXT_CHUNK_BYTES);
        let opened = opener.open_chunk(index as u64, file.chunks[index].clone()).unwrap();
        assert!(opened.as_slice() == &file.plaintext[start..end], "{index}");
    }
}

#[test]
fn chunks_do_not_open_elsewhere_in_the_file() {
    let file = file(0);
    let opener = file.opener();
    refused(&opener, 0, &file.chunks[1]);
    refused(&opener, 1, &file.chunks[0]);
    refused(&opener, 1, &file.chunks[2]);
    refused(&opener, 2, &file.chunks[0]);
    assert!(matches!(
        opener.open_chunk(3, file.chunks[2].clone()),
        Err(OpenError::NoSuchChunk { index: 3, chunks: 3 })
    ));
    assert!(matches!(opener.open_chunk(u64::MAX, vec![]), Err(OpenError::NoSuchChunk { .. })));
}

#[test]
fn chunks_of_another_file_do_not_open_even_under_the_same_key() {
    let first = file(0);
    let (_, chunks, sealed) = seal(&first.key, 7);
    assert_ne!(sealed.seal.salt, first.sealed.seal.salt);
    let opener = first.opener();
    for index in 0..3 {
        refused(&opener, index, &chunks[index as usize]);
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    let file = file(0);
    let opener = file.opener();
    for index in 0..3usize {
        for at in [0, 1, 500, file.chunks[index].len() - 17, file.chunks[index].len() - 1] {
            let mut chunk = file.chunks[index].clone();
            chunk[at] ^= 1;
            refused(&opener, index as u64, &chunk);
        }
    }
}

#[test]
fn shorter_and_longer_chunks_are_noticed() {
    let file = file(0);
    let opener = file.opener();
    for index in 0..3usize {
        let chunk = &file.chunks[index];
        refused(&opener, index as u64, &[]);
        refused(&opener, index as u64, &chunk[..16]);
        refused(&opener, index as u64, &chunk[..chunk.len() - 1]);
        refused(&opener, index as u64, &[chunk.as_slice(), &[0]].concat());
    }
}

#[test]
fn a_cut_file_does_not_open_as_a_whole_one() {
    let file = file(0);
    let cut = file.chunks[..2].concat();
    assert!(matches!(file.opener().open_all(cut.as_slice(), std::io::sink()), Err(OpenError::Io(_))));
    let longer = [file.chunks.concat(), vec![0]].concat();
    assert!(matches!(file.opener().open_all(longer.as_slice(), std::io::sink()), Err(OpenError::TooMuch)));
}

#[test]
fn a_seal_that_lies_about_its_chunks_does_not_open() {
    let file = file(0);
    for chunks in [0, 1, 2, 4, 1 << 32, (1 << 32) + 1, u64::MAX] {
        assert!(matches!(file.opener_of(|seal| seal.chunks = chunks), Err(OpenError::Seal(_))), "{chunks}");
    }
    for bytes in [0, 1, 1 << 18, (1 << 20) - 1, u32::MAX] {
        assert!(matches!(file.opener_of(|seal| seal.chunk_bytes = bytes), Err(OpenError::Seal(_))), "{bytes}");
    }
}

#[test]
fn a_flipped_plaintext_root_is_noticed_before_anything_is_opened() {
    let file = file(0);
    assert!(matches!(file.opener_of(|seal| seal.plaintext_root.0[0] ^= 1), Err(OpenError::Seal(_))));
    assert!(matches!(file.opener_of(|seal| seal.plaintext_root = Digest([0; 32])), Err(OpenError::Seal(_))));
}

#[test]
fn changed_salt_commitment_or_meta_do_not_open() {
    let file = file(0);
    assert!(matches!(file.opener_of(|seal| seal.salt = Bytes32([0; 32])), Err(OpenError::WrongKey)));
    assert!(matches!(file.opener_of(|seal| seal.key_commitment.0[31] ^= 1), Err(OpenError::WrongKey)));
    for at in 0..file.sealed.seal.sealed_meta.0.len() {
        assert!(matches!(file.opener_of(|seal| seal.sealed_meta.0[at] ^= 0x80), Err(OpenError::Seal(_))), "{at}");
    }
    assert!(matches!(file.opener_of(|seal| seal.sealed_meta.0.clear()), Err(OpenError::Seal(_))));
    assert!(matches!(file.opener_of(|seal| seal.sealed_meta.0.push(0)), Err(OpenError::Seal(_))));
}

#[test]
fn another_list_of_leaf_hashes_is_noticed() {
    let (first, second) = (file(0), file(7));
    let leaves = &first.sealed.leaves;
    let open = |leaves: &[u8]| Opener::new(&first.key, &first.sealed.seal, leaves).map(|_| ());
    assert!(open(leaves).is_ok());
    assert!(matches!(open(&second.sealed.leaves), Err(OpenError::Leaves)));
    assert!(matches!(open(&[]), Err(OpenError::Leaves)));
    assert!(matches!(open(&leaves[..leaves.len() - 1]), Err(OpenError::Leaves)));
    assert!(matches!(open(&[leaves.as_slice(), &[0; 32]].concat()), Err(OpenError::Leaves)));
    for at in 0..leaves.len() {
        let mut changed = leaves.clone();
        changed[at] ^= 1;
        assert!(matches!(open(&changed), Err(OpenError::Leaves)), "{at}");
    }
}

#[test]
fn another_key_does_not_open() {
    let (first, second) = (file(0), file(0));
    assert!(matches!(Opener::new(&second.key, &first.sealed.seal, &first.sealed.leaves), Err(OpenError::WrongKey)));
}
