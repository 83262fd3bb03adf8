//! What is shown: the answer on stdout, progress on stderr, one JSON object where that was asked for.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Mutex,
    time::{Duration, Instant},
};

use client::{Progress, Trust, Watch};
use model::api::Phase;
use serde_json::{Value, json};

use crate::{cli::Output, failure::Failure};

/// An answer: an object for programs, lines for people.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) json: Value,
    pub(crate) text: String,
}

/// An object with what it rests on: `simulated`, `self_measured`, `custody`.
pub(crate) fn with_trust(mut json: Value, trust: &Trust) -> Value {
    json["simulated"] = json!(trust.simulated);
    json["self_measured"] = json!(trust.self_measured);
    json["custody"] = json!(trust.custody);
    json
}

/// What weakens an answer, one line each.
pub(crate) fn notes(trust: &Trust) -> String {
    trust.warnings.iter().map(|warning| format!("note      {warning}\n")).collect()
}

impl Answer {
    pub(crate) fn new(json: Value, text: impl Into<String>) -> Self {
        Self { json, text: text.into() }
    }

    pub(crate) fn print(&self, output: Output) {
        if output.json {
            print_line(&self.json.to_string());
        } else if !self.text.is_empty() {
            print_line(&printable(self.text.trim_end()));
        }
    }
}

/// Prints a failure; with `--json` an object on stdout as well.
pub(crate) fn print_failure(failure: &Failure, json: bool) {
    if json {
        print_line(&json!({ "error": failure.error, "hint": failure.hint }).to_string());
    }
    eprintln!("error: {}", printable(&failure.error));
    if !failure.hint.is_empty() {
        eprintln!("hint: {}", printable(&failure.hint));
    }
}

/// Prints what was wrong with a command line as one JSON object.
pub(crate) fn print_usage_json(said: &str) {
    let line = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or("the command line cannot be read");
    print_line(&json!({ "error": line, "hint": "--help after the verb shows what it takes" }).to_string());
}

/// Prints what went wrong without ending the verb.
pub(crate) fn print_warning(text: &str) {
    eprintln!("warning: {}", printable(text));
}

/// Whether progress is shown: to a person who waits.
pub(crate) fn is_shown(output: Output) -> bool {
    !output.json && std::io::stderr().is_terminal()
}

/// Text for a terminal. Titles, reasons and the like are other people's words, and what they say must not move the cursor,
/// colour a lie green or clear a warning away.
fn printable(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Prints a line on stdout. Whoever closed the pipe does not want to read on; that is no failure.
pub(crate) fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The words of the story for each phase of a task.
pub(crate) fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Checked => "checked terms",
        Phase::Paid => "paid",
        Phase::Drawn => "drawn",
        Phase::Attested => "attested",
        Phase::Released => "released",
        Phase::Fetched => "fetched",
        Phase::Running => "running",
        Phase::Sealed => "sealed",
        Phase::Finalized => "finalized",
        Phase::Failed => "failed",
    }
}

/// Collects the phases of a task with their times, and shows them while they pass.
pub(crate) struct Phases {
    started: Instant,
    seen: Mutex<Vec<(Phase, Duration)>>,
    show: Show,
}

/// Where progress goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nowhere.
    Silent,
    /// To stderr, for a person who waits.
    Stderr,
    /// To stdout, as part of the story that `demo` tells.
    Story,
}

impl Phases {
    pub(crate) fn new(show: Show) -> Self {
        Self { started: Instant::now(), seen: Mutex::new(Vec::new()), show }
    }

    /// For a verb: on stderr, if that is a terminal.
    pub(crate) fn on_terminal(output: Output) -> Self {
        Self::new(if is_shown(output) { Show::Stderr } else { Show::Silent })
    }

    /// Milliseconds from the start to each phase that was seen.
    pub(crate) fn to_json(&self) -> Value {
        let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entries = seen.iter().map(|(phase, at)| (phase_words(*phase).to_owned(), json!(at.as_millis() as u64)));
        Value::Object(entries.collect())
    }

    fn line(&self, text: &str) {
        match self.show {
            Show::Silent => {}
            Show::Stderr => eprintln!("{}", printable(text)),
            Show::Story => print_line(&printable(text)),
        }
    }
}

impl Watch for Phases {
    fn see(&self, progress: Progress) {
        match progress {
            Progress::Phase { phase, detail } => {
                let at = self.started.elapsed();
                self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((phase, at));
                let line = format!("  {:>6} ms  {:<14} {}", at.as_millis(), phase_words(phase), detail);
                self.line(line.trim_end());
            }
            Progress::Step(what) => self.line(&format!("  {:>6} ms  {what}", self.started.elapsed().as_millis())),
            Progress::Bytes { done, total } => {
                let (at, mb) = (self.started.elapsed().as_millis(), |bytes: u64| bytes / 1_000_000);
                self.line(&format!("  {at:>6} ms    {} of {} MB", mb(done), mb(total)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_peoples_words_do_not_steer_the_terminal() {
        assert_eq!(printable("a title\u{1b}[2Jverified\r\u{9b}31m"), "a title\u{fffd}[2Jverified\u{fffd}\u{fffd}31m");
        assert_eq!(printable("umlauts: äöü\n\tindented"), "umlauts: äöü\n\tindented");
    }
}
