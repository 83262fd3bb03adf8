//! Guests that behave: what they see and what becomes of what they leave.

use sandbox::{
    CHUNK_BYTES, Input, InputError, Inputs, Job, JobError, Limit, Limits, Metering, Outcome, PlainInput, PlainInputs,
    SandboxError, Watch,
};

use crate::guests::{COUNT, LOOP, MEMORY, OUTPUT, RECORDS, REGRESSION, TRAP};
use crate::support::{compile, exit_code, exited, guest, job, job_with, run, sandbox, try_run};

/// Opens `path` (at 100) under descriptor `base` with WASI's flags and rights, and exits with what that returns.
fn open(base: u32, path: &str, flags: u32, rights: u64) -> i32 {
    let stores: String = (100..)
        .zip(path.bytes())
        .map(|(at, byte)| format!("(i32.store8 (i32.const {at}) (i32.const {byte}))"))
        .collect();
    let length = path.len();
    exit_code(&guest(&format!(
        "{stores} (call $exit (call $open (i32.const {base}) (i32.const 0) (i32.const 100) (i32.const {length})
            (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 0)))"
    )))
}

const DATA: u32 = 3;
const OUT: u32 = 4;
const CREATE: u32 = 1;
const WRITE: u64 = 1 << 6;

#[test]
fn nothing_outside_can_be_opened() {
    for base in [DATA, OUT] {
        assert_eq!(open(base, "/etc/passwd", 0, 2), 63);
        assert_eq!(open(base, "../../etc/passwd", 0, 2), 63);
        assert_eq!(open(base, "etc/passwd", 0, 2), 44);
        assert_eq!(open(base, "..", 0, 2), 63);
    }
    for base in [0, 1, 2] {
        assert_eq!(open(base, "x", 0, 2), 54, "no directory");
    }
    for base in [5, 6, 100, u32::MAX] {
        assert_eq!(open(base, "x", 0, 2), 8, "no such descriptor");
    }
}

#[test]
fn data_cannot_be_written_and_out_can() {
    assert_eq!(open(DATA, "new", CREATE, WRITE), 69);
    assert_eq!(open(OUT, "new", CREATE, WRITE), 0);
}

#[test]
fn the_environment_is_empty() {
    let body = "(drop (call $environ (i32.const 16) (i32.const 20)))
        (call $exit (i32.or (i32.load (i32.const 16)) (i32.load (i32.const 20))))";
    assert_eq!(exit_code(&guest(body)), 0);
}

#[test]
fn standard_input_is_empty() {
    let body = "(i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 50))
        (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 99))))
        (call $exit (i32.load (i32.const 8)))";
    assert_eq!(exit_code(&guest(body)), 0);
}

#[test]
fn any_exit_code_is_an_end() {
    for code in [0, 1, 7, 255] {
        assert_eq!(exit_code(&guest(&format!("(call $exit (i32.const {code}))"))), code);
    }
}

#[test]
fn arguments_and_inputs_arrive() {
    let (mut job, mut bytes) = job_with(&[("input", &[5; 12_345])]);
    job.args = vec!["first".into(), String::new(), "dritt ä".into()];
    let output = exited(sandbox().run(&compile(COUNT), &job, &mut bytes, Watch::default()).expect("the sandbox works"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "first\n\ndritt ä\n12345\n");
}

#[test]
fn an_empty_input_is_an_empty_file() {
    let (job, mut bytes) = job_with(&[("input", b"")]);
    let output = exited(sandbox().run(&compile(COUNT), &job, &mut bytes, Watch::default()).expect("the sandbox works"));
    assert_eq!(*output.stdout, b"0\n");
}

#[test]
fn a_trap_keeps_standard_error_and_nothing_else() {
    let Outcome::Trapped(trap) = run(TRAP, &job()) else { panic!("not a trap") };
    assert!(trap.reason.contains("unreachable"), "{}", trap.reason);
    assert_eq!(*trap.stderr, b"about to abort\n");
}

#[test]
fn the_guests_in_the_tree_reach_the_limits_they_are_named_for() {
    let mut hasty = job();
    hasty.limits.run_ms = 100;
    assert_eq!(run(LOOP, &hasty), Outcome::LimitReached(Limit::Time));
    assert_eq!(run(MEMORY, &job()), Outcome::LimitReached(Limit::Memory));
    assert_eq!(run(OUTPUT, &job()), Outcome::LimitReached(Limit::Output));
}

#[test]
fn a_regression_on_real_records_finds_what_it_should() {
    let (job, mut bytes) = job_with(&[("records.csv", RECORDS)]);
    let output =
        exited(sandbox().run(&compile(REGRESSION), &job, &mut bytes, Watch::default()).expect("the sandbox works"));
    assert_eq!(output.exit_code, 0, "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let accuracy = text.lines().find(|line| line.starts_with("accuracy")).expect("it is printed");
    assert!(accuracy.contains("97.54 %"), "{text}");
    let [model] = &output.files[..] else { panic!("one file") };
    assert_eq!(model.path, "model.json");
    let model: serde_json::Value = serde_json::from_slice(&model.bytes).expect("JSON");
    assert_eq!(model["columns"].as_array().map(Vec::len), Some(30));
}

#[test]
fn plain_inputs_come_from_files_and_from_memory() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/breast-cancer/breast-cancer.csv");
    let file = std::fs::File::open(path).expect("it is in the tree");
    for input in [PlainInput::File(file), PlainInput::Bytes(RECORDS.to_vec())] {
        let declared = Input { name: "input".into(), bytes: RECORDS.len() as u64, chunk_bytes: CHUNK_BYTES };
        let job = Job { inputs: vec![declared], ..job() };
        let outcome = sandbox().run(&compile(COUNT), &job, &mut PlainInputs::new(vec![input]), Watch::default());
        assert_eq!(*exited(outcome.expect("the sandbox works")).stdout, format!("{}\n", RECORDS.len()).into_bytes());
    }
}

/// A gigabyte that nobody has in memory.
struct Endless;

impl Inputs for Endless {
    fn chunk(&mut self, _: usize, index: u64, into: &mut [u8]) -> Result<(), InputError> {
        into.fill(index as u8);
        Ok(())
    }
}

#[test]
fn an_input_larger_than_any_memory_here_is_streamed() {
    // The worker's own memory is bounded too, at a fraction of this: it would die if it kept what it has read.
    const BYTES: u64 = 1 << 30;
    let declared = Input { name: "input".into(), bytes: BYTES, chunk_bytes: CHUNK_BYTES };
    let limits = Limits { run_ms: 60_000, memory_bytes: 1 << 20, output_bytes: 100 };
    let job = Job { inputs: vec![declared], limits, ..job() };
    let output =
        exited(sandbox().run(&compile(COUNT), &job, &mut Endless, Watch::default()).expect("the sandbox works"));
    assert_eq!(*output.stdout, format!("{BYTES}\n").into_bytes());
}

#[test]
fn jobs_that_no_sandbox_could_run_are_refused() {
    let refused = |job: Job| match try_run(COUNT, &job) {
        Err(SandboxError::Job(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Job { args: vec!["a\0b".into()], ..job() }), JobError::ArgumentWithNul);
    assert!(matches!(refused(Job { args: vec!["a".repeat(70_000)], ..job() }), JobError::ArgumentsTooLong { .. }));
    let (twice, _) = job_with(&[("a", b""), ("a", b"")]);
    assert_eq!(refused(twice), JobError::InputTwice("a".into()));
    let (mut huge, _) = job_with(&[("a", b"")]);
    huge.inputs[0].chunk_bytes = u32::MAX;
    assert!(matches!(refused(huge), JobError::ChunkBytes { .. }));
}

#[test]
fn runs_at_the_same_time_do_not_disturb_each_other() {
    let program = compile(COUNT);
    std::thread::scope(|threads| {
        for thread in 0..4usize {
            let program = &program;
            threads.spawn(move || {
                for turn in 0..3 {
                    let bytes = vec![1; 1000 * thread + turn];
                    let (job, mut source) = job_with(&[("input", &bytes)]);
                    let output =
                        exited(sandbox().run(program, &job, &mut source, Watch::default()).expect("the sandbox works"));
                    assert_eq!(*output.stdout, format!("{}\n", bytes.len()).into_bytes());
                }
            });
        }
    });
}

#[test]
fn a_program_is_compiled_once_for_each_metering() {
    let module = guest("(call $exit (i32.const 41))");
    let no_time = || Some(std::time::Instant::now());
    let again = |metering| sandbox().compile(&module, metering, no_time());
    assert!(again(Metering::None).is_err(), "it was never compiled, and there is no time to");
    sandbox().compile(&module, Metering::None, None).expect("the module is accepted");
    let compiled = again(Metering::None).expect("no compiler is needed");
    let outcome = sandbox()
        .run(&compiled, &job(), &mut PlainInputs::new(Vec::new()), Watch::default())
        .expect("the sandbox works");
    assert_eq!(exited(outcome).exit_code, 41);
    assert!(again(Metering::Fuel).is_err(), "metered code is other code");
}
