//! Bodies of HTTP requests as JSON: whatever is read this way has a canonical form, and is the same after it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::{Blob, Canonical, Fact, Genesis, Manifest, Record, Signed, Terms, Transaction, api};
use samovar_fuzz::{STORY, input};

static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut values: Vec<Vec<u8>> = STORY.transactions().iter().filter_map(|it| serde_json::to_vec(it).ok()).collect();
    for record in STORY.all_records() {
        if let Fact::Object(object) = &record.fact {
            let (manifest, deposit) = (object.manifest.clone(), object.deposit.clone());
            let request = api::DepositRequest { manifest, deposit, index: 1, sealed_share: Blob(vec![7; 1200]) };
            values.extend(serde_json::to_vec(&request));
        }
        values.extend(serde_json::to_vec(&record));
    }
    values.extend(serde_json::to_vec(STORY.genesis()));
    values
});

fn check<T: Canonical>(text: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(text) {
        let bytes = value.to_bytes();
        let again = T::from_bytes(&bytes, usize::MAX).expect("what was read has a canonical form");
        assert_eq!(again.to_bytes(), bytes);
        let text = serde_json::to_vec(&value).expect("and a form for people");
        let again: T = serde_json::from_slice(&text).expect("which can be read");
        assert_eq!(again.to_bytes(), bytes);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let text = &input(&VALUES, bytes);
    check::<Signed<Transaction>>(text);
    check::<api::DepositRequest>(text);
    check::<Signed<Manifest>>(text);
    check::<Signed<Terms>>(text);
    check::<Record>(text);
    check::<Genesis>(text);
});
