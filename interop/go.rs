//! Builds the Go programs beside this file for the tests that ask them (`crates/*/tests/it`).
//!
//! Needs Go; where it is not installed this says so, and there is no program to ask.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The program in the folder `name`; call it once. `None` if there is no Go here.
pub(crate) fn build(name: &str) -> Option<PathBuf> {
    if Command::new("go").arg("version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: Go is not installed, so {name} cannot be built");
        return None;
    }
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    run(name, &["build", "-o", binary.to_str().unwrap(), "."]);
    Some(binary)
}

/// Runs `go` in the folder `name`; it must succeed.
pub(crate) fn run(name: &str, arguments: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop").join(name);
    let out = Command::new("go").args(arguments).current_dir(source).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "go {arguments:?} in {name}: {}", String::from_utf8_lossy(&said));
}
