//! Workers and compilers that were taken over. Each tries one thing at the moment when a guest would run or a module is
//! compiled, and is killed; or earlier, while it waits, when the file system is out of reach already.

use sandbox::{CompileError, Compiled, Metering, Outcome, Sandbox, SandboxConfig, SandboxError, Watch};

use crate::support::{Nothing, child, compile, config, exited, guest, job};

fn attempt(act: &str) -> Result<Outcome, SandboxError> {
    let taken_over = SandboxConfig { worker: child(&["worker", act]), ..config() };
    let sandbox = Sandbox::new(taken_over).expect("the sandbox starts");
    sandbox.run(&compile(&guest("")), &job(), &mut Nothing, Watch::default())
}

#[test]
fn a_worker_that_tries_nothing_runs_its_guest() {
    assert_eq!(exited(attempt("nothing").expect("nothing forbidden was done")).exit_code, 0);
}

#[test]
fn forbidden_system_calls_kill_the_worker() {
    for act in
        ["open-file", "list-files", "open-socket", "start-process", "start-thread", "map-executable", "signal-init"]
    {
        match attempt(act) {
            Err(SandboxError::WorkerDied(how)) => assert_eq!(how, "killed for a forbidden system call", "{act}"),
            other => panic!("{act}: {other:?}"),
        }
    }
}

#[test]
fn a_worker_that_aborts_is_not_the_guest_s_fault() {
    assert!(matches!(attempt("abort"), Err(SandboxError::WorkerDied(_))));
}

#[test]
fn a_worker_that_panics_says_where_and_not_what() {
    match attempt("panic") {
        Err(SandboxError::WorkerBroke(what)) => {
            assert!(what.contains("child.rs") && !what.contains("as asked"), "{what}")
        }
        other => panic!("{other:?}"),
    }
}

fn compiling(args: &[&str]) -> Result<Compiled, CompileError> {
    let taken_over = SandboxConfig { compiler: child(args), ..config() };
    Sandbox::new(taken_over).expect("the sandbox starts").compile(&guest(""), Metering::None, None)
}

#[test]
fn a_compiler_that_tries_nothing_compiles() {
    compiling(&["compiler", "nothing"]).expect("nothing forbidden was done");
}

#[test]
fn forbidden_system_calls_kill_the_compiler() {
    // Files are refused it without killing it: see `a_compiler_has_no_files`.
    for act in ["open-socket", "start-process", "start-thread", "signal-init"] {
        match compiling(&["compiler", act]) {
            Err(CompileError::CompilerDied(how)) => assert_eq!(how, "killed for a forbidden system call", "{act}"),
            other => panic!("{act}: {other:?}"),
        }
    }
}

const DENIED: [&str; 3] = ["must-not-open", "must-not-make", "must-not-list"];
/// What no system call filter can be the reason of, for there is none yet.
const DENIED_WAITING: [&str; 5] =
    ["must-not-open", "must-not-make", "must-not-list", "must-not-execute", "must-not-gain"];

#[test]
fn a_compiler_has_no_files() {
    for act in DENIED {
        compiling(&["compiler", act]).unwrap_or_else(|error| panic!("{act}: {error:?}"));
    }
    for act in DENIED_WAITING {
        compiling(&["compiler", "waiting", act]).unwrap_or_else(|error| panic!("{act}: {error:?}"));
    }
    for moment in [&["compiler", "panic"][..], &["compiler", "waiting", "panic"]] {
        let caught = compiling(moment);
        assert!(matches!(caught, Err(CompileError::CompilerDied(_))), "the act was not performed: {caught:?}");
    }
}

#[test]
fn a_worker_that_waits_has_no_files() {
    let waiting = |act| Sandbox::new(SandboxConfig { worker: child(&["worker", "waiting", act]), ..config() });
    for act in DENIED_WAITING {
        waiting(act).map(drop).unwrap_or_else(|error| panic!("{act}: {error:?}"));
    }
    let caught = waiting("panic").map(drop);
    assert!(matches!(caught, Err(SandboxError::WorkerBroke(_))), "the act was not performed: {caught:?}");
}
