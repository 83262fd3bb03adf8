//! Runs every test and ends with one line that counts them.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, bail};

use crate::{cargo, setup};

/// Sets up the machine, then `cargo test --workspace` with `arguments`.
///
/// The whole workspace at once on purpose: cargo then builds each dependency in one shape only.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    if !setup::installed("go") {
        eprintln!(
            "note: Go is not installed, so the tests against a peer that nobody here wrote (interop/boxo-peer) and against \
             the verifier written from docs/spec alone (interop/verifier-go) are skipped"
        );
    }
    let mut child = cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo's output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        counts.add(&line);
    }
    let status = child.wait()?;
    println!("tests: {} passed, {} failed", counts.passed, counts.failed);
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    /// Adds what a line `test result: ok. 4 passed; 0 failed; …` says.
    fn add(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = summary.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            match (pair[0].parse::<u64>(), pair[1]) {
                (Ok(count), "passed") => self.passed += count,
                (Ok(count), "failed") => self.failed += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_are_added_up() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.07s");
        counts.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.07s");
        counts.add("running 9 tests");
        assert_eq!((counts.passed, counts.failed), (7, 2));
    }
}
