//! Guests that pass addresses and lengths outside of their memory. The host must neither read nor write there, nor
//! fall over; the guest is told `EINVAL`, or at worst trapped.

use sandbox::Outcome;

use crate::support::{exit_code, guest, job, run, wat};

const EINVAL: i32 = 28;

#[test]
fn vectors_outside_of_memory_are_refused() {
    for (list, count) in [("-8", "1"), ("65535", "1"), ("65529", "1"), ("-1", "1"), ("0", "1024"), ("0", "-1")] {
        for call in ["$write (i32.const 1)", "$read (i32.const 0)"] {
            let arguments = format!("(i32.const {list}) (i32.const {count}) (i32.const 65532)");
            // The first 1,024 vectors are all (0xffffffff, 0xffffffff).
            let body = format!(
                "(memory.fill (i32.const 0) (i32.const 255) (i32.const 8192)) (call $exit (call {call} {arguments}))"
            );
            let code = exit_code(&guest(&body));
            // Standard input is empty, so nothing of it is ever put anywhere.
            assert!(code == EINVAL || call.starts_with("$read"), "{list} {count} {call}: {code}");
        }
    }
}

#[test]
fn buffers_outside_of_memory_are_refused() {
    for (at, bytes) in [("65530", "100"), ("-1", "1"), ("-1", "-1"), ("1", "-1"), ("2147483647", "2147483647")] {
        let body = format!("(call $exit (call $print (i32.const {at}) (i32.const {bytes})))");
        assert_eq!(exit_code(&guest(&body)), EINVAL, "{at} {bytes}");
        let body = format!("(call $exit (call $random (i32.const {at}) (i32.const {bytes})))");
        assert_eq!(exit_code(&guest(&body)), EINVAL, "{at} {bytes}");
    }
}

#[test]
fn results_outside_of_memory_are_refused() {
    for at in ["65533", "-1", "-4", "2147483647"] {
        let body = format!("(call $exit (call $time (i32.const 0) (i64.const 0) (i32.const {at})))");
        assert_eq!(exit_code(&guest(&body)), EINVAL, "{at}");
        let body = format!("(call $exit (call $environ (i32.const 0) (i32.const {at})))");
        assert_eq!(exit_code(&guest(&body)), EINVAL, "{at}");
    }
}

#[test]
fn a_guest_that_hides_its_memory_is_trapped_at_its_first_call() {
    let module = wat("(module
        (import \"wasi_snapshot_preview1\" \"sched_yield\" (func $yield (result i32)))
        (memory 1) (func (export \"_start\") (drop (call $yield))))");
    let Outcome::Trapped(trap) = run(&module, &job()) else { panic!("not a trap") };
    assert!(trap.reason.contains("exports no memory"), "{}", trap.reason);
}

/// Name and parameters (`i` 32, `I` 64 bits) of every function of WASI 0.1 that returns a number.
const FUNCTIONS: &str = "args_get ii;args_sizes_get ii;environ_get ii;environ_sizes_get ii;clock_res_get ii;\
    clock_time_get iIi;fd_advise iIIi;fd_allocate iII;fd_close i;fd_datasync i;fd_fdstat_get ii;\
    fd_fdstat_set_flags ii;fd_fdstat_set_rights iII;fd_filestat_get ii;fd_filestat_set_size iI;\
    fd_filestat_set_times iIIi;fd_pread iiiIi;fd_prestat_get ii;fd_prestat_dir_name iii;fd_pwrite iiiIi;fd_read iiii;\
    fd_readdir iiiIi;fd_renumber ii;fd_seek iIii;fd_sync i;fd_tell ii;fd_write iiii;path_create_directory iii;\
    path_filestat_get iiiii;path_filestat_set_times iiiiIIi;path_link iiiiiii;path_open iiiiiIIii;path_readlink iiiiii;\
    path_remove_directory iii;path_rename iiiiii;path_symlink iiiii;path_unlink_file iii;poll_oneoff iiii;proc_raise i;\
    random_get ii;sched_yield ;sock_accept iii;sock_recv iiiiii;sock_send iiiii;sock_shutdown ii";

/// Numbers that are likely to overflow something, and descriptors that exist.
const NUMBERS: [i64; 16] =
    [0, 1, 2, 3, 4, 5, 8, 64, 1023, 65_528, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff];

/// One module makes many thousand calls with arguments that are drawn from a fixed sequence; whatever it is told, it
/// goes on. It must come to its end: anything else is a host that panicked, hung or was killed.
#[test]
fn no_arguments_whatever_bring_the_host_down() {
    for seed in 1..=4u64 {
        let outcome = run(&fuzzer(seed), &job());
        let fine = match &outcome {
            Outcome::Exited(output) => output.exit_code == 0,
            Outcome::LimitReached(limit) => *limit == sandbox::Limit::Output,
            _ => false,
        };
        assert!(fine, "seed {seed}: {outcome:?}");
    }
}

fn fuzzer(seed: u64) -> Vec<u8> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut draw = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % below
    };
    let functions: Vec<(&str, &str)> =
        FUNCTIONS.split(';').map(|function| function.split_once(' ').expect("a name and its parameters")).collect();
    let mut imports = String::new();
    for (name, parameters) in &functions {
        let types: Vec<_> = parameters.chars().map(|kind| if kind == 'i' { "i32" } else { "i64" }).collect();
        imports += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {}) (result i32)))\n",
            types.join(" ")
        );
    }
    let mut calls = String::new();
    for _ in 0..3000 {
        let (name, parameters) = functions[draw(functions.len())];
        let arguments: Vec<_> = parameters
            .chars()
            .map(|kind| {
                let number = NUMBERS[draw(NUMBERS.len())];
                if kind == 'i' {
                    format!("(i32.const {})", number as i32)
                } else {
                    format!("(i64.const {})", if draw(4) == 0 { i64::MAX - number } else { number })
                }
            })
            .collect();
        calls += &format!("(drop (call ${name} {}))\n", arguments.join(" "));
    }
    wat(&format!(
        "(module {imports} (memory (export \"memory\") 1)
            (data (i32.const 0) \"\\08\\00\\00\\00\\05\\00\\00\\00out/a/../b\")
            (func (export \"_start\") {calls}))"
    ))
}
