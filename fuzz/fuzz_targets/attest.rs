//! Evidence, releases, sealed secrets and appraisal messages from nodes nobody trusts.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = attest::protocol::Message::decode(bytes);
    let _ = attest::release::ReleaseFile::from_bytes(bytes);
    let _ = attest::SealedSecret::decode(bytes);
});
