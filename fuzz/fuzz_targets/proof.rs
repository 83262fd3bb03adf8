//! A proof file from anybody: accepted only if it is the one that was made.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::Canonical;
use samovar_fuzz::{STORY, input};

static PROOF: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let proof = STORY.whole_proof().to_bytes();
    assert!(proof::verify(&proof, &STORY.network_file()).is_ok());
    vec![proof]
});

fuzz_target!(|bytes: &[u8]| {
    let bundle = input(&PROOF, bytes);
    // The committee signs nothing here, so nothing else can ever be accepted.
    if *bundle != *PROOF[0] {
        assert!(proof::verify(&bundle, &STORY.network_file()).is_err());
    }
});
