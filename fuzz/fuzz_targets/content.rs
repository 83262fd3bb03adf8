//! Bitswap messages, CAR files and UnixFS nodes from peers nobody trusts.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = content::bitswap::decode_message(bytes);
    let _ = content::car::decode(bytes);
    let _ = content::unixfs::decode_inner(bytes);
});
