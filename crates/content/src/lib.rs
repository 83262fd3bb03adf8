//! Content: blocks named by their hash, files made of blocks, and a peer that exchanges them with others.
//!
//! * [`Store`] keeps blocks on disk, one file each, and never hands out bytes that do not have their hash.
//! * [`unixfs`] turns a file into blocks and back, with the CIDs of `ipfs add` under the profile `unixfs-v1-2025`.
//! * [`car`] reads and writes CAR v1, the archive form of blocks (uploads, the trustless gateway).
//! * [`bitswap`] is the wire format and the rules of bitswap 1.2.0; [`Peer`] speaks it over libp2p, finds providers in
//!   a Kademlia table, and carries opaque messages between nodes.
//!
//! Files are streamed everywhere: memory does not grow with their size. This crate does not know that bytes are
//! encrypted, and nothing of tasks, the ledger or HTTP. It has no logger: what it saw is in return values and in
//! [`PeerStats`].
#![forbid(unsafe_code)]

pub mod bitswap;
mod block;
pub mod car;
mod peer;
mod protobuf;
mod store;
pub mod unixfs;

pub use block::{Block, BlockError};
pub use libp2p::{Multiaddr, PeerId};
pub use peer::{
    FetchError, Inbound, Network, Peer, PeerConfig, PeerError, PeerStats, Progress, REQUEST_BYTES_MAX,
    RESPONSE_BYTES_MAX, RequestError, StaticPeer, names_are_known, node_id, peer_id,
};
pub use store::{Hold, Store, StoreError};
pub use unixfs::{Import, ImportError, Importer, Layout, Leaf, UnixFsError, import, layout};
