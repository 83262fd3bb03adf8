//! Certificates, headers and proofs from a node nobody trusts. The committee of the story signs nothing here, so whatever is
//! accepted must be what it has signed before.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::{
    Blob, Canonical, Digest,
    api::{CertifiedHead, ProvenExtension, ProvenRecords, ProvenState},
};
use samovar_fuzz::{STORY, changed, halves};

static PROVEN: LazyLock<ProvenRecords> = LazyLock::new(|| STORY.whole_proof().proven);
static NETWORK: LazyLock<finality::Network> = LazyLock::new(|| {
    let file = STORY.network_file();
    finality::Network { id: file.id, key: file.key }
});

fn heads(changes: &[u8]) {
    let (certificate, header) = halves(changes);
    let head = CertifiedHead {
        certificate: Blob(changed(&PROVEN.head.certificate.0, certificate)),
        header: Blob(changed(&PROVEN.head.header.0, header)),
    };
    if let Ok(header) = finality::Header::from_bytes(&head.header.0) {
        assert_eq!(header.to_bytes(), head.header.0, "two encodings of one header");
    }
    if NETWORK.check_head(&head).is_ok() {
        assert_eq!(head, PROVEN.head, "a head that nobody signed");
    }
}

fn proofs(changes: &[u8]) {
    let bytes = changed(&PROVEN.to_bytes(), changes);
    if let Ok(proven) = ProvenRecords::from_bytes(&bytes, 1 << 20)
        && NETWORK.check_proven(&proven).is_ok()
    {
        assert_eq!(proven, *PROVEN, "records that nobody signed");
    }
}

/// Proofs of state and of extension under the true head: the log behind it does not fit anything made up.
fn others(bytes: &[u8]) {
    let (value, proof) = halves(bytes);
    let (head, key) = (PROVEN.head.clone(), Digest::of(b"some key"));
    let state = ProvenState { head: head.clone(), key, value: Some(Blob(value.to_vec())), proof: Blob(proof.to_vec()) };
    assert!(NETWORK.check_state(&state).is_err(), "the story has no state to prove");
    let digests = bytes.chunks_exact(32).filter_map(Digest::from_slice).collect();
    let extension = ProvenExtension { head, digests };
    assert!(NETWORK.check_extension(3, &Digest([3; 32]), &extension).is_err(), "no log of ours began like that");
}

fuzz_target!(|bytes: &[u8]| match bytes.split_first() {
    Some((0..16, rest)) => others(rest),
    Some((16..128, rest)) => proofs(rest),
    Some((_, rest)) => heads(rest),
    None => {}
});
