//! A peer that wants everything, again and again, and does not read the answers.

use bytes::Bytes;
use content::bitswap::{self, Entry, Message, WANTS_MAX, Wanted};
use futures::AsyncWriteExt;
use model::ContentId;

use crate::{
    raw_peer::RawPeer,
    world::{BYTES_MAX, Node, Noise, eventually},
};

fn wants(cids: impl Iterator<Item = ContentId>) -> Vec<u8> {
    let entries = cids.map(|cid| Entry {
        cid: Bytes::from(cid.0.to_bytes()),
        cancel: false,
        wanted: Wanted::Block,
        send_dont_have: true,
    });
    Message { entries: entries.collect(), ..Message::default() }.encode().concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_wants_is_dropped_and_others_are_served() {
    let node = Node::start().await;
    let import = content::import(&node.store, &mut Noise::new(30, 8 << 20)).unwrap();
    let leaves = content::layout(&node.store, &import.root, u64::MAX).unwrap().leaves;
    let to = content::peer_id(&node.peer.node_id()).unwrap();
    let flooder = RawPeer::start(bitswap::PROTOCOL).await; // never takes the streams that come back
    flooder.dial(node.address()).await;

    let mut stream = flooder.open(to).await;
    // leaves first, so that the writer to this peer is stuck with replies nobody reads
    let large = wants(leaves.iter().map(|leaf| leaf.cid));
    stream.write_all(&large).await.unwrap();
    for round in 0..8_u32 {
        let unknown = (0..WANTS_MAX as u32)
            .map(|number| ContentId::of_raw(&[round.to_be_bytes(), number.to_be_bytes()].concat()));
        stream.write_all(&wants(unknown)).await.unwrap();
    }
    stream.flush().await.unwrap();
    eventually(|| node.peer.stats().wants_dropped > 0).await;

    let other = Node::start().await;
    other.meet(&node).await;
    assert_eq!(other.peer.fetch_all(&import.root, BYTES_MAX, &|_| {}).await.unwrap(), 8 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_streams_at_once_are_refused_but_for_a_few() {
    let node = Node::start().await;
    let import = content::import(&node.store, &mut Noise::new(31, 2 << 20)).unwrap();
    let to = content::peer_id(&node.peer.node_id()).unwrap();
    let flooder = RawPeer::start(bitswap::PROTOCOL).await;
    flooder.dial(node.address()).await;
    let mut open = Vec::new();
    for number in 0..200_u32 {
        let mut stream = flooder.open(to).await;
        // a message announced and never finished; a stream that is refused ends at some point of this
        let _ = stream.write_all(&[0xff, 0xff, 0x7f, number as u8]).await;
        let _ = stream.flush().await;
        open.push(stream);
    }
    eventually(|| node.peer.stats().streams_refused == 200 - 64).await;
    let other = Node::start().await;
    other.meet(&node).await;
    assert_eq!(other.peer.fetch_all(&import.root, BYTES_MAX, &|_| {}).await.unwrap(), 2 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cannot_hold_the_memory_that_nodes_need() {
    let node = Node::start().await;
    let import = content::import(&node.store, &mut Noise::new(32, 2 << 20)).unwrap();
    let to = content::peer_id(&node.peer.node_id()).unwrap();
    let (mut strangers, mut open) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let stranger = RawPeer::start(bitswap::PROTOCOL).await;
        stranger.dial(node.address()).await;
        for _ in 0..4 {
            // The largest message there is, announced and never sent.
            let mut stream = stranger.open(to).await;
            stream.write_all(&[0x80, 0x80, 0x80, 0x02]).await.unwrap();
            stream.flush().await.unwrap();
            open.push(stream);
        }
        strangers.push(stranger);
    }
    let known = Node::start().await;
    node.meet(&known).await;
    known.meet(&node).await;
    let fetched = known.peer.fetch_all(&import.root, BYTES_MAX, &|_| {});
    // Strangers lose their turns after twenty seconds; nobody has to wait for that.
    let fetched = tokio::time::timeout(std::time::Duration::from_secs(15), fetched).await;
    assert_eq!(fetched.expect("strangers hold it up").unwrap(), 2 << 20);
}
