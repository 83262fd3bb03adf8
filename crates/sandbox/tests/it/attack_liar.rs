//! Workers and compilers that were taken over and now lie to the parent. Nothing that they say may reach further than
//! an error, and no announcement of theirs may make the parent reserve memory.

use sandbox::{CompileError, Metering, Sandbox, SandboxConfig, SandboxError, Watch};

use crate::guests::COUNT;
use crate::support::{child, compile, config, guest, job_with};

fn lied(lie: &str) -> SandboxError {
    let sandbox = Sandbox::new(SandboxConfig { worker: child(&["liar", lie]), ..config() }).expect("it starts");
    let (job, mut bytes) = job_with(&[("input", &[1; 10])]);
    sandbox.run(&compile(COUNT), &job, &mut bytes, Watch::default()).expect_err("a lie is no outcome")
}

fn check(lies: &[&str], because: &str) {
    for lie in lies {
        match lied(lie) {
            SandboxError::Misbehaved(why) => assert!(why.contains(because), "{lie}: {why}"),
            other => panic!("{lie}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_message_is_refused() {
    check(&["garbage", "half-a-message"], "no message");
}

#[test]
fn chunks_that_do_not_exist_are_not_looked_for() {
    check(&["no-such-input", "no-such-chunk"], "a chunk that does not exist");
}

#[test]
fn messages_out_of_turn_are_refused() {
    check(&["done-at-once"], "did not say that it starts");
    check(&["data-too-early"], "while its guest ran");
}

#[test]
fn no_more_output_is_taken_than_the_job_allows() {
    check(&["too-much", "too-much-in-pieces", "too-much-error"], "more than the job allows");
}

#[test]
fn output_is_as_long_as_it_was_announced() {
    check(&["more-than-announced", "nothing-for-ever"], "other than it announced");
    check(&["less-than-announced"], "less than it announced");
}

/// Each announcement is allowed by itself; without an end the parent would listen for ever.
#[test]
fn streams_come_once_and_in_order() {
    check(&["stdout-for-ever", "stderr-last"], "a stream twice or out of order");
}

#[test]
fn no_output_file_can_land_outside_of_its_directory() {
    let lies = ["path-above", "path-absolute", "path-empty", "path-with-dot", "path-with-escape", "path-twice"];
    check(&lies, "names an output file");
}

#[test]
fn a_compiler_that_hands_over_nothing_is_found_out() {
    let liar = child(&["liar", "no-code"]);
    let sandbox = Sandbox::new(SandboxConfig { compiler: liar, ..config() }).expect("it starts");
    match sandbox.compile(&guest(""), Metering::None, None) {
        Err(CompileError::Sandbox(SandboxError::Misbehaved(why))) => assert!(why.contains("compiled nothing"), "{why}"),
        other => panic!("{other:?}"),
    }
}
