//! Children that are no workers at all, and sources of data that fail or lie.

use sandbox::{ChildProgram, CompileError, InputError, Inputs, Metering, Sandbox, SandboxConfig, SandboxError, Watch};

use crate::guests::COUNT;
use crate::support::{child, compile, config, exited, guest, job_with, sandbox};

#[test]
fn a_program_that_is_not_there_is_named() {
    let worker = ChildProgram { program: "/nowhere/worker".into(), args: Vec::new() };
    match Sandbox::new(SandboxConfig { worker, ..config() }).err() {
        Some(SandboxError::Start { program, .. }) => assert_eq!(program, "/nowhere/worker"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_is_no_worker_is_found_out_at_once() {
    let error = Sandbox::new(SandboxConfig { worker: child(&["neither"]), ..config() }).err();
    assert!(matches!(error, Some(SandboxError::WorkerDied(_))), "{error:?}");
}

#[test]
fn a_program_that_is_no_compiler_compiles_nothing() {
    let sandbox = Sandbox::new(SandboxConfig { compiler: child(&["neither"]), ..config() }).expect("it starts");
    let error = sandbox.compile(&guest(""), Metering::None, None).expect_err("there is no compiler");
    assert!(matches!(error, CompileError::CompilerDied(_)), "{error:?}");
}

struct Failing {
    good_chunks: u64,
}

impl Inputs for Failing {
    fn chunk(&mut self, _: usize, index: u64, into: &mut [u8]) -> Result<(), InputError> {
        if index < self.good_chunks {
            into.fill(1);
            return Ok(());
        }
        Err("the chunk does not match its seal".into())
    }
}

#[test]
fn a_chunk_that_cannot_be_had_ends_the_run_and_says_why() {
    let program = compile(COUNT);
    for good_chunks in [0, 1, 7] {
        let (job, _) = job_with(&[("a", &[1; 10]), ("input", &[1; 10_000])]);
        let ended = sandbox().run(&program, &job, &mut Failing { good_chunks }, Watch::default());
        match ended.expect_err("the run cannot go on") {
            SandboxError::Input { input, index, cause } => {
                assert_eq!((input, index), (1, good_chunks));
                assert_eq!(cause.to_string(), "the chunk does not match its seal");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Kills the worker in the middle of its run, as the kernel does when memory runs out.
struct Killing;

impl Inputs for Killing {
    fn chunk(&mut self, _: usize, index: u64, into: &mut [u8]) -> Result<(), InputError> {
        into.fill(0);
        if index == 3 {
            kill_children_with_argument("victim");
        }
        Ok(())
    }
}

fn kill_children_with_argument(argument: &str) {
    let me = format!("PPid:\t{}\n", std::process::id());
    for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && read("status").contains(&me)
            && read("cmdline").split('\0').any(|part| part == argument)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is our child");
        }
    }
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_run_is_not_the_guest_s_fault() {
    let worker = child(&["worker", "victim"]);
    let sandbox = Sandbox::new(SandboxConfig { worker, ..config() }).expect("it starts");
    let (job, _) = job_with(&[("input", &[1; 10_000])]);
    match sandbox.run(&compile(COUNT), &job, &mut Killing, Watch::default()) {
        Err(SandboxError::WorkerDied(how)) => assert_eq!(how, "signal 9"),
        other => panic!("{other:?}"),
    }
    // The worker that waited ahead was killed too; a run after that gets a new one.
    let (job, mut bytes) = job_with(&[("input", &[1; 10_000])]);
    assert_eq!(
        *exited(sandbox.run(&compile(COUNT), &job, &mut bytes, Watch::default()).expect("it works")).stdout,
        b"10000\n"
    );
}
