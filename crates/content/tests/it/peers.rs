//! Peers find each other and exchange files.

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use content::{Block, FetchError, Peer, PeerConfig, Progress};
use model::ContentId;

use crate::world::{BYTES_MAX, Node, Noise, eventually, noise, peak_memory_mib};

async fn fetch(node: &Node, root: &ContentId) -> u64 {
    node.peer.fetch_all(root, BYTES_MAX, &|_| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_64_mib_goes_from_peer_to_peer() {
    let (from, to) = (Node::start().await, Node::start().await);
    to.meet(&from).await;
    let bytes = 64 << 20;
    let import = content::import(&from.store, &mut Noise::new(40, bytes)).unwrap();
    let seen = AtomicU64::new(0);
    let progress = |progress: Progress| {
        assert!(progress.bytes >= seen.load(Ordering::Relaxed), "progress never goes back");
        assert!(progress.bytes_total.is_none_or(|total| total == bytes));
        seen.store(progress.bytes, Ordering::Relaxed);
    };
    assert_eq!(to.peer.fetch_all(&import.root, BYTES_MAX, &progress).await.unwrap(), bytes);
    assert_eq!(seen.into_inner(), bytes);
    assert_eq!(to.store.kept(&import.root).unwrap(), Some(bytes));
    let mut out = Vec::new();
    content::unixfs::export(&to.store, &import.root, &mut out).unwrap();
    assert!(out == noise(40, bytes));
    assert_eq!(to.peer.stats().blocks_refused, 0);
    assert_eq!(to.peer.stats().blocks_received, import.blocks);
}

/// Two fetches in processes of their own: four times the file takes hardly more memory.
#[test]
fn memory_does_not_grow_with_the_file() {
    let peak = |mebibytes: u64| -> u64 {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "peers::transfer_for_its_memory", "--nocapture"])
            .env("SAMOVAR_TEST_MIB", mebibytes.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let peak = text.lines().find_map(|line| line.split("peak ").nth(1)).unwrap_or_else(|| panic!("{text}"));
        peak.trim().parse().unwrap()
    };
    let (small, large) = (peak(48), peak(192));
    assert!(large < small + 48, "{small} MiB for 48 MiB, {large} MiB for 192 MiB");
    assert!(large < 256, "{large} MiB for both peers");
}

/// The child of the test above; does nothing when run by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfer_for_its_memory() {
    let Ok(mebibytes) = std::env::var("SAMOVAR_TEST_MIB") else { return };
    let bytes = mebibytes.parse::<u64>().unwrap() << 20;
    let (from, to) = (Node::start().await, Node::start().await);
    to.meet(&from).await;
    let import = content::import(&from.store, &mut Noise::new(41, bytes)).unwrap();
    assert_eq!(fetch(&to, &import.root).await, bytes);
    println!("peak {}", peak_memory_mib());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_found_by_its_cid_alone() {
    // two peers that know only the third, which does not have the file
    let (meeting_point, provider, seeker) = (Node::start().await, Node::start().await, Node::start().await);
    provider.meet(&meeting_point).await;
    let import = content::import(&provider.store, &mut Noise::new(42, 3 << 20)).unwrap();
    provider.peer.provide(&import.root).await.unwrap();
    seeker.meet(&meeting_point).await;
    let deadline = tokio::time::Instant::now() + crate::world::PATIENCE;
    loop {
        let found = seeker.peer.find_providers(&import.root).await.unwrap();
        if found == [provider.peer.node_id()] {
            break;
        }
        assert!(found.is_empty() && tokio::time::Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fetch(&seeker, &import.root).await, 3 << 20);
    assert_eq!(meeting_point.peer.stats().blocks_sent, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_kept_before_the_start_are_provided() {
    let (dir, store) = crate::world::store();
    let import = content::import(&store, &mut Noise::new(43, 10)).unwrap();
    let meeting_point = Node::start().await;
    let mut config = PeerConfig::loopback([200; 32]);
    config.peers.push(meeting_point.as_static());
    let (provider, _inbound) = Peer::start(config, store).await.unwrap();
    let seeker = Node::start().await;
    seeker.meet(&meeting_point).await;
    assert_eq!(fetch(&seeker, &import.root).await, 10);
    provider.shutdown().await;
    drop(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_fetch_goes_on_where_it_was() {
    let (from, to) = (Node::start().await, Node::start().await);
    let import = content::import(&from.store, &mut Noise::new(44, 20 << 20)).unwrap();
    let leaves = content::layout(&from.store, &import.root, u64::MAX).unwrap().leaves;
    for leaf in &leaves[..15] {
        to.store.put(&from.store.get(&leaf.cid).unwrap().unwrap()).unwrap();
    }
    to.meet(&from).await;
    assert_eq!(fetch(&to, &import.root).await, 20 << 20);
    assert_eq!(to.peer.stats().blocks_received, 5 + 1, "the leaves that were missing, and the root");
    assert_eq!(fetch(&to, &import.root).await, 20 << 20);
    assert_eq!(to.peer.stats().blocks_received, 6, "a kept file is not fetched again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_takes_blocks_from_several_peers() {
    let (one, two, to) = (Node::start().await, Node::start().await, Node::start().await);
    let import = content::import(&one.store, &mut Noise::new(45, 40 << 20)).unwrap();
    content::import(&two.store, &mut Noise::new(45, 40 << 20)).unwrap();
    to.meet(&one).await;
    to.meet(&two).await;
    assert_eq!(fetch(&to, &import.root).await, 40 << 20);
    assert!(one.peer.stats().blocks_sent > 0 && two.peer.stats().blocks_sent > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_survives_the_loss_of_the_peer_it_began_with() {
    let (one, two, to) = (Node::start().await, Node::start().await, Node::start().await);
    let bytes = 48 << 20;
    let import = content::import(&one.store, &mut Noise::new(46, bytes)).unwrap();
    content::import(&two.store, &mut Noise::new(46, bytes)).unwrap();
    to.meet(&one).await;
    let fetching = {
        let peer = to.peer.clone();
        tokio::spawn(async move { peer.fetch_all(&import.root, BYTES_MAX, &|_| {}).await })
    };
    eventually(|| to.peer.stats().blocks_received > 3).await;
    one.peer.shutdown().await;
    to.meet(&two).await;
    assert_eq!(fetching.await.unwrap().unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_blocks_of_any_codec_are_fetched() {
    let (from, to) = (Node::start().await, Node::start().await);
    to.meet(&from).await;
    let record = Block::dag_cbor(b"\xa1\x61a\x01".to_vec()).unwrap();
    let leaf = Block::raw(noise(1, 1 << 20)).unwrap();
    from.store.put_batch(&[record.clone(), leaf.clone()]).unwrap();
    assert_eq!(to.peer.block(record.cid()).await.unwrap(), record);
    assert_eq!(to.peer.block(leaf.cid()).await.unwrap(), leaf);
    assert!(to.store.has(leaf.cid()));
    let large_record = Block::dag_cbor(noise(2, 5000)).unwrap();
    from.store.put(&large_record).unwrap();
    assert_eq!(fetch(&to, large_record.cid()).await, 5000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_is_not_found() {
    let other = Node::start().await;
    let node = Node::start_with(|config| config.fetch_patience = Duration::from_secs(1)).await;
    node.meet(&other).await;
    let cid = ContentId::of_raw(b"nobody has this");
    let error = node.peer.block(&cid).await.unwrap_err();
    assert!(matches!(error, FetchError::NotFound { root, seconds: 1 } if root == cid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_above_the_callers_limit_is_not_fetched() {
    let (from, to) = (Node::start().await, Node::start().await);
    to.meet(&from).await;
    let import = content::import(&from.store, &mut Noise::new(47, 5 << 20)).unwrap();
    let refused = to.peer.fetch_all(&import.root, 4 << 20, &|_| {}).await;
    assert!(matches!(refused, Err(FetchError::TooLarge { bytes, .. }) if bytes == 5 << 20));
    assert_eq!(to.peer.stats().blocks_received, 1, "only the root, which says how large the file is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_peer_is_dialled_again_when_it_comes_back() {
    let node = Node::start().await;
    let (dir, store) = crate::world::store();
    let config = || PeerConfig::loopback([201; 32]);
    let (peer, _inbound) = Peer::start(config(), store.clone()).await.unwrap();
    let (id, address) = (peer.node_id(), peer.addresses()[0].clone());
    node.peer.connect(content::StaticPeer { node: id, address: address.clone() }).await.unwrap();
    eventually(|| node.peer.connected() == [id]).await;
    peer.shutdown().await;
    drop(peer);
    eventually(|| node.peer.connected().is_empty()).await;

    let mut again = config();
    again.listen = vec![address.iter().take(2).collect()];
    let (peer, _inbound) = Peer::start(again, store).await.unwrap();
    eventually(|| node.peer.connected() == [id]).await;
    peer.shutdown().await;
    drop(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_also_speak_quic() {
    let quic = |config: &mut PeerConfig| config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()];
    let (from, to) = (Node::start_with(quic).await, Node::start_with(quic).await);
    to.meet(&from).await;
    let import = content::import(&from.store, &mut Noise::new(48, 5 << 20)).unwrap();
    assert_eq!(fetch(&to, &import.root).await, 5 << 20);
}

#[tokio::test]
async fn an_address_of_another_machine_cannot_be_listened_on() {
    let (_dir, store) = crate::world::store();
    let mut config = PeerConfig::loopback([202; 32]);
    config.listen = vec!["/ip4/192.0.2.1/tcp/0".parse().unwrap()];
    assert!(matches!(Peer::start(config, store).await, Err(content::PeerError::Listen { .. })));
}

/// Two nodes on one port would each get some of the other's connections.
#[tokio::test]
async fn an_address_that_another_peer_listens_on_is_refused() {
    let first = Node::start().await;
    let mut config = PeerConfig::loopback([200; 32]);
    config.listen = vec![first.address().into_iter().take(2).collect()];
    let (_dir, store) = crate::world::store();
    let refused = Peer::start(config, store).await;
    assert!(matches!(refused, Err(content::PeerError::Listen { .. })), "the first still listens there");
}
