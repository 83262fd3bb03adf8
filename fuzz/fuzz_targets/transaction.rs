//! Admission of a transaction: bounds and signatures, whatever comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::NetworkId;

fuzz_target!(|bytes: &[u8]| {
    let _ = ledger::Checked::from_bytes(bytes, &NetworkId([0; 32]));
});
