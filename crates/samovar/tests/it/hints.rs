//! What to do next, where that depends on what was wrong, or on which verb it was.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    harness::{SAMOVAR, poll},
    story::{alone, refused},
};

/// A folder with a network file, a key, and files that are too long.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/refused.in");
    for name in ["network.toml", "proof", "records.csv", "any.toml"] {
        std::fs::copy(files.join(name), folder.path().join(name)).unwrap();
    }
    File::create(folder.path().join("large.car")).unwrap().set_len((16 << 20) + 1).unwrap();
    let novel = format!("text = \"{}\"\n", "x".repeat(20_000));
    std::fs::write(folder.path().join("novel.toml"), novel).unwrap();
    let made = Command::new(SAMOVAR).args(["keygen", "my.key"]).current_dir(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
}

#[test]
fn a_file_that_is_too_long_is_not_mistaken_for_another() {
    let folder = folder();
    let samovar = |arguments: &[&str]| {
        let output = Command::new(SAMOVAR).args(arguments).current_dir(folder.path()).output().unwrap();
        refused(&output)
    };
    let verify = ["verify", "proof", "--network", "network.toml", "--evidence", "large.car"];
    let (error, hint) = samovar(&verify);
    assert!(error.contains("large.car is longer than the 16777216 bytes"), "{error}");
    assert!(hint.contains("--evidence takes a CAR archive"), "{hint}");

    let publish = ["publish", "data", "records.csv", "--terms", "any.toml", "--describe", "novel.toml"];
    let (error, hint) = samovar(&[&publish[..], &["--network", "network.toml", "--key", "my.key"]].concat());
    assert!(
        error.contains("novel.toml: a description of 20") && error.contains("at most 16384 are allowed"),
        "{error}"
    );
    assert_eq!(hint, "shorten it");
}

#[test]
fn an_interrupted_demo_is_started_anew() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let child = Command::new(SAMOVAR)
        .args(["demo", "--json", "--dir"])
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    poll("its nodes are started", || dir.join("node-0.log").exists().then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let (error, hint) = refused(&child.wait_with_output().unwrap());
    assert_eq!(error, "interrupted");
    assert!(hint.contains("with another --dir"), "{hint}");
}
