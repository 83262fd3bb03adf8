//! The same job gives the same bytes: again, metered or not, as WASI 0.1 or WASI 0.2.

use sandbox::{Job, Metering, Output, Watch};

use crate::guests::{RECORDS, REGRESSION, REGRESSION_COMPONENT};
use crate::support::{Nothing, compile, compile_metered, exited, guest, job, job_with, sandbox};

/// Prints two answers of the wall clock, two of the monotonic clock and 32 random bytes.
const PROBE: &str = "(drop (call $time (i32.const 0) (i64.const 0) (i32.const 100)))
    (drop (call $time (i32.const 0) (i64.const 0) (i32.const 108)))
    (drop (call $time (i32.const 1) (i64.const 0) (i32.const 116)))
    (drop (call $time (i32.const 1) (i64.const 0) (i32.const 124)))
    (drop (call $random (i32.const 132) (i32.const 32)))
    (drop (call $print (i32.const 100) (i32.const 64)))";

fn probe(job: &Job) -> Output {
    exited(sandbox().run(&compile(&guest(PROBE)), job, &mut Nothing, Watch::default()).expect("the sandbox works"))
}

#[test]
fn clock_and_randomness_are_part_of_the_job() {
    let first = probe(&job());
    assert_eq!(first, probe(&job()));
    let numbers: Vec<u64> =
        first.stdout.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes"))).collect();
    let start = 1_700_000_000_000_000_000;
    assert_eq!(numbers[..4], [start + 1_000, start + 2_000, 3_000, 4_000]);

    let other = probe(&Job { seed: [8; 32], ..job() });
    assert_eq!(first.stdout[..32], other.stdout[..32]);
    assert_ne!(first.stdout[32..], other.stdout[32..]);
}

#[test]
fn sleeping_takes_no_time_but_moves_the_clock() {
    let module = crate::support::wat(
        r#"(module
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "\01\00\00\00")
            (data (i32.const 512) "\00\01\00\00\08\00\00\00")
            (func (export "_start")
                ;; One subscription at 0: monotonic clock, an hour from now. Its event goes to 128.
                (i64.store (i32.const 24) (i64.const 3600000000000))
                (drop (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 200)))
                (drop (call $time (i32.const 1) (i64.const 0) (i32.const 256)))
                (drop (call $write (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 600)))))"#,
    );
    let output = exited(crate::support::run(&module, &job()));
    let now = u64::from_le_bytes(output.stdout[..].try_into().expect("eight bytes"));
    assert!((3_600_000_000_000..3_600_000_010_000).contains(&now), "{now}");
}

#[test]
fn one_program_gives_the_same_bytes_in_every_form() {
    let regression = |module: &[u8], metering| {
        let (job, mut bytes) = job_with(&[("records.csv", RECORDS)]);
        exited(
            sandbox()
                .run(&compile_metered(module, metering), &job, &mut bytes, Watch::default())
                .expect("the sandbox works"),
        )
    };
    let first = regression(REGRESSION, Metering::None);
    assert_eq!(first.exit_code, 0);
    for metering in [Metering::None, Metering::Fuel, Metering::FuelNan] {
        assert_eq!(first, regression(REGRESSION, metering), "{metering:?}");
        assert_eq!(first, regression(REGRESSION_COMPONENT, metering), "component, {metering:?}");
    }
}

#[test]
fn a_component_cannot_read_what_a_module_cannot() {
    // The same program without data: both must say that there is none, in the same words.
    let without = |module: &[u8]| {
        exited(sandbox().run(&compile(module), &job(), &mut Nothing, Watch::default()).expect("it works"))
    };
    let (module, component) = (without(REGRESSION), without(REGRESSION_COMPONENT));
    assert_eq!(module.exit_code, 1);
    assert_eq!(*module.stderr, b"error: there is no data\n");
    assert_eq!(module, component);
}
