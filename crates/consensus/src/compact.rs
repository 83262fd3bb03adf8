//! Forgets values that the state no longer holds, part by part of the journal, while the validator runs.
//!
//! First the whole live state is walked, a page at a time, while blocks go on. What it names stays; so does what blocks bring
//! after the walk has begun, for only parts that were full before are looked at. What is left over is still not removed at
//! once: a validator that is killed goes back to the last state its engine has made durable, a few blocks ago, and replays
//! from there.

use std::{collections::HashSet, ops::Bound, sync::Arc, time::Duration};

use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context as StorageContext;
use finality::engine::EngineDigest;
use futures::StreamExt as _;
use model::Digest;

use crate::{Retention, app::Databases, block::model_digest, core::Core};

/// Values that are looked at before blocks have their turn again.
const PAGE: usize = 256;
/// The engine applies at most 16 blocks before it makes the first of them durable. Never keep fewer than this.
const REPLACED_BLOCKS_MIN: u64 = 32;

/// Values that the state holds.
pub(crate) struct Live {
    digests: HashSet<Digest>,
    pub(crate) values: u64,
    pub(crate) bytes: u64,
}

/// How often it looks whether there is something to do. Nobody waits for it; and a second task that followed the head would be
/// woken before or after the first by chance, which no simulation could repeat.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Compacts for ever. Stops the validator if its journal turns out to be damaged.
pub(crate) async fn run<E>(clock: E, core: Arc<Core>, databases: Databases<E>, retention: Retention)
where
    E: Spawner + StorageContext + Clock,
{
    let height = || core.tip.borrow().height;
    let replaced_blocks = retention.replaced_blocks.max(REPLACED_BLOCKS_MIN);
    let started_at = height();
    until(&clock, || *core.applied.borrow() >= started_at).await;
    let mut next = 1;
    loop {
        // Walking the state again is worth it once as much was written as the state holds.
        until(&clock, || core.journal.full_parts() >= next).await;
        let full = core.journal.full_parts();
        let Some(live) = walk(&core, &databases).await else { return };
        let forgotten_at = height() + replaced_blocks;
        until(&clock, || height() >= forgotten_at).await;
        for part in core.journal.worn(full, &live.digests) {
            match core.journal.compact(part, &live.digests) {
                Ok(freed) => tracing::debug!(part, freed, "compacted the journal"),
                Err(cause) => core.halt(&cause),
            }
        }
        let parts = live.bytes / u64::from(retention.part_bytes.max(1));
        next = full + 1 + parts as usize;
    }
}

async fn until(clock: &impl Clock, ready: impl Fn() -> bool) {
    while !ready() {
        clock.sleep(LOOK_EVERY).await;
    }
}

/// What the state holds; `None` if it cannot be read.
pub(crate) async fn walk<E: Spawner + StorageContext>(core: &Core, databases: &Databases<E>) -> Option<Live> {
    let mut live = Live { digests: HashSet::new(), values: 0, bytes: 0 };
    let mut from: Bound<EngineDigest> = Bound::Unbounded;
    loop {
        let page: Vec<_> = {
            let state = databases.read().await;
            state.stream_range((from, Bound::Unbounded)).take(PAGE).collect().await
        };
        for entry in &page {
            let (_, value) = entry
                .as_ref()
                .map_err(|cause| tracing::error!(?cause, "the state cannot be walked; the journal is not compacted"))
                .ok()?;
            live.values += 1;
            let digest = model_digest(value);
            let bytes = core.journal.body_bytes(&digest).unwrap_or_default();
            live.bytes += if live.digests.insert(digest) { u64::from(bytes) } else { 0 };
        }
        let Some(Ok((last, _))) = page.last() else { return Some(live) };
        from = Bound::Excluded(*last);
    }
}
