//! A peer that speaks bitswap or our messages by hand, to say what an honest one never would.

#[path = "../../src/peer/streams.rs"]
#[allow(dead_code, reason = "the same file as in the crate; tests use some of it")]
mod streams;

use bytes::Bytes;
use content::{
    Multiaddr, PeerId,
    bitswap::{Entry, Message},
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Stream, StreamProtocol, SwarmBuilder,
    multiaddr::Protocol,
    noise,
    swarm::{SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use tokio::sync::{mpsc, oneshot};

pub(crate) struct RawPeer {
    control: streams::Control,
    pub(crate) incoming: Option<streams::Incoming>,
    pub(crate) address: Multiaddr,
    dial: mpsc::Sender<(Multiaddr, oneshot::Sender<()>)>,
}

impl RawPeer {
    pub(crate) async fn start(protocol: &'static str) -> Self {
        let (behaviour, control, incoming) = streams::Behaviour::new(StreamProtocol::new(protocol), Default::default());
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(std::time::Duration::from_secs(60)))
            .build();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address.with(Protocol::P2p(*swarm.local_peer_id()));
            }
        };
        let (dial, mut addresses) = mpsc::channel::<(Multiaddr, oneshot::Sender<()>)>(8);
        tokio::spawn(async move {
            let mut dialled = None;
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => if let SwarmEvent::ConnectionEstablished { .. } = event {
                        dialled.take().map(|dialled: oneshot::Sender<()>| dialled.send(()));
                    },
                    address = addresses.recv() => match address {
                        Some((address, connected)) => {
                            dialled = Some(connected);
                            swarm.dial(DialOpts::from(address)).unwrap();
                        }
                        None => return,
                    },
                }
            }
        });
        Self { control, incoming: Some(incoming), address, dial }
    }

    /// Connects, and returns once it is connected.
    pub(crate) async fn dial(&self, address: Multiaddr) {
        let (connected, done) = oneshot::channel();
        self.dial.send((address, connected)).await.unwrap();
        done.await.unwrap();
    }

    /// A new stream to a peer it is connected to.
    pub(crate) async fn open(&self, peer: PeerId) -> Stream {
        self.control.open(peer).await.unwrap()
    }

    /// Answers every wantlist with what `answer` says, over a stream of its own.
    pub(crate) fn answer_wants(&mut self, answer: impl Fn(Entry) -> Message + Clone + Send + Sync + 'static) {
        let mut incoming = self.incoming.take().unwrap();
        let control = self.control.clone();
        tokio::spawn(async move {
            while let Some((peer, stream)) = incoming.next().await {
                tokio::spawn(answer_stream(control.clone(), peer, stream, answer.clone()));
            }
        });
    }
}

async fn answer_stream(control: streams::Control, peer: PeerId, mut stream: Stream, answer: impl Fn(Entry) -> Message) {
    while let Some(message) = read_message(&mut stream).await {
        for entry in message.entries.into_iter().filter(|entry| !entry.cancel) {
            let Ok(mut out) = control.open(peer).await else { return };
            if out.write_all(&answer(entry).encode().concat()).await.is_err() || out.close().await.is_err() {
                return;
            }
        }
    }
}

pub(crate) async fn read_message(stream: &mut Stream) -> Option<Message> {
    let mut len = 0;
    for shift in (0..28).step_by(7) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.ok()?;
    Message::decode(&Bytes::from(body)).ok()
}
