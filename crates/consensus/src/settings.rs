//! How each part of the engine is set up: its numbers, with reasons, and the names under which it stores.

use std::{
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    time::Duration,
};

use commonware_broadcast::buffered;
use commonware_consensus::{
    CertifiableAutomaton, Relay, Reporter,
    marshal::{self, core::Floor, resolver::p2p as marshal_resolver, standard::Standard},
    simplex::{
        self,
        config::{ForwardPolicy, SkipPolicy},
        elector::{Random, RandomVersion},
        types::{Activity, Context},
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible as _, Sha256, certificate::ConstantProvider, ed25519::PublicKey};
use commonware_glue::stateful::{
    Config as StatefulConfig, PruneConfig, SyncPlan,
    db::{SyncEngineConfig, p2p as state_resolver},
    probe,
};
use commonware_p2p::{Blocker, Provider, max_message_size as largest};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock, Metrics, Spawner, Storage,
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
use rand_core::CryptoRng;

use crate::{app::Ledger, block::Block, engine::Parts, gossip, service::Marshal};

type Committee = ConstantProvider<Scheme, Epoch>;
type First = marshal::Start<Scheme, EngineDigest, Digested<Block>>;

/// One committee for ever, until resharing comes.
const EPOCH_BLOCKS: NonZeroU64 = NZU64!(u64::MAX);
/// As large as the pages of most disks.
const PAGE: NonZeroU16 = page_size(4_096);
/// 2 MiB for all files together; the operating system caches as well.
const PAGES: NonZeroUsize = NZUsize!(512);
/// For each file that is written or replayed.
const BUFFER: NonZeroUsize = NZUsize!(64 * 1_024);
/// Views behind the newest final one whose votes and blocks are still at hand; each takes some 20 KB of disk.
const VIEWS_KEPT: ViewDelta = ViewDelta::new(64);
/// What the engine forgets it forgets in files of so many items, so this many more than needed stay.
const ITEMS_PER_FILE: NonZeroU64 = NZU64!(64);
/// The same for operations on the state, of about 100 bytes each.
const OPERATIONS_PER_FILE: NonZeroU64 = NZU64!(4_096);
/// Of zstd. Blocks are kept for ever, and much of a transaction are the same names and keys again.
const BLOCK_COMPRESSION: u8 = 3;
/// Messages that wait for one part of the engine.
const MAILBOX: NonZeroUsize = NZUsize!(256);
/// Operations on the state in one message: some 6 KB.
const SYNC_OPERATIONS: NonZeroU64 = NZU64!(64);
/// All of them: whoever falls behind replays from genesis, as long as nobody starts state sync.
const BLOCKS_KEPT: usize = 1 << 40;
/// How long one peer may take to answer before another is asked. The largest answer is a block of 1 MiB, which takes less on any
/// line that can follow the network.
const ANSWER: Duration = Duration::from_secs(2);
/// How soon everybody is asked again for what nobody had: it may be on its way to them, as to us.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The same for certificates, which come unasked in most cases.
const ASK_AGAIN_CERTIFICATES: Duration = Duration::from_millis(200);

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

/// Pages of all files that are read again.
pub(crate) fn page_cache() -> CacheRef {
    CacheRef::new(PAGE, PAGES)
}

/// All blocks there will ever be are of one epoch.
pub(crate) fn one_epoch() -> FixedEpocher {
    FixedEpocher::new(EPOCH_BLOCKS)
}

impl<P: Provider<PublicKey = PublicKey>, B: Blocker<PublicKey = PublicKey>> Parts<P, B> {
    fn committee(&self) -> Committee {
        ConstantProvider::new(self.scheme.clone())
    }

    /// Blocks that are fetched from peers.
    pub(crate) fn backfill(&self) -> marshal_resolver::Config<PublicKey, P, B> {
        marshal_resolver::Config {
            public_key: self.me.clone(),
            peer_provider: self.peers.clone(),
            blocker: self.blocker.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: NZDuration!(ANSWER),
            fetch_retry_delay: ASK_AGAIN,
            priority_requests: false,
            priority_responses: false,
        }
    }

    /// Blocks that come unasked.
    pub(crate) fn broadcast(&self) -> buffered::Config<PublicKey, (), P, Sequential> {
        buffered::Config {
            public_key: self.me.clone(),
            mailbox_size: MAILBOX,
            deque_size: 16,
            priority: true,
            codec_config: (),
            peer_provider: self.peers.clone(),
            strategy: Sequential,
        }
    }

    /// The search for a point from which state can be synced.
    pub(crate) fn probe<E>(&self, context: E) -> probe::Config<E, Committee, Sequential, PublicKey, B>
    where
        E: Spawner + CryptoRng + Clock + Metrics,
    {
        probe::Config {
            context,
            provider: self.committee(),
            strategy: Sequential,
            mailbox_size: MAILBOX,
            blocker: self.blocker.clone(),
            minimum_epoch: Epoch::zero(),
            retry_timeout: NZDuration!(ASK_AGAIN_CERTIFICATES),
        }
    }

    /// Finalized blocks in order, from `start` on.
    pub(crate) fn marshal(
        &self,
        start: First,
        cache: CacheRef,
    ) -> marshal::Config<Committee, FixedEpocher, Sequential, Block, Digested<Block>, EngineDigest> {
        marshal::Config {
            provider: self.committee(),
            epocher: one_epoch(),
            start,
            partition_prefix: self.partition.clone(),
            mailbox_size: MAILBOX,
            view_retention: VIEWS_KEPT,
            prunable_items_per_section: ITEMS_PER_FILE,
            page_cache: cache,
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: (),
            max_repair: NZUsize!(16),
            max_pending_acks: NZUsize!(16),
            strategy: Sequential,
        }
    }

    /// Parts of the state that are fetched from peers, or served to them.
    pub(crate) fn state_sync<D>(&self) -> state_resolver::Config<PublicKey, P, B, D> {
        state_resolver::Config {
            peer_provider: self.peers.clone(),
            blocker: self.blocker.clone(),
            database: None,
            mailbox_size: MAILBOX,
            me: Some(self.me.clone()),
            fetch_timeout: NZDuration!(ANSWER),
            fetch_retry_delay: ASK_AGAIN,
            max_serve_ops: SYNC_OPERATIONS,
            priority_requests: false,
            priority_responses: false,
        }
    }

    /// The state, and the ledger that changes it.
    pub(crate) fn stateful<E, R>(
        &self,
        plan: SyncPlan<E, Scheme, Standard<Block>>,
        marshal: (Marshal, Floor),
        resolvers: R,
        cache: CacheRef,
    ) -> StatefulConfig<E, Ledger, Standard<Block>, R, Sequential>
    where
        E: Spawner + Storage + Clock + Metrics,
    {
        StatefulConfig {
            application: Ledger { core: self.core.clone(), scheme: self.scheme.clone(), genesis: self.genesis.clone() },
            db_config: self.state(cache),
            provider: (),
            marshal,
            mailbox_size: MAILBOX,
            plan,
            resolvers,
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
        }
    }

    /// Votes and certificates on what `application` proposes and verifies.
    pub(crate) fn simplex<A, F>(
        &self,
        application: A,
        reporter: F,
        cache: CacheRef,
    ) -> simplex::Config<Scheme, Random<Sha256>, B, EngineDigest, A, A, F, Sequential>
    where
        A: CertifiableAutomaton<Context = Context<EngineDigest, PublicKey>> + Relay,
        F: Reporter<Activity = Activity<Scheme, EngineDigest>>,
    {
        simplex::Config {
            scheme: self.scheme.clone(),
            elector: Random::<Sha256>::new(RandomVersion::V1),
            blocker: self.blocker.clone(),
            automaton: application.clone(),
            relay: application,
            reporter,
            strategy: Sequential,
            partition: format!("{}-simplex", self.partition),
            mailbox_size: MAILBOX,
            epoch: Epoch::zero(),
            floor: simplex::config::Floor::Genesis(self.genesis.digest()),
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: cache,
            leader_timeout: self.timing.leader,
            certification_timeout: self.timing.certification,
            timeout_retry: self.timing.retry,
            view_retention: VIEWS_KEPT,
            skip: SkipPolicy::Enabled {
                timeout: self.timing.certification + self.timing.leader,
                budget: simplex::SkipBudget::Participants,
            },
            fetch_timeout: NZDuration!(ANSWER),
            fetch_retry_delay: ASK_AGAIN_CERTIFICATES,
            forward: ForwardPolicy::Disabled,
            track_historical_votes: false,
        }
    }

    /// Finalized blocks, or their certificates, for ever.
    pub(crate) fn archive(&self, name: &str, cache: CacheRef) -> immutable::Config<()> {
        let partition = |part: &str| format!("{}-{name}-{part}", self.partition);
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

    fn state(&self, cache: CacheRef) -> FixedConfig<EightCap, Sequential> {
        let partition = |part: &str| format!("{}-state-{part}", self.partition);
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
}
