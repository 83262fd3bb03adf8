//! The WebAssembly engine's settings. Compiler and worker must agree on all of them, or the code is refused.

use wasmtime::{Config, Engine, OptLevel, Result, Strategy};

use crate::job::Metering;

/// Deepest stack of a guest.
const STACK_BYTES_MAX: usize = 1 << 20;

/// The processor that code is compiled for, whatever the processor it runs on: results and native code are then the
/// same on every machine. This is x86-64-v3.
#[cfg(target_arch = "x86_64")]
const TARGET: (&str, &[&str]) = (
    "x86_64-unknown-linux-gnu",
    &[
        "has_sse3",
        "has_ssse3",
        "has_sse41",
        "has_sse42",
        "has_popcnt",
        "has_cmpxchg16b",
        "has_avx",
        "has_avx2",
        "has_fma",
        "has_bmi1",
        "has_bmi2",
        "has_lzcnt",
    ],
);
/// The same: armv8.0-a.
#[cfg(target_arch = "aarch64")]
const TARGET: (&str, &[&str]) = ("aarch64-unknown-linux-gnu", &[]);

pub(crate) fn engine(metering: Metering) -> Result<Engine> {
    Engine::new(&config(metering)?)
}

fn config(metering: Metering) -> Result<Config> {
    let mut config = Config::new();
    config.strategy(Strategy::Cranelift).cranelift_opt_level(OptLevel::Speed);
    config.cranelift_nan_canonicalization(metering == Metering::FuelNan);
    config.consume_fuel(metering != Metering::None).epoch_interruption(false);
    config.wasm_simd(true).wasm_relaxed_simd(true).relaxed_simd_deterministic(true);
    config.wasm_memory64(false).concurrency_support(false);
    config.max_wasm_stack(STACK_BYTES_MAX).memory_init_cow(true);
    pin_target(&mut config)?;
    Ok(config)
}

fn pin_target(config: &mut Config) -> Result<()> {
    let (triple, features) = TARGET;
    config.target(triple)?;
    for feature in features {
        // SAFETY: these are names of instruction sets only, and the engine refuses to load code for instructions that
        // the processor it runs on does not have.
        #[allow(unsafe_code, reason = "the only way to name instruction sets")]
        unsafe {
            config.cranelift_flag_enable(feature);
        }
    }
    Ok(())
}
