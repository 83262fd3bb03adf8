//! Workers that a guest has taken over. Each tries one thing at the moment when a guest would run, and is killed.

use sandbox::{Outcome, Sandbox, SandboxConfig, SandboxError};

use crate::support::{Nothing, child, compile, config, exited, guest, job};

fn attempt(act: &str) -> Result<Outcome, SandboxError> {
    let taken_over = SandboxConfig { worker: child(&["worker", act]), ..config() };
    let sandbox = Sandbox::new(taken_over).expect("the sandbox starts");
    sandbox.run(&compile(&guest("")), &job(), &mut Nothing)
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
