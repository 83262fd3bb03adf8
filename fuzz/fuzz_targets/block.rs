//! Blocks as validators send them: what decodes encodes to the same bytes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use samovar_fuzz::{STORY, input};

static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let header = STORY.whole_proof().proven.head.header.0;
    let header = finality::Header::from_bytes(&header).expect("the story's own");
    let blocks = STORY.history().iter().map(|(_, transactions)| transactions.clone());
    blocks.filter_map(|transactions| consensus::fuzzing::block(header.clone(), transactions)).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let bytes = input(&VALUES, bytes);
    if let Some(again) = consensus::fuzzing::recode(&bytes) {
        assert_eq!(again, *bytes, "two encodings of one block");
    }
});
