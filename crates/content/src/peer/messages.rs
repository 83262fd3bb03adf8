//! `/samovar/1`: one request and one answer per stream, opaque bytes, between nodes.
//!
//! ```text
//! request   length (4 bytes, big-endian)  body
//! answer    0  length  body     or   1   (refused: nobody answers)
//! ```

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream};
use model::NodeId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    lock, node_id,
    streams::{Control, Incoming, OpenError},
};

/// The protocol's name.
pub(crate) const PROTOCOL: &str = "/samovar/1";
/// Most bytes of a request.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Most bytes of an answer.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// Inbound requests under way from strangers, for all of them together: identities cost nothing, so without it a few made-up
/// peers could keep out those this peer stays connected to, who need no turn of these.
const STRANGERS_MAX: usize = 48;
/// Inbound requests under way from one peer; those above are refused.
const INBOUND_PER_PEER_MAX: usize = 16;
/// How long a request may take to arrive, its answer apart: whoever asks and then says nothing holds a turn.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Inbound requests waiting for whoever handles them.
const QUEUE_MAX: usize = 64;
/// Bytes read between two allocations.
const STEP_BYTES: usize = 64 << 10;
const ANSWERED: u8 = 0;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The id is not an Ed25519 public key.
    #[error("{node} is not the id of a peer")]
    NotAPeer {
        /// Which one.
        node: NodeId,
    },
    /// The caller's request is too long.
    #[error("a request of {bytes} bytes, at most {REQUEST_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The peer cannot be reached, or does not speak the protocol.
    #[error("the peer cannot be reached: {reason}")]
    Unreachable {
        /// What libp2p says.
        reason: String,
    },
    /// The peer took the request and did not answer it.
    #[error("the peer refused the request")]
    Refused,
    /// The peer ended the stream early or sent something that is no answer.
    #[error("the peer sent a malformed answer")]
    Malformed,
    /// No answer within the time allowed.
    #[error("the peer did not answer within {seconds} s")]
    TimedOut {
        /// The time allowed.
        seconds: u64,
    },
    /// This peer has been shut down.
    #[error("the peer is shut down")]
    Stopped,
}

/// A request of another node. Drop it to refuse.
#[derive(Debug)]
pub struct Inbound {
    /// Who asks: the transport has checked that it holds this key.
    pub from: NodeId,
    /// What it says.
    pub body: Vec<u8>,
    reply: oneshot::Sender<Vec<u8>>,
}

impl Inbound {
    /// Answers. Answers above [`RESPONSE_BYTES_MAX`] are turned into a refusal.
    pub fn reply(self, body: Vec<u8>) {
        let _ = self.reply.send(body); // the asker may have gone
    }
}

/// Peers that this one stays connected to. Shared with the swarm, which is told of new ones.
pub(crate) type Known = Arc<Mutex<HashSet<PeerId>>>;

/// The asking half.
#[derive(Clone)]
pub(crate) struct Messages {
    control: Control,
    timeout: Duration,
}

impl Messages {
    /// Starts answering; requests come out of the receiver.
    pub(crate) fn start(
        control: Control,
        incoming: Incoming,
        timeout: Duration,
        known: Known,
    ) -> (Self, mpsc::Receiver<Inbound>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(accept(incoming, Answering::new(sender, timeout, known)));
        (Self { control, timeout }, receiver)
    }

    pub(crate) async fn request(&self, peer: PeerId, body: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        if body.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLarge { bytes: body.len() });
        }
        let seconds = self.timeout.as_secs();
        timeout(self.timeout, self.ask(peer, body)).await.unwrap_or(Err(RequestError::TimedOut { seconds }))
    }

    async fn ask(&self, peer: PeerId, body: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let mut stream = self.control.open(peer).await.map_err(|error| match error {
            OpenError::Refused(reason) => RequestError::Unreachable { reason },
            OpenError::Stopped => RequestError::Stopped,
        })?;
        write_frame(&mut stream, &body).await.map_err(|_| RequestError::Malformed)?;
        let mut status = [0];
        stream.read_exact(&mut status).await.map_err(|_| RequestError::Malformed)?;
        if status[0] != ANSWERED {
            return Err(RequestError::Refused);
        }
        read_frame(&mut stream, RESPONSE_BYTES_MAX).await.ok_or(RequestError::Malformed)
    }
}

/// The answering half.
#[derive(Clone)]
struct Answering {
    queue: mpsc::Sender<Inbound>,
    timeout: Duration,
    known: Known,
    strangers: Arc<Semaphore>,
    per_peer: Arc<Mutex<HashMap<PeerId, usize>>>,
}

async fn accept(mut incoming: Incoming, answering: Answering) {
    while let Some((peer, stream)) = incoming.next().await {
        let Some(turn) = answering.admit(peer) else { continue }; // dropping the stream refuses it
        tokio::spawn(answering.clone().serve(turn, stream));
    }
}

/// One inbound request under way.
struct Turn {
    from: NodeId,
    peer: PeerId,
    per_peer: Arc<Mutex<HashMap<PeerId, usize>>>,
    _stranger: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut per_peer = lock(&self.per_peer);
        if let Some(count) = per_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                per_peer.remove(&self.peer);
            }
        }
    }
}

impl Answering {
    fn new(queue: mpsc::Sender<Inbound>, timeout: Duration, known: Known) -> Self {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        Self { queue, timeout, known, strangers, per_peer: Arc::default() }
    }

    fn admit(&self, peer: PeerId) -> Option<Turn> {
        let from = node_id(&peer)?;
        let is_known = lock(&self.known).contains(&peer);
        let stranger = if is_known { None } else { Some(self.strangers.clone().try_acquire_owned().ok()?) };
        let mut per_peer = lock(&self.per_peer);
        let count = per_peer.entry(peer).or_default();
        if *count >= INBOUND_PER_PEER_MAX {
            return None;
        }
        *count += 1;
        drop(per_peer);
        Some(Turn { from, peer, per_peer: self.per_peer.clone(), _stranger: stranger })
    }

    async fn serve(self, turn: Turn, mut stream: Stream) {
        let _ = timeout(self.timeout, async {
            let body = timeout(ARRIVAL, read_frame(&mut stream, REQUEST_BYTES_MAX)).await.ok()??;
            match self.answer(turn.from, body).await {
                Some(answer) => {
                    stream.write_all(&[ANSWERED]).await.ok()?;
                    write_frame(&mut stream, &answer).await.ok()?;
                }
                None => stream.write_all(&[ANSWERED + 1]).await.ok()?,
            }
            stream.close().await.ok()
        })
        .await; // whoever asked sees the stream end
    }

    async fn answer(&self, from: NodeId, body: Vec<u8>) -> Option<Vec<u8>> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Inbound { from, body, reply }).await.ok()?;
        answer.await.ok().filter(|answer| answer.len() <= RESPONSE_BYTES_MAX)
    }
}

async fn write_frame(stream: &mut Stream, body: &[u8]) -> std::io::Result<()> {
    let len = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

/// Memory grows with the bytes that have come, not with the length that was announced.
async fn read_frame(stream: &mut Stream, bytes_max: usize) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.ok()?;
    let len = usize::try_from(u32::from_be_bytes(len)).ok().filter(|len| *len <= bytes_max)?;
    let mut body = Vec::new();
    while body.len() < len {
        let from = body.len();
        body.resize(len.min(from + STEP_BYTES), 0);
        stream.read_exact(&mut body[from..]).await.ok()?;
    }
    Some(body)
}
