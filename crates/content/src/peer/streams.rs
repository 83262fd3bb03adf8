//! Raw streams of one protocol for tasks outside the swarm, in both directions, with queues that hold back instead of
//! losing streams.
//!
//! Why not `libp2p-stream`: its accept queue has room for one stream and silently drops the next. Kubo and Helia open a
//! stream for every bitswap message, so blocks vanish as soon as two are in flight.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::{SinkExt, StreamExt, channel::mpsc, channel::oneshot};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, DialError, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionEstablished, DialFailure},
        dial_opts::{DialOpts, PeerCondition},
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

/// Inbound streams a connection may hold that nobody has taken yet; those above are refused and counted.
const ARRIVED_MAX: usize = 256;
/// Requests for streams that wait for the swarm; those above wait in their callers.
const REQUESTS_MAX: usize = 64;
/// Requests for streams to one peer that is being dialled.
const WAITING_MAX: usize = 1024;

/// Why a stream could not be opened.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The peer could not be reached, or does not speak the protocol.
    #[error("{0}")]
    Refused(String),
    /// The peer stack has been shut down.
    #[error("the peer is shut down")]
    Stopped,
}

type Reply = oneshot::Sender<Result<Stream, OpenError>>;

/// The behaviour inside the swarm.
pub(crate) struct Behaviour {
    protocol: StreamProtocol,
    inbound: mpsc::Sender<(PeerId, Stream)>,
    requests: mpsc::Receiver<(PeerId, Reply)>,
    undialled: VecDeque<PeerId>,
    /// Requests for peers that are being dialled.
    waiting: HashMap<PeerId, Vec<Reply>>,
    connections: HashMap<PeerId, HashSet<ConnectionId>>,
    ready: VecDeque<(PeerId, Reply)>,
    refused: Arc<AtomicU64>,
}

/// Opens streams from outside the swarm.
#[derive(Clone)]
pub(crate) struct Control(mpsc::Sender<(PeerId, Reply)>);

impl Control {
    /// Opens a stream to `peer`, dialling it first if need be.
    pub(crate) async fn open(&self, peer: PeerId) -> Result<Stream, OpenError> {
        let (reply, opened) = oneshot::channel();
        self.0.clone().send((peer, reply)).await.map_err(|_| OpenError::Stopped)?;
        opened.await.map_err(|_| OpenError::Stopped)?
    }
}

/// The streams peers open.
pub(crate) type Incoming = mpsc::Receiver<(PeerId, Stream)>;

impl Behaviour {
    /// `refused` counts inbound streams that found their connection's queue full.
    pub(crate) fn new(protocol: StreamProtocol, refused: Arc<AtomicU64>) -> (Self, Control, Incoming) {
        let (inbound, incoming) = mpsc::channel(0); // one slot per connection, the rest waits in its handler
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let behaviour = Self {
            protocol,
            inbound,
            requests,
            undialled: VecDeque::new(),
            waiting: HashMap::new(),
            connections: HashMap::new(),
            ready: VecDeque::new(),
            refused,
        };
        (behaviour, Control(sender), incoming)
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler {
            peer,
            protocol: self.protocol.clone(),
            inbound: self.inbound.clone(),
            arrived: VecDeque::new(),
            requested: VecDeque::new(),
            opening: None,
            refused: self.refused.clone(),
            waker: None,
        }
    }

    fn take_request(&mut self, peer: PeerId, reply: Reply) {
        if self.connections.contains_key(&peer) {
            self.ready.push_back((peer, reply));
            return;
        }
        let waiting = self.waiting.entry(peer).or_default();
        if waiting.len() < WAITING_MAX {
            waiting.push(reply);
            self.undialled.push_back(peer);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                self.connections.entry(peer_id).or_default().insert(connection_id);
                let waiting = self.waiting.remove(&peer_id).unwrap_or_default();
                self.ready.extend(waiting.into_iter().map(|reply| (peer_id, reply)));
            }
            FromSwarm::ConnectionClosed(closed) => {
                if closed.remaining_established == 0 {
                    self.connections.remove(&closed.peer_id);
                } else if let Some(connections) = self.connections.get_mut(&closed.peer_id) {
                    connections.remove(&closed.connection_id);
                }
            }
            // another dial of the same peer is under way: its outcome decides
            FromSwarm::DialFailure(DialFailure { error: DialError::DialPeerConditionFalse(_), .. }) => {}
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), error, .. })
                if !self.connections.contains_key(&peer) =>
            {
                for reply in self.waiting.remove(&peer).unwrap_or_default() {
                    let _ = reply.send(Err(OpenError::Refused(error.to_string()))); // the caller may have gone
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some((peer, reply))) = self.requests.poll_next_unpin(cx) {
            self.take_request(peer, reply);
        }
        while let Some((peer_id, event)) = self.ready.pop_front() {
            if event.is_canceled() {
                continue;
            }
            return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event });
        }
        if let Some(peer) = self.undialled.pop_front() {
            let opts = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).build();
            return Poll::Ready(ToSwarm::Dial { opts });
        }
        Poll::Pending
    }
}

/// The behaviour's half inside a connection.
pub(crate) struct Handler {
    peer: PeerId,
    protocol: StreamProtocol,
    inbound: mpsc::Sender<(PeerId, Stream)>,
    arrived: VecDeque<Stream>,
    requested: VecDeque<Reply>,
    /// Asked of the multiplexer. One at a time: answers carry no tag, and a failed upgrade must not be taken for
    /// another's.
    opening: Option<Reply>,
    refused: Arc<AtomicU64>,
    waker: Option<Waker>,
}

impl Handler {
    fn hand_over_arrived(&mut self, cx: &mut Context<'_>) {
        while !self.arrived.is_empty() {
            match self.inbound.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    if let Some(stream) = self.arrived.pop_front() {
                        let _ = self.inbound.start_send((self.peer, stream)); // nobody listens any more
                    }
                }
                Poll::Ready(Err(_)) => self.arrived.clear(),
                Poll::Pending => break,
            }
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Reply;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        !self.arrived.is_empty() || !self.requested.is_empty() || self.opening.is_some()
    }

    fn on_behaviour_event(&mut self, reply: Reply) {
        self.requested.push_back(reply);
        self.wake();
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        self.hand_over_arrived(cx);
        if self.opening.is_none()
            && let Some(reply) = self.requested.pop_front()
        {
            self.opening = Some(reply);
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                if self.arrived.len() < ARRIVED_MAX {
                    self.arrived.push_back(stream);
                } else {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, .. }) => {
                if let Some(reply) = self.opening.take() {
                    let _ = reply.send(Ok(stream)); // the caller may have gone
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                if let Some(reply) = self.opening.take() {
                    let _ = reply.send(Err(OpenError::Refused(error.to_string())));
                }
            }
            _ => return,
        }
        self.wake();
    }
}
