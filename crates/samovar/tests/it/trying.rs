//! `samovar try`: the guest's output and exit code are its own; a crash, a loop and a flood are named.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::{guests, harness::SAMOVAR};

fn attempt(folder: &Path, guest: &[u8], arguments: &[&str]) -> Output {
    let file = guests::file(folder, "guest.wasm", guest);
    Command::new(SAMOVAR).arg("try").arg(file).args(arguments).output().expect("samovar runs")
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn output_and_exit_code_are_the_guests_own() {
    let folder = tempfile::tempdir().unwrap();
    let output = attempt(folder.path(), &guests::hello(7), &[]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), b"hello\n".as_slice()), "{output:?}");
    assert!(output.stderr.is_empty());
}

#[test]
fn json_is_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let output = attempt(folder.path(), &guests::hello(3), &["--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((&answer["exit_code"], &answer["stdout"]), (&3.into(), &"hello\n".into()));
}

#[test]
fn inputs_are_read_at_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let data = guests::file(folder.path(), "somewhere.csv", b"a,b\n1,2\n");
    let input = format!("records.csv={}", data.display());
    let output = attempt(folder.path(), &guests::copy("records.csv"), &["--data", &input]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a,b\n1,2\n", "{output:?}");
    let output = attempt(folder.path(), &guests::copy("other.csv"), &["--data", &input]);
    assert!(output.stdout.is_empty() && !output.status.success());
}

#[test]
fn a_crash_a_loop_and_a_flood_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = error(&attempt(folder.path(), &guests::crash(), &[]));
    assert!(crashed.contains("error: the program crashed") && crashed.contains("hint: "), "{crashed}");
    let looped = error(&attempt(folder.path(), &guests::spin(), &["--time-limit", "1"]));
    assert!(looped.contains("limit of run time"), "{looped}");
    let flooded = error(&attempt(folder.path(), &guests::flood(), &["--output-limit", "100000"]));
    assert!(flooded.contains("limit of output"), "{flooded}");
}

#[test]
fn what_lies_in_the_folder_stays() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let arguments = ["--out", &out.display().to_string()];
    assert!(attempt(folder.path(), &guests::hello(0), &arguments).status.success());
    std::fs::write(out.join("model.json"), "mine").unwrap();
    let refused = error(&attempt(folder.path(), &guests::hello(0), &arguments));
    assert!(refused.contains("is not empty: it holds model.json"), "{refused}");
    assert_eq!(std::fs::read(out.join("model.json")).unwrap(), b"mine");
}
