//! What nodes say to each other directly: one question, one answer, both in a versioned envelope with bounds.
//!
//! The bytes travel over the content peers' encrypted connections, whose identity is the node's own key; still, nothing
//! is believed because of who brought it. What matters is signed or proven, and the roles check it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use model::{
    Blob, Canonical, ContentId, DepositAck, EncodingError, NodeId, Signed, StorageAck, TaskId,
    api::{DepositRequest, TaskEvent},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    appraiser::Appraising, custodian::Custody, handles::Handles, node::Roles, progress::Progress, storage::Storage,
};

/// Version of the envelope.
const VERSION: u32 = 1;
/// Most bytes of one message. Evidence with its certificates is the largest.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Questions of one node answered at a time; it is told to wait with further ones. One for each node, so that none can keep out
/// another.
const ANSWERING_MAX: usize = 32;
/// Questions about progress under way at a time, to all nodes together. They are for showing, and anybody with a browser causes
/// them: they must not use up the turns that other nodes give this one.
const PROGRESS_MAX: usize = 4;
/// Deposits, and questions for storage, handed on at a time, for the same reason.
const DEPOSITS_MAX: usize = 4;
const STORES_MAX: usize = 4;
/// How long a peer may take for an answer that needs no work.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take to fetch what it is asked to store.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(600);
/// Longest a progress question may be held open.
const HOLD_MS_MAX: u64 = 5_000;

/// A message with the version of its form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    version: u32,
    body: T,
}

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Question {
    /// A message of the appraisal protocol, from subject to appraiser.
    Appraisal(Blob),
    /// A message of the release protocol, from executor to custodian.
    Custody(Blob),
    /// Fetch everything under this root, keep it, and say so.
    Store(ContentId),
    /// Take this share into custody: somebody gave it to the asker, who cannot open it.
    Deposit(Box<DepositRequest>),
    /// How far is a task that you run?
    Progress {
        /// Which.
        task: TaskId,
        /// Steps the asker has already.
        from: u32,
        /// How long to wait for a further one, milliseconds.
        hold_ms: u64,
    },
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply {
    /// A message of the appraisal protocol, from appraiser to subject.
    Appraisal(Blob),
    /// A message of the release protocol, from custodian to executor.
    Custody(Blob),
    /// It is stored.
    Stored(Box<Signed<StorageAck>>),
    /// It is in custody.
    Deposited(Box<Signed<DepositAck>>),
    /// Steps of a task.
    Progress(Vec<TaskEvent>),
    /// It cannot be done, or may not; in words, for the asker's log.
    Refused(String),
}

fn encode<T: Canonical>(body: T) -> Vec<u8> {
    Envelope { version: VERSION, body }.to_bytes()
}

fn decode<T: Canonical>(bytes: &[u8]) -> Result<T, Undecodable> {
    let envelope = Envelope::<T>::from_bytes(bytes, MESSAGE_BYTES_MAX)?;
    if envelope.version != VERSION {
        return Err(Undecodable::Version(envelope.version));
    }
    Ok(envelope.body)
}

/// Why a message cannot be read; its sender is at fault, or newer than this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Undecodable {
    /// Not a message.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// Not of this version.
    #[error("version {0}, this node speaks {VERSION}")]
    Version(u32),
}

/// Why a peer did not give the answer that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NoAnswer {
    /// It could not be reached.
    #[error("{0} does not answer")]
    Unreachable(NodeId, #[source] content::RequestError),
    /// It was too slow.
    #[error("{0} did not answer in time")]
    Late(NodeId),
    /// Its answer cannot be read.
    #[error("the answer of {0} cannot be read")]
    Undecodable(NodeId, #[source] Undecodable),
    /// It says no.
    #[error("{0} refuses: {1}")]
    Refused(NodeId, String),
    /// It answers another question.
    #[error("{0} answers something else than was asked")]
    Unexpected(NodeId),
}

/// The other nodes.
#[derive(Clone)]
pub(crate) struct Peers {
    peer: content::Peer,
    progress: Arc<Semaphore>,
    deposits: Arc<Semaphore>,
    stores: Arc<Semaphore>,
}

impl Peers {
    pub(crate) fn new(peer: content::Peer) -> Self {
        let turns = |most| Arc::new(Semaphore::new(most));
        Self { peer, progress: turns(PROGRESS_MAX), deposits: turns(DEPOSITS_MAX), stores: turns(STORES_MAX) }
    }

    /// How many content peers are connected.
    pub(crate) fn connected(&self) -> u32 {
        u32::try_from(self.peer.stats().connected).unwrap_or(u32::MAX)
    }

    async fn ask(&self, node: NodeId, question: Question, patience: Duration) -> Result<Reply, NoAnswer> {
        let request = tokio::time::timeout(patience, self.peer.request(&node, encode(question))).await;
        let bytes = request.map_err(|_| NoAnswer::Late(node))?.map_err(|cause| NoAnswer::Unreachable(node, cause))?;
        match decode(&bytes).map_err(|cause| NoAnswer::Undecodable(node, cause))? {
            Reply::Refused(reason) => Err(NoAnswer::Refused(node, reason.chars().take(500).collect())),
            reply => Ok(reply),
        }
    }

    /// Sends an appraiser a message of the appraisal protocol.
    pub(crate) async fn appraisal(&self, node: NodeId, message: Vec<u8>) -> Result<Vec<u8>, NoAnswer> {
        match self.ask(node, Question::Appraisal(message.into()), PATIENCE).await? {
            Reply::Appraisal(answer) => Ok(answer.0),
            _ => Err(NoAnswer::Unexpected(node)),
        }
    }

    /// Sends a custodian a message of the release protocol.
    pub(crate) async fn custody(&self, node: NodeId, message: Vec<u8>) -> Result<Vec<u8>, NoAnswer> {
        match self.ask(node, Question::Custody(message.into()), PATIENCE).await? {
            Reply::Custody(answer) => Ok(answer.0),
            _ => Err(NoAnswer::Unexpected(node)),
        }
    }

    /// Asks a node to store everything under `root`.
    pub(crate) async fn store(&self, node: NodeId, root: ContentId) -> Result<Signed<StorageAck>, NoAnswer> {
        match self.ask(node, Question::Store(root), STORE_PATIENCE).await? {
            Reply::Stored(ack) => Ok(*ack),
            _ => Err(NoAnswer::Unexpected(node)),
        }
    }

    /// Asks a node to store something for a stranger.
    pub(crate) async fn store_for_stranger(
        &self,
        node: NodeId,
        root: ContentId,
    ) -> Result<Signed<StorageAck>, NoAnswer> {
        let _turn = self.stores.acquire().await;
        self.store(node, root).await
    }

    /// Hands a share to the custodian it is for.
    pub(crate) async fn deposit(&self, node: NodeId, request: DepositRequest) -> Result<Signed<DepositAck>, NoAnswer> {
        // Never closed, so that there is always a turn in the end.
        let _turn = self.deposits.acquire().await;
        match self.ask(node, Question::Deposit(Box::new(request)), PATIENCE).await? {
            Reply::Deposited(ack) => Ok(*ack),
            _ => Err(NoAnswer::Unexpected(node)),
        }
    }

    /// Asks an executor how far a task is. Nothing, if it does not say: this is for showing only.
    pub(crate) async fn progress(&self, node: NodeId, task: TaskId, from: usize, hold: Duration) -> Vec<TaskEvent> {
        let Ok(_turn) = self.progress.try_acquire() else {
            tokio::time::sleep(hold).await;
            return Vec::new();
        };
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(HOLD_MS_MAX);
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        match self.ask(node, Question::Progress { task, from, hold_ms }, hold + PATIENCE).await {
            Ok(Reply::Progress(events)) => events,
            _ => {
                tokio::time::sleep(hold).await;
                Vec::new()
            }
        }
    }
}

/// Those who answer.
struct Answerers {
    appraising: Arc<Appraising>,
    custody: Arc<Custody>,
    storage: Arc<Storage>,
    progress: Arc<Progress>,
}

/// Answers the questions of the network's nodes until the peer stops. Strangers have nothing to ask.
pub(crate) async fn serve(handles: Handles, roles: Roles, mut inbound: mpsc::Receiver<content::Inbound>) {
    let Roles { appraising, custody, storage, .. } = roles;
    let answerers = Arc::new(Answerers { appraising, custody, storage, progress: handles.progress });
    let turns = AnswerTurns::new(handles.chain.genesis().validators.iter().map(|validator| validator.node));
    while let Some(request) = inbound.recv().await {
        match turns.take(&request.from) {
            Ok(turn) => {
                let answerers = answerers.clone();
                tokio::spawn(async move {
                    let reply = answerers.answer(request.from, &request.body).await;
                    request.reply(encode(reply));
                    drop(turn);
                });
            }
            Err(no_turn) => request.reply(encode(Reply::Refused(no_turn.to_string()))),
        }
    }
}

/// How many questions of whom are being answered.
struct AnswerTurns(HashMap<NodeId, Arc<Semaphore>>);

/// Why a question is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NoTurn {
    /// A stranger asks.
    #[error("only nodes that the committee has approved are answered")]
    Stranger,
    /// Too fast.
    #[error("{ANSWERING_MAX} questions of this node are being answered; ask again")]
    TooMany,
}

impl AnswerTurns {
    fn new(members: impl IntoIterator<Item = NodeId>) -> Self {
        Self(members.into_iter().map(|member| (member, Arc::new(Semaphore::new(ANSWERING_MAX)))).collect())
    }

    fn take(&self, from: &NodeId) -> Result<OwnedSemaphorePermit, NoTurn> {
        let turns = self.0.get(from).ok_or(NoTurn::Stranger)?;
        turns.clone().try_acquire_owned().map_err(|_| NoTurn::TooMany)
    }
}

impl Answerers {
    async fn answer(&self, from: NodeId, body: &[u8]) -> Reply {
        let question = match decode(body) {
            Ok(question) => question,
            Err(cause) => return Reply::Refused(cause.to_string()),
        };
        match question {
            Question::Appraisal(message) => self.appraising.answer(from, &message.0).await,
            Question::Custody(message) => self.custody.answer(from, &message.0).await,
            Question::Store(root) => match self.storage.acknowledge_for_peer(from, root).await {
                Ok(ack) => Reply::Stored(Box::new(ack)),
                Err(cause) => Reply::Refused(cause.to_string()),
            },
            Question::Deposit(request) => match self.custody.deposit(*request).await {
                Ok(ack) => Reply::Deposited(Box::new(ack)),
                Err(cause) => Reply::Refused(crate::chain_of(&cause)),
            },
            Question::Progress { task, from: first, hold_ms } => {
                let hold = Duration::from_millis(hold_ms.min(HOLD_MS_MAX));
                Reply::Progress(self.progress.wait_since(&task, first as usize, hold).await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let question = Question::Progress { task: TaskId([7; 32]), from: 3, hold_ms: 500 };
        assert_eq!(decode::<Question>(&encode(question.clone())).unwrap(), question);
        let reply = Reply::Refused("no".into());
        assert_eq!(decode::<Reply>(&encode(reply.clone())).unwrap(), reply);
    }

    #[test]
    fn strangers_and_floods_are_not_answered_and_keep_nobody_out() {
        let [member, other, stranger] = [1, 2, 3].map(|byte| model::AccountId([byte; 32]));
        let turns = AnswerTurns::new([member, other]);
        assert_eq!(turns.take(&stranger).err(), Some(NoTurn::Stranger));
        let mut taken: Vec<_> = (0..ANSWERING_MAX).map(|_| turns.take(&member).unwrap()).collect();
        assert_eq!(turns.take(&member).err(), Some(NoTurn::TooMany));
        drop(turns.take(&other).unwrap());
        taken.pop();
        drop(turns.take(&member).unwrap());
    }

    #[test]
    fn another_version_is_refused() {
        let bytes = Envelope { version: 2, body: Question::Appraisal(Blob(vec![1])) }.to_bytes();
        assert!(matches!(decode::<Question>(&bytes), Err(Undecodable::Version(2))));
    }

    #[test]
    fn long_trailing_and_foreign_bytes_are_refused() {
        let long = encode(Question::Appraisal(Blob(vec![0; MESSAGE_BYTES_MAX])));
        assert!(matches!(decode::<Question>(&long), Err(Undecodable::Encoding(EncodingError::TooLong { .. }))));
        let mut trailing = encode(Question::Appraisal(Blob(vec![1])));
        trailing.push(0);
        assert!(decode::<Question>(&trailing).is_err());
        assert!(decode::<Question>(&encode(Reply::Refused("no".into()))).is_err());
        assert!(decode::<Question>(b"").is_err());
    }
}
