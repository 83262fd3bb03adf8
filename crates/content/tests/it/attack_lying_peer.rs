//! A peer that says it has everything and sends changed blocks.

use std::time::Duration;

use bytes::Bytes;
use content::{
    FetchError, Store,
    bitswap::{self, Entry, Message, Payload, Presence, Wanted},
};
use model::ContentId;

use crate::{
    raw_peer::RawPeer,
    world::{BYTES_MAX, Node, Noise, eventually},
};

const BYTES: u64 = (6 << 20) + 3;

/// Has every block of `store`, and changes one bit of each leaf on the way.
fn changing_leaves(store: Store) -> impl Fn(Entry) -> Message + Clone + Send + Sync + 'static {
    move |entry| {
        let cid = ContentId(cid::Cid::try_from(&entry.cid[..]).unwrap());
        let block = store.get(&cid).unwrap().unwrap();
        if entry.wanted == Wanted::Have {
            return Message { presences: vec![Presence { cid: entry.cid, have: true }], ..Message::default() };
        }
        let mut data = block.data().to_vec();
        let is_leaf = entry.cid[1] == 0x55;
        if is_leaf {
            let middle = data.len() / 2;
            data[middle] ^= 0x10;
        }
        let prefix = Bytes::from([1, entry.cid[1], 0x12, 0x20].to_vec());
        Message { blocks: vec![Payload { prefix, data: data.into() }], ..Message::default() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_block_is_dropped_and_fetched_elsewhere() {
    let honest = Node::start().await;
    let import = content::import(&honest.store, &mut Noise::new(20, BYTES)).unwrap();
    let mut liar = RawPeer::start(bitswap::PROTOCOL).await;
    liar.answer_wants(changing_leaves(honest.store.clone()));

    // the victim knows only the liar, and believes it until it has lied
    let victim = Node::start().await;
    victim.peer.connect_address(liar.address.clone()).await.unwrap();
    let fetch = {
        let peer = victim.peer.clone();
        tokio::spawn(async move { peer.fetch_all(&import.root, BYTES_MAX, &|_| {}).await })
    };
    eventually(|| victim.peer.stats().blocks_refused > 0).await;
    assert!(!fetch.is_finished());
    let leaves = content::layout(&honest.store, &import.root, u64::MAX).unwrap().leaves;
    assert!(leaves.iter().all(|leaf| !victim.store.has(&leaf.cid)), "no changed block was stored");

    // an honest peer comes, and the fetch finishes with it
    victim.meet(&honest).await;
    assert_eq!(fetch.await.unwrap().unwrap(), BYTES);
    let mut out = Vec::new();
    content::unixfs::export(&victim.store, &import.root, &mut out).unwrap();
    assert!(out == crate::world::noise(20, BYTES));
    // the root is small and answers the question whether the peer has it
    assert_eq!(honest.peer.stats().blocks_sent, leaves.len() as u64 + 1, "all leaves came from the honest peer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_liars_only_a_fetch_fails_and_claims_nothing() {
    let (_dir, source) = crate::world::store();
    let import = content::import(&source, &mut Noise::new(21, BYTES)).unwrap();
    let mut liar = RawPeer::start(bitswap::PROTOCOL).await;
    liar.answer_wants(changing_leaves(source));
    let victim = Node::start_with(|config| config.fetch_patience = Duration::from_secs(3)).await;
    victim.peer.connect_address(liar.address.clone()).await.unwrap();
    let failed = victim.peer.fetch_all(&import.root, BYTES_MAX, &|_| {}).await;
    assert!(matches!(failed, Err(FetchError::NotFound { seconds: 3, .. })));
    assert!(victim.peer.stats().blocks_refused > 0);
    assert_eq!(victim.store.kept(&import.root).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_nobody_asked_for_are_not_stored() {
    let victim = Node::start().await;
    let pusher = RawPeer::start(bitswap::PROTOCOL).await;
    pusher.dial(victim.address()).await;
    let prefix = Bytes::from_static(&[1, 0x55, 0x12, 0x20]);
    let gift = Message { blocks: vec![Payload { prefix, data: Bytes::from_static(b"unasked") }], ..Message::default() };
    let mut stream = pusher.open(content::peer_id(&victim.peer.node_id()).unwrap()).await;
    futures::AsyncWriteExt::write_all(&mut stream, &gift.encode().concat()).await.unwrap();
    futures::AsyncWriteExt::flush(&mut stream).await.unwrap();
    eventually(|| victim.peer.stats().blocks_refused == 1).await;
    assert_eq!(victim.store.used_bytes(), 0);
}
