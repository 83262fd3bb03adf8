//! An owner wants one published object to open to two plaintexts under two keys, so that a proof means either.
//!
//! AES-GCM alone would let it: a ciphertext can be made that two keys accept. The seal therefore commits to the key, and every
//! other key of the file is bound to that commitment.

use custody::{ContentKey, OpenError, Opener, seal_bytes};

#[test]
fn one_seal_has_one_key() {
    let (first, second) = (ContentKey::generate().unwrap(), ContentKey::generate().unwrap());
    let (_, one) = seal_bytes(b"what the proof names", &first).unwrap();
    let (_, other) = seal_bytes(b"what it should mean", &second).unwrap();
    assert!(matches!(second.check(&one.seal), Err(OpenError::WrongKey)));

    // The second key's commitment put into the first key's seal: now neither opens.
    let mut hybrid = one.seal.clone();
    hybrid.salt = other.seal.salt;
    hybrid.key_commitment = other.seal.key_commitment;
    assert!(matches!(Opener::new(&first, &hybrid, &one.leaves), Err(OpenError::WrongKey)));
    assert!(second.check(&hybrid).is_ok());
    assert!(matches!(Opener::new(&second, &hybrid, &one.leaves), Err(OpenError::Seal(_))));

    // With the second file's encrypted part as well it opens, to the second plaintext's root and no other.
    hybrid.sealed_meta = other.seal.sealed_meta.clone();
    assert!(matches!(Opener::new(&second, &hybrid, &one.leaves), Err(OpenError::Seal(_))));
    hybrid.plaintext_root = other.seal.plaintext_root;
    assert_eq!(hybrid, other.seal);
}
