//! Against a peer of which nobody here wrote the protocol: `interop/boxo-peer`, made of what Kubo is made of.
//!
//! Needs Go; where it is not installed these tests say so and pass.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use content::Multiaddr;
use tempfile::TempDir;

use crate::{
    go,
    world::{BYTES_MAX, Node, Noise, eventually, noise},
};

const BYTES: u64 = (24 << 20) + 4321;

/// `None` if there is no Go here.
fn boxo_peer() -> Option<&'static Path> {
    static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| go::build("boxo-peer"));
    BUILT.as_deref()
}

/// Runs boxo-peer to its end; returns the value of each line that begins with `word`.
fn run(binary: &Path, args: &[&str], word: &str) -> String {
    let out = Command::new(binary).args(args).output().unwrap();
    assert!(out.status.success(), "boxo-peer {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    value(&String::from_utf8(out.stdout).unwrap(), word)
}

fn value(text: &str, word: &str) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {word} in {text}")).to_owned()
}

/// A boxo-peer that serves a file, and ends when this is dropped.
struct Serving {
    child: Child,
    address: Multiaddr,
    cid: String,
}

impl Serving {
    fn start(binary: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(binary).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let text = lines.take(2).map(Result::unwrap).collect::<Vec<_>>().join("\n");
        Self { child, address: value(&text, "ADDR").parse().unwrap(), cid: value(&text, "CID") }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file(dir: &TempDir, seed: u8, bytes: u64) -> String {
    let path = dir.path().join("file");
    std::io::copy(&mut Noise::new(seed, bytes), &mut std::fs::File::create(&path).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_cids_are_equal() {
    let Some(boxo) = boxo_peer() else { return };
    let (dir, (_store_dir, store)) = (TempDir::new().unwrap(), crate::world::store());
    for bytes in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 7 << 20, BYTES] {
        let theirs = run(boxo, &["cid", &file(&dir, 50, bytes)], "CID");
        let ours = content::import(&store, &mut Noise::new(50, bytes)).unwrap().root.to_string();
        assert_eq!(ours, theirs, "of {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_fetch_from_boxo() {
    let Some(boxo) = boxo_peer() else { return };
    let dir = TempDir::new().unwrap();
    let serving = Serving::start(boxo, &["serve", &file(&dir, 51, BYTES)]);
    let node = Node::start().await;
    node.peer.connect_address(serving.address.clone()).await.unwrap();
    let root = serving.cid.parse().unwrap();
    assert_eq!(node.peer.fetch_all(&root, BYTES_MAX, &|_| {}).await.unwrap(), BYTES);
    let mut out = Vec::new();
    content::unixfs::export(&node.store, &root, &mut out).unwrap();
    assert!(out == noise(51, BYTES));
    assert_eq!(node.peer.stats().blocks_refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxo_fetches_from_us() {
    let Some(boxo) = boxo_peer() else { return };
    let dir = TempDir::new().unwrap();
    let node = Node::start().await;
    let import = content::import(&node.store, &mut Noise::new(52, BYTES)).unwrap();
    let out = dir.path().join("out").to_str().unwrap().to_owned();
    let (address, root) = (node.address().to_string(), import.root.to_string());
    let args = [address, root, out.clone()];
    let fetched = tokio::task::spawn_blocking(move || run(boxo, &["fetch", &args[0], &args[1], &args[2]], "BYTES"));
    assert_eq!(fetched.await.unwrap(), BYTES.to_string());
    assert!(std::fs::read(out).unwrap() == noise(52, BYTES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxo_finds_our_file_by_its_cid_alone() {
    let Some(boxo) = boxo_peer() else { return };
    let dir = TempDir::new().unwrap();
    // boxo knows only the meeting point, which does not have the file
    let (meeting_point, provider) = (Node::start().await, Node::start().await);
    let import = content::import(&provider.store, &mut Noise::new(53, 3 << 20)).unwrap();
    provider.meet(&meeting_point).await;
    provider.peer.provide(&import.root).await.unwrap();
    let out = dir.path().join("out").to_str().unwrap().to_owned();
    let provided = || futures::executor::block_on(meeting_point.peer.find_providers(&import.root)).unwrap();
    eventually(|| provided() == [provider.peer.node_id()]).await;
    let args = [meeting_point.address().to_string(), import.root.to_string(), out.clone()];
    let fetched = tokio::task::spawn_blocking(move || run(boxo, &["find", &args[0], &args[1], &args[2]], "BYTES"));
    assert_eq!(fetched.await.unwrap(), (3 << 20).to_string());
    assert!(std::fs::read(out).unwrap() == noise(53, 3 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_find_a_file_of_boxo_by_its_cid_alone() {
    let Some(boxo) = boxo_peer() else { return };
    let dir = TempDir::new().unwrap();
    let (meeting_point, seeker) = (Node::start().await, Node::start().await);
    let (path, known) = (file(&dir, 54, 3 << 20), meeting_point.address().to_string());
    let serving = tokio::task::spawn_blocking(move || Serving::start(boxo, &["serve", &path, &known])).await.unwrap();
    seeker.meet(&meeting_point).await;
    let root = serving.cid.parse().unwrap();
    assert_eq!(seeker.peer.fetch_all(&root, BYTES_MAX, &|_| {}).await.unwrap(), 3 << 20);
}
