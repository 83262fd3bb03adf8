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
        let (view, height) = (context.round.view().get(), parent.inner().header.height + 1);
        tracing::trace!(view, height, "builds a block");
        let block = self.inner.propose((clock, context), ancestry, ()).await;
        tracing::trace!(view, height, built = block.is_some(), "has built a block");
        block
    }

    async fn verify(&mut self, (clock, context): (E, BlockContext), ancestry: impl Ancestry<Block>) -> bool {
        // No verdict is given on a block from the future: it may be right later, or the view ends without it.
        if let Some(block) = ancestry.peek() {
            let time = UNIX_EPOCH + Duration::from_millis(block.inner().header.time_ms);
            clock.sleep_until(time.checked_sub(AHEAD_MAX).unwrap_or(UNIX_EPOCH)).await;
        }
        let view = context.round.view().get();
        tracing::trace!(view, "verifies a block");
        let verdict = self.inner.verify((clock, context), ancestry).await;
        tracing::trace!(view, verdict, "has verified a block");
        verdict
    }
}

#[cfg(test)]
mod tests {
    use commonware_consensus::{CertifiableBlock as _, marshal::ancestry};
    use commonware_cryptography::Digestible as _;
    use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
    use finality::{Header, StateOps, testing::Committee};
    use model::{Digest, Round};

    use super::*;
    use crate::{
        BlockInput, Executed, Key, Machine, Mode, Reads, Reason, Stop, TransactionMeta, block::transactions_root,
        journal::Journal,
    };

    struct Nothing;

    impl Machine for Nothing {
        fn check(&self, _: &[u8]) -> Result<TransactionMeta, Reason> {
            Err("nothing is accepted".into())
        }

        fn reads(&self, _: &[Vec<u8>]) -> Vec<Key> {
            Vec::new()
        }

        fn execute(&self, _: &BlockInput<'_>, _: &dyn Reads, _: Mode) -> Result<Executed, Stop> {
            Ok(Executed::default())
        }
    }

    /// Finds every block right at once.
    #[derive(Clone)]
    struct Agreeable;

    impl<E: Clock> Application<E> for Agreeable {
        type SigningScheme = Scheme;
        type Context = BlockContext;
        type Block = Block;
        type Input = ();

        async fn propose(&mut self, _: (E, BlockContext), _: impl Ancestry<Block>, (): ()) -> Option<Digested<Block>> {
            None
        }

        async fn verify(&mut self, _: (E, BlockContext), _: impl Ancestry<Block>) -> bool {
            true
        }
    }

    #[test]
    fn a_block_from_the_future_gets_no_verdict_before_its_time() {
        let digest = Digest::of(b"");
        let header = |time_ms| Header {
            round: Round { epoch: 0, view: 1 },
            leader: Committee::deal(1).members()[0],
            parent_view: 0,
            parent: digest,
            height: 1,
            time_ms,
            state_root: digest,
            state_ops: StateOps { root: digest, start: 0, end: 1 },
            transactions: transactions_root(&[]),
            log_size: 0,
            log_root: digest,
            parent_seed: None,
            payload: None,
        };
        let block = |time_ms| Block::new(header(time_ms), Vec::new()).expect("the leader is a key");
        let folder = tempfile::tempdir().expect("a folder for the journal");
        let journal = Journal::open(&folder.path().join("journal"), u32::MAX).expect("an empty journal");
        let core = Arc::new(Core::new(Arc::new(Nothing), journal, &block(0)).expect("an empty journal"));
        deterministic::Runner::default().start(|clock| async move {
            let mut voter = Paced { inner: Agreeable, core, heartbeat: Duration::from_secs(1) };
            let start = crate::app::now_ms(&clock);
            for (ahead_ms, waits_ms) in [(0, 0), (1_999, 0), (2_000, 0), (7_000, 5_000)] {
                let now = crate::app::now_ms(&clock);
                let block = block(now + ahead_ms);
                let context = block.context();
                let ancestry = ancestry::from_iter([Digested::precomputed(block.clone(), block.digest())]);
                let verdict = Application::verify(&mut voter, (clock.child("vote"), context), ancestry).await;
                assert!(verdict);
                let waited = crate::app::now_ms(&clock) - now;
                assert!(waited.abs_diff(waits_ms) <= 10, "{ahead_ms} ms ahead: waited {waited} ms");
            }
            assert!(crate::app::now_ms(&clock) >= start + 5_000);
        });
    }
}
