//! What every test needs: a sandbox whose children are this crate's own, guests as text, and jobs.

use std::sync::OnceLock;

use sandbox::{
    ChildProgram, Compiled, Input, InputError, Inputs, Job, Limits, Metering, Outcome, Output, Sandbox, SandboxConfig,
    SandboxError, Watch,
};

pub(crate) const SEED: [u8; 32] = [7; 32];

pub(crate) fn child(args: &[&str]) -> ChildProgram {
    let args = args.iter().map(ToString::to_string).collect();
    ChildProgram { program: env!("CARGO_BIN_EXE_sandbox-child").into(), args }
}

pub(crate) fn config() -> SandboxConfig {
    let (worker, compiler) = (child(&["worker"]), child(&["compiler"]));
    SandboxConfig { worker, compiler, ..SandboxConfig::this_program() }
}

/// One sandbox for all tests: that runs do not disturb each other is tested by the way.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(config()).expect("the kernel can confine, the child is built"))
}

/// A guest with one page of memory; `body` is the code of its `_start`.
pub(crate) fn guest(body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            ;; Prints `bytes` bytes at `at`; returns what fd_write says.
            (func $print (param $at i32) (param $bytes i32) (result i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $bytes))
                (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (func (export "_start") {body}))"#
    ))
}

pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's module is well-formed")
}

pub(crate) fn compile(module: &[u8]) -> Compiled {
    compile_metered(module, Metering::None)
}

pub(crate) fn compile_metered(module: &[u8], metering: Metering) -> Compiled {
    sandbox().compile(module, metering, None).expect("the module is accepted")
}

pub(crate) fn job() -> Job {
    let limits = Limits { run_ms: 20_000, memory_bytes: 64 << 20, output_bytes: 1 << 20 };
    Job { args: Vec::new(), inputs: Vec::new(), limits, seed: SEED }
}

/// A job whose inputs, small-chunked, are these, and the source of their bytes.
pub(crate) fn job_with(inputs: &[(&str, &[u8])]) -> (Job, Bytes) {
    let declare = |(name, bytes): &(&str, &[u8])| Input {
        name: (*name).into(),
        bytes: bytes.len() as u64,
        chunk_bytes: Bytes::CHUNK,
    };
    let job = Job { inputs: inputs.iter().map(declare).collect(), ..job() };
    (job, Bytes(inputs.iter().map(|(_, bytes)| bytes.to_vec()).collect()))
}

/// Inputs in memory, in chunks so small that every read crosses some.
pub(crate) struct Bytes(Vec<Vec<u8>>);

impl Bytes {
    pub(crate) const CHUNK: u32 = 1000;
}

impl Inputs for Bytes {
    fn chunk(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), InputError> {
        let start = index as usize * Self::CHUNK as usize;
        into.copy_from_slice(&self.0[input][start..start + into.len()]);
        Ok(())
    }
}

/// For jobs without inputs.
pub(crate) struct Nothing;

impl Inputs for Nothing {
    fn chunk(&mut self, _: usize, _: u64, _: &mut [u8]) -> Result<(), InputError> {
        panic!("a job without inputs asks for none")
    }
}

pub(crate) fn run(module: &[u8], job: &Job) -> Outcome {
    try_run(module, job).expect("the sandbox works")
}

pub(crate) fn try_run(module: &[u8], job: &Job) -> Result<Outcome, SandboxError> {
    sandbox().run(&compile(module), job, &mut Nothing, Watch::default())
}

pub(crate) fn exited(outcome: Outcome) -> Output {
    match outcome {
        Outcome::Exited(output) => output,
        other => panic!("the guest did not end by itself: {other:?}"),
    }
}

/// Runs a guest that answers with its exit code.
pub(crate) fn exit_code(module: &[u8]) -> i32 {
    exited(run(module, &job())).exit_code
}
