//! A proof file from anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Bytes96, NetworkId};

fuzz_target!(|bytes: &[u8]| {
    let network = proof::Network { id: NetworkId([0; 32]), key: Bytes96([0; 96]), simulated: true, checkpoint: None };
    assert!(proof::verify(bytes, &network).is_err());
});
