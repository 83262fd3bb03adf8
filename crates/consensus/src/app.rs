//! Executes blocks against the state the engine keeps, and says which blocks this validator votes for.

use std::{collections::HashMap, collections::HashSet, sync::Arc};

use commonware_codec::Encode as _;
use commonware_consensus::{
    Heightable as _, marshal::ancestry::Ancestry, simplex::scheme::bls12381_threshold::vrf::Seed as EngineSeed,
};
use commonware_cryptography::{Sha256, bls12381::primitives::variant::MinSig};
use commonware_glue::stateful::{
    Application, Finality, Input, Proposed,
    db::{DatabaseSet, Merkleized as _, Shared, Unmerkleized as _},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Spawner};
use commonware_storage::{
    Context as StorageContext, mmr,
    qmdb::{current::ordered::fixed, sync::Target},
    translator::EightCap,
};
use commonware_utils::{non_empty_range, range::NonEmptyRange};
use finality::{
    Header, StateOps,
    engine::{self, CHUNK_BYTES, EngineDigest, Scheme},
};
use futures::StreamExt as _;
use model::{Bytes48, Canonical as _, Digest, Genesis, NetworkId, NodeId, Round, Seed, log::Frontier};

use crate::{
    BlockInput, Executed, Key, Mode, Reads, Reason, Stop,
    block::{Block, BlockContext, model_digest, transactions_root},
    chain_of,
    core::{Core, Effects, Outcome},
    journal::JournalError,
};

/// The live state: digests of values by key, with proofs of presence and absence.
pub(crate) type Db<E> =
    fixed::Db<mmr::Family, E, EngineDigest, EngineDigest, Sha256, EightCap, CHUNK_BYTES, Sequential>;
/// Shared with readers.
pub(crate) type Databases<E> = Shared<Db<E>>;
pub(crate) type Batch<E> = <Databases<E> as DatabaseSet<E>>::Unmerkleized;
pub(crate) type Executable<E> = <Databases<E> as DatabaseSet<E>>::Merkleized;
type SyncTarget = Target<mmr::Family, EngineDigest>;

/// The engine's own key in the state: the frontier of the record log.
fn log_key() -> Digest {
    Digest::of(b"samovar/consensus/log")
}

/// Most bytes of an encoded frontier: 64 digests and their framing.
const FRONTIER_BYTES_MAX: usize = 4_096;

/// The block that everything starts from. It is not certified; its digest depends on the network id.
pub(crate) fn genesis_block<E: Spawner + StorageContext + Send + Sync + 'static>(
    genesis: &Genesis,
    network: &NetworkId,
) -> Option<Block> {
    let target: SyncTarget = <Databases<E> as DatabaseSet<E>>::initial_sync_targets();
    let header = Header {
        round: Round { epoch: 0, view: 0 },
        leader: genesis.validators.first()?.node,
        parent_view: 0,
        parent: Digest(network.0),
        height: 0,
        time_ms: genesis.created_ms,
        state_root: model_digest(&target.root),
        state_ops: state_ops(&target),
        transactions: transactions_root(&[]),
        log_size: 0,
        log_root: model::log::empty_root(),
        parent_seed: None,
        payload: None,
    };
    Block::new(header, Vec::new())
}

fn state_ops(target: &SyncTarget) -> StateOps {
    StateOps { root: model_digest(&target.root), start: *target.range.start(), end: *target.range.end() }
}

/// One validator's view of the ledger, as the engine calls it.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) core: Arc<Core>,
    pub(crate) scheme: Scheme,
    pub(crate) genesis: Block,
}

/// Why a block was not executed.
#[derive(Debug, thiserror::Error)]
enum ExecuteError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the machine refuses it")]
    Refused(#[source] Reason),
    #[error("the machine asks for the same keys again and again")]
    Stuck,
    #[error("this node's state is damaged")]
    Damaged(#[source] Reason),
    #[error("this node's state contradicts its own log")]
    Corrupt,
    #[error("this node cannot read its state: {0}")]
    State(String),
    #[error("this node cannot read its ledger")]
    Journal(#[from] JournalError),
}

impl ExecuteError {
    /// Whether this node is at fault, and not who proposed the block.
    fn is_ours(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Refused(_) | Self::Stuck => false,
            Self::Damaged(_) | Self::Corrupt | Self::State(_) | Self::Journal(_) => true,
        }
    }
}

/// Values the machine may read.
#[derive(Default)]
struct View(HashMap<Key, Option<Vec<u8>>>);

impl Reads for View {
    fn read(&self, key: &Key) -> Option<Option<Vec<u8>>> {
        self.0.get(key).cloned()
    }
}

/// A block's execution before the state's root is known.
struct Done {
    executed: Executed,
    frontier: Frontier,
}

impl Ledger {
    /// Runs the machine on the state of `batch`, fetching what it asks for.
    async fn execute<E: Spawner + StorageContext>(
        &self,
        input: &BlockInput<'_>,
        batch: &Batch<E>,
        mode: Mode,
    ) -> Result<Done, ExecuteError> {
        let mut view = View::default();
        self.fetch::<E>(self.core.machine.reads(input.transactions), batch, &mut view).await?;
        let executed = loop {
            match self.core.machine.execute(input, &view, mode) {
                Ok(executed) => break executed,
                Err(Stop::Invalid(why)) => return Err(ExecuteError::Refused(why)),
                Err(Stop::Damaged(why)) => return Err(ExecuteError::Damaged(why)),
                Err(Stop::Missing(keys)) => {
                    let before = view.0.len();
                    self.fetch::<E>(keys, batch, &mut view).await?;
                    if view.0.len() == before {
                        return Err(ExecuteError::Stuck);
                    }
                }
            }
        };
        let mut frontier = self.frontier::<E>(batch).await?;
        executed.records.iter().for_each(|record| frontier.append(&Digest::of(record)));
        Ok(Done { executed, frontier })
    }

    /// Reads keys into the view: their digests from the batch, the bodies from disk, branch or peers.
    async fn fetch<E: Spawner + StorageContext>(
        &self,
        mut keys: Vec<Key>,
        batch: &Batch<E>,
        view: &mut View,
    ) -> Result<(), ExecuteError> {
        keys.retain(|key| !view.0.contains_key(key));
        keys.sort_unstable();
        keys.dedup();
        let engine_keys: Vec<_> = keys.iter().map(|key| EngineDigest::from(*key)).collect();
        let references: Vec<_> = engine_keys.iter().collect();
        let digests = batch.get_many(&references).await.map_err(|cause| ExecuteError::State(format!("{cause:?}")))?;
        for (key, digest) in keys.into_iter().zip(digests) {
            let value = match digest {
                None => None,
                Some(digest) => Some(self.core.body(&model_digest(&digest)).await?),
            };
            view.0.insert(key, value);
        }
        Ok(())
    }

    /// The record log as the state before the block has it.
    async fn frontier<E: Spawner + StorageContext>(&self, batch: &Batch<E>) -> Result<Frontier, ExecuteError> {
        let digest =
            batch.get(&engine::digest(&log_key())).await.map_err(|cause| ExecuteError::State(format!("{cause:?}")))?;
        let Some(digest) = digest else { return Ok(Frontier::default()) };
        let body = self.core.body(&model_digest(&digest)).await?;
        let frontier = Frontier::from_bytes(&body, FRONTIER_BYTES_MAX).map_err(|_| ExecuteError::Corrupt)?;
        frontier.is_well_formed().then_some(frontier).ok_or(ExecuteError::Corrupt)
    }

    /// Writes the changes into the batch, always in the order of keys, and computes the state's root.
    async fn merkleize<E: Spawner + StorageContext>(
        &self,
        done: Done,
        mut batch: Batch<E>,
    ) -> Result<(Executable<E>, Effects), ExecuteError> {
        let Done { executed, frontier } = done;
        let state = |cause| ExecuteError::State(format!("{cause:?}"));
        let mut changes: std::collections::BTreeMap<Key, Option<Vec<u8>>> = executed.writes.into_iter().collect();
        if !executed.records.is_empty() {
            changes.insert(log_key().0, Some(frontier.to_bytes()));
        }
        let mut bodies = Vec::new();
        for (key, value) in changes {
            let key = EngineDigest::from(key);
            let present = value.is_some() || batch.get(&key).await.map_err(state)?.is_some();
            if present {
                batch = batch.write(key, value.as_ref().map(|body| engine::digest(&Digest::of(body))));
            }
            bodies.extend(value);
        }
        let merkleized = batch.merkleize().await.map_err(state)?;
        Ok((merkleized, Effects { bodies, records: executed.records, due: executed.due }))
    }

    fn target<E: Spawner + StorageContext>(merkleized: &Executable<E>) -> SyncTarget {
        let range: NonEmptyRange<_> = non_empty_range!(merkleized.sync_boundary(), merkleized.bounds().tip.size);
        Target::new(merkleized.ops_root(), range)
    }

    /// The seed of the round in which the parent was proposed.
    fn parent_seed(&self, context: &BlockContext) -> Option<Option<Bytes48>> {
        if context.parent.0.is_zero() {
            return Some(None);
        }
        let round = commonware_consensus::types::Round::new(context.round.epoch(), context.parent.0);
        let signature = self.core.seeds.get(round)?;
        Bytes48::from_slice(&signature.encode()).map(Some)
    }

    /// What a vote depends on, besides the result of execution.
    fn check_candidate(&self, block: &Block, parent: &Block) -> Result<(), ExecuteError> {
        let invalid = |why| Err(ExecuteError::Invalid(why));
        let header = &block.header;
        if header.height != parent.header.height + 1 {
            return invalid("the height does not follow the parent's");
        }
        if header.time_ms <= parent.header.time_ms {
            return invalid("ledger time must grow");
        }
        if header.payload.is_some() {
            return invalid("no payload is accepted in this epoch");
        }
        if let Some(seed) = header.seed() {
            let signature = engine::signature(&seed.signature);
            let signature = signature.map_err(|_| ExecuteError::Invalid("the seed is no signature"))?;
            if !EngineSeed::<MinSig>::new(engine::round(&seed.round), signature).verify(&self.scheme) {
                return invalid("the seed is not the beacon of the parent's round");
            }
        }
        let mut seen = HashSet::new();
        for transaction in &block.transactions {
            let id = Digest::of(transaction);
            if !seen.insert(id) {
                return invalid("a transaction occurs twice");
            }
            self.core.pool.check(id, transaction).map_err(ExecuteError::Refused)?;
        }
        Ok(())
    }

    /// Executes a block that somebody proposed and compares everything its header claims.
    async fn replay<E: Spawner + StorageContext>(
        &self,
        block: &Block,
        batch: Batch<E>,
    ) -> Result<(Executable<E>, Outcome), ExecuteError> {
        let header = &block.header;
        let input = BlockInput {
            height: header.height,
            time_ms: header.time_ms,
            seed: header.seed(),
            transactions: &block.transactions,
        };
        let done = self.execute::<E>(&input, &batch, Mode::Verify).await?;
        let invalid = |why| Err(ExecuteError::Invalid(why));
        if !done.executed.included.iter().copied().eq(0..block.transactions.len()) {
            return invalid("a transaction cannot be executed");
        }
        if (done.frontier.size(), done.frontier.root()) != (header.log_size, header.log_root) {
            return invalid("the header claims another log");
        }
        let (merkleized, effects) = self.merkleize::<E>(done, batch).await?;
        // The engine compares only the operations, never the root that state proofs are made against.
        if model_digest(&merkleized.root()) != header.state_root
            || state_ops(&Self::target::<E>(&merkleized)) != header.state_ops
        {
            return invalid("the header claims another state");
        }
        let outcome =
            Outcome { height: header.height, parent: header.parent, transactions: block.transaction_ids(), effects };
        Ok((merkleized, outcome))
    }

    /// Builds a block out of what waits in the mempool.
    async fn build<E: Spawner + StorageContext>(
        &self,
        context: BlockContext,
        parent: &Block,
        batch: Batch<E>,
        now_ms: u64,
    ) -> Result<Option<(Block, Executable<E>)>, ExecuteError> {
        let Some(parent_seed) = self.parent_seed(&context) else { return Ok(None) };
        let in_flight = self.core.outcomes.in_flight(&parent.model_digest());
        let (ids, offered): (Vec<_>, Vec<_>) = self.core.pool.offer(&in_flight).into_iter().unzip();
        let round = Round { epoch: context.round.epoch().get(), view: context.round.view().get() };
        let parent_view = context.parent.0.get();
        let input = BlockInput {
            height: parent.header.height + 1,
            time_ms: now_ms.max(parent.header.time_ms + 1),
            seed: parent_seed.map(|signature| Seed { round: Round { view: parent_view, ..round }, signature }),
            transactions: &offered,
        };
        let mut done = self.execute::<E>(&input, &batch, Mode::Propose).await?;
        let included: HashSet<usize> = done.executed.included.iter().copied().collect();
        let (kept, refused): (Vec<_>, Vec<_>) = (0..offered.len()).partition(|at| included.contains(at));
        let transactions: Vec<_> = kept.into_iter().map(|at| offered[at].clone()).collect();
        if !refused.is_empty() {
            self.core.pool.refused(&refused.into_iter().map(|at| ids[at]).collect::<Vec<_>>());
            // Voters execute the block without the refused ones. Whatever trace those left must not be in it.
            let input = BlockInput { transactions: &transactions, ..input };
            done = self.execute::<E>(&input, &batch, Mode::Verify).await?;
        }
        let (height, time_ms) = (input.height, input.time_ms);
        let (log_size, log_root) = (done.frontier.size(), done.frontier.root());
        let (merkleized, effects) = self.merkleize::<E>(done, batch).await?;
        let header = Header {
            round,
            leader: NodeId::from_slice(&context.leader).ok_or(ExecuteError::Corrupt)?,
            parent_view,
            parent: parent.model_digest(),
            height,
            time_ms,
            state_root: model_digest(&merkleized.root()),
            state_ops: state_ops(&Self::target::<E>(&merkleized)),
            transactions: transactions_root(&transactions),
            log_size,
            log_root,
            parent_seed,
            payload: None,
        };
        let block = Block::new(header, transactions).ok_or(ExecuteError::Corrupt)?;
        let outcome = Outcome { height, parent: parent.model_digest(), transactions: block.transaction_ids(), effects };
        self.core.outcomes.insert(block.model_digest(), outcome);
        Ok(Some((block, merkleized)))
    }
}

impl<E: Spawner + StorageContext + Clock> Application<E> for Ledger {
    type SigningScheme = Scheme;
    type Context = BlockContext;
    type Block = Block;
    type Databases = Databases<E>;
    type Captured = ();
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> SyncTarget {
        let ops = &block.header.state_ops;
        let range = non_empty_range!(
            commonware_storage::mmr::Location::new(ops.start),
            commonware_storage::mmr::Location::new(ops.end)
        );
        Target::new(engine::digest(&ops.root), range)
    }

    async fn genesis(&mut self) -> Block {
        self.genesis.clone()
    }

    async fn propose(
        &mut self,
        (runtime, context): (E, BlockContext),
        ancestry: impl Ancestry<Block>,
        batches: Batch<E>,
        _: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let mut ancestry = Box::pin(ancestry);
        let parent = ancestry.next().await?;
        match self.build::<E>(context, parent.inner(), batches, now_ms(&runtime)).await {
            Ok(built) => built.map(|(block, merkleized)| Proposed { block, merkleized }),
            Err(cause) if cause.is_ours() => self.core.halt(&cause),
            Err(cause) => {
                tracing::error!(cause = %chain_of(&cause), "cannot build a block");
                None
            }
        }
    }

    async fn process(
        &mut self,
        _: (E, BlockContext),
        ancestry: impl Ancestry<Block>,
        batches: Batch<E>,
        finality: Finality,
    ) -> Option<Executable<E>> {
        let mut ancestry = Box::pin(ancestry);
        let block = ancestry.next().await?;
        let block = block.inner();
        if finality == Finality::Candidate {
            let parent = ancestry.next().await?;
            if let Err(cause) = self.check_candidate(block, parent.inner()) {
                tracing::warn!(height = block.height().get(), cause = %chain_of(&cause), "refused a block");
                return None;
            }
        }
        match self.replay::<E>(block, batches).await {
            Ok((merkleized, outcome)) => {
                self.core.outcomes.insert(block.model_digest(), outcome);
                Some(merkleized)
            }
            // A good block must not be called bad because this node's disk is.
            Err(cause) if cause.is_ours() => self.core.halt(&cause),
            Err(cause) => {
                tracing::warn!(height = block.height().get(), cause = %chain_of(&cause), "refused a block");
                None
            }
        }
    }

    async fn capture(
        &mut self,
        _: (E, BlockContext),
        block: &Block,
        _: &Executable<E>,
        _: <Databases<E> as DatabaseSet<E>>::Readers,
    ) {
        // Bodies must be durable before the state that names them. There is no way to go on without a disk.
        tracing::trace!(height = block.header.height, "writes a final block");
        if let Err(cause) = self.core.commit(block) {
            self.core.halt(&cause);
        }
        tracing::trace!(height = block.header.height, "has written a final block");
    }

    async fn finalized(
        &mut self,
        _: (E, BlockContext),
        block: &Block,
        (): (),
        _: <Databases<E> as DatabaseSet<E>>::Readers,
    ) {
        self.core.finalized(block);
        tracing::trace!(height = block.header.height, "has the state of a final block");
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms(clock: &impl Clock) -> u64 {
    let since = clock.current().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use finality::testing::Committee;

    use super::*;
    use crate::{TransactionMeta, journal::Journal};

    /// A machine whose transactions are right unless they say `forged`.
    struct Trusting;

    impl crate::Machine for Trusting {
        fn check(&self, transaction: &[u8]) -> Result<TransactionMeta, Reason> {
            let meta = TransactionMeta { account: [0; 32], nonce: 0 };
            if transaction == b"forged" { Err("forged".into()) } else { Ok(meta) }
        }

        fn reads(&self, _: &[Vec<u8>]) -> Vec<Key> {
            Vec::new()
        }

        fn execute(&self, _: &BlockInput<'_>, _: &dyn Reads, _: Mode) -> Result<Executed, Stop> {
            Ok(Executed::default())
        }
    }

    /// A committee, a voter, and two honest blocks in a row.
    struct Scene {
        ledger: Ledger,
        parent: Block,
        child: Header,
        _folder: tempfile::TempDir,
    }

    fn scene() -> Scene {
        let committee = Committee::deal(1);
        let id = NetworkId([7; 32]);
        let mut chain = committee.chain(id);
        chain.block(1_000, Vec::new());
        chain.block(2_000, Vec::new());
        let header = |height| {
            let header = Header::from_bytes(&chain.head_at(height).header.0).unwrap();
            Header { transactions: transactions_root(&[]), ..header }
        };
        let parent = Block::new(header(1), Vec::new()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal"), u32::MAX).unwrap();
        let core = Core::new(Arc::new(Trusting), journal, &parent).unwrap();
        let identity = engine::identity(&committee.key()).unwrap();
        let scheme = Scheme::certificate_verifier(&engine::namespace(&id), identity);
        let ledger = Ledger { core: Arc::new(core), scheme, genesis: parent.clone() };
        Scene { ledger, child: header(2), parent, _folder: folder }
    }

    impl Scene {
        fn vote(&self, header: Header, transactions: &[&[u8]]) -> Result<(), String> {
            let transactions: Vec<_> = transactions.iter().map(|transaction| transaction.to_vec()).collect();
            let header = Header { transactions: transactions_root(&transactions), ..header };
            let block = Block::new(header, transactions).unwrap();
            self.ledger.check_candidate(&block, &self.parent).map_err(|cause| chain_of(&cause))
        }
    }

    #[test]
    fn a_lying_proposer_gets_no_vote() {
        let scene = scene();
        let child = || scene.child.clone();
        assert_eq!(scene.vote(child(), &[b"one", b"two"]), Ok(()));
        let refused = |header, transactions: &[&[u8]]| assert!(scene.vote(header, transactions).is_err());
        refused(Header { height: 3, ..child() }, &[]);
        refused(Header { height: 1, ..child() }, &[]);
        refused(Header { time_ms: scene.parent.header.time_ms, ..child() }, &[]);
        refused(Header { payload: Some(Digest::of(b"payload")), ..child() }, &[]);
        // A beacon the proposer would have liked better: of another round, or made up.
        let other = Committee::deal(1).seed(NetworkId([7; 32]), Round { epoch: 0, view: 5 });
        refused(Header { parent_seed: Some(other.signature), ..child() }, &[]);
        refused(Header { parent_seed: Some(Bytes48([1; 48])), ..child() }, &[]);
        refused(child(), &[b"one", b"two", b"one"]);
        refused(child(), &[b"one", b"forged"]);
    }
}
