//! A proof file from anybody, for the network of the vectors. Begin with what those accept:
//! `cargo +nightly fuzz run proof corpus/proof ../docs/spec/vectors/proof`
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::{Bytes96, NetworkId};

#[derive(serde::Deserialize)]
struct NetworkFile {
    id: NetworkId,
    key: Bytes96,
    simulated: bool,
}

const ACCEPTED: [&[u8]; 2] = [
    include_bytes!("../../docs/spec/vectors/proof/success.proof"),
    include_bytes!("../../docs/spec/vectors/proof/failure.proof"),
];

static NETWORK: LazyLock<proof::Network> = LazyLock::new(|| {
    let file = include_str!("../../docs/spec/vectors/proof/network.json");
    let NetworkFile { id, key, simulated } = serde_json::from_str(file).expect("the vector is readable");
    proof::Network { id, key, simulated, checkpoint: None }
});

fuzz_target!(|bytes: &[u8]| {
    // Nobody has the committee's key, so nothing else can ever be accepted.
    assert_eq!(proof::verify(bytes, &NETWORK).is_ok(), ACCEPTED.contains(&bytes));
});
