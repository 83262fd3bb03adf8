//! A network as one account sees it: every answer is checked before it is used.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use finality::{Finalized, Head};
use model::{
    Canonical as _, Digest, Genesis, NetworkId, Record, Signed, Transaction,
    api::{ProvenRecords, ProvenState},
};
use tokio::sync::OnceCell;

use crate::{
    error::{ClientError, Skipped},
    history::History,
    memory::StateDir,
    network::NetworkFile,
    nodes::{Miss, Nodes, Question, conclude, decode},
};

/// How far a head's ledger time may be from this machine's clock, either way.
pub const HEAD_AGE_MS_MAX: u64 = 30_000;

/// How long a transaction may take until it is final.
const FINAL_MS_MAX: u64 = 30_000;

/// After how long a wait is worth a word.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// How long a command looks for a node that has come as far as the command before it has seen. They follow each other within
/// moments.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How often the network is asked whether a transaction is final.
const POLL_MS: u64 = 25;

/// To how many nodes a transaction is handed.
const SUBMIT_NODES: usize = 2;

/// A network, checked.
pub struct Client {
    pub(crate) file: NetworkFile,
    pub(crate) network: finality::Network,
    pub(crate) nodes: Nodes,
    pub(crate) state_dir: StateDir,
    /// The heads that this process has believed.
    pub(crate) history: tokio::sync::Mutex<History>,
    seen: OnceLock<Seen>,
    genesis: OnceCell<Genesis>,
}

/// The newest block that earlier commands on this machine have seen.
#[derive(Clone, Copy)]
struct Seen {
    height: u64,
    /// Until when answers from before it are passed over.
    wanted_until: Instant,
}

impl Client {
    /// Prepares to ask a network; nothing is sent yet. `prefer` is a node to ask first.
    ///
    /// # Errors
    /// [`ClientError`] if there is no node to ask.
    pub fn new(file: NetworkFile, prefer: Option<&str>, state_dir: StateDir) -> Result<Self, ClientError> {
        let nodes = Nodes::new(file.nodes.iter().map(|node| node.api.clone()), prefer)?;
        let network = finality::Network { id: file.id, key: file.key };
        let history = tokio::sync::Mutex::default();
        Ok(Self { file, network, nodes, state_dir, history, seen: OnceLock::new(), genesis: OnceCell::new() })
    }

    /// From now on `tell` is called whenever a node is passed over: it could not be reached, was behind, or lied.
    #[must_use]
    pub fn on_skipped(mut self, tell: impl Fn(&Skipped) + Send + Sync + 'static) -> Self {
        self.nodes.on_skipped(tell);
        self
    }

    /// From now on `tell` is called, once for each reason, when nothing but waiting helps; what it is given is waited for.
    #[must_use]
    pub fn on_waiting(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.nodes.on_waiting(tell);
        self
    }

    /// For that long from now on, nodes of which none answers are asked again: they may just have been started.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.nodes.be_patient(patience);
        self
    }

    /// Its id.
    pub fn network_id(&self) -> NetworkId {
        self.network.id
    }

    /// The file it was made from.
    pub fn network_file(&self) -> &NetworkFile {
        &self.file
    }

    /// The genesis, checked against the network id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn genesis(&self) -> Result<&Genesis, ClientError> {
        self.genesis
            .get_or_try_init(|| {
                self.nodes.ask("the genesis", || Question::get("/v1/genesis"), |bytes| self.check_genesis(&bytes))
            })
            .await
    }

    fn check_genesis(&self, bytes: &[u8]) -> Result<Genesis, Miss> {
        let genesis = Genesis::from_bytes(bytes, Genesis::BYTES_MAX).map_err(Miss::disbelieve)?;
        if genesis.network_id() != self.file.id {
            return Err(Miss::Disbelieved(format!("it serves another network, {}", genesis.network_id())));
        }
        if genesis.network_key != self.file.key {
            return Err(Miss::Disbelieved("the network file names another key than the genesis".to_owned()));
        }
        Ok(genesis)
    }

    fn seen(&self) -> Result<Seen, ClientError> {
        if let Some(seen) = self.seen.get() {
            return Ok(*seen);
        }
        let last = self.state_dir.last_head(&self.network.id)?;
        let wanted_until = Instant::now() + CATCH_UP;
        Ok(*self.seen.get_or_init(|| Seen { height: last.map_or(0, |head| head.height), wanted_until }))
    }

    /// Refuses a head that is old. One from before what this machine has seen is passed over as long as another node may show
    /// more: whoever has just paid wants to see what is left.
    fn check_fresh(&self, head: &Head, seen: Seen) -> Result<(), Miss> {
        if head.height() < seen.height && Instant::now() < seen.wanted_until {
            return Err(Miss::Lags);
        }
        let now_ms = now_ms();
        if head.time_ms() + HEAD_AGE_MS_MAX < now_ms {
            let age_s = (now_ms - head.time_ms()) / 1_000;
            return Err(Miss::Behind(format!("its newest block is {age_s} s old")));
        }
        if head.time_ms() > now_ms + HEAD_AGE_MS_MAX {
            let early_s = (head.time_ms() - now_ms) / 1_000;
            return Err(Miss::Behind(format!("its newest block is {early_s} s in the future of this machine's clock")));
        }
        Ok(())
    }

    /// Records with a proof, from a path of the API. The answer's head is fresh; whether the list is complete is not known.
    pub(crate) async fn records(&self, what: &str, path: &str) -> Result<(Head, Vec<Finalized<Record>>), ClientError> {
        self.records_within(what, path, Duration::from_secs(30)).await
    }

    pub(crate) async fn records_within(
        &self,
        what: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<(Head, Vec<Finalized<Record>>), ClientError> {
        let timeout_ms = timeout.as_millis() as u64;
        let question = || Question { timeout_ms, ..Question::get(path) };
        let seen = self.seen()?;
        let (head, records) = self.nodes.ask(what, question, |bytes| self.check_records(&bytes, seen)).await?;
        self.link(&head).await?;
        Ok((head, records))
    }

    fn check_records(&self, bytes: &[u8], seen: Seen) -> Result<(Head, Vec<Finalized<Record>>), Miss> {
        let proven: ProvenRecords = decode(bytes)?;
        let (head, records) = self.network.check_proven(&proven).map_err(Miss::disbelieve)?;
        self.check_fresh(&head, seen)?;
        Ok((head, records))
    }

    /// What the live state holds under a key, at a fresh head.
    pub(crate) async fn state(&self, what: &str, key: ledger::Key) -> Result<(Head, Option<Vec<u8>>), ClientError> {
        let path = format!("/v1/state/{}", Digest(key));
        let seen = self.seen()?;
        let (head, value) =
            self.nodes.ask(what, || Question::get(&path), |bytes| self.check_state(key, &bytes, seen)).await?;
        self.link(&head).await?;
        Ok((head, value))
    }

    fn check_state(&self, key: ledger::Key, bytes: &[u8], seen: Seen) -> Result<(Head, Option<Vec<u8>>), Miss> {
        let proven: ProvenState = decode(bytes)?;
        if proven.key != Digest(key) {
            return Err(Miss::Disbelieved("it answered another question".to_owned()));
        }
        let (head, value) = self.network.check_state(&proven).map_err(Miss::disbelieve)?;
        self.check_fresh(&head, seen)?;
        Ok((head, value))
    }

    /// Hands in a transaction. Returns when a node has accepted it; it is not final then.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the network's reason.
    pub(crate) async fn submit(&self, transaction: &Signed<Transaction>) -> Result<(), ClientError> {
        let bytes = transaction.to_bytes();
        let expected = transaction.id();
        let mut misses = Vec::new();
        let mut accepted = 0;
        for node in self.nodes.order() {
            let asked = self.nodes.ask_one(&node, Question::post("/v1/transactions", bytes.clone())).await;
            match asked.and_then(|answer| decode::<Digest>(&answer)) {
                Ok(id) if id == expected => accepted += 1,
                Ok(_) => misses.push((node, Miss::Disbelieved("it took another transaction".to_owned()))),
                Err(miss) => misses.push((node, miss)),
            }
            if accepted == SUBMIT_NODES {
                break;
            }
        }
        if accepted > 0 { Ok(()) } else { Err(conclude("a transaction", misses)) }
    }

    /// Asks again and again until there is an answer, or time is up.
    pub(crate) async fn until_final<T, F>(&self, what: &str, ask: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Option<T>, ClientError>>,
    {
        let begun = tokio::time::Instant::now();
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            if begun.elapsed() > LONG_WAIT {
                self.nodes.wait_for(&format!("a block with {what}"));
            }
            if begun.elapsed() > Duration::from_millis(FINAL_MS_MAX) {
                return Err(ClientError::NotFinal { what: what.to_owned(), waited_s: FINAL_MS_MAX / 1_000 });
            }
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(head) = self.history.get_mut().longest() {
            // Without it the next command notices one rewriting less; nothing else depends on it.
            let _ = self.state_dir.remember(&self.network.id, head);
        }
    }
}

/// Decodes a value of the state that was proven; only a newer ledger than this client could break it.
pub(crate) fn read_state<T: model::Canonical>(bytes: &[u8]) -> Result<T, ClientError> {
    T::from_bytes(bytes, 1 << 20).map_err(|cause| ClientError::Machine {
        what: "read the ledger's state; is this program too old?",
        cause: cause.into(),
    })
}

/// This machine's clock, milliseconds since 1970. Used for freshness alone.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
