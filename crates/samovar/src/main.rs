//! The one binary: `samovar demo, node, publish, run, verify, try, …`.
//!
//! It parses, calls the libraries and prints. Rules live in the crates below.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod failure;
mod ui;

use std::{io::Write as _, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};

use crate::cli::Cli;

fn main() -> ExitCode {
    // What nodes and `samovar try` start themselves. These become other processes: nothing may have started a thread, and
    // their arguments are their own.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|verb| verb.to_str()) {
        Some("sandbox-worker") => return sandbox::worker_main(),
        Some("sandbox-compiler") => return sandbox::compiler_main(),
        Some(node::MEASURED_VERB) => return commands::node::measured(arguments.collect()),
        _ => {}
    }
    match Cli::try_parse() {
        Ok(cli) => commands::dispatch(cli.verb),
        Err(usage) => explain(&usage),
    }
}

/// Help, or what was wrong with the command line.
fn explain(usage: &clap::Error) -> ExitCode {
    let written = usage.print().and_then(|()| std::io::stdout().flush());
    let printed = if usage.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        ui::print_usage_json(&usage.to_string())
    } else {
        ui::printed(written)
    };
    if let Err(failure) = printed {
        ui::print_failure(&failure, false);
        return ExitCode::FAILURE;
    }
    let names = |argument: &str| usage.to_string().contains(&format!("  {argument} <FILE>\n"));
    if usage.kind() == ErrorKind::MissingRequiredArgument && (names("--network") || names("--key")) {
        ui::tell("hint: SAMOVAR_NETWORK and SAMOVAR_KEY stand in for --network and --key");
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}
