//! How far tasks are, for showing: the executor notes its steps here, and any node may ask for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{
    TaskId,
    api::{Phase, TaskEvent},
};
use tokio::sync::watch;

/// Tasks remembered; older ones are forgotten first.
const TASKS_MAX: usize = 1_000;
/// Steps remembered of one task: two attempts of every phase fit.
const EVENTS_MAX: usize = 32;

/// Steps of the tasks this node has run lately.
pub(crate) struct Progress {
    tasks: Mutex<Tasks>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Tasks {
    events: HashMap<TaskId, Vec<TaskEvent>>,
    order: VecDeque<TaskId>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { tasks: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Progress {
    /// Notes a step.
    pub(crate) fn note(&self, task: TaskId, phase: Phase, detail: &str) {
        let event = TaskEvent { task, phase, detail: detail.to_owned(), at_ms: unix_ms() };
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.add(event);
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// The steps of a task from the `from`th on.
    pub(crate) fn since(&self, task: &TaskId, from: usize) -> Vec<TaskEvent> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.events.get(task).and_then(|events| events.get(from..)).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// [`Self::since`], after waiting up to `patience` for the first step.
    pub(crate) async fn wait_since(&self, task: &TaskId, from: usize, patience: Duration) -> Vec<TaskEvent> {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                let events = self.since(task, from);
                if !events.is_empty() || changed.changed().await.is_err() {
                    return events;
                }
            }
        };
        tokio::time::timeout(patience, wait).await.unwrap_or_default()
    }
}

impl Tasks {
    fn add(&mut self, event: TaskEvent) {
        if !self.events.contains_key(&event.task) {
            self.order.push_back(event.task);
            if self.order.len() > TASKS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.events.remove(&oldest);
            }
        }
        let events = self.events.entry(event.task).or_default();
        if events.len() < EVENTS_MAX {
            events.push(event);
        }
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_tasks_are_forgotten_and_late_askers_get_the_rest() {
        let progress = Progress::default();
        let first = TaskId([0; 32]);
        progress.note(first, Phase::Fetched, "");
        progress.note(first, Phase::Running, "");
        assert_eq!(progress.since(&first, 1).len(), 1);
        assert_eq!(progress.since(&first, 9).len(), 0);
        for number in 0..TASKS_MAX as u64 {
            let mut id = [1; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            progress.note(TaskId(id), Phase::Fetched, "");
        }
        assert_eq!(progress.since(&first, 0).len(), 0);
    }

    #[test]
    fn one_task_cannot_fill_the_memory() {
        let progress = Progress::default();
        for _ in 0..100 {
            progress.note(TaskId([0; 32]), Phase::Running, "");
        }
        assert_eq!(progress.since(&TaskId([0; 32]), 0).len(), EVENTS_MAX);
    }
}
