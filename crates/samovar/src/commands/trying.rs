//! `try`: the nodes' sandbox on this machine.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use sandbox::{
    Input, Job, Limit, Outcome, Output, PlainInput, PlainInputs, Sandbox, SandboxConfig, SandboxError, Watch,
};
use serde_json::{Value, json};

use super::{check_names, connect_to, on_runtime};
use crate::{
    cli::{MeteringArg, Named, Try, TryInput},
    failure::{Failure, OWN_FAULT},
    ui::{is_shown, print_bytes, print_failure, print_line, tell},
};

/// Most bytes of a sample.
const SAMPLE_BYTES_MAX: u64 = 1 << 30;

/// A module that takes seconds to compile.
const LARGE_MODULE: usize = 1 << 20;

const WHAT_RUNS: &str = "a program is a WASI 0.1 module or a WASI 0.2 component (.wasm)";

/// Runs the guest; the exit code is its own.
pub(crate) fn run(args: &Try) -> ExitCode {
    match attempt(args) {
        Ok(code) => code,
        Err(failure) => {
            print_failure(&failure, args.output.json);
            ExitCode::FAILURE
        }
    }
}

fn attempt(args: &Try) -> Result<ExitCode, Failure> {
    let module = std::fs::read(&args.file).map_err(|cause| Failure::disk(&args.file, &cause))?;
    if let Some(out) = &args.out {
        // Whoever cannot write there, or would lose something, should hear it before the program has run.
        client::check_is_empty(out)?;
        std::fs::create_dir_all(out).map_err(|cause| Failure::disk(out, &cause))?;
    }
    let folder = tempfile::tempdir().map_err(|cause| Failure::of(&cause, OWN_FAULT))?;
    let files = open_inputs(args, folder.path())?;
    if !module.starts_with(b"\0asm") {
        return Err(Failure::new(format!("{} is not a WebAssembly file", args.file.display()), WHAT_RUNS));
    }
    let sandbox = Sandbox::new(SandboxConfig::this_program())
        .map_err(|cause| Failure::of(&cause, "the sandbox needs Linux with landlock and seccomp"))?;
    let started = Instant::now();
    if is_shown(args.output) && module.len() > LARGE_MODULE {
        tell("  compiling");
    }
    let compiled = sandbox
        .compile(&module, metering(args.limits.metering), None)
        .map_err(|cause| Failure::of(&cause, WHAT_RUNS))?;
    let compiled_ms = started.elapsed().as_millis() as u64;
    let started = Instant::now();
    let outcome = sandbox
        .run(
            &compiled,
            &job(args, &files)?,
            &mut PlainInputs::new(files.into_iter().map(|file| PlainInput::File(file.file)).collect()),
            Watch::default(),
        )
        .map_err(|cause| not_run(args, &cause))?;
    let times = json!({ "compile": compiled_ms, "run": started.elapsed().as_millis() as u64 });
    report(args, outcome, times)
}

struct Opened {
    name: String,
    file: File,
    bytes: u64,
}

fn open_inputs(args: &Try, folder: &Path) -> Result<Vec<Opened>, Failure> {
    check_names(&args.inputs)?;
    let mut opened: Vec<Opened> = Vec::new();
    for (index, input) in args.inputs.iter().enumerate() {
        let path = path_of(args, input, &folder.join(index.to_string()))?;
        let file = File::open(&path).map_err(|cause| Failure::disk(&path, &cause))?;
        let about = file.metadata().map_err(|cause| Failure::disk(&path, &cause))?;
        if !about.is_file() {
            return Err(Failure::new(format!("{} is no file", path.display()), "name a file after NAME="));
        }
        let bytes = about.len();
        opened.push(Opened { name: input.name.clone(), file, bytes });
    }
    Ok(opened)
}

fn path_of(args: &Try, input: &Named<TryInput>, scratch: &Path) -> Result<PathBuf, Failure> {
    match &input.what {
        TryInput::File(path) => Ok(path.clone()),
        TryInput::Sample(object) => {
            let Some(network) = &args.network else {
                return Err(Failure::new("samples are on a network, and none is named", "name it with --network FILE"));
            };
            on_runtime(async {
                let client = connect_to(network, args.node.as_deref())?;
                let (view, _) = client.object(object).await?;
                let Some(sample) = view.object.manifest.unverified().sample else {
                    return Err(Failure::new(
                        format!("the owner of {object} has published no sample"),
                        "`samovar objects show` prints its description; write a dummy file yourself",
                    ));
                };
                client.fetch_file("the sample", &sample, scratch, SAMPLE_BYTES_MAX).await?;
                Ok(scratch.to_owned())
            })
        }
    }
}

fn job(args: &Try, files: &[Opened]) -> Result<Job, Failure> {
    let limits = args.limits.limits();
    let input = |file: &Opened| Input { name: file.name.clone(), bytes: file.bytes, chunk_bytes: sandbox::CHUNK_BYTES };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|cause| Failure::new(format!("no random numbers: {cause}"), OWN_FAULT))?;
    Ok(Job {
        args: args.args.clone(),
        inputs: files.iter().map(input).collect(),
        limits: sandbox::Limits {
            run_ms: limits.run_ms,
            memory_bytes: limits.memory_bytes,
            output_bytes: limits.output_bytes,
        },
        seed,
    })
}

fn metering(metering: MeteringArg) -> sandbox::Metering {
    match metering {
        MeteringArg::None => sandbox::Metering::None,
        MeteringArg::Fuel => sandbox::Metering::Fuel,
        MeteringArg::FuelNan => sandbox::Metering::FuelNan,
    }
}

fn report(args: &Try, outcome: Outcome, times: Value) -> Result<ExitCode, Failure> {
    match outcome {
        Outcome::Exited(output) => finish(args, &output, times),
        Outcome::Trapped(trap) => {
            let _ = std::io::stderr().write_all(&trap.stderr);
            Err(Failure::new(
                format!("the program crashed: {}", trap.reason),
                "on the network this is a failure of class `guest`: the owners' prices come back, the network fee is kept",
            ))
        }
        Outcome::LimitReached(limit) => Err(Failure::new(
            format!("the program reached its limit of {limit}"),
            match limit {
                Limit::Time => "raise --time-limit",
                Limit::Memory => "raise --memory-limit",
                Limit::Output => "raise --output-limit",
                Limit::Fuel => "raise --time-limit, from which the fuel follows, or leave --metering out",
            },
        )),
    }
}

fn not_run(args: &Try, error: &SandboxError) -> Failure {
    match error {
        SandboxError::Input { input, cause, .. } => {
            let name = args.inputs.get(*input).map_or("?", |input| input.name.as_str());
            Failure::new(format!("cannot read input {name}: {cause}"), "is the file still there?")
        }
        _ => Failure::of(error, "this is no fault of the program; try again"),
    }
}

fn finish(args: &Try, output: &Output, times: Value) -> Result<ExitCode, Failure> {
    if let Some(out) = &args.out {
        write_files(out, output)?;
    }
    if args.output.json {
        let files: Vec<Value> =
            output.files.iter().map(|file| json!({ "path": file.path, "bytes": file.bytes.len() })).collect();
        let json = json!({
            "exit_code": output.exit_code,
            "stdout": String::from_utf8_lossy(&output.stdout),
            "stderr": String::from_utf8_lossy(&output.stderr),
            "files": files,
            "ms": times,
        });
        print_line(&json.to_string())?;
    } else {
        let printed = print_bytes(&output.stdout);
        // If nobody reads stderr there is nobody to tell.
        let _ = std::io::stderr().write_all(&output.stderr);
        printed?;
        if args.out.is_none() && !output.files.is_empty() {
            tell(&format!("hint: --out DIR keeps what it wrote to /out (files: {})", output.files.len()));
        }
    }
    Ok(ExitCode::from(u8::try_from(output.exit_code).unwrap_or(1)))
}

fn write_files(out: &Path, output: &Output) -> Result<(), Failure> {
    for file in &output.files {
        let path = out.join(&file.path);
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, &file.bytes));
        written.map_err(|cause| Failure::disk(&path, &cause))?;
    }
    Ok(())
}
