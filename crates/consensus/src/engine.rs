//! Wires one validator together: peers' channels below, consensus and state in the middle, the ledger on top. Generic over
//! runtime and network; [`crate::start`] and [`crate::simulation`] are its two non-generic forms.

use std::{
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{
        self,
        core::Actor as MarshalActor,
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{
        self,
        config::{ForwardPolicy, SkipPolicy},
        elector::{Random, RandomVersion},
        types::Activity,
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible as _, Sha256, certificate::ConstantProvider, ed25519::PublicKey};
use commonware_glue::stateful::{
    Config as StatefulConfig, PruneConfig, Stateful, SyncPlan,
    db::{SyncEngineConfig, p2p as state_resolver},
    probe::{self, Probe},
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender, max_message_size as largest};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock, Handle, Metrics, Spawner, Storage,
    buffer::paged::{CacheRef, page_size},
};
use commonware_storage::{
    archive::immutable,
    journal::contiguous::fixed::Config as OperationsConfig,
    mmr::{self, full::Config as TreeConfig},
    qmdb::{any::ordered::fixed::Operation, current::FixedConfig},
    translator::EightCap,
};
use commonware_utils::{NZDuration, NZU64, NZUsize};
use finality::engine::{EngineDigest, Scheme};
use rand_core::{CryptoRng, Rng};
use tokio::sync::{mpsc, watch};

use crate::{
    Retention, Timing,
    app::{Db, Ledger},
    block::Block,
    compact,
    core::Core,
    gossip,
    pace::Paced,
    service::{self, Request},
};

/// The network's channels: votes, certificates, fetching of certificates, backfill of blocks, new blocks, state sync,
/// search for a starting point of state sync, gossip.
pub(crate) const CHANNELS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// One committee for ever, until resharing comes.
const EPOCH_BLOCKS: NonZeroU64 = NZU64!(u64::MAX);
const PAGE: NonZeroU16 = page_size(4_096);
const PAGES: NonZeroUsize = NZUsize!(512);
const BUFFER: NonZeroUsize = NZUsize!(64 * 1_024);
/// Views behind the newest final one whose votes and blocks are still at hand; each takes some 20 KB of disk.
const VIEWS_KEPT: ViewDelta = ViewDelta::new(64);
/// What the engine forgets it forgets in files of so many items, so this many more than needed stay.
const ITEMS_PER_FILE: NonZeroU64 = NZU64!(64);
/// The same for operations on the state, of about 100 bytes each.
const OPERATIONS_PER_FILE: NonZeroU64 = NZU64!(4_096);
/// Of zstd. Blocks are kept for ever, and much of a transaction are the same names and keys again.
const BLOCK_COMPRESSION: u8 = 3;
const MAILBOX: NonZeroUsize = NZUsize!(256);
const SYNC_OPERATIONS: NonZeroU64 = NZU64!(64);
/// All of them: whoever falls behind replays from genesis, as long as nobody starts state sync.
const BLOCKS_KEPT: usize = 1 << 40;

/// Most bytes of any message, for a committee of `members`.
pub(crate) fn message_bytes_max(members: u32) -> u32 {
    largest(&[
        simplex::max_payload_size::<Scheme, EngineDigest>(members),
        marshal::max_payload_size::<Standard<Block>, Scheme>(members, &()),
        probe::max_payload_size::<Standard<Block>, Scheme>(members),
        state_resolver::max_payload_size::<mmr::Family, EngineDigest>(
            SYNC_OPERATIONS,
            <Operation<mmr::Family, EngineDigest, EngineDigest> as commonware_codec::FixedSize>::SIZE,
        ),
        gossip::MESSAGE_BYTES_MAX,
    ])
}

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
    let Parts { me, scheme, peers, blocker, partition, timing, retention, genesis, core, requests } = parts;
    let mut channels = channels.into_iter();
    let mut channel = || channels.next().expect("one pair for each of CHANNELS");
    let (votes, certificates, certificate_fetch, backfill) = (channel(), channel(), channel(), channel());
    let (broadcast, state_sync, probing, gossiping) = (channel(), channel(), channel(), channel());
    let cache = CacheRef::new(PAGE, PAGES);
    let genesis_digest = genesis.digest();
    let provider = ConstantProvider::new(scheme.clone());

    // Blocks: fetched from peers by the resolver, received unasked by the buffer.
    let resolver = marshal_resolver::init(
        context.child("marshal_resolver"),
        marshal_resolver::Config {
            public_key: me.clone(),
            peer_provider: peers.clone(),
            blocker: blocker.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        backfill,
    );
    let (broadcast_engine, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: me.clone(),
            mailbox_size: MAILBOX,
            deque_size: 16,
            priority: true,
            codec_config: (),
            peer_provider: peers.clone(),
            strategy: Sequential,
        },
    );
    let broadcast_handle = broadcast_engine.start(broadcast);
    let archive = |name: &str| archive_config(&partition, name, cache.clone());
    let finalizations = immutable::Archive::init(context.child("finalizations"), archive("finalizations"))
        .await
        .expect("without its archive of certificates a validator cannot run");
    let blocks = immutable::Archive::init(context.child("blocks"), archive("blocks"))
        .await
        .expect("without its archive of blocks a validator cannot run");

    // Where to begin: genesis, or where the last run stopped. The probe answers peers that want to sync.
    let plan = SyncPlan::init(context.child("plan"), partition.clone()).await;
    let (probe_actor, probe_mailbox) = Probe::new(probe::Config {
        context: context.child("probe"),
        provider: provider.clone(),
        strategy: Sequential,
        mailbox_size: MAILBOX,
        blocker: blocker.clone(),
        minimum_epoch: Epoch::zero(),
        retry_timeout: NZDuration!(Duration::from_millis(200)),
    });
    let probe_handle = probe_actor.start(probing);

    // Finalized blocks in order, each delivered until it is acknowledged.
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        context.child("marshal"),
        finalizations,
        blocks,
        marshal::Config {
            provider,
            epocher: FixedEpocher::new(EPOCH_BLOCKS),
            start: plan.marshal_start(Digested::precomputed(genesis.clone(), genesis_digest)),
            partition_prefix: partition.clone(),
            mailbox_size: MAILBOX,
            view_retention: VIEWS_KEPT,
            prunable_items_per_section: ITEMS_PER_FILE,
            page_cache: cache.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: (),
            max_repair: NZUsize!(16),
            max_pending_acks: NZUsize!(16),
            strategy: Sequential,
        },
    )
    .await;

    // State.
    let (sync_actor, sync_resolver) = state_resolver::Actor::<_, PublicKey, _, _, mmr::Family, Db<E>>::new(
        context.child("state_resolver"),
        state_resolver::Config {
            peer_provider: peers.clone(),
            blocker: blocker.clone(),
            database: None,
            mailbox_size: MAILBOX,
            me: Some(me),
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(100),
            max_serve_ops: SYNC_OPERATIONS,
            priority_requests: false,
            priority_responses: false,
        },
    );
    let sync_handle = sync_actor.start(state_sync);
    let (stateful, stateful_mailbox) = Stateful::new(
        context.child("stateful"),
        StatefulConfig {
            application: Ledger { core: core.clone(), scheme: scheme.clone(), genesis },
            db_config: state_config(&partition, cache.clone()),
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: MAILBOX,
            plan,
            resolvers: sync_resolver,
            sync_config: SyncEngineConfig {
                fetch_batch_size: SYNC_OPERATIONS,
                apply_batch_size: NZU64!(256),
                max_outstanding_requests: NZUsize!(8),
            },
            prune_config: Some(PruneConfig {
                maintenance_interval: NZUsize!(64),
                retained_marshal_blocks: BLOCKS_KEPT,
                retained_qmdb_blocks: 64,
            }),
            strategy: Sequential,
        },
    );
    let paced = Paced { inner: stateful_mailbox.clone(), core: core.clone(), heartbeat: timing.heartbeat };
    let deferred = Deferred::new(context.child("deferred"), paced, marshal.clone(), FixedEpocher::new(EPOCH_BLOCKS));
    let marshal_handle = marshal_actor.start(stateful_mailbox.clone(), buffer, resolver);
    probe_mailbox.attach(marshal.clone());
    let stateful_handle = stateful.start();

    // Consensus.
    let engine = simplex::Engine::new(
        context.child("consensus"),
        simplex::Config {
            scheme,
            elector: Random::<Sha256>::new(RandomVersion::V1),
            blocker,
            automaton: deferred.clone(),
            relay: deferred.clone(),
            reporter: Reporters::<_, SeedTap>::from((deferred, Some(SeedTap(core.clone())))),
            strategy: Sequential,
            partition: format!("{partition}-simplex"),
            mailbox_size: MAILBOX,
            epoch: Epoch::zero(),
            floor: simplex::config::Floor::Genesis(genesis_digest),
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: cache,
            leader_timeout: timing.leader,
            certification_timeout: timing.certification,
            timeout_retry: timing.retry,
            view_retention: VIEWS_KEPT,
            skip: SkipPolicy::Enabled {
                timeout: timing.certification + timing.leader,
                budget: simplex::SkipBudget::Participants,
            },
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(200),
            forward: ForwardPolicy::Disabled,
            track_historical_votes: false,
        },
    );
    let engine_handle = engine.start(votes, certificates, certificate_fetch);

    // What stands around it.
    let gossip_core = core.clone();
    let gossip_handle = context.child("gossip").spawn(move |runtime| async move {
        gossip::run(runtime, gossip_core, gossiping.0, gossiping.1).await;
    });
    let certified = Arc::new(watch::Sender::new(None));
    let (follow_core, follow_marshal, follow_certified) = (core.clone(), marshal.clone(), certified.clone());
    let follow_handle = context.child("certificates").spawn(move |_| async move {
        service::follow_certificates(follow_core, follow_marshal, follow_certified).await;
    });
    let service_handle = context.child("service").spawn(move |runtime| async move {
        let databases = stateful_mailbox.subscribe_databases().await;
        if let Some(processed) = marshal.get_processed().await {
            let height = processed.height().get();
            core.applied.send_if_modified(|applied| {
                let newer = height > *applied;
                *applied = height.max(*applied);
                newer
            });
        }
        let compacting = (core.clone(), databases.clone());
        // It reads and writes whole files: on a thread of its own.
        runtime
            .child("compaction")
            .dedicated()
            .spawn(move |clock| compact::run(clock, compacting.0, compacting.1, retention));
        service::serve(runtime, core, databases, certified, requests).await;
    });
    context.child("supervisor").spawn(move |_| async move {
        let ended = Handle::select([
            broadcast_handle,
            probe_handle,
            sync_handle,
            marshal_handle,
            stateful_handle,
            engine_handle,
            gossip_handle,
            follow_handle,
            service_handle,
        ])
        .await;
        tracing::error!(?ended, "a part of consensus has ended");
    })
}

fn archive_config(prefix: &str, name: &str, cache: CacheRef) -> immutable::Config<()> {
    let partition = |part: &str| format!("{prefix}-{name}-{part}");
    immutable::Config {
        metadata_partition: partition("metadata"),
        freezer_table_partition: partition("freezer-table"),
        freezer_table_initial_size: 1 << 10,
        freezer_table_resize_frequency: 4,
        freezer_table_resize_chunk_size: 1 << 10,
        freezer_key_partition: partition("freezer-key"),
        freezer_key_page_cache: cache,
        freezer_value_partition: partition("freezer-value"),
        freezer_value_target_size: 1 << 28,
        freezer_value_compression: Some(BLOCK_COMPRESSION),
        ordinal_partition: partition("ordinal"),
        items_per_section: NZU64!(4_096),
        codec_config: (),
        replay_buffer: BUFFER,
        freezer_key_write_buffer: BUFFER,
        freezer_value_write_buffer: BUFFER,
        ordinal_write_buffer: BUFFER,
    }
}

fn state_config(prefix: &str, cache: CacheRef) -> FixedConfig<EightCap, Sequential> {
    let partition = |part: &str| format!("{prefix}-state-{part}");
    FixedConfig {
        // The tree's two names must not be prefixes of each other, or the storage takes them for one.
        merkle_config: TreeConfig {
            journal_partition: partition("mmr-journal"),
            metadata_partition: partition("mmr-meta"),
            items_per_blob: OPERATIONS_PER_FILE,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
            strategy: Sequential,
            page_cache: cache.clone(),
        },
        journal_config: OperationsConfig {
            partition: partition("operations"),
            items_per_blob: OPERATIONS_PER_FILE,
            page_cache: cache,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        },
        grafted_metadata_partition: partition("grafted"),
        translator: EightCap,
        init_cache: Some(NZUsize!(1_024)),
        init_buffer: NZUsize!(1 << 20),
        init_concurrency: (),
    }
}
