//! The project's chores, in Rust so that they run wherever the project builds.
//!
//! ```text
//! cargo xtask demo [FLAGS…]   set up what is missing, build the release, run `samovar demo FLAGS…`
//! cargo xtask test [ARGS…]    set up what is missing, run every test; ARGS go to `cargo test`
//! cargo xtask tidy            check what compilers do not: layers, licences, links, leftovers
//! cargo xtask bench           measure, print ratios, write docs/benchmarks.md
//! cargo xtask guests          rebuild the committed guest programs from their sources
//! cargo xtask setup           only set up what is missing
//! ```
#![forbid(unsafe_code)]

mod bench;
mod guests;
mod setup;
mod test;
mod tidy;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let done = match verb.as_str() {
        "demo" => demo(&rest),
        "test" => test::run(&rest),
        "tidy" => tidy::run(),
        "bench" => bench::run(&rest),
        "guests" => guests::run(),
        "setup" => setup::run(),
        _ => {
            eprintln!("usage: cargo xtask demo | test | tidy | bench | guests | setup");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the release and runs the story.
fn demo(flags: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    eprintln!(
        "building the release (several hundred crates the first time: a good quarter of an hour or more on two cores)"
    );
    call(cargo().args(["build", "--release", "--package", "samovar"]))?;
    let status = Command::new(target_dir()?.join("release/samovar")).arg("demo").args(flags).status()?;
    // The demo has already said what went wrong.
    if status.success() { Ok(()) } else { bail!("the demo did not hold ({status})") }
}

/// The cargo that runs us, without what it says of this package: build scripts that look at it (ring's) would run again,
/// and a good part of the workspace with them, each time somebody uses cargo by itself and then xtask.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// The root of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where cargo puts what it builds.
fn target_dir() -> anyhow::Result<PathBuf> {
    let metadata = metadata()?;
    let dir = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(dir))
}

/// What `cargo metadata` says about the workspace and everything it uses.
fn metadata() -> anyhow::Result<serde_json::Value> {
    let output = cargo().args(["metadata", "--format-version", "1", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs a command and demands success.
fn call(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if status.success() { Ok(()) } else { bail!("{command:?} failed ({status})") }
}
