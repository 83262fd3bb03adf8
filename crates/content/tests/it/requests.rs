//! Messages between nodes: delivered, answered, bounded.

use std::time::Duration;

use content::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, RequestError};
use futures::{AsyncReadExt, AsyncWriteExt};
use model::AccountId;

use crate::{
    raw_peer::RawPeer,
    world::{Node, eventually},
};

async fn pair() -> (Node, Node) {
    let (a, b) = (Node::start().await, Node::start().await);
    a.meet(&b).await;
    (a, b)
}

/// Answers every request with what `answer` makes of it.
fn answering(node: &mut Node, answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static) {
    let (_, nobody) = tokio::sync::mpsc::channel(1);
    let mut inbound = std::mem::replace(&mut node.inbound, nobody);
    tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            let body = answer(request.body.clone());
            request.reply(body);
        }
    });
}

#[tokio::test]
async fn a_request_is_answered_and_says_who_asks() {
    let (a, mut b) = pair().await;
    let asked = {
        let (peer, to) = (a.peer.clone(), b.peer.node_id());
        tokio::spawn(async move { peer.request(&to, b"question".to_vec()).await })
    };
    let request = b.inbound.recv().await.unwrap();
    assert_eq!((request.from, &request.body[..]), (a.peer.node_id(), &b"question"[..]));
    request.reply(b"answer".to_vec());
    assert_eq!(asked.await.unwrap().unwrap(), b"answer");
}

#[tokio::test]
async fn the_largest_request_and_answer_go_through() {
    let (a, mut b) = pair().await;
    answering(&mut b, |body| body);
    for bytes in [0, 1, REQUEST_BYTES_MAX] {
        assert!(a.peer.request(&b.peer.node_id(), vec![7; bytes]).await.unwrap() == vec![7; bytes]);
    }
}

#[tokio::test]
async fn a_request_above_the_bound_is_not_sent() {
    let (a, mut b) = pair().await;
    let bytes = REQUEST_BYTES_MAX + 1;
    let refused = a.peer.request(&b.peer.node_id(), vec![0; bytes]).await;
    assert_eq!(refused, Err(RequestError::TooLarge { bytes }));
    assert!(b.inbound.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_above_the_bound_is_a_refusal() {
    let (a, mut b) = pair().await;
    answering(&mut b, |_| vec![0; RESPONSE_BYTES_MAX + 1]);
    assert_eq!(a.peer.request(&b.peer.node_id(), vec![]).await, Err(RequestError::Refused));
}

#[tokio::test]
async fn a_request_nobody_handles_is_refused() {
    let (a, mut b) = pair().await;
    b.inbound.close();
    assert_eq!(a.peer.request(&b.peer.node_id(), vec![1]).await, Err(RequestError::Refused));
}

#[tokio::test]
async fn a_request_that_is_never_answered_times_out() {
    let b = Node::start().await;
    let a = Node::start_with(|config| config.request_timeout = Duration::from_millis(300)).await;
    a.meet(&b).await;
    assert_eq!(a.peer.request(&b.peer.node_id(), vec![1]).await, Err(RequestError::TimedOut { seconds: 0 }));
}

#[tokio::test]
async fn a_node_that_is_not_there_cannot_be_reached() {
    let (a, _b) = pair().await;
    let stranger = Node::start().await.peer.node_id();
    assert!(matches!(a.peer.request(&stranger, vec![]).await, Err(RequestError::Unreachable { .. })));
    let no_key = (0..=255).map(|byte| AccountId([byte; 32])).find(|id| content::peer_id(id).is_none()).unwrap();
    assert_eq!(a.peer.request(&no_key, vec![]).await, Err(RequestError::NotAPeer { node: no_key }));
}

#[tokio::test]
async fn an_announced_length_above_the_bound_ends_the_stream() {
    let mut node = Node::start().await;
    let to = content::peer_id(&node.peer.node_id()).unwrap();
    let raw = RawPeer::start("/samovar/1").await;
    raw.dial(node.address()).await;
    for announced in [REQUEST_BYTES_MAX as u32 + 1, u32::MAX] {
        let mut stream = raw.open(to).await;
        stream.write_all(&announced.to_be_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    assert!(node.inbound.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read() {
    let node = Node::start().await;
    let mut raw = RawPeer::start("/samovar/1").await;
    node.peer.connect_address(raw.address.clone()).await.unwrap();
    let id = content::node_id(&peer_of(&raw)).unwrap();
    eventually(|| node.peer.connected().contains(&id)).await;
    let mut incoming = raw.incoming.take().unwrap();
    tokio::spawn(async move {
        use futures::StreamExt;
        let (_, mut stream) = incoming.next().await.unwrap();
        let _ = stream.write_all(&[0, 0xff, 0xff, 0xff, 0xff]).await;
        let _ = stream.flush().await;
        futures::future::pending::<()>().await;
    });
    assert_eq!(node.peer.request(&id, vec![1]).await, Err(RequestError::Malformed));
}

#[tokio::test]
async fn one_peer_cannot_take_all_the_turns() {
    let mut node = Node::start().await;
    let to = content::peer_id(&node.peer.node_id()).unwrap();
    let raw = RawPeer::start("/samovar/1").await;
    raw.dial(node.address()).await;
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut stream = raw.open(to).await;
        let _ = stream.write_all(&[0, 0, 0, 1, 9]).await;
        let _ = stream.flush().await;
        open.push(stream);
    }
    let other = Node::start().await;
    other.meet(&node).await;
    let asked = {
        let (peer, to) = (other.peer.clone(), node.peer.node_id());
        tokio::spawn(async move { peer.request(&to, b"me too".to_vec()).await })
    };
    let mut unanswered = Vec::new();
    loop {
        let request = node.inbound.recv().await.unwrap();
        if request.from == other.peer.node_id() {
            request.reply(b"yes".to_vec());
            break;
        }
        unanswered.push(request);
        assert!(unanswered.len() <= 16);
    }
    assert_eq!(asked.await.unwrap().unwrap(), b"yes");
}

#[tokio::test]
async fn strangers_together_cannot_keep_out_those_a_peer_knows() {
    let mut node = Node::start().await;
    let to = content::peer_id(&node.peer.node_id()).unwrap();
    let (mut strangers, mut open) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let raw = RawPeer::start("/samovar/1").await;
        raw.dial(node.address()).await;
        for _ in 0..16 {
            // The first half of a length, and then nothing.
            let mut stream = raw.open(to).await;
            let _ = stream.write_all(&[0, 0]).await;
            let _ = stream.flush().await;
            open.push(stream);
        }
        strangers.push(raw);
    }
    let known = Node::start().await;
    node.meet(&known).await;
    let asked = {
        let (peer, to) = (known.peer.clone(), node.peer.node_id());
        tokio::spawn(async move { peer.request(&to, b"me too".to_vec()).await })
    };
    let request = node.inbound.recv().await.unwrap();
    assert_eq!(request.from, known.peer.node_id());
    request.reply(b"yes".to_vec());
    assert_eq!(asked.await.unwrap().unwrap(), b"yes");
}

fn peer_of(raw: &RawPeer) -> content::PeerId {
    match raw.address.iter().last() {
        Some(libp2p::multiaddr::Protocol::P2p(id)) => id,
        other => panic!("the address ends with {other:?}"),
    }
}
