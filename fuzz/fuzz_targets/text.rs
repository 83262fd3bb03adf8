//! Names as people type them and links carry them: what is read is shown in a form that is read as the same.
#![no_main]

use std::{fmt::Display, str::FromStr, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use model::{AccountId, Blob, ContentId, Digest, NetworkId, ObjectId, TaskId};
use samovar_fuzz::{STORY, input};

static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let object = ObjectId::of_manifest(b"a manifest");
    let texts = [
        STORY.genesis().validators[0].node.to_string(),
        object.to_string(),
        ContentId::of_raw(b"a leaf").to_string(),
        Digest::of(b"a digest").to_string(),
        "escrow".to_owned(),
    ];
    texts.map(String::into_bytes).to_vec()
});

fn check<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{text} is shown as something else");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = input(&VALUES, bytes);
    let Ok(text) = std::str::from_utf8(&bytes) else { return };
    check::<AccountId>(text);
    check::<ContentId>(text);
    check::<ObjectId>(text);
    check::<Digest>(text);
    check::<NetworkId>(text);
    check::<TaskId>(text);
    let _ = serde_json::from_str::<Blob>(text);
});
