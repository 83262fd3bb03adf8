//! What a caller can show while it waits.

use model::api::Phase;

/// Something happened. For showing only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A step of publishing began.
    Step(&'static str),
    /// Bytes of the present step.
    Bytes {
        /// Done.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// A task has come this far.
    Phase {
        /// How far.
        phase: Phase,
        /// A few words.
        detail: String,
    },
}

/// Whoever shows progress.
pub trait Watch: Send + Sync {
    /// Called from time to time, never often.
    fn see(&self, progress: Progress);
}

impl Watch for () {
    fn see(&self, _: Progress) {}
}
