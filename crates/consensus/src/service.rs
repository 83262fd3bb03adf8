//! Answers that need the engine: finalized state, certificates.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use commonware_codec::Encode as _;
use commonware_consensus::{
    marshal::{core::Mailbox as MarshalMailbox, standard::Standard},
    types::Height,
};
use commonware_macros::select;
use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context as StorageContext;
use finality::{
    Header,
    engine::{self, Scheme},
};
use model::{
    Blob, Digest,
    api::{CertifiedHead, ProvenState},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Key, QueryError, StateSize,
    app::{Databases, Db},
    block::{Block, model_digest},
    compact,
    core::Core,
};

/// How long a question may wait for a certificate.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many of the newest blocks are searched for a certificate at start.
const SEARCHED: u64 = 1_024;
/// Most questions under way at a time.
pub(crate) const REQUESTS_MAX: usize = 256;

pub(crate) type Marshal = MarshalMailbox<Scheme, Standard<Block>>;
type Certified = Option<(CertifiedHead, Header)>;

/// A question from a handle.
pub(crate) enum Request {
    Read { keys: Vec<Key>, reply: oneshot::Sender<Result<Vec<Option<Vec<u8>>>, QueryError>> },
    ProveState { key: Key, reply: oneshot::Sender<Result<ProvenState, QueryError>> },
    Certified { log_size: u64, reply: oneshot::Sender<Result<(CertifiedHead, Header), QueryError>> },
    StateSize { reply: oneshot::Sender<Result<StateSize, QueryError>> },
}

/// Keeps the newest certified head at hand, for ever.
pub(crate) async fn follow_certificates(core: Arc<Core>, marshal: Marshal, certified: Arc<watch::Sender<Certified>>) {
    let mut tip = core.tip.subscribe();
    let newest = tip.borrow_and_update().height;
    for height in (newest.saturating_sub(SEARCHED).max(1)..=newest).rev() {
        if note_certificate(&core, &marshal, &certified, height).await {
            break;
        }
    }
    while tip.changed().await.is_ok() {
        let height = tip.borrow_and_update().height;
        note_certificate(&core, &marshal, &certified, height).await;
    }
}

async fn note_certificate(core: &Core, marshal: &Marshal, certified: &watch::Sender<Certified>, height: u64) -> bool {
    let Some(certificate) = marshal.get_finalization(Height::new(height)).await else { return false };
    // After a restart the next proposer needs the seed of the last block's round.
    core.seeds.observe_finalization(&certificate);
    let Ok(Some(header)) = core.journal.header(height) else { return false };
    if certificate.proposal.payload != engine::digest(&header.digest()) {
        return false;
    }
    let head = CertifiedHead { certificate: Blob(certificate.encode().to_vec()), header: Blob(header.to_bytes()) };
    certified.send_replace(Some((head, header)));
    true
}

/// Answers questions until all handles are gone.
pub(crate) async fn serve<E>(
    runtime: E,
    core: Arc<Core>,
    databases: Databases<E>,
    certified: Arc<watch::Sender<Certified>>,
    mut requests: mpsc::Receiver<Request>,
) where
    E: Spawner + StorageContext + Clock,
{
    let sizes = Arc::new(Sizes::default());
    while let Some(request) = requests.recv().await {
        let sizes = sizes.clone();
        let (core, databases, certified) = (core.clone(), databases.clone(), certified.subscribe());
        runtime.child("request").spawn(move |runtime| async move {
            match request {
                Request::Read { keys, reply } => {
                    let _ = reply.send(read(&core, &databases, &keys).await);
                }
                Request::ProveState { key, reply } => {
                    let proving = prove_state(&core, &databases, certified, key);
                    let _ = reply.send(within(&runtime, proving).await);
                }
                Request::Certified { log_size, reply } => {
                    let _ = reply.send(within(&runtime, covering(certified, log_size)).await);
                }
                Request::StateSize { reply } => {
                    let _ = reply.send(sizes.get(&runtime, &core, &databases).await);
                }
            }
        });
    }
}

/// The size of the state when somebody asked last.
#[derive(Default)]
struct Sizes(tokio::sync::Mutex<Option<(SystemTime, StateSize)>>);

/// All of the state is walked to measure it. This part of the time, and no more, goes into that however often somebody asks.
const MEASURING: u32 = 50;

impl Sizes {
    async fn get<E: Spawner + StorageContext + Clock>(
        &self,
        clock: &E,
        core: &Core,
        databases: &Databases<E>,
    ) -> Result<StateSize, QueryError> {
        caught_up(core).await?;
        let mut known = self.0.lock().await;
        if let Some((until, size)) = *known
            && clock.current() < until
        {
            return Ok(size);
        }
        let begun = clock.current();
        let live = compact::walk(core, databases).await.ok_or(QueryError::Stopped)?;
        let size = StateSize { values: live.values, bytes: live.bytes };
        let took = clock.current().duration_since(begun).unwrap_or_default();
        *known = Some((clock.current() + took * MEASURING, size));
        Ok(size)
    }
}

async fn within<T>(
    clock: &impl Clock,
    answer: impl Future<Output = Result<T, QueryError>> + Send,
) -> Result<T, QueryError> {
    select! {
        answer = answer => answer,
        _ = clock.sleep(PATIENCE) => Err(QueryError::NotCertified),
    }
}

/// The newest certified head, once its log is long enough.
async fn covering(
    mut certified: watch::Receiver<Certified>,
    log_size: u64,
) -> Result<(CertifiedHead, Header), QueryError> {
    let enough = |certified: &Certified| certified.as_ref().is_some_and(|(_, header)| header.log_size >= log_size);
    let found = certified.wait_for(enough).await.map_err(|_| QueryError::Stopped)?;
    found.clone().ok_or(QueryError::NotCertified)
}

async fn read<E: Spawner + StorageContext>(
    core: &Core,
    databases: &Databases<E>,
    keys: &[Key],
) -> Result<Vec<Option<Vec<u8>>>, QueryError> {
    caught_up(core).await?;
    let mut digests = Vec::with_capacity(keys.len());
    {
        let state = databases.read().await;
        for key in keys {
            digests.push(value_digest(&state, key).await?);
        }
    }
    let body = |digest: Option<Digest>| digest.map(|digest| stored_body(core, &digest)).transpose();
    digests.into_iter().map(body).collect()
}

async fn value_digest<E: Spawner + StorageContext>(state: &Db<E>, key: &Key) -> Result<Option<Digest>, QueryError> {
    let value = state.get(&(*key).into()).await.map_err(|cause| {
        tracing::error!(?cause, "the state cannot be read");
        QueryError::Stopped
    })?;
    Ok(value.map(|value| model_digest(&value)))
}

fn stored_body(core: &Core, digest: &Digest) -> Result<Vec<u8>, QueryError> {
    core.local_body(digest).map_err(QueryError::Storage)?.ok_or_else(|| {
        tracing::error!(%digest, "the state names a body that is not in the journal");
        QueryError::Stopped
    })
}

/// After a start, waits until the state is where the journal is.
async fn caught_up(core: &Core) -> Result<(), QueryError> {
    let height = core.tip.borrow().height;
    let mut applied = core.applied.subscribe();
    applied.wait_for(|applied| *applied >= height).await.map_err(|_| QueryError::Stopped)?;
    Ok(())
}

/// Proves a value at the newest height, once that height turns out to have a certificate; if it has none, at the next.
async fn prove_state<E: Spawner + StorageContext>(
    core: &Core,
    databases: &Databases<E>,
    mut certified: watch::Receiver<Certified>,
    key: Key,
) -> Result<ProvenState, QueryError> {
    caught_up(core).await?;
    let mut candidates: BTreeMap<Digest, (Option<Blob>, Blob)> = BTreeMap::new();
    loop {
        let (root, value, proof) = {
            let state = databases.read().await;
            let value = value_digest(&state, &key).await?;
            (model_digest(&state.root()), value, proof_bytes(&state, &key, value.is_some()).await?)
        };
        let value = value.map(|digest| stored_body(core, &digest)).transpose()?.map(Blob);
        candidates.insert(root, (value, proof));
        if let Some((head, header)) = certified.borrow_and_update().clone()
            && let Some((value, proof)) = candidates.remove(&header.state_root)
        {
            return Ok(ProvenState { head, key: Digest(key), value, proof });
        }
        // The certificate of this height is noticed a moment after its state, or never; then the next one comes.
        certified.changed().await.map_err(|_| QueryError::Stopped)?;
        if let Some((head, header)) = certified.borrow_and_update().clone()
            && let Some((value, proof)) = candidates.remove(&header.state_root)
        {
            return Ok(ProvenState { head, key: Digest(key), value, proof });
        }
    }
}

async fn proof_bytes<E: Spawner + StorageContext>(state: &Db<E>, key: &Key, present: bool) -> Result<Blob, QueryError> {
    let failed = |cause: &dyn std::fmt::Debug| {
        tracing::error!(?cause, "the state cannot be proven");
        QueryError::Stopped
    };
    let key = (*key).into();
    let bytes = if present {
        state.key_value_proof(key).await.map_err(|cause| failed(&cause))?.encode()
    } else {
        state.exclusion_proof(&key).await.map_err(|cause| failed(&cause))?.encode()
    };
    Ok(Blob(bytes.to_vec()))
}
