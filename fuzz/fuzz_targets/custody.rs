//! Custody's messages and result archives, which come from machines one does not control.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Canonical;

fuzz_target!(|bytes: &[u8]| {
    let _ = custody::wire::ToCustodian::from_bytes(bytes, 1 << 20);
    let _ = custody::wire::FromCustodian::from_bytes(bytes, 1 << 20);
    let _ = custody::ResultArchive::decode(bytes, 1 << 20);
});
