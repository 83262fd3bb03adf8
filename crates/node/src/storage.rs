//! Content: what this node has, what it fetches for others to keep, and its word that it keeps it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use content::{Block, FetchError, Hold, Peer, Store};
use custody::NodeIdentity;
use model::{ContentId, NetworkId, NodeId, Signed, StorageAck};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{chain::Chain, handles::Handles, index::Index, peers::Peers};

/// Most bytes of one file.
const FILE_BYTES_MAX: u64 = 64 << 30;
/// Files fetched for one other node at a time; its further requests wait.
const FETCHING_FOR_ONE_MAX: usize = 8;
/// Files fetched at a time for whoever asks over HTTP.
const FETCHING_FOR_STRANGERS_MAX: usize = 8;
/// How long a stranger waits for a turn.
const STRANGERS_WAIT: Duration = Duration::from_secs(10);

/// The blocks here and the peers who have others.
#[derive(Clone)]
pub(crate) struct Content {
    store: Store,
    peer: Peer,
}

impl Content {
    pub(crate) fn new(store: Store, peer: Peer) -> Self {
        Self { store, peer }
    }

    /// The blocks on this disk.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Fetches everything under `root` that is not here: a file of at most `bytes_max` bytes. It stays here for as long as `hold`
    /// lives. Returns its bytes.
    pub(crate) async fn fetch(&self, root: &ContentId, bytes_max: u64, hold: &Hold) -> Result<u64, FetchError> {
        self.peer.fetch_held(root, bytes_max.min(FILE_BYTES_MAX), hold).await
    }

    /// One block, from here or from a peer.
    pub(crate) async fn block(&self, id: &ContentId) -> Result<Block, FetchError> {
        self.peer.block(id).await
    }

    /// Stops the peer.
    pub(crate) async fn shutdown(&self) {
        self.peer.shutdown().await;
    }

    /// Tells peers who look for `root` that it is here.
    pub(crate) async fn announce(&self, root: &ContentId) {
        if let Err(cause) = self.peer.provide(root).await {
            tracing::debug!(content = %root, error = %cause, "not announced");
        }
    }
}

/// Keeps content for others.
pub(crate) struct Storage {
    content: Content,
    chain: Chain,
    index: Arc<Index>,
    identity: Arc<NodeIdentity>,
    peers: Peers,
    turns: FetchTurns,
}

/// Who may have something fetched now. A root that nobody has holds its turn until the fetch gives up, so the turns of each node
/// are its own, and those of strangers are apart: nobody's can be used up by others.
struct FetchTurns {
    members: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
    strangers: Arc<Semaphore>,
}

impl Default for FetchTurns {
    fn default() -> Self {
        Self { members: Mutex::default(), strangers: Arc::new(Semaphore::new(FETCHING_FOR_STRANGERS_MAX)) }
    }
}

impl FetchTurns {
    /// A turn for a registered node; there are as many nodes as the committee has approved.
    async fn of_member(&self, node: NodeId) -> Result<OwnedSemaphorePermit, NotStored> {
        let turns = {
            let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.entry(node).or_insert_with(|| Arc::new(Semaphore::new(FETCHING_FOR_ONE_MAX))).clone()
        };
        turns.acquire_owned().await.map_err(|_| NotStored::Stopping)
    }

    /// A turn for whoever asks over HTTP, after a bounded wait.
    async fn of_stranger(&self) -> Result<OwnedSemaphorePermit, NotStored> {
        let turn = tokio::time::timeout(STRANGERS_WAIT, self.strangers.clone().acquire_owned()).await;
        turn.map_err(|_| NotStored::Busy)?.map_err(|_| NotStored::Stopping)
    }
}

/// Why something was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotStored {
    /// Nobody has it, or not all of it.
    #[error("the content could not be fetched")]
    Fetch(#[from] FetchError),
    /// Stopping.
    #[error("the node is stopping")]
    Stopping,
    /// A stranger asks.
    #[error("{0} is no node of this network")]
    NoMember(NodeId),
    /// Many strangers ask.
    #[error("this node fetches {FETCHING_FOR_STRANGERS_MAX} files for others already")]
    Busy,
}

impl Storage {
    pub(crate) fn new(handles: Handles) -> Self {
        let Handles { content, chain, index, identity, peers, .. } = handles;
        Self { content, chain, index, identity, peers, turns: FetchTurns::default() }
    }

    /// Fetches every block under `root` for whoever asks, keeps it, and says so.
    pub(crate) async fn acknowledge(&self, root: ContentId) -> Result<Signed<StorageAck>, NotStored> {
        let _turn = self.turns.of_stranger().await?;
        self.keep(root).await
    }

    async fn keep(&self, root: ContentId) -> Result<Signed<StorageAck>, NotStored> {
        let bytes = self.content.peer.fetch_pinned(&root, FILE_BYTES_MAX).await?;
        self.content.announce(&root).await;
        let until_ms = self.index.tip().time_ms.saturating_add(self.chain.genesis().limits.storage_ms);
        let ack = StorageAck { content: root, bytes, until_ms, node: self.identity.node_id() };
        Ok(self.identity.sign(self.chain.network_id(), ack))
    }

    /// The same for another node, which must have been registered: strangers cannot fill this disk.
    pub(crate) async fn acknowledge_for_peer(
        &self,
        peer: NodeId,
        root: ContentId,
    ) -> Result<Signed<StorageAck>, NotStored> {
        if self.index.places().node(&peer).is_none() {
            return Err(NotStored::NoMember(peer));
        }
        let _turn = self.turns.of_member(peer).await?;
        self.keep(root).await
    }

    /// Asks other nodes to keep everything under `roots`, all at once, until `copies` of them have said so for every root.
    /// Goes on with whoever gets a verdict or comes back in the meantime; the caller bounds the wait. The acknowledgements
    /// are ascending by (content, node), as the ledger wants them.
    pub(crate) async fn spread(
        self: &Arc<Self>,
        roots: &[ContentId],
        copies: usize,
    ) -> Result<Vec<Signed<StorageAck>>, NotStored> {
        let mut blocks = self.index.watch();
        let mut asked = tokio::task::JoinSet::new();
        let mut under_way = HashSet::new();
        let mut stored = BTreeMap::new();
        while stored.len() < copies {
            for node in self.fresh_others() {
                if !stored.contains_key(&node) && under_way.insert(node) {
                    let (storage, roots) = (self.clone(), roots.to_vec());
                    asked.spawn(async move { (node, storage.ask_for_all(node, roots).await) });
                }
            }
            tokio::select! {
                Some(Ok((node, Some(acks)))) = asked.join_next() => {
                    stored.insert(node, acks);
                }
                changed = blocks.changed() => {
                    changed.map_err(|_| NotStored::Stopping)?;
                    if asked.is_empty() {
                        // Those who failed are asked again.
                        under_way.clear();
                    }
                }
            }
        }
        // Whoever is still fetching may finish: a further copy does no harm.
        asked.detach_all();
        let mut acks: Vec<_> = stored.into_values().flatten().collect();
        acks.sort_by_key(|ack: &Signed<StorageAck>| (ack.unverified().content, ack.unverified().node));
        Ok(acks)
    }

    /// The other nodes whose verdict holds: the ledger takes nobody else's word.
    fn fresh_others(&self) -> Vec<NodeId> {
        let (own, now_ms) = (self.identity.node_id(), self.index.tip().time_ms);
        let places = self.index.places();
        let fresh = places.nodes().filter(|(_, node)| node.verdict.is_some_and(|verdict| verdict.expires_ms > now_ms));
        fresh.map(|(id, _)| *id).filter(|id| *id != own).collect()
    }

    /// One node's acknowledgements for all of `roots`; `None` if one is missing or not what was asked for.
    async fn ask_for_all(&self, node: NodeId, roots: Vec<ContentId>) -> Option<Vec<Signed<StorageAck>>> {
        let asked = roots.iter().map(|root| self.ask_for_one(node, *root));
        let acks = futures::future::join_all(asked).await;
        acks.into_iter().collect()
    }

    async fn ask_for_one(&self, node: NodeId, root: ContentId) -> Option<Signed<StorageAck>> {
        match self.peers.store(node, root).await {
            Ok(ack) => acknowledges(&ack, self.chain.network_id(), &node, &root).then_some(ack),
            Err(cause) => {
                tracing::info!(%node, content = %root, error = %crate::chain_of(&cause), "no storage acknowledgement");
                None
            }
        }
    }
}

/// Whether that is the word of this node about this content on this network, and of nobody else about nothing else.
fn acknowledges(ack: &Signed<StorageAck>, network: &NetworkId, node: &NodeId, root: &ContentId) -> bool {
    ack.verify(network).is_ok_and(|ack| ack.content == *root && ack.node == *node)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn node(byte: u8) -> NodeIdentity {
        NodeIdentity::from_seed(&[byte; 32])
    }

    #[test]
    fn an_acknowledgement_counts_for_its_node_its_content_and_its_network_alone() {
        let (network, root) = (NetworkId([1; 32]), ContentId::of_raw(b"result"));
        let (kept_by, other) = (node(1), node(2));
        let ack = |of| StorageAck { content: root, bytes: 6, until_ms: 9, node: of };
        let signed = kept_by.sign(&network, ack(kept_by.node_id()));
        let me = kept_by.node_id();
        assert!(acknowledges(&signed, &network, &me, &root));
        assert!(!acknowledges(&signed, &network, &me, &ContentId::of_raw(b"leaves")), "another file");
        assert!(!acknowledges(&signed, &network, &other.node_id(), &root), "another node's copy");
        assert!(!acknowledges(&signed, &NetworkId([2; 32]), &me, &root), "another network");
        let borrowed = other.sign(&network, ack(kept_by.node_id()));
        assert!(!acknowledges(&borrowed, &network, &me, &root), "not the signature of the node it names");
    }

    #[tokio::test]
    async fn strangers_and_single_nodes_do_not_use_up_the_turns_of_others() {
        let turns = FetchTurns::default();
        let [greedy, other] = [1, 2].map(|byte| node(byte).node_id());
        let mut held = Vec::new();
        for _ in 0..FETCHING_FOR_STRANGERS_MAX {
            held.push(turns.of_stranger().await.unwrap());
        }
        assert!(turns.of_stranger().now_or_never().is_none(), "a further stranger waits");
        for _ in 0..FETCHING_FOR_ONE_MAX {
            held.push(turns.of_member(greedy).now_or_never().expect("strangers hold none of these").unwrap());
        }
        assert!(turns.of_member(greedy).now_or_never().is_none(), "one node's further requests wait");
        drop(turns.of_member(other).now_or_never().expect("another node's do not").unwrap());
        held.clear();
        drop(turns.of_stranger().now_or_never().expect("turns come back").unwrap());
    }
}
