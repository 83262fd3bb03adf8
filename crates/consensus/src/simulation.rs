//! The same validator on the engine's deterministic runtime and simulated network: virtual time, lossy links, one seed for
//! everything. For tests; the journal alone is a real file, which adds no chance.

use std::{path::Path, sync::Arc};

use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated;
use commonware_runtime::{Supervisor as _, deterministic::Context};
use finality::engine::Scheme;
use model::{Genesis, NodeId};
use tokio::sync::{mpsc, watch};

use crate::{
    Consensus, Machine, Retention, StartError, Timing, app::genesis_block, core::Core, deal::signer, engine,
    journal::Journal, service::REQUESTS_MAX, settings,
};

/// Numbers of the channels a validator needs, in the order in which [`start`] wants them; votes come first.
pub const CHANNELS: [u64; 8] = engine::CHANNELS;

/// One end of one channel.
pub type Channel = (simulated::Sender<PublicKey, Context>, simulated::Receiver<PublicKey>);

/// A validator's place in the simulated network.
pub struct Place {
    /// Who else there is.
    pub peers: simulated::Manager<PublicKey, Context>,
    /// Cuts off peers that misbehave.
    pub control: simulated::Control<PublicKey, Context>,
    /// One for each of [`CHANNELS`].
    pub channels: Vec<Channel>,
}

/// Most bytes of any message among `members` validators.
pub fn message_bytes_max(members: u32) -> u32 {
    settings::message_bytes_max(members)
}

/// The engine's form of a node's key.
pub fn public_key(node: &NodeId) -> Option<PublicKey> {
    crate::block::public_key(node)
}

/// What the holder of a share signs votes with, honest or not.
///
/// # Errors
/// [`StartError::Keys`].
pub fn signing_scheme(genesis: &Genesis, share: &[u8]) -> Result<Scheme, StartError> {
    signer(genesis, share).map(|(_, scheme)| scheme).map_err(StartError::Keys)
}

/// Starts a validator in the simulation. It ends with the simulation; the handle's `shutdown` does nothing here.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    context: Context,
    genesis: &Genesis,
    (node, share): (&NodeId, &[u8]),
    folder: &Path,
    (timing, retention): (Timing, Retention),
    place: Place,
    machine: Arc<dyn Machine>,
) -> Result<Consensus, StartError> {
    let scheme = signing_scheme(genesis, share)?;
    let me = public_key(node).ok_or(StartError::NotValidator(*node))?;
    let journal =
        Journal::open(&folder.join(format!("{node}.journal")), retention.part_bytes).map_err(StartError::Journal)?;
    let block = genesis_block::<Context>(genesis, &genesis.network_id()).ok_or(StartError::Genesis)?;
    let core = Arc::new(Core::new(machine, journal, &block).map_err(StartError::Journal)?);
    let (requests, received) = mpsc::channel(REQUESTS_MAX);
    let parts = engine::Parts {
        me,
        scheme,
        peers: place.peers,
        blocker: place.control,
        partition: node.to_string().replace(':', "-"),
        timing,
        retention,
        genesis: block,
        core: core.clone(),
        requests: received,
    };
    engine::start(context.child("engine"), parts, place.channels).await;
    let (_, ended) = watch::channel(false);
    Ok(Consensus { core, requests, stop: Arc::new(watch::Sender::new(false)), ended })
}
