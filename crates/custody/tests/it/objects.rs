//! Sealed objects of every awkward size, streamed and whole.

use std::io::Read;

use custody::{
    CHUNK_BYTES, ContentKey, Opener, PLAINTEXT_CHUNK_BYTES, SealError, Sealer, TAG_BYTES, padded_length,
    plaintext_root, seal_bytes,
};

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 253) as u8).collect()
}

fn open(key: &ContentKey, ciphertext: &[u8], sealed: &custody::Sealed) -> Vec<u8> {
    let opener = Opener::new(key, &sealed.seal, &sealed.leaves).unwrap();
    let mut plaintext = Vec::new();
    opener.open_all(ciphertext, &mut plaintext).unwrap();
    assert_eq!(opener.length(), plaintext.len() as u64);
    plaintext
}

#[test]
fn files_of_every_awkward_size_come_back() {
    let chunk = PLAINTEXT_CHUNK_BYTES;
    // 1,048,064 is the longest Padmé length that fits one chunk with its tag.
    for length in [0, 1, 4095, 4096, 4097, 1_032_192, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1, 3 * chunk]
    {
        let key = ContentKey::generate().unwrap();
        let plaintext = content(length);
        let (ciphertext, sealed) = seal_bytes(&plaintext, &key).unwrap();
        let padded = padded_length(length as u64).unwrap() as usize;
        let chunks = padded.div_ceil(chunk);
        assert_eq!(sealed.seal.chunks as usize, chunks, "{length}");
        assert_eq!(ciphertext.len(), padded + chunks * TAG_BYTES, "{length}");
        assert_eq!(sealed.ciphertext_bytes as usize, ciphertext.len());
        assert_eq!(sealed.leaves.len(), chunks * 32 + TAG_BYTES);
        assert!(open(&key, &ciphertext, &sealed) == plaintext, "{length}");
    }
}

#[test]
fn how_long_a_ciphertext_will_be_is_known_before_it_is_made() {
    for length in [0, 1, 4096, 4097, PLAINTEXT_CHUNK_BYTES, PLAINTEXT_CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7] {
        let (ciphertext, _) = custody::seal_bytes(&content(length), &ContentKey::generate().unwrap()).unwrap();
        assert_eq!(custody::ciphertext_length(length as u64), Some(ciphertext.len() as u64), "{length}");
    }
}

#[test]
fn a_full_chunk_is_one_leaf_of_exactly_one_mib() {
    let key = ContentKey::generate().unwrap();
    let plaintext = content(2 * PLAINTEXT_CHUNK_BYTES);
    let mut sealer = Sealer::new(plaintext.as_slice(), &key).unwrap();
    assert_eq!(sealer.next_chunk().unwrap().unwrap().len(), CHUNK_BYTES);
    assert_eq!(sealer.next_chunk().unwrap().unwrap().len(), CHUNK_BYTES);
}

#[test]
fn padding_may_fill_chunks_of_its_own() {
    // 11 % over: one chunk and a bit of content, two chunks of ciphertext, the second of padding only.
    let length = PLAINTEXT_CHUNK_BYTES;
    let key = ContentKey::generate().unwrap();
    let (ciphertext, sealed) = seal_bytes(&content(length), &key).unwrap();
    assert_eq!(sealed.seal.chunks, 2);
    let opener = Opener::new(&key, &sealed.seal, &sealed.leaves).unwrap();
    assert!(opener.open_chunk(1, ciphertext[CHUNK_BYTES..].to_vec()).unwrap().is_empty());
}

/// Gives one byte, then what fits, then an interruption, …
struct Stutter<R>(R, u8);

impl<R: Read> Read for Stutter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 = (self.1 + 1) % 3;
        match self.1 {
            0 => Err(std::io::ErrorKind::Interrupted.into()),
            1 => self.0.read(&mut buffer[..1]),
            _ => self.0.read(buffer),
        }
    }
}

#[test]
fn a_sealer_is_a_reader_and_does_not_mind_how_its_source_behaves() {
    let key = ContentKey::generate().unwrap();
    let plaintext = content(PLAINTEXT_CHUNK_BYTES + 5000);
    let mut sealer = Sealer::new(Stutter(plaintext.as_slice(), 0), &key).unwrap();
    let mut ciphertext = Vec::new();
    sealer.read_to_end(&mut ciphertext).unwrap();
    let sealed = sealer.finish().unwrap();
    assert!(open(&key, &ciphertext, &sealed) == plaintext);
}

#[test]
fn a_file_that_was_not_sealed_to_its_end_has_no_seal() {
    let key = ContentKey::generate().unwrap();
    let plaintext = content(PLAINTEXT_CHUNK_BYTES + 5000);
    let sealer = Sealer::new(plaintext.as_slice(), &key).unwrap();
    assert!(matches!(sealer.finish(), Err(SealError::Unfinished)));
    let mut sealer = Sealer::new(plaintext.as_slice(), &key).unwrap();
    sealer.next_chunk().unwrap();
    assert!(matches!(sealer.finish(), Err(SealError::Unfinished)));
    let mut sealer = Sealer::new(plaintext.as_slice(), &key).unwrap();
    let mut most = vec![0; padded_length(plaintext.len() as u64).unwrap() as usize + 2 * TAG_BYTES - 1];
    sealer.read_exact(&mut most).unwrap();
    assert!(matches!(sealer.finish(), Err(SealError::Unfinished)), "one byte was left");
}

#[test]
fn a_source_that_fails_is_reported() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("unplugged"))
        }
    }
    let mut sealer = Sealer::new(Broken, &ContentKey::generate().unwrap()).unwrap();
    assert!(matches!(sealer.next_chunk(), Err(SealError::Read(_))));
}

#[test]
fn equal_files_look_different_and_short_ones_alike() {
    let key = ContentKey::generate().unwrap();
    let (first, first_seal) = seal_bytes(b"yes", &key).unwrap();
    let (second, second_seal) = seal_bytes(b"yes", &key).unwrap();
    assert_ne!(first, second);
    assert_ne!(first_seal.seal.plaintext_root, second_seal.seal.plaintext_root, "roots cannot be guessed");
    let (third, _) = seal_bytes(b"certainly not", &key).unwrap();
    assert_eq!(first.len(), third.len());
}

#[test]
fn whoever_has_the_leaf_key_can_recompute_the_plaintext_root() {
    let key = ContentKey::generate().unwrap();
    let plaintext = content(PLAINTEXT_CHUNK_BYTES + 1);
    let (_, sealed) = seal_bytes(&plaintext, &key).unwrap();
    let opener = Opener::new(&key, &sealed.seal, &sealed.leaves).unwrap();
    let leaf_key = opener.leaf_key();
    assert_eq!(plaintext_root(plaintext.as_slice(), &leaf_key).unwrap(), sealed.seal.plaintext_root);
    assert_ne!(plaintext_root(&plaintext[1..], &leaf_key).unwrap(), sealed.seal.plaintext_root);
}
