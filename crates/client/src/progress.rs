//! What a caller can show while it waits.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use model::api::Phase;

/// How often bytes are told.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Something happened. For showing only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Something that is done all the same, and may not be meant.
    Warning(String),
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

/// Bytes that are done, counted wherever the work is.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Relaxed);
    }

    /// Does `work`, and tells every second how far it is.
    pub(crate) async fn watched<T>(&self, watch: &dyn Watch, total: u64, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TELL_AGAIN, TELL_AGAIN);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => watch.see(Progress::Bytes { done: self.0.load(Relaxed).min(total), total }),
            }
        }
    }
}

/// A reader that counts what is read.
pub(crate) struct Counted<R> {
    pub(crate) reader: R,
    pub(crate) counter: Counter,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let filled = self.reader.read(buffer)?;
        self.counter.add(filled);
        Ok(filled)
    }
}
