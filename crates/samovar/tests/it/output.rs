//! Where answers go: nothing is lost without a word, and whoever does not want to read on need not.

use std::{
    fs::{File, OpenOptions},
    process::{Command, Output, Stdio},
};

use crate::{guests, harness::SAMOVAR, story::refused};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

fn samovar(arguments: &[&str], stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Output {
    Command::new(SAMOVAR).args(arguments).stdout(stdout).stderr(stderr).output().unwrap()
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let guest = guests::file(folder.path(), "guest.wasm", &guests::hello(0)).display().to_string();
    let cases: [&[&str]; 6] = [
        &["keygen", &path("a.key")],
        &["keygen", &path("b.key"), "--json"],
        &["--help"],
        &["--version"],
        &["try", &guest],
        &["network", "create", &path("network")],
    ];
    for arguments in cases {
        let (error, hint) = refused(&samovar(arguments, full(), Stdio::piped()));
        assert!(error.contains("cannot write to standard output: No space left"), "{arguments:?}: {error}");
        assert!(hint.contains("room"), "{hint}");
    }
    // What was done is done; what the answer was stands on stderr.
    let made = samovar(&["keygen", &path("c.key")], full(), Stdio::piped());
    assert!(String::from_utf8_lossy(&made.stderr).starts_with("did:key:z6Mk"), "{made:?}");
}

#[test]
fn nobody_who_listens_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str| folder.path().join(name).display().to_string();
    let closed = || std::io::pipe().unwrap().1;
    assert_eq!(samovar(&["--help"], closed(), Stdio::piped()).status.code(), Some(0));
    assert_eq!(samovar(&["keygen", &key("a.key")], closed(), Stdio::piped()).status.code(), Some(0));
    // A failure stays one, and what cannot be said on stderr stops nothing.
    assert_eq!(samovar(&["keygen", &key("a.key")], Stdio::piped(), closed()).status.code(), Some(1));
    assert_eq!(samovar(&["keygen", &key("b.key")], Stdio::piped(), full()).status.code(), Some(0));
    assert_eq!(samovar(&["keygen", &key("b.key"), "--json"], full(), full()).status.code(), Some(1));
    assert_eq!(samovar(&["fly", "--json"], Stdio::piped(), full()).status.code(), Some(2));
}
