//! Wires one validator together: peers' channels below, consensus and state in the middle, the ledger on top. Generic over
//! runtime and network; [`crate::start`] and [`crate::simulation`] are its two non-generic forms.

use std::sync::Arc;

use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{
        core::Actor as MarshalActor,
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{self, types::Activity},
};
use commonware_cryptography::{Digested, Digestible as _, ed25519::PublicKey};
use commonware_glue::stateful::{Stateful, SyncPlan, db::p2p as state_resolver, probe::Probe};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage};
use commonware_storage::{archive::immutable, mmr};
use finality::engine::{EngineDigest, Scheme};
use rand_core::{CryptoRng, Rng};
use tokio::sync::{mpsc, watch};

use crate::{
    Retention, Timing,
    app::Db,
    block::Block,
    compact,
    core::Core,
    gossip,
    pace::Paced,
    service::{self, Marshal, Request},
    settings::{one_epoch, page_cache},
};

/// The network's channels: votes, certificates, fetching of certificates, backfill of blocks, new blocks, state sync,
/// search for a starting point of state sync, gossip.
pub(crate) const CHANNELS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// What one validator is made of.
pub(crate) struct Parts<P, B> {
    pub(crate) me: PublicKey,
    pub(crate) scheme: Scheme,
    pub(crate) peers: P,
    pub(crate) blocker: B,
    /// Prefix of everything it stores.
    pub(crate) partition: String,
    pub(crate) timing: Timing,
    pub(crate) retention: Retention,
    pub(crate) genesis: Block,
    pub(crate) core: Arc<Core>,
    pub(crate) requests: mpsc::Receiver<Request>,
}

/// Observes the certificates that pass by, for their seeds.
#[derive(Clone)]
struct SeedTap(Arc<Core>);

impl Reporter for SeedTap {
    type Activity = Activity<Scheme, EngineDigest>;

    fn report(&mut self, activity: Self::Activity) -> commonware_actor::Feedback {
        self.0.seeds.observe(&activity);
        match &activity {
            Activity::Notarization(of) => tracing::trace!(view = of.proposal.round.view().get(), "notarized"),
            Activity::Certification(of) => tracing::trace!(view = of.proposal.round.view().get(), "certified"),
            Activity::Nullification(of) => tracing::trace!(view = of.round.view().get(), "nullified"),
            Activity::Finalization(of) => tracing::trace!(view = of.proposal.round.view().get(), "final"),
            _ => {}
        }
        commonware_actor::Feedback::Ok
    }
}

/// Starts a validator; the handle resolves when any part of it ends.
pub(crate) async fn start<E, P, B, S, R>(context: E, parts: Parts<P, B>, channels: Vec<(S, R)>) -> Handle<()>
where
    E: Clock + Rng + CryptoRng + Spawner + Storage + Metrics,
    P: Provider<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let mut channels = channels.into_iter();
    let mut channel = || channels.next().expect("one pair for each of CHANNELS");
    let (votes, certificates, certificate_fetch, backfill) = (channel(), channel(), channel(), channel());
    let (broadcast, state_sync, probing, gossiping) = (channel(), channel(), channel(), channel());
    let cache = page_cache();

    // Blocks: fetched from peers by the resolver, received unasked by the buffer.
    let resolver = marshal_resolver::init(context.child("marshal_resolver"), parts.backfill(), backfill);
    let (broadcast_engine, buffer) = buffered::Engine::new(context.child("broadcast"), parts.broadcast());
    let broadcast_handle = broadcast_engine.start(broadcast);
    let archive = |name: &str| parts.archive(name, cache.clone());
    let finalizations = immutable::Archive::init(context.child("finalizations"), archive("finalizations"))
        .await
        .expect("without its archive of certificates a validator cannot run");
    let blocks = immutable::Archive::init(context.child("blocks"), archive("blocks"))
        .await
        .expect("without its archive of blocks a validator cannot run");

    // Where to begin: genesis, or where the last run stopped. The probe answers peers that want to sync.
    let plan = SyncPlan::init(context.child("plan"), parts.partition.clone()).await;
    let (probe_actor, probe_mailbox) = Probe::new(parts.probe(context.child("probe")));
    let probe_handle = probe_actor.start(probing);

    // Finalized blocks in order, each delivered until it is acknowledged.
    let first = plan.marshal_start(Digested::precomputed(parts.genesis.clone(), parts.genesis.digest()));
    let marshal_config = parts.marshal(first, cache.clone());
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        context.child("marshal"),
        finalizations,
        blocks,
        marshal_config,
    )
    .await;

    // State.
    let (sync_actor, sync_resolver) = state_resolver::Actor::<_, PublicKey, _, _, mmr::Family, Db<E>>::new(
        context.child("state_resolver"),
        parts.state_sync(),
    );
    let sync_handle = sync_actor.start(state_sync);
    let stateful_config = parts.stateful(plan, (marshal.clone(), floor), sync_resolver, cache.clone());
    let (stateful, state) = Stateful::new(context.child("stateful"), stateful_config);
    let paced = Paced { inner: state.clone(), core: parts.core.clone(), heartbeat: parts.timing.heartbeat };
    let deferred = Deferred::new(context.child("deferred"), paced, marshal.clone(), one_epoch());
    let marshal_handle = marshal_actor.start(state.clone(), buffer, resolver);
    probe_mailbox.attach(marshal.clone());
    let stateful_handle = stateful.start();

    // Consensus.
    let reporters = Reporters::<_, SeedTap>::from((deferred.clone(), Some(SeedTap(parts.core.clone()))));
    let engine = simplex::Engine::new(context.child("consensus"), parts.simplex(deferred, reporters, cache));
    let engine_handle = engine.start(votes, certificates, certificate_fetch);

    // What stands around it.
    let Parts { core, requests, retention, .. } = parts;
    let certified = Arc::new(watch::Sender::new(None));
    let gossip_handle = {
        let core = core.clone();
        context.child("gossip").spawn(move |runtime| gossip::run(runtime, core, gossiping.0, gossiping.1))
    };
    let follow_handle = {
        let following = service::follow_certificates(core.clone(), marshal.clone(), certified.clone());
        context.child("certificates").spawn(move |_| following)
    };
    let service_handle = context.child("service").spawn(move |runtime| async move {
        let databases = state.subscribe_databases().await;
        note_applied(&core, &marshal).await;
        let compacting = (core.clone(), databases.clone());
        // It reads and writes whole files: on a thread of its own.
        runtime
            .child("compaction")
            .dedicated()
            .spawn(move |clock| compact::run(clock, compacting.0, compacting.1, retention));
        service::serve(runtime, core, databases, certified, requests).await;
    });
    supervise(
        &context,
        [
            broadcast_handle,
            probe_handle,
            sync_handle,
            marshal_handle,
            stateful_handle,
            engine_handle,
            gossip_handle,
            follow_handle,
            service_handle,
        ],
    )
}

/// What was applied in an earlier run need not be waited for.
async fn note_applied(core: &Core, marshal: &Marshal) {
    let Some(processed) = marshal.get_processed().await else { return };
    let height = processed.height().get();
    core.applied.send_if_modified(|applied| {
        let newer = height > *applied;
        *applied = height.max(*applied);
        newer
    });
}

/// Resolves when any of the parts ends: none can do without the others.
fn supervise<const N: usize>(context: &impl Spawner, parts: [Handle<()>; N]) -> Handle<()> {
    context.child("supervisor").spawn(move |_| async move {
        let ended = Handle::select(parts).await;
        tracing::error!(?ended, "a part of consensus has ended");
    })
}
