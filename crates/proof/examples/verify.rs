//! How long an offline verification takes, and how large a proof is: `verify [NETWORK.json FILE.proof]`; without arguments,
//! the vector of a task that succeeded.
//!
//! Prints one JSON object with rows for `cargo xtask bench`. The time is the median of 51 verifications, each of which
//! begins with the bytes of the file.

use std::{env, error::Error, fs, path::PathBuf, time::Instant};

use model::{Bytes96, NetworkId};
use proof::{Network, verify};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct NetworkFile {
    id: NetworkId,
    key: Bytes96,
    simulated: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/proof");
    let mut paths = env::args_os().skip(1).map(PathBuf::from);
    let network = paths.next().unwrap_or_else(|| vectors.join("network.json"));
    let file = paths.next().unwrap_or_else(|| vectors.join("success.proof"));
    let NetworkFile { id, key, simulated } = serde_json::from_slice(&fs::read(network)?)?;
    let network = Network { id, key, simulated, checkpoint: None };
    let bytes = fs::read(file)?;
    let mut times = Vec::new();
    for _ in 0..51 {
        let began = Instant::now();
        verify(&bytes, &network)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let verify_ms = (times[times.len() / 2].as_secs_f64() * 1e5).round() / 1e2;
    let kib = (bytes.len() as f64 / 10.24).round() / 100.0;
    println!(
        "{}",
        json!({"bytes": bytes.len(), "verify_ms": verify_ms, "rows": [
            {"what": "proof of a task on one dataset", "value": kib, "unit": "KiB", "peer": null, "ratio": null, "goal": "< 32 KiB"},
            {"what": "offline verification, all links", "value": verify_ms, "unit": "ms", "peer": null, "ratio": null, "goal": "< 15 ms"},
        ]})
    );
    Ok(())
}
