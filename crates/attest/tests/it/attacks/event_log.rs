//! Logs that do not explain the register, and starts of what nobody approves.

use attest::{AppraiseError, Fault, launcher, release::ReleaseKey};
use model::{Canonical, Digest, EventLog, Evidence, LogEntry};

use crate::fixture::{Node, binary, fixture, judge};

/// The evidence names `log` and `log` is sent along.
fn with_log(node: &mut Node, log: EventLog) -> (Evidence, AppraiseError) {
    let mut evidence = node.evidence();
    evidence.tpm.log = log.content_id();
    node.log = log;
    let refused = judge(node, &evidence).unwrap_err();
    (evidence, refused)
}

#[test]
fn another_log_than_the_named_one_is_refused() {
    let mut node = Node::start(0);
    let evidence = node.evidence();
    node.log.entries.push(node.log.entries[0].clone());
    assert!(matches!(judge(&node, &evidence), Err(AppraiseError::OtherLog)));
}

#[test]
fn an_altered_shortened_or_lengthened_log_does_not_replay() {
    let mut node = Node::start(0);
    let honest = node.log.clone();
    let other = fixture().release_key.release(Digest::of(b"another approved build"), 2).statement;
    let altered = LogEntry { binary: other.binary, release: Some(other) };
    let twice = EventLog { entries: [honest.entries.clone(), honest.entries.clone()].concat() };
    for log in [EventLog { entries: vec![altered] }, twice] {
        let (_, refused) = with_log(&mut node, log);
        assert!(matches!(refused, AppraiseError::Replay), "{refused}");
    }
}

#[test]
fn empty_and_endless_logs_are_refused() {
    let mut node = Node::start(0);
    let endless = EventLog { entries: vec![node.log.entries[0].clone(); launcher::ENTRIES_MAX + 1] };
    for log in [EventLog::default(), endless] {
        let (_, refused) = with_log(&mut node, log);
        assert!(matches!(refused, AppraiseError::LogLength { .. }), "{refused}");
    }
}

#[test]
fn a_binary_that_nobody_vouches_for_is_measured_and_refused() {
    let mine = Digest::of(b"samovar, with a small change");
    let mut node = Node::start_with(0, mine, None);
    let evidence = node.evidence();
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::UnapprovedBinary { binary } if binary == mine), "{refused}");
    assert_eq!(refused.fault(), Fault::Operator);
}

#[test]
fn a_statement_by_another_key_or_about_another_binary_vouches_for_nothing() {
    let mine = Digest::of(b"samovar, with a small change");
    let by_me = ReleaseKey::generate().unwrap().release(mine, 9).statement;
    let about_the_good_one = fixture().release_key.release(binary(), 2).statement;
    let mut relabelled = about_the_good_one.clone();
    relabelled.binary = mine;
    for statement in [by_me, about_the_good_one, relabelled] {
        let mut node = Node::start_with(0, mine, statement);
        let evidence = node.evidence();
        let refused = judge(&node, &evidence).unwrap_err();
        assert!(matches!(refused, AppraiseError::UnapprovedBinary { .. }), "{refused}");
    }
}

#[test]
fn an_old_release_is_refused_even_if_a_new_one_runs_by_now() {
    let old = Digest::of(b"samovar 0.9.0");
    let mut node = Node::start_with(0, old, fixture().release_key.release(old, 1).statement);
    let evidence = node.evidence();
    let refused = judge(&node, &evidence).unwrap_err();
    assert!(matches!(refused, AppraiseError::OldRelease { counter: 1, counter_min: 2 }), "{refused}");

    let log_file = node.dir.path().join("log");
    let release = fixture().release_key.release(binary(), 2).statement;
    node.log = launcher::extend_and_log(node.attester.tpm(), &log_file, binary(), Some(release)).unwrap();
    let evidence = node.evidence();
    assert!(matches!(judge(&node, &evidence), Err(AppraiseError::OldRelease { .. })));
}

#[test]
fn something_bad_that_ran_before_the_good_binary_stays_visible() {
    let mut node = Node::start_with(0, Digest::of(b"evil"), None);
    let log_file = node.dir.path().join("log");
    let release = fixture().release_key.release(binary(), 2).statement;
    node.log = launcher::extend_and_log(node.attester.tpm(), &log_file, binary(), Some(release)).unwrap();
    let evidence = node.evidence();
    assert!(matches!(judge(&node, &evidence), Err(AppraiseError::UnapprovedBinary { .. })));
    // Leaving it out of the log does not help.
    let clean = EventLog { entries: node.log.entries[1..].to_vec() };
    let (_, refused) = with_log(&mut node, clean);
    assert!(matches!(refused, AppraiseError::Replay), "{refused}");
}
