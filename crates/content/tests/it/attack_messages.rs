//! Bitswap messages that are too long, cut off, or no messages at all.

use content::{Block, PeerId, bitswap, bitswap::MESSAGE_BYTES_MAX};
use futures::{AsyncReadExt, AsyncWriteExt};

use crate::{
    raw_peer::RawPeer,
    world::{Node, eventually},
};

async fn say(raw: &RawPeer, to: PeerId, bytes: &[u8]) {
    let mut stream = raw.open(to).await;
    let _ = stream.write_all(bytes).await; // the other side may have had enough already
    let _ = stream.close().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_end_their_stream_and_nothing_else() {
    let node = Node::start().await;
    let to = content::peer_id(&node.peer.node_id()).unwrap();
    let raw = RawPeer::start(bitswap::PROTOCOL).await;
    raw.dial(node.address()).await;

    let mut too_long = vec![0; 8];
    let len =
        unsigned_varint::encode::usize(MESSAGE_BYTES_MAX + 1, &mut unsigned_varint::encode::usize_buffer()).to_vec();
    too_long.splice(0..0, len);
    let refused: [&[u8]; 4] = [
        &too_long,
        &[0xff; 64],            // a length without end
        &[3, 0x0a, 0x7f, 0x00], // a field longer than its message
        &[2, 0x0b, 0x00],       // a wire type that does not exist
    ];
    for (count, bytes) in refused.into_iter().enumerate() {
        say(&raw, to, bytes).await;
        eventually(|| node.peer.stats().messages_refused == count as u64 + 1).await;
    }
    // cut off in the middle: nobody's message
    say(&raw, to, &[100, 0x0a, 0x02]).await;

    let other = Node::start().await;
    other.meet(&node).await;
    let block = Block::raw(&b"still here"[..]).unwrap();
    node.store.put(&block).unwrap();
    assert_eq!(other.peer.block(block.cid()).await.unwrap(), block);
    assert_eq!(node.peer.stats().messages_refused, 4);
}
