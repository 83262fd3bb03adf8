//! Certificates, headers and proofs from a node nobody trusts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Blob, Bytes96, NetworkId, api::CertifiedHead};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (certificate, header) = input;
    let _ = finality::Header::from_bytes(&header);
    let network = finality::Network { id: NetworkId([0; 32]), key: Bytes96([0; 96]) };
    assert!(network.check_head(&CertifiedHead { certificate: Blob(certificate), header: Blob(header) }).is_err());
});
