//! `node`, and the hidden half that it becomes after it was measured.

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use serde_json::json;

use super::conclude;
use crate::{
    cli::{Node, Output},
    failure::Failure,
    ui::Answer,
};

/// What the launcher passes on, so that the measured half prints as it was asked to.
const JSON: &str = "--json";

/// Measures this program and becomes the node. Returns only if that fails.
pub(crate) fn launch(args: &Node) -> ExitCode {
    let passed_on: &[&OsStr] = if args.output.json { &[OsStr::new(JSON)] } else { &[] };
    match node::launch(&args.config, passed_on) {
        Ok(never) => match never {},
        Err(cause) => conclude(Err(Failure::of(&cause, cause.hint())), args.output),
    }
}

/// The measured node. Blocks until it is told to stop.
pub(crate) fn measured(mut arguments: Vec<OsString>) -> ExitCode {
    let json = arguments.pop_if(|last| last == JSON).is_some();
    let ended = node::measured_main(arguments).map_err(|cause| Failure::of(&cause, cause.hint()));
    conclude(ended.map(|()| Answer::new(json!({ "stopped": true }), "")), Output { json })
}
