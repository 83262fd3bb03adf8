//! What a person is told when something did not work: one `error:` line, one `hint:` line, and an exit code.

use std::{error::Error, fmt::Display};

use client::ClientError;

/// What to do where nobody else is at fault.
pub(crate) const OWN_FAULT: &str = "this machine is at fault: is there room on its disk, and memory to spare?";

/// A verb that was refused or failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) hint: String,
}

impl Failure {
    pub(crate) fn new(error: impl Display, hint: impl Into<String>) -> Self {
        Self { error: error.to_string(), hint: hint.into() }
    }

    /// An error with all its causes, in one line.
    pub(crate) fn of(error: &(dyn Error + 'static), hint: impl Into<String>) -> Self {
        Self { error: client::chain(error), hint: hint.into() }
    }

    /// Something on this machine's disk.
    pub(crate) fn disk(path: &std::path::Path, cause: &std::io::Error) -> Self {
        Self::new(format!("cannot use {}: {cause}", path.display()), "is the path right, and is it yours?")
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = error.hint();
        Self::of(&error, hint)
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
    }
}
