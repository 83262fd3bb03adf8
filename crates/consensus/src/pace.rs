//! When to propose, and when to look at a proposal: the two places where a validator's own clock counts.
//!
//! This stands between the engine's consensus and its state. Waiting here, rather than while a block is built, keeps the
//! state free to apply finalized blocks; and the engine cancels a wait when it leaves the view.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use commonware_consensus::{Application, Handoff, marshal::ancestry::Ancestry};
use commonware_cryptography::Digested;
use commonware_macros::select;
use commonware_runtime::Clock;
use finality::engine::Scheme;
use futures::StreamExt as _;

use crate::{
    block::{Block, BlockContext},
    core::Core,
};

/// How far a block's time may be ahead of a voter's clock.
const AHEAD_MAX: Duration = Duration::from_secs(2);

/// An application whose proposals wait for work, and whose votes wait for the clock.
#[derive(Clone)]
pub(crate) struct Paced<A> {
    pub(crate) inner: A,
    pub(crate) core: Arc<Core>,
    /// Longest time between two blocks while there is nothing to do.
    pub(crate) heartbeat: Duration,
}

impl<A> Paced<A> {
    /// Waits until there is something to propose on `parent`, or until the heartbeat.
    async fn wait_for_work(&self, clock: &impl Clock, parent: &Block) {
        let due = self.core.outcomes.due_after(&parent.model_digest());
        if due.next_block {
            return;
        }
        let heartbeat = clock.current() + self.heartbeat;
        let due_at = due.at_ms.map(|at_ms| UNIX_EPOCH + Duration::from_millis(at_ms));
        let deadline = due_at.map_or(heartbeat, |due_at| due_at.min(heartbeat));
        let in_flight = self.core.outcomes.in_flight(&parent.model_digest());
        loop {
            let changed = self.core.pool.changed.notified();
            if clock.current() >= deadline || self.core.pool.is_ready(&in_flight) {
                return;
            }
            select! {
                _ = changed => {},
                _ = clock.sleep_until(deadline) => {},
            }
        }
    }
}

impl<E, A> Application<E> for Paced<A>
where
    E: Clock,
    A: Application<E, Block = Block, SigningScheme = Scheme, Context = BlockContext, Input = ()> + Sync,
{
    type SigningScheme = Scheme;
    type Context = BlockContext;
    type Block = Block;
    type Input = ();

    async fn prepare(&mut self, _: (E, BlockContext), _: impl Ancestry<Block>, (): ()) -> Handoff<Digested<Block>> {
        // A block on an uncertified parent could not contain that parent's seed.
        Handoff::Wait
    }

    async fn propose(
        &mut self,
        (clock, context): (E, BlockContext),
        ancestry: impl Ancestry<Block>,
        (): (),
    ) -> Option<Digested<Block>> {
        let parent = ancestry.clone().next().await?;
        if !context.parent.0.is_zero() {
            // The parent's certificate let us enter this view, so its seed is here or about to come.
            let round = commonware_consensus::types::Round::new(context.round.epoch(), context.parent.0);
            self.core.seeds.wait(round).await;
        }
        self.wait_for_work(&clock, parent.inner()).await;
        self.inner.propose((clock, context), ancestry, ()).await
    }

    async fn verify(&mut self, (clock, context): (E, BlockContext), ancestry: impl Ancestry<Block>) -> bool {
        // No verdict is given on a block from the future: it may be right later, or the view ends without it.
        if let Some(block) = ancestry.peek() {
            let time = UNIX_EPOCH + Duration::from_millis(block.inner().header.time_ms);
            clock.sleep_until(time.checked_sub(AHEAD_MAX).unwrap_or(UNIX_EPOCH)).await;
        }
        self.inner.verify((clock, context), ancestry).await
    }
}
