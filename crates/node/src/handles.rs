//! What the parts of a node share. Each takes what it needs of it, so its fields say what it works with.

use std::sync::Arc;

use custody::NodeIdentity;

use crate::{chain::Chain, index::Index, metrics::Metrics, peers::Peers, progress::Progress, storage::Content};

/// Handles to what a node has once. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) chain: Chain,
    pub(crate) index: Arc<Index>,
    pub(crate) content: Content,
    pub(crate) peers: Peers,
    pub(crate) identity: Arc<NodeIdentity>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Handles {
    /// Those of a node whose ledger and content peer run. Nothing is counted, indexed or noted yet.
    pub(crate) fn new(chain: Chain, peer: content::Peer, identity: Arc<NodeIdentity>) -> Self {
        Self {
            chain,
            index: Arc::default(),
            content: Content::new(peer.store().clone(), peer.clone()),
            peers: Peers::new(peer),
            identity,
            progress: Arc::default(),
            metrics: Arc::new(Metrics::new()),
        }
    }
}
