//! What a person is told when something did not work: one `error:` line, one `hint:` line, and an exit code.

use std::{error::Error, fmt::Display};

use client::ClientError;
use serde_json::{Map, Value, json};

/// What to do where nobody else is at fault.
pub(crate) const OWN_FAULT: &str = "this machine is at fault: is there room on its disk, and memory to spare?";

/// A verb that was refused or failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) hint: String,
    /// What a script may want to know besides; it stands beside the two in the JSON object.
    pub(crate) details: Map<String, Value>,
}

impl Failure {
    pub(crate) fn new(error: impl Display, hint: impl Into<String>) -> Self {
        Self { error: error.to_string(), hint: hint.into(), details: Map::new() }
    }

    /// An error with all its causes, in one line.
    pub(crate) fn of(error: &(dyn Error + 'static), hint: impl Into<String>) -> Self {
        Self::new(client::chain(error), hint)
    }

    fn with<const N: usize>(self, details: [(&str, Value); N]) -> Self {
        Self { details: details.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(), ..self }
    }

    /// The JSON object that scripts get.
    pub(crate) fn json(&self) -> Value {
        let mut object = self.details.clone();
        object.insert("error".to_owned(), json!(self.error));
        object.insert("hint".to_owned(), json!(self.hint));
        Value::Object(object)
    }

    /// Something on this machine's disk.
    pub(crate) fn disk(path: &std::path::Path, cause: &std::io::Error) -> Self {
        Self::new(format!("cannot use {}: {cause}", path.display()), "is the path right, and is it yours?")
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::of(&error, error.hint());
        match &error {
            ClientError::TaskFailed { task, class, proof, .. } => failure.with([
                ("task", json!(task.to_string())),
                ("failure", json!(class.to_string())),
                ("proof", json!(proof)),
            ]),
            _ => failure,
        }
    }
}

impl From<client::FileError> for Failure {
    fn from(error: client::FileError) -> Self {
        ClientError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_in_one_line() {
        let cause = std::io::Error::other("disk on fire");
        let error = client::FileError::Read { path: "terms.toml".into(), cause };
        let failure = Failure::from(error);
        assert_eq!(failure.error, "cannot read terms.toml: disk on fire");
        assert!(!failure.hint.is_empty());
        assert_eq!(failure.json(), json!({ "error": failure.error, "hint": failure.hint }));
    }

    #[test]
    fn scripts_are_told_which_task_failed_how_and_what_proves_it() {
        let task = "11".repeat(32);
        let error = ClientError::TaskFailed {
            task: task.parse().unwrap(),
            class: model::FailureClass::Limit,
            proof: Some("run-1/proof".into()),
            bound: None,
        };
        let json = Failure::from(error).json();
        assert_eq!(
            (&json["task"], &json["failure"], &json["proof"]),
            (&json!(task), &json!("limit"), &json!("run-1/proof"))
        );
    }
}
