//! Pins the format: `docs/spec/vectors/object/*.json` hold sealed files with all randomness given, and this code must still
//! produce them byte for byte. `SAMOVAR_BLESS=1` writes them anew, which is a change of format (docs/spec/object.md).

use std::path::PathBuf;

use model::{Bytes32, Digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CHUNK_BYTES, ContentKey, PLAINTEXT_CHUNK_BYTES, Sealer};

/// One file of vectors: a sealed file. `ciphertext` in full where it is short, its digest always.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    about: String,
    plaintext_bytes: u64,
    /// The plaintext repeats 00 01 02 … fa (251 bytes), so that no chunk equals another.
    plaintext_sha256: Digest,
    content_key: Bytes32,
    leaf_key: Bytes32,
    seal: model::Seal,
    core_digest: Digest,
    leaves: String,
    leaf_digests: Vec<Digest>,
    ciphertext_bytes: u64,
    ciphertext_sha256: Digest,
    chunk_sha256: Vec<Digest>,
    ciphertext: Option<String>,
}

fn vector(about: &str, length: usize, number: u8) -> Vector {
    let plaintext: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let content_key = Bytes32([number; 32]);
    let (salt, leaf_key) = (Bytes32([number + 1; 32]), Bytes32([number + 2; 32]));
    let key = ContentKey::from_secret(Zeroizing::new(content_key.0));
    let mut sealer = Sealer::with_randomness(plaintext.as_slice(), &key, salt, Zeroizing::new(leaf_key.0));
    let (mut ciphertext, mut chunk_sha256) = (Vec::new(), Vec::new());
    while let Some(chunk) = sealer.next_chunk().unwrap() {
        assert!(chunk.len() <= CHUNK_BYTES);
        chunk_sha256.push(Digest::of(chunk));
        ciphertext.extend_from_slice(chunk);
    }
    let core_digest = sealer.core_digest();
    let leaf_digests = sealer.leaf_digests();
    let sealed = sealer.finish().unwrap();
    Vector {
        about: about.into(),
        plaintext_bytes: length as u64,
        plaintext_sha256: Digest::of(&plaintext),
        content_key,
        leaf_key,
        seal: sealed.seal,
        core_digest,
        leaves: hex::encode(&sealed.leaves),
        leaf_digests,
        ciphertext_bytes: sealed.ciphertext_bytes,
        ciphertext_sha256: Digest::of(&ciphertext),
        chunk_sha256,
        ciphertext: (ciphertext.len() < 8192).then(|| hex::encode(&ciphertext)),
    }
}

#[test]
fn sealing_gives_the_committed_vectors() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/object");
    let cases = [
        ("empty", "An empty file: 4 KiB of padding.", 0),
        ("short", "A short file, padded to 4 KiB.", 300),
        ("padded", "A file that Padmé lengthens: 5,000 to 5,120 bytes.", 5_000),
        ("one-chunk", "As much as one chunk holds; padding needs a second one.", PLAINTEXT_CHUNK_BYTES),
        ("three-chunks", "Two full chunks and a short one.", 2 * PLAINTEXT_CHUNK_BYTES + 1),
    ];
    for (number, (name, about, length)) in (1u8..).zip(cases) {
        let made = vector(about, length, number * 16);
        let file = folder.join(format!("{name}.json"));
        if std::env::var_os("SAMOVAR_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let committed: Vector = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(made, committed, "{name}");
    }
}
