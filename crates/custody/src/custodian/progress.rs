//! How far a task is: what ends releases under an assignment before its deadline (R2).
//!
//! That nothing more has happened to a task, no record says. So what happened is read from two places: from the facts that
//! come with a request, and from what this custodian was shown of the log. Either is enough to refuse.

use std::collections::BTreeMap;

use model::{Assignment, TaskId};

use super::HEAD_AGE_MS_MAX;

/// How long a task is remembered after its deadline, milliseconds of ledger time. A head that is still before the deadline
/// is then too old by every clock that agrees with the ledger's (R3).
const KEPT_MS: u64 = 2 * HEAD_AGE_MS_MAX;

/// How far a task is. It only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The newest attempt that was drawn; 0 before the first.
    pub(super) attempt: u8,
    /// When the task was settled, ledger time.
    pub(super) settled_ms: Option<u64>,
}

impl Progress {
    /// What both say.
    pub(super) fn and(self, other: Self) -> Self {
        Self { attempt: self.attempt.max(other.attempt), settled_ms: self.settled_ms.or(other.settled_ms) }
    }
}

/// What was shown of tasks whose deadline may be ahead. Not on the disk: whoever starts again is shown the log again.
#[derive(Default)]
pub(super) struct Watched {
    tasks: BTreeMap<TaskId, Watch>,
}

struct Watch {
    progress: Progress,
    deadline_ms: u64,
}

impl Watched {
    /// How far a task is, as far as was shown.
    pub(super) fn progress(&self, task: &TaskId) -> Progress {
        self.tasks.get(task).map(|watch| watch.progress).unwrap_or_default()
    }

    /// A task was drawn at `time_ms`, ledger time.
    pub(super) fn drawn(&mut self, time_ms: u64, assignment: &Assignment) {
        self.tasks.retain(|_, watch| watch.deadline_ms.saturating_add(KEPT_MS) > time_ms);
        let watch = self.tasks.entry(assignment.task);
        let watch = watch.or_insert(Watch { progress: Progress::default(), deadline_ms: 0 });
        watch.progress = watch.progress.and(Progress { attempt: assignment.attempt, settled_ms: None });
        watch.deadline_ms = watch.deadline_ms.max(assignment.deadline_ms);
    }

    /// A task was settled at `time_ms`, ledger time. One that was never drawn has nothing that could be asked for.
    pub(super) fn settled(&mut self, time_ms: u64, task: &TaskId) {
        if let Some(watch) = self.tasks.get_mut(task) {
            watch.progress = watch.progress.and(Progress { attempt: 0, settled_ms: Some(time_ms) });
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{AccountId, Bytes48, Digest, Round, Seed};

    use super::*;

    fn assignment(task: u8, attempt: u8, deadline_ms: u64) -> Assignment {
        Assignment {
            task: TaskId([task; 32]),
            attempt,
            executor: AccountId([7; 32]),
            seed: Seed { round: Round { epoch: 0, view: 1 }, signature: Bytes48([0; 48]) },
            eligible_root: Digest([0; 32]),
            eligible_size: 1,
            index: 0,
            path: Vec::new(),
            verdict: Digest([0; 32]),
            terms: Vec::new(),
            output_bytes_max: 1,
            deadline_ms,
        }
    }

    #[test]
    fn a_task_is_remembered_for_as_long_as_it_could_be_asked_for() {
        let (first, second) = (TaskId([1; 32]), TaskId([2; 32]));
        let mut watched = Watched::default();
        watched.drawn(10, &assignment(1, 1, 1_000));
        watched.drawn(20, &assignment(1, 2, 2_000));
        watched.settled(30, &first);
        watched.drawn(2_000 + KEPT_MS - 1, &assignment(2, 1, u64::MAX));
        assert_eq!(watched.progress(&first), Progress { attempt: 2, settled_ms: Some(30) });
        watched.drawn(2_000 + KEPT_MS, &assignment(3, 1, u64::MAX));
        assert_eq!(watched.progress(&first), Progress::default());
        assert_eq!(watched.progress(&second), Progress { attempt: 1, settled_ms: None });
    }

    #[test]
    fn an_earlier_draw_shown_late_takes_nothing_back() {
        let mut watched = Watched::default();
        watched.drawn(20, &assignment(1, 2, 2_000));
        watched.settled(30, &TaskId([1; 32]));
        watched.drawn(10, &assignment(1, 1, 1_000));
        assert_eq!(watched.progress(&TaskId([1; 32])), Progress { attempt: 2, settled_ms: Some(30) });
    }
}
