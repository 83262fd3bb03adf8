//! Stores and peers for tests: temporary folders, loopback, ports chosen by the system.

use std::{
    io::Read,
    path::Path,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use content::{Inbound, Multiaddr, Peer, PeerConfig, StaticPeer, Store};
use model::Digest;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const BYTES_MAX: u64 = 1 << 40;
/// What a small block takes of a store.
pub(crate) const PAGE: u64 = 4096;
/// A test that waits longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A store in a folder that is removed at the end.
pub(crate) fn store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), BYTES_MAX).unwrap();
    (dir, store)
}

/// Bytes that do not repeat, without holding them: block i is the hash of (seed, i).
pub(crate) struct Noise {
    seed: u8,
    position: u64,
    end: u64,
}

impl Noise {
    pub(crate) fn new(seed: u8, bytes: u64) -> Self {
        Self { seed, position: 0, end: bytes }
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut written = 0;
        while written < buffer.len() && self.position < self.end {
            // one hash for 4 KiB is enough to make every leaf different
            let page = Digest::of_parts(&[&[self.seed], &(self.position / 4096).to_be_bytes()]);
            let offset = (self.position % 4096) as usize;
            let len = (4096 - offset).min(buffer.len() - written).min((self.end - self.position) as usize);
            for (index, byte) in buffer[written..written + len].iter_mut().enumerate() {
                *byte = page.0[(offset + index) % 32] ^ ((offset + index) / 32) as u8;
            }
            written += len;
            self.position += len as u64;
        }
        Ok(written)
    }
}

pub(crate) fn noise(seed: u8, bytes: u64) -> Vec<u8> {
    let mut all = Vec::new();
    Noise::new(seed, bytes).read_to_end(&mut all).unwrap();
    all
}

/// A running peer with its store.
pub(crate) struct Node {
    pub(crate) peer: Peer,
    pub(crate) store: Store,
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) _dir: TempDir,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut PeerConfig)) -> Self {
        let (_dir, store) = store();
        Self::start_in(_dir, store, change).await
    }

    /// With a store of one's own making.
    pub(crate) async fn start_on(open: impl FnOnce(&Path) -> Store) -> Self {
        let _dir = TempDir::new().unwrap();
        let store = open(_dir.path());
        Self::start_in(_dir, store, |_| {}).await
    }

    async fn start_in(_dir: TempDir, store: Store, change: impl FnOnce(&mut PeerConfig)) -> Self {
        static SEED: AtomicU8 = AtomicU8::new(1);
        let mut config = PeerConfig::loopback([SEED.fetch_add(1, Ordering::Relaxed); 32]);
        change(&mut config);
        let (peer, inbound) = Peer::start(config, store.clone()).await.unwrap();
        Self { peer, store, inbound, _dir }
    }

    pub(crate) fn address(&self) -> Multiaddr {
        self.peer.addresses()[0].clone()
    }

    pub(crate) fn as_static(&self) -> StaticPeer {
        StaticPeer { node: self.peer.node_id(), address: self.address() }
    }

    /// Connects to `other` and waits until both sides know.
    pub(crate) async fn meet(&self, other: &Node) {
        self.peer.connect(other.as_static()).await.unwrap();
        let (ours, theirs) = (self.peer.node_id(), other.peer.node_id());
        eventually(|| self.peer.connected().contains(&theirs) && other.peer.connected().contains(&ours)).await;
    }
}

/// Waits, in short steps, until something holds.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "this should have happened by now");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Most memory this process has held so far, in MiB.
pub(crate) fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
