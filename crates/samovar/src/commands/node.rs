//! `node`, and the hidden half that it becomes after it was measured.

use std::{ffi::OsString, process::ExitCode};

use crate::{cli::Node, failure::Failure, ui::print_failure};

/// Measures this program and becomes the node. Returns only if that fails.
pub(crate) fn launch(args: &Node) -> ExitCode {
    match node::launch(&args.config) {
        Ok(never) => match never {},
        Err(cause) => {
            print_failure(&Failure::of(&cause, cause.hint()), false);
            ExitCode::FAILURE
        }
    }
}

/// The measured node. Blocks until it is told to stop.
pub(crate) fn measured(arguments: Vec<OsString>) -> ExitCode {
    match node::measured_main(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            print_failure(&Failure::of(&cause, cause.hint()), false);
            ExitCode::FAILURE
        }
    }
}
