//! Guests that want more than their job allows.

use std::time::{Duration, Instant};

use sandbox::{
    CompileError, InputError, Inputs, Job, Limit, Limits, Metering, Outcome, Sandbox, SandboxConfig, SandboxError,
    Watch,
};

use crate::guests::COUNT;
use crate::support::{Bytes, Nothing, child, compile, config, exited, guest, job, job_with, run, sandbox, wat};

fn limited(change: impl FnOnce(&mut Limits)) -> Job {
    let mut job = job();
    change(&mut job.limits);
    job
}

const FOR_EVER: &str = "(loop $again (br $again))";

#[test]
fn a_loop_without_end_is_killed_in_time() {
    let started = std::time::Instant::now();
    let outcome = run(&guest(FOR_EVER), &limited(|limits| limits.run_ms = 200));
    assert_eq!(outcome, Outcome::LimitReached(Limit::Time));
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_memory_bomb_is_told_no_and_its_abort_is_the_limit_s() {
    let body = "(loop $again
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $again))";
    assert_eq!(run(&guest(body), &job()), Outcome::LimitReached(Limit::Memory));
}

#[test]
fn a_guest_that_can_live_with_less_memory_may() {
    let body = "(drop (memory.grow (i32.const 65535))) (call $exit (i32.const 3))";
    assert_eq!(exited(run(&guest(body), &job())).exit_code, 3);
}

#[test]
fn memory_is_counted_over_everything_that_holds_some() {
    let at_start = "(module (memory (export \"memory\") 2000) (func (export \"_start\")))";
    assert_eq!(run(&wat(at_start), &job()), Outcome::LimitReached(Limit::Memory));

    let many = "(memory 300) ".repeat(5);
    let several = format!("(module (memory (export \"memory\") 1) {many} (func (export \"_start\")))");
    assert_eq!(run(&wat(&several), &job()), Outcome::LimitReached(Limit::Memory));

    let table = "(module (memory (export \"memory\") 1) (table 10000000 funcref) (func (export \"_start\")))";
    assert_eq!(run(&wat(table), &job()), Outcome::LimitReached(Limit::Memory));
}

#[test]
fn memory_within_the_limit_can_be_used_to_the_last_byte() {
    let module = wat("(module (memory (export \"memory\") 1024)
        (func (export \"_start\") (memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864))))");
    assert_eq!(exited(run(&module, &job())).exit_code, 0);
}

#[test]
fn an_output_bomb_ends_at_the_limit() {
    let body = "(loop $again (drop (call $print (i32.const 0) (i32.const 65536))) (br $again))";
    assert_eq!(run(&guest(body), &job()), Outcome::LimitReached(Limit::Output));
}

#[test]
fn output_up_to_the_limit_is_whole() {
    let body = "(drop (call $print (i32.const 16) (i32.const 1000)))";
    let output = exited(run(&guest(body), &limited(|limits| limits.output_bytes = 1000)));
    assert_eq!(output.stdout.len(), 1000);
    let outcome = run(&guest(body), &limited(|limits| limits.output_bytes = 999));
    assert_eq!(outcome, Outcome::LimitReached(Limit::Output));
}

#[test]
fn standard_error_is_cut_and_nobody_minds() {
    let body = "(local $turns i32)
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 50000))
        (loop $again
            (if (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
            (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $turns) (i32.const 100))))";
    assert_eq!(exited(run(&guest(body), &job())).stderr.len(), 64 << 10);
}

#[test]
fn recursion_without_end_is_a_trap() {
    let module = wat("(module (memory (export \"memory\") 1)
        (func $f (param i64) (result i64) (i64.add (call $f (local.get 0)) (i64.const 1)))
        (func (export \"_start\") (drop (call $f (i64.const 0)))))");
    let Outcome::Trapped(trap) = run(&module, &job()) else { panic!("not a trap") };
    assert!(trap.reason.contains("call stack exhausted"), "{}", trap.reason);
}

/// Reads the first byte of chunk after chunk of its only input, over and over.
const READS_FOR_EVER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 32) "records")
    (func (export "_start") (local $at i64)
        (if (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 7) (i32.const 0)
              (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 20)) (then unreachable))
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
        (loop $again
            (if (call $pread (i32.load (i32.const 20)) (i32.const 0) (i32.const 1) (local.get $at) (i32.const 8))
                (then unreachable))
            (local.set $at (i64.rem_u (i64.add (local.get $at) (i64.const 1000)) (i64.const 8000)))
            (br $again))))"#;

/// Takes its time for every chunk, as decrypting does.
struct Slow(Bytes);

impl Inputs for Slow {
    fn chunk(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), InputError> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        self.0.chunk(input, index, into)
    }
}

#[test]
fn reading_again_and_again_buys_a_guest_no_time() {
    let (mut job, bytes) = job_with(&[("records", &[7; 8000])]);
    job.limits.run_ms = 500;
    let compiled = compile(&wat(READS_FOR_EVER));
    let started = std::time::Instant::now();
    let outcome = sandbox().run(&compiled, &job, &mut Slow(bytes), Watch::default()).expect("the sandbox works");
    assert_eq!(outcome, Outcome::LimitReached(Limit::Time));
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn handing_over_the_output_is_part_of_the_guest_s_time() {
    let worker = child(&["liar", "hands-over-nothing"]);
    let slow = Sandbox::new(SandboxConfig { worker, ..config() }).expect("it starts");
    let (mut job, mut bytes) = job_with(&[("input", &[1; 10])]);
    job.limits.run_ms = 300;
    let started = Instant::now();
    let outcome = slow.run(&compile(COUNT), &job, &mut bytes, Watch::default()).expect("the sandbox works");
    assert_eq!(outcome, Outcome::LimitReached(Limit::Time));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Makes nearly as many files as it may, named aaaa, aaab, …, each with 4 KiB of zeros.
const MANY_FILES: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start") (local $file i32)
        (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 4096))
        (loop $again
            (i32.store8 (i32.const 32) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $file) (i32.const 12)) (i32.const 15))))
            (i32.store8 (i32.const 33) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $file) (i32.const 8)) (i32.const 15))))
            (i32.store8 (i32.const 34) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $file) (i32.const 4)) (i32.const 15))))
            (i32.store8 (i32.const 35) (i32.add (i32.const 97) (i32.and (local.get $file) (i32.const 15))))
            (local.set $file (i32.add (local.get $file) (i32.const 1)))
            (br_if 1 (call $open (i32.const 4) (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 1)
                (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 20)))
            (br_if 1 (call $write (i32.load (i32.const 20)) (i32.const 0) (i32.const 1) (i32.const 8)))
            (br_if 1 (call $close (i32.load (i32.const 20))))
            (br_if $again (i32.lt_u (local.get $file) (i32.const 4000))))))"#;

#[test]
fn thousands_of_files_are_handed_over_in_time_or_not_at_all() {
    let compiled = compile(&wat(MANY_FILES));
    let run = |run_ms| {
        let job = limited(|limits| (limits.run_ms, limits.output_bytes) = (run_ms, 64 << 20));
        let started = Instant::now();
        let outcome = sandbox().run(&compiled, &job, &mut Nothing, Watch::default()).expect("the sandbox works");
        assert!(started.elapsed() < Duration::from_millis(run_ms) + Duration::from_secs(10), "{:?}", started.elapsed());
        outcome
    };
    let output = exited(run(20_000));
    assert_eq!(output.files.len(), 4000);
    assert_eq!(run(1), Outcome::LimitReached(Limit::Time));
}

#[test]
fn a_caller_without_time_has_the_guest_killed_and_nobody_blamed() {
    let started = Instant::now();
    let until = Some(started + Duration::from_millis(300));
    let stopped = sandbox().run(&compile(&guest(FOR_EVER)), &job(), &mut Nothing, Watch { until, ..Watch::default() });
    assert!(matches!(stopped, Err(SandboxError::Stopped)), "{stopped:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_guest_that_has_less_time_than_its_caller_is_at_fault() {
    let job = limited(|limits| limits.run_ms = 200);
    let until = Some(Instant::now() + Duration::from_secs(60));
    let outcome = sandbox().run(&compile(&guest(FOR_EVER)), &job, &mut Nothing, Watch { until, ..Watch::default() });
    assert_eq!(outcome.expect("the sandbox works"), Outcome::LimitReached(Limit::Time));
}

#[test]
fn a_caller_without_time_has_the_compiler_killed() {
    let mute = Sandbox::new(SandboxConfig { compiler: child(&["mute"]), ..config() }).expect("it starts");
    let started = Instant::now();
    let until = Some(started + Duration::from_millis(300));
    let stopped = mute.compile(&guest(""), Metering::None, until);
    assert!(matches!(stopped, Err(CompileError::Sandbox(SandboxError::Stopped))), "{stopped:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}
