//! Every record type: what decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Canonical, EventLog, Evidence, Genesis, Manifest, Record, Signed, Terms, Transaction, api};

fn check<T: Canonical>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes, 1 << 20) {
        assert_eq!(value.to_bytes(), bytes);
    }
}

fuzz_target!(|bytes: &[u8]| {
    check::<Record>(bytes);
    check::<Signed<Transaction>>(bytes);
    check::<Signed<Manifest>>(bytes);
    check::<Signed<Terms>>(bytes);
    check::<Evidence>(bytes);
    check::<EventLog>(bytes);
    check::<Genesis>(bytes);
    check::<api::ProvenRecords>(bytes);
    check::<api::ProvenState>(bytes);
    check::<api::DepositRequest>(bytes);
});
