//! Drives custody's state machine: its messages come from peers, owners and the ledger; its actions go to disk first and
//! out after. The rules are in `custody`; here is only the order.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use attest::Fault;
use custody::{
    Action, Custodian, CustodianConfig, FactsError, Message, Refusal, ReleaseFacts, RestoreError, Standing,
    wire::{FromCustodian, ToCustodian},
};
use finality::Finalized;
use model::{
    Assignment, Canonical, ContentId, DepositAck, Fact, NodeId, Record, ReleaseRequest, Signed, Task, Verdict,
    api::DepositRequest,
};
use tracing::field::debug;

use crate::{
    account::Account,
    appraiser::{NotAppraised, Reappraiser},
    chain::{Chain, ChainError},
    config::Layout,
    handles::Handles,
    index::Index,
    journal::{Journal, JournalError},
    metrics::Metrics,
    peers::Reply,
    places::Places,
    progress::unix_ms,
};

/// Records observed with one proof.
const OBSERVE_MAX: usize = 256;
/// How often the records of a task are looked up again because they changed meanwhile.
const LOOKS_MAX: usize = 4;
/// How long an owner without credits waits for the next block.
const NEXT_BLOCK_MAX: Duration = Duration::from_millis(500);
/// How long a request for a task waits for this node to have read the block that assigned it.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// One node's custody, with its disk.
pub(crate) struct Custody {
    state: Arc<Mutex<State>>,
    chain: Chain,
    index: Arc<Index>,
    account: Account,
    reappraiser: Reappraiser,
    metrics: Arc<Metrics>,
    /// Ledger time up to which the machine has seen every record that concerns it.
    observed_ms: AtomicU64,
}

struct State {
    custodian: Custodian,
    /// `None` once it could not be written: the machine is then ahead of its disk, and nothing of it may go out.
    journal: Option<Journal>,
}

/// Why this node's custody does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyError {
    /// Its disk.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is on it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// No randomness.
    #[error("no randomness from the operating system")]
    Randomness(#[source] getrandom::Error),
    /// This network has not approved this node.
    #[error("{0} is no validator of this network")]
    NotApproved(NodeId),
}

/// Why a deposit was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DepositRefused {
    /// A rule forbids it.
    #[error(transparent)]
    Rule(Refusal),
    /// This node failed.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// What went wrong on this node while it handled a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failed {
    /// Its disk.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its disk, earlier: only a restart makes memory and disk agree again.
    #[error("custody stands still since its journal could not be written; restart the node")]
    JournalLost,
    /// Its ledger.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A blocking thread ended early: the node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The machine gave no answer where it owes one; a fault of this build.
    #[error("the custodian gave no answer")]
    NoAnswer,
}

/// Either outcome of a message that a rule may refuse.
type Handled = Result<Result<Vec<Action>, Refusal>, Failed>;

impl Custody {
    /// Opens the custody folder.
    pub(crate) fn open(
        handles: Handles,
        layout: &Layout,
        account: Account,
        reappraiser: Reappraiser,
    ) -> Result<Self, CustodyError> {
        let Handles { chain, index, identity, metrics, .. } = handles;
        let node = identity.node_id();
        let approved = chain.genesis().validator(&node).ok_or(CustodyError::NotApproved(node))?;
        let config = CustodianConfig {
            network: *chain.network_id(),
            mode: chain.genesis().custody,
            operator: approved.operator.clone(),
        };
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(CustodyError::Randomness)?;
        let (journal, stored) = Journal::open(&layout.custody())?;
        let custodian = Custodian::restore(config, identity, entropy, stored)?;
        let state = Arc::new(Mutex::new(State { custodian, journal: Some(journal) }));
        Ok(Self { state, chain, index, account, reappraiser, metrics, observed_ms: AtomicU64::new(0) })
    }

    /// Hands a message to the machine and writes down what it wants written. Returns what is to go out.
    async fn handle(&self, message: Message) -> Handled {
        let state = self.state.clone();
        let work = move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.handle(message)
        };
        // Seals and syncs: not for a thread that serves others.
        tokio::task::spawn_blocking(work).await.map_err(|_| Failed::Stopping)?
    }

    /// Takes a share into custody.
    pub(crate) async fn deposit(&self, request: DepositRequest) -> Result<Signed<DepositAck>, DepositRefused> {
        let standing = self.standing(&request).await?;
        let request = Box::new(request);
        let actions = self.handle(Message::Deposit { request, standing }).await?.map_err(DepositRefused::Rule)?;
        let ack = actions.into_iter().find_map(|action| match action {
            Action::Acknowledge(ack) => Some(ack),
            _ => None,
        });
        ack.ok_or(DepositRefused::Failed(Failed::NoAnswer))
    }

    /// What this node's ledger says about the owner of a deposit.
    async fn standing(&self, request: &DepositRequest) -> Result<Standing, Failed> {
        let bytes = request.manifest.to_bytes().len() + request.deposit.to_bytes().len();
        // A fee that does not fit is one that nobody can pay.
        let needed = ledger::transaction_fee(&self.chain.genesis().fees, bytes).unwrap_or(u64::MAX);
        let owner = request.deposit.unverified().owner;
        let mut blocks = self.index.watch();
        let mut balance = self.chain.account(&owner).await?.balance;
        if balance < needed {
            // Another node may have shown the owner its credits a block earlier.
            let _ = tokio::time::timeout(NEXT_BLOCK_MAX, blocks.changed()).await;
            balance = self.chain.account(&owner).await?.balance;
        }
        Ok(Standing { balance, needed, observed_ms: self.observed_ms.load(Ordering::Acquire) })
    }

    /// Answers an executor.
    pub(crate) async fn answer(&self, from: NodeId, message: &[u8]) -> Reply {
        let message = match ToCustodian::from_bytes(message, ToCustodian::BYTES_MAX) {
            Ok(message) => message,
            Err(cause) => return Reply::Refused(cause.to_string()),
        };
        match self.respond(message).await {
            Ok(Ok(answer)) => Reply::Custody(answer.to_bytes().into()),
            Ok(Err(refusal)) => {
                tracing::warn!(executor = %from, %refusal, "no share released");
                let refused = FromCustodian::Refused { rule: refusal.rule().to_owned(), reason: refusal.to_string() };
                Reply::Custody(refused.to_bytes().into())
            }
            Err(cause) => {
                tracing::error!(executor = %from, error = %crate::chain_of(&cause), "custody failed");
                Reply::Refused("this custodian failed".into())
            }
        }
    }

    async fn respond(&self, message: ToCustodian) -> Result<Result<FromCustodian, Refusal>, Failed> {
        let actions = match message {
            ToCustodian::Hello(hello) => self.handle(Message::Hello(hello)).await?,
            ToCustodian::Request(request) => self.request(request).await?,
        };
        let actions = match actions {
            Ok(actions) => actions,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut answer = None;
        for action in actions {
            match action {
                Action::Nonce(nonce) => answer = Some(FromCustodian::Nonce(nonce)),
                Action::Release(shares) => {
                    self.metrics.releases.inc_by(shares.len() as u64);
                    answer = Some(FromCustodian::Released(shares));
                }
                other => self.carry_out(other),
            }
        }
        answer.map(Ok).ok_or(Failed::NoAnswer)
    }

    /// What is final about the task goes with the request; evidence that was not appraised here yet is appraised now.
    async fn request(&self, request: Box<Signed<ReleaseRequest>>) -> Handled {
        let facts = match self.facts(request.unverified()).await? {
            Ok(facts) => facts,
            Err(missing) => return Ok(Err(missing.into())),
        };
        let verdict = facts.verdict.clone();
        let message = || Message::Request { request: request.clone(), facts: Box::new(facts.clone()) };
        match self.handle(message()).await? {
            Err(Refusal::NotAppraised { evidence }) => {
                if let Err(cause) = self.appraise(verdict).await? {
                    let fault = cause.fault().map(debug);
                    tracing::warn!(%evidence, fault, error = %crate::chain_of(&cause), "evidence not appraised");
                    return Ok(Err(Refusal::NotAppraised { evidence }));
                }
                self.handle(message()).await
            }
            handled => Ok(handled),
        }
    }

    /// Everything this node has found final about a task, for one attempt at it.
    async fn facts(&self, request: &ReleaseRequest) -> Result<Result<ReleaseFacts, FactsError>, Failed> {
        let task = request.task;
        // The executor may have read its block a moment earlier.
        self.index.until(CATCH_UP_MAX, |places| assignment_place(places, request).is_some()).await;
        let Some((asked, assignment)) = self.asked(request)? else {
            return Ok(Err(FactsError { task, what: "assignment" }));
        };
        let places = || self.index.places().behind_now(&asked, &assignment);
        let finalized = |places: Vec<u64>| async move {
            let (head, records) = self.chain.finalized(&places).await?;
            Ok::<_, Failed>((head.height(), (head, records)))
        };
        Ok(match look_until_all(&self.index, places, finalized).await? {
            Ok((head, records)) => ReleaseFacts::from_records(head, task, request.assignment, records),
            Err(what) => Err(FactsError { task, what }),
        })
    }

    /// The task and the assignment that a request is about. They may be over: that is for the machine to say.
    fn asked(&self, request: &ReleaseRequest) -> Result<Option<(Task, Assignment)>, Failed> {
        let places = assignment_place(&self.index.places(), request);
        let Some((task, assignment)) = places else { return Ok(None) };
        match (self.chain.record(task)?.fact, self.chain.record(assignment)?.fact) {
            (Fact::Task(task), Fact::Assignment(assignment)) => Ok(Some((*task, *assignment))),
            _ => Ok(None),
        }
    }

    /// Appraises the evidence behind a verdict and tells the machine.
    async fn appraise(&self, verdict: Finalized<Verdict>) -> Result<Result<(), NotAppraised>, Failed> {
        let appraised = match self.reappraiser.reappraise(&verdict).await {
            Ok(appraised) => Box::new(appraised),
            Err(cause) => return Ok(Err(cause)),
        };
        match self.handle(Message::Appraised { appraised, verdict: Box::new(verdict) }).await? {
            Ok(_) => Ok(Ok(())),
            Err(refusal) => {
                tracing::warn!(%refusal, "appraisal not remembered");
                Ok(Ok(()))
            }
        }
    }

    fn carry_out(&self, action: Action) {
        let Action::Post { task, releases } = action else { return };
        if self.index.places().task(&task).is_some_and(|entry| entry.settlement.is_some()) {
            // The ledger would take the fee and note nothing.
            return;
        }
        let account = self.account.clone();
        tokio::spawn(async move {
            let action = model::Action::PostReleases { task, releases };
            if let Err(cause) = account.send(action).await {
                // The settlement carries the releases that its executor used.
                tracing::debug!(%task, error = %cause, "releases not posted");
            }
        });
    }

    /// Shows the machine everything final that concerns it, from the first record on, until the node stops.
    pub(crate) async fn observe(self: Arc<Self>) {
        let mut blocks = self.index.watch();
        let mut next = 0;
        loop {
            let tip = *blocks.borrow_and_update();
            match self.observe_from(next).await {
                Ok(reached) => {
                    next = reached;
                    self.observed_ms.store(tip.time_ms, Ordering::Release);
                }
                Err(cause) => tracing::warn!(error = %crate::chain_of(&cause), "custody could not read the ledger"),
            }
            if blocks.changed().await.is_err() {
                return;
            }
        }
    }

    /// Observes the records from the `next`th of those that matter. Returns how far it came.
    async fn observe_from(&self, mut next: usize) -> Result<usize, Failed> {
        loop {
            let places: Vec<u64> = {
                let places = self.index.places();
                places.for_custody().get(next..).unwrap_or_default().iter().take(OBSERVE_MAX).copied().collect()
            };
            if places.is_empty() {
                return Ok(next);
            }
            let (_, records) = self.chain.finalized(&places).await?;
            for record in records {
                self.observe_one(record).await?;
                next += 1;
            }
        }
    }

    async fn observe_one(&self, record: Finalized<Record>) -> Result<(), Failed> {
        if let Err(refusal) = self.handle(Message::Final(Box::new(record))).await? {
            tracing::warn!(%refusal, "record not observed");
        }
        Ok(())
    }

    /// Posts again what a restart may have interrupted. Call it once the index has caught up.
    pub(crate) fn resume(&self) {
        let time_ms = self.index.tip().time_ms;
        let actions = self.state.lock().unwrap_or_else(PoisonError::into_inner).custodian.resume(time_ms);
        for action in actions {
            self.carry_out(action);
        }
    }

    /// Appraises ahead whatever verdict is fresh, so that no task waits for it.
    pub(crate) async fn appraise_ahead(self: Arc<Self>) {
        let mut blocks = self.index.watch();
        let mut done: std::collections::HashSet<u64> = std::collections::HashSet::new();
        loop {
            blocks.borrow_and_update();
            let fresh: Vec<u64> = {
                let places = self.index.places();
                let now = self.index.tip().time_ms;
                let verdicts = places.nodes().filter_map(|(_, node)| node.verdict);
                verdicts.filter(|verdict| verdict.expires_ms > now).map(|verdict| verdict.index).collect()
            };
            done.retain(|index| fresh.contains(index));
            for index in fresh {
                // A node that is just starting does not answer yet: it is asked again after the next block.
                if !done.contains(&index) && self.appraise_record(index).await {
                    done.insert(index);
                }
            }
            if blocks.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the evidence behind that verdict passes here.
    async fn appraise_record(&self, index: u64) -> bool {
        let Ok((_, records)) = self.chain.finalized(&[index]).await else { return false };
        let verdict = records.into_iter().next().map(|record| record.try_map(Verdict::try_from));
        let Some(Ok(verdict)) = verdict else { return false };
        let (node, evidence) = (verdict.get().node, verdict.get().evidence);
        match self.appraise(verdict).await {
            Ok(Ok(())) => return true,
            Ok(Err(cause)) => log_unappraised(&node, &evidence, cause.fault(), &cause),
            Err(cause) => log_unappraised(&node, &evidence, None, &cause),
        }
        false
    }
}

/// Places of the task and of the attempt at it that a request is about.
fn assignment_place(places: &Places, request: &ReleaseRequest) -> Option<(u64, u64)> {
    let entry = places.task(&request.task)?;
    Some((entry.task, *entry.assignments.get(&request.attempt)?))
}

/// Records as of one head, and all that matter up to it: the head may be younger than what the index had read, and what came
/// between counts as well, such as a settlement (R2) or terms with a higher serial (R5). `finalized` returns the height of its head first.
async fn look_until_all<T, E, F: Future<Output = Result<(u64, T), E>>>(
    index: &Index,
    places: impl Fn() -> Option<Vec<u64>>,
    finalized: impl Fn(Vec<u64>) -> F,
) -> Result<Result<T, &'static str>, E> {
    for _ in 0..LOOKS_MAX {
        let Some(looked_at) = places() else { return Ok(Err("assignment")) };
        let (height, found) = finalized(looked_at.clone()).await?;
        index.until_height(height).await;
        if index.tip().height >= height && places() == Some(looked_at) {
            return Ok(Ok(found));
        }
    }
    Ok(Err("state of now"))
}

fn log_unappraised(
    node: &NodeId,
    evidence: &ContentId,
    fault: Option<Fault>,
    cause: &(dyn std::error::Error + 'static),
) {
    let (fault, error) = (fault.map(debug), crate::chain_of(cause));
    tracing::info!(%node, %evidence, fault, %error, "evidence not appraised; no share for this node yet");
}

impl State {
    /// Everything up to the first action that goes out is on disk when this returns.
    fn handle(&mut self, message: Message) -> Handled {
        let journal = self.journal.as_mut().ok_or(Failed::JournalLost)?;
        let actions = match self.custodian.handle(unix_ms(), message) {
            Ok(actions) => actions,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut changes = Vec::new();
        let mut outgoing = Vec::new();
        for action in actions {
            match action {
                Action::Persist { key, value } => changes.push((key, value)),
                other => outgoing.push(other),
            }
        }
        if let Err(cause) = journal.append(changes) {
            self.journal = None;
            return Err(cause.into());
        }
        Ok(Ok(outgoing))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible};

    use super::*;
    use crate::index::BlockFacts;

    fn read(index: &Index, height: u64) {
        index.read_block(&BlockFacts { height, time_ms: height, records: &[] });
    }

    /// Looks at a ledger that grows meanwhile, one place with each block; `heads` are those that prove what was looked at.
    async fn look(index: &Index, heads: &[u64]) -> (Result<Vec<u64>, &'static str>, usize) {
        let looks = Cell::new(0);
        let places = || Some((0..index.tip().height).collect::<Vec<u64>>());
        let finalized = |places: Vec<u64>| {
            let height = heads[looks.get().min(heads.len() - 1)];
            looks.set(looks.get() + 1);
            // The index catches up with the head, a moment later.
            read(index, height);
            std::future::ready(Ok::<_, Infallible>((height, places)))
        };
        let found = look_until_all(index, places, finalized).await;
        let Ok(found) = found;
        (found, looks.get())
    }

    #[tokio::test]
    async fn terms_that_came_with_a_younger_head_are_looked_at_before_a_share_goes_out() {
        let index = Index::default();
        read(&index, 2);
        let (found, looks) = look(&index, &[2]).await;
        assert_eq!((found, looks), (Ok(vec![0, 1]), 1));
        // The head that proves the records is one block ahead, and that block has new terms.
        let (found, looks) = look(&index, &[3]).await;
        assert_eq!((found, looks), (Ok(vec![0, 1, 2]), 2));
    }

    #[tokio::test]
    async fn nothing_goes_out_while_the_ledger_moves_faster_than_it_is_read() {
        let index = Index::default();
        read(&index, 1);
        let (found, looks) = look(&index, &[2, 3, 4, 5, 6]).await;
        assert_eq!((found, looks), (Err("state of now"), LOOKS_MAX));
    }
}
