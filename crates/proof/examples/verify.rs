//! Verifies a proof file and says how long that takes: `verify NETWORK.json FILE.proof`, as in `docs/spec/vectors/proof`.
//!
//! Prints one JSON object: `{"bytes":…,"verify_ms":…}`, the median of 21 verifications.

use std::{env, error::Error, fs, time::Instant};

use model::{Bytes96, NetworkId};
use proof::{Network, verify};
use serde::Deserialize;

#[derive(Deserialize)]
struct NetworkFile {
    id: NetworkId,
    key: Bytes96,
    simulated: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = env::args_os().skip(1);
    let (Some(network), Some(file)) = (paths.next(), paths.next()) else {
        return Err("usage: verify NETWORK.json FILE.proof".into());
    };
    let NetworkFile { id, key, simulated } = serde_json::from_slice(&fs::read(network)?)?;
    let network = Network { id, key, simulated, checkpoint: None };
    let bytes = fs::read(file)?;
    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        verify(&bytes, &network)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let verify_ms = times[times.len() / 2].as_secs_f64() * 1e3;
    println!("{{\"bytes\":{},\"verify_ms\":{verify_ms:.3}}}", bytes.len());
    Ok(())
}
