//! What the sandbox costs, measured in one go: prints one JSON object with a row for each measurement.
//!
//! Each number is the best of many, because whatever else the machine does can only make it worse. Guests are
//! `guests/compute.wasm`, which only computes, and `guests/trivial.wasm`, which does next to nothing.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sandbox::{
    CHUNK_BYTES, Compiled, Input, InputError, Inputs, Job, Limits, Metering, Outcome, Phase, Sandbox, SandboxConfig,
    Watch,
};
use wasmtime::{Engine, Instance, Module, Store};

const COMPUTE: &[u8] = include_bytes!("../../../guests/compute.wasm");
const TRIVIAL: &[u8] = include_bytes!("../../../guests/trivial.wasm");
const REGRESSION: &[u8] = include_bytes!("../../../examples/logistic-regression/logistic-regression.wasm");

const COMPUTE_RUNS: usize = 40;
const START_RUNS: usize = 200;
const STREAM_RUNS: usize = 3;
const STREAM_BYTES: u64 = 1 << 30;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("sandbox-worker") => return sandbox::worker_main(),
        Some("sandbox-compiler") => return sandbox::compiler_main(),
        _ => {}
    }
    match measure() {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<serde_json::Value> {
    let sandbox = Sandbox::new(SandboxConfig::this_program())?;
    let (bare, sandboxed) = compute(&sandbox)?;
    let start = starts(&sandbox)?;
    let stream = stream(&sandbox)?;
    let asked = Instant::now();
    sandbox.compile(REGRESSION, Metering::None, None)?;
    let compiled = asked.elapsed();

    let ratio = sandboxed.as_secs_f64() / bare.as_secs_f64();
    let mut rows = vec![
        row("guest compute", milliseconds(sandboxed), "ms"),
        row("start of a run in a warm worker, from module mapped", milliseconds(start.guest), "ms"),
        row("a whole trivial run in a warm worker: map, confine, run, hand over", milliseconds(start.whole), "ms"),
        row("guest reads a streamed input", (STREAM_BYTES >> 20) as f64 / stream.as_secs_f64(), "MiB/s"),
        row("compile a module of 140 KB", milliseconds(compiled), "ms"),
    ];
    rows[0]["peer"] = format!("bare wasmtime, same module: {:.1} ms", milliseconds(bare)).into();
    rows[0]["ratio"] = ratio.into();
    rows[0]["goal"] = "≤ 1.03".into();
    rows[1]["goal"] = "< 1 ms".into();
    Ok(serde_json::json!({ "rows": rows }))
}

fn row(what: &str, value: f64, unit: &str) -> serde_json::Value {
    serde_json::json!({ "what": what, "value": value, "unit": unit, "peer": null, "ratio": null, "goal": null })
}

/// Times without and with the sandbox, taken in turn, so that whatever else the machine does meets both alike.
fn compute(sandbox: &Sandbox) -> Result<(Duration, Duration)> {
    let engine = Engine::default();
    let module = Module::from_binary(&engine, COMPUTE)?;
    let program = sandbox.compile(COMPUTE, Metering::None, None)?;
    let (mut bare, mut sandboxed) = (Duration::MAX, Duration::MAX);
    for _ in 0..COMPUTE_RUNS {
        bare = bare.min(run_bare(&engine, &module)?);
        sandboxed = sandboxed.min(run(sandbox, &program, &job(Vec::new()), &mut Zeros)?.guest);
    }
    Ok((bare, sandboxed))
}

fn run_bare(engine: &Engine, module: &Module) -> Result<Duration> {
    let started = Instant::now();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[])?;
    instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
    Ok(started.elapsed())
}

fn starts(sandbox: &Sandbox) -> Result<Times> {
    let program = sandbox.compile(TRIVIAL, Metering::None, None)?;
    let mut best = Times { whole: Duration::MAX, guest: Duration::MAX };
    for _ in 0..START_RUNS {
        // The worker ahead gets time to be ready, as it has between two tasks.
        std::thread::sleep(Duration::from_millis(20));
        let times = run(sandbox, &program, &job(Vec::new()), &mut Zeros)?;
        best = Times { whole: best.whole.min(times.whole), guest: best.guest.min(times.guest) };
    }
    Ok(best)
}

fn stream(sandbox: &Sandbox) -> Result<Duration> {
    let program = sandbox.compile(TRIVIAL, Metering::None, None)?;
    let input = Input { name: "input".into(), bytes: STREAM_BYTES, chunk_bytes: CHUNK_BYTES };
    let mut best = Duration::MAX;
    for _ in 0..STREAM_RUNS {
        best = best.min(run(sandbox, &program, &job(vec![input.clone()]), &mut Zeros)?.guest);
    }
    Ok(best)
}

struct Times {
    whole: Duration,
    /// Without assigning the job, mapping the code and confining the worker.
    guest: Duration,
}

fn run(sandbox: &Sandbox, program: &Compiled, job: &Job, inputs: &mut dyn Inputs) -> Result<Times> {
    let asked = Instant::now();
    let (mut started, mut finished) = (asked, asked);
    let mut observe = |phase| match phase {
        Phase::Started => started = Instant::now(),
        Phase::Finished => finished = Instant::now(),
    };
    let outcome = sandbox.run(program, job, inputs, Watch { observe: Some(&mut observe), ..Watch::default() })?;
    match outcome {
        Outcome::Exited(output) if output.exit_code == 0 => {
            Ok(Times { whole: asked.elapsed(), guest: finished.duration_since(started) })
        }
        other => Err(format!("the guest ended otherwise: {other:?}").into()),
    }
}

fn job(inputs: Vec<Input>) -> Job {
    let limits = Limits { run_ms: 600_000, memory_bytes: 64 << 20, output_bytes: 1 << 20 };
    Job { args: Vec::new(), inputs, limits, seed: [7; 32] }
}

/// Chunks that cost nothing to make.
struct Zeros;

impl Inputs for Zeros {
    fn chunk(&mut self, _: usize, _: u64, into: &mut [u8]) -> std::result::Result<(), InputError> {
        into.fill(0);
        Ok(())
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
