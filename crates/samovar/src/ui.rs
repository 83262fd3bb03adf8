//! What is shown: the answer on stdout, progress on stderr, one JSON object where that was asked for.

use std::{
    io::{ErrorKind, IsTerminal as _, Write as _},
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

    pub(crate) fn print(&self, output: Output) -> Result<(), Failure> {
        if output.json {
            print_line(&self.json.to_string())
        } else if self.text.is_empty() {
            Ok(())
        } else {
            print_line(&printable(self.text.trim_end()))
        }
    }

    /// Says on stderr what could not be printed: it may have been paid for.
    pub(crate) fn tell(&self) {
        tell(self.text.trim_end());
    }
}

/// Prints a failure; with `--json` an object on stdout as well.
pub(crate) fn print_failure(failure: &Failure, json: bool) {
    let unwritten = if json { print_line(&failure.json().to_string()).err() } else { None };
    for failure in [Some(failure), unwritten.as_ref()].into_iter().flatten() {
        tell(&format!("error: {}", failure.error));
        if !failure.hint.is_empty() {
            tell(&format!("hint: {}", failure.hint));
        }
    }
}

/// Prints what was wrong with a command line as one JSON object.
pub(crate) fn print_usage_json(said: &str) -> Result<(), Failure> {
    let error = usage_error(said);
    print_line(&json!({ "error": error, "hint": "--help after the verb shows what it takes" }).to_string())
}

/// The first paragraph of what the parser of command lines says, in one line: what is missing stands below its first line.
fn usage_error(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.starts_with("error: ")).take_while(|line| !line.is_empty());
    let Some(first) = lines.next().and_then(|line| line.strip_prefix("error: ")) else {
        return "the command line cannot be read".to_owned();
    };
    let rest: Vec<&str> = lines.map(str::trim).collect();
    format!("{first} {}", rest.join(", ")).trim_end().to_owned()
}

/// Prints what went wrong without ending the verb.
pub(crate) fn print_warning(text: &str) {
    tell(&format!("warning: {text}"));
}

/// Says something on stderr. If that fails there is nobody left to say it to.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

/// Whether progress is shown: to a person who waits.
pub(crate) fn is_shown(output: Output) -> bool {
    !output.json && std::io::stderr().is_terminal()
}

/// Text for a terminal. Titles, reasons and the like are other people's words, and what they say must not move the cursor,
/// colour a lie green or clear a warning away.
fn printable(text: &str) -> String {
    // Control characters, and those that turn the direction of writing (Unicode, annex 9).
    let turns =
        |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harmless = |c: char| (!c.is_control() && !turns(c)) || matches!(c, '\n' | '\t');
    text.chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Prints a line on stdout.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Prints bytes on stdout, as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    printed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// What came of writing to stdout. Whoever closed the pipe does not want to read on; that is no failure.
pub(crate) fn printed(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(cause) if cause.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            format!("cannot write to standard output: {cause}"),
            "the command has done its work; is there room where its output goes?",
        )),
        _ => Ok(()),
    }
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
            Show::Stderr => tell(text),
            // The answer at its end says if nothing could be written.
            Show::Story => drop(print_line(&printable(text))),
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
            Progress::Warning(what) => print_warning(&what),
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
    fn what_a_command_line_lacks_is_named() {
        let said =
            "error: the following required arguments were not provided:\n  --key <FILE>\n  <FILE>\n\nUsage: samovar";
        assert_eq!(usage_error(said), "the following required arguments were not provided: --key <FILE>, <FILE>");
        let said = "error: invalid value 'x' for '<KIND>'\n  [possible values: data, program]\n\nFor more";
        assert_eq!(usage_error(said), "invalid value 'x' for '<KIND>' [possible values: data, program]");
        assert_eq!(usage_error("Usage: samovar"), "the command line cannot be read");
    }

    #[test]
    fn other_peoples_words_do_not_steer_the_terminal() {
        assert_eq!(printable("a title\u{1b}[2Jverified\r\u{9b}31m"), "a title\u{fffd}[2Jverified\u{fffd}\u{fffd}31m");
        assert_eq!(printable("not \u{202e}deifirev"), "not \u{fffd}deifirev");
        assert_eq!(printable("umlauts: äöü\n\tindented"), "umlauts: äöü\n\tindented");
    }
}
