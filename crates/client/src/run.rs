//! Asking for a task and getting its result, so that it can be interrupted anywhere and pays once.
//!
//! ```text
//! OUT/task     the signed transaction, written before it is handed in
//! OUT/refused/ earlier ones that asked for something else, and that nodes said they refused
//! OUT/result/  stdout, stderr, exit-code, out/…, opening    there as a whole or not at all
//! OUT/proof    verified before it is written
//! OUT/extension  what links the proof with the checkpoint of the network file, if that pins one
//! ```

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use custody::AccountKey;
use finality::{Finalized, Head};
use ledger::state::TaskState;
use model::{
    Action, Bytes32, Canonical as _, Input, Limits, Metering, ObjectId, Record, Signed, Task, TaskId, Transaction,
    api::{Phase, TaskEvent},
};

use crate::{
    client::{Client, read_state},
    error::ClientError,
    file::{FileError, UNFINISHED, read_bounded, write_atomically, write_first},
    folder::{check_is_empty, hold, in_use},
    land::Intent,
    listing::{TaskView, tasks_of},
    progress::{Progress, Watch},
    result::Finished,
};

/// How long one question for the end of a task is kept open by a node.
const LONG_POLL: Duration = Duration::from_secs(40);

/// How long a node may take to tell what happened before an end that is proven already.
const NARRATION_GRACE: Duration = Duration::from_millis(200);

/// Most bytes of one event.
const EVENT_BYTES_MAX: usize = 16 << 10;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to run.
    pub program: ObjectId,
    /// On what; names as in [`check_input_name`].
    pub inputs: Vec<Input>,
    /// Arguments; public.
    pub args: Vec<String>,
    /// What it may use.
    pub limits: Limits,
    /// How it is metered.
    pub metering: Metering,
    /// Most credits it may cost.
    pub price_max: u64,
}

impl Request {
    /// Whether a task asks for exactly this.
    fn is(&self, task: &Task) -> bool {
        self.program == task.program
            && self.inputs_in_order() == task.inputs
            && self.args == task.args
            && self.limits == task.limits
            && self.metering == task.metering
            && self.price_max == task.price_max
    }

    fn inputs_in_order(&self) -> Vec<Input> {
        let mut inputs = self.inputs.clone();
        inputs.sort_by(|left, right| left.name.cmp(&right.name));
        inputs
    }

    fn task(&self, key: &AccountKey, client: &Client, nonce: u64, seed: Bytes32) -> Task {
        Task {
            requester: key.account(),
            nonce,
            program: self.program,
            inputs: self.inputs_in_order(),
            args: self.args.clone(),
            limits: self.limits,
            metering: self.metering,
            seed,
            result_key: key.result_key(&client.network.id).public(),
            price_max: self.price_max,
        }
    }
}

/// Checks the name under which a guest reads an input.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_input_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(allowed) {
        return Err(format!("'{name}' is no input name: 1 to 64 of a-z A-Z 0-9 . _ -, not beginning with a dot"));
    }
    Ok(())
}

impl Client {
    /// Runs a task, or goes on with the one in `out`, and leaves its result and its verified proof there.
    ///
    /// # Errors
    /// [`ClientError::TaskFailed`] if it ended without a result; [`ClientError::Refused`] if it was never accepted, and
    /// the rest.
    pub async fn run(
        &self,
        key: &AccountKey,
        request: &Request,
        out: &Path,
        watch: &dyn Watch,
    ) -> Result<Finished, ClientError> {
        let _held = hold(out)?;
        let asked = self.ask_for(key, request, out).await?;
        watch.see(phase(Phase::Checked, "both owners' terms admit it"));
        let id = asked.id();
        watch.see(phase(Phase::Paid, &format!("task {id}")));
        let task = self.settled_narrated(&id, watch).await?;
        let end = if task.result().is_some() { Phase::Finalized } else { Phase::Failed };
        watch.see(phase(end, &task.standing()));
        self.collect(key, task, out, watch).await
    }

    /// Fetches result and proof of a task that has ended.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch(
        &self,
        key: &AccountKey,
        id: &TaskId,
        out: &Path,
        watch: &dyn Watch,
    ) -> Result<Finished, ClientError> {
        let task = self.task(id).await?;
        if task.task.requester != key.account() {
            return Err(ClientError::Folder {
                reason: format!(
                    "task {id} was asked for by {}, and only its key opens the result",
                    task.task.requester
                ),
                hint: "name that account's key with --key".to_owned(),
            });
        }
        if task.settlement.is_none() {
            return Err(ClientError::Folder {
                reason: format!("task {id} has not ended yet"),
                hint: "`samovar tasks show` tells how far it is; try again in a moment".to_owned(),
            });
        }
        let _held = hold(out)?;
        self.check_holds_no_other(key, id, out)?;
        self.collect(key, task, out, watch).await
    }

    /// Refuses a folder that belongs to another task: what was paid for would be written over.
    fn check_holds_no_other(&self, key: &AccountKey, id: &TaskId, out: &Path) -> Result<(), ClientError> {
        let other = |what: &str| ClientError::Folder {
            reason: format!("{} holds {what}", out.display()),
            hint: format!("name another folder with --out for task {id}"),
        };
        if out.join(TASK).exists() {
            let written = self.read_written(key, out)?;
            return match written.last().filter(|(_, task)| task.id() != *id) {
                Some((_, task)) => Err(other(&format!("task {}", task.id()))),
                None => Ok(()),
            };
        }
        let proof = out.join("proof");
        if !proof.exists() {
            let has_result = out.join("result").exists();
            return if has_result { Err(other("a result without its proof")) } else { check_is_empty(out) };
        }
        let bytes = read_bounded(&proof, proof::Proof::BYTES_MAX as u64)?;
        match proof::verify(&bytes, &self.file.proof_network()) {
            Ok(verified) if verified.task_id() == *id => Ok(()),
            Ok(verified) => Err(other(&format!("the proof of task {}", verified.task_id()))),
            Err(_) => Err(other("a proof of something else")),
        }
    }

    /// Makes sure that the ledger has the task, and has it once.
    async fn ask_for(&self, key: &AccountKey, request: &Request, out: &Path) -> Result<Task, ClientError> {
        let written = self.read_written(key, out)?;
        let first = AtomicBool::new(written.is_empty());
        let earlier = written.iter().rfind(|(_, task)| request.is(task)).cloned();
        let seed = match &earlier {
            Some((_, task)) => task.seed,
            None => random()?,
        };
        let earlier = earlier.map(|(transaction, _)| transaction);
        let others = written.into_iter().map(|(transaction, _)| transaction);
        let rivals: Vec<_> = others.filter(|other| Some(other.id()) != earlier.as_ref().map(Signed::id)).collect();
        let wish = Wish { client: self, key, request, seed, out, first, rivals };
        if let Some(earlier) = earlier.as_ref().filter(|_| !wish.rivals.is_empty()) {
            // It may be one that was replaced, and is wanted again.
            wish.write_down(earlier)?;
        }
        let transaction = self.land(key, &wish, earlier).await?;
        Ok(wish.task(transaction.unverified().nonce))
    }

    /// What was written down in a folder, the newest last. It is never removed: a node may keep what it said it refused.
    fn read_written(&self, key: &AccountKey, out: &Path) -> Result<Vec<Written>, ClientError> {
        let file = out.join(TASK);
        if !file.exists() {
            check_is_empty(out)?;
            return Ok(Vec::new());
        }
        let mut written = Vec::new();
        for file in refused_files(out)?.iter().chain([&file]) {
            written.push(self.read_task(key, file)?);
        }
        Ok(written)
    }

    fn read_task(&self, key: &AccountKey, file: &Path) -> Result<Written, ClientError> {
        let bytes = read_bounded(file, Transaction::BYTES_MAX as u64)?;
        let transaction = Signed::<Transaction>::from_bytes(&bytes, Transaction::BYTES_MAX).ok();
        let Some(transaction) = transaction.filter(|transaction| transaction.verify(&self.network.id).is_ok()) else {
            return Err(other_task(file, "is no task of this network"));
        };
        let Some(task) = task_of(&transaction).cloned() else {
            return Err(other_task(file, "is no task"));
        };
        if task.requester != key.account() {
            return Err(other_task(file, "belongs to another account"));
        }
        Ok((transaction, task))
    }

    /// Waits until a task is settled. The ledger settles every task by its deadline, so that this ends.
    async fn settled(&self, id: &TaskId) -> Result<TaskView, ClientError> {
        let path = format!("/v1/tasks/{id}?wait=settled");
        let what = format!("task {id}");
        loop {
            let (_, records): (Head, Vec<Finalized<Record>>) = self.records_within(&what, &path, LONG_POLL).await?;
            let view = tasks_of(&records).into_iter().find(|view| view.id == *id);
            match view {
                Some(view) if view.settlement.is_some() => return Ok(view),
                // A node that hides the end of a task would be waited for without end; the live state tells.
                _ => self.look_for_hidden_end(id).await?,
            }
        }
    }

    async fn look_for_hidden_end(&self, id: &TaskId) -> Result<(), ClientError> {
        let (_, value) = self.state("the task", ledger::key::task(id)).await?;
        if let Some(TaskState::Settled(_)) = value.map(|value| read_state(&value)).transpose()? {
            self.task(id).await?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    /// Waits until a task is settled, and meanwhile tells how far it is.
    async fn settled_narrated(&self, id: &TaskId, watch: &dyn Watch) -> Result<TaskView, ClientError> {
        let narration = self.narrate(id, watch);
        let settled = self.settled(id);
        tokio::pin!(narration, settled);
        let task = tokio::select! {
            task = &mut settled => task?,
            () = &mut narration => return settled.await,
        };
        // What happened before the end should be told before it.
        let _ = tokio::time::timeout(NARRATION_GRACE, narration).await;
        Ok(task)
    }

    /// Tells how far a task is, as nodes see it, until one says that it has ended. Nothing rests on it, least of all the end.
    async fn narrate(&self, id: &TaskId, watch: &dyn Watch) {
        let path = format!("/v1/tasks/{id}/events");
        // What is proven is told by whoever proved it.
        let proven = [Phase::Checked, Phase::Paid];
        let (mut told, mut drawn) = (proven.to_vec(), String::new());
        for node in self.nodes.order() {
            let Ok(mut response) = self.nodes.download(&node, &path, "text/event-stream").await else { continue };
            let mut text = Vec::new();
            while let Ok(Some(piece)) = response.chunk().await {
                text.extend_from_slice(&piece);
                while let Some(event) = next_event(&mut text) {
                    if event.phase >= Phase::Finalized {
                        return;
                    }
                    if event.phase == Phase::Drawn && event.detail != drawn {
                        // Another machine begins again.
                        told = proven.to_vec();
                        drawn.clone_from(&event.detail);
                    }
                    if !told.contains(&event.phase) {
                        told.push(event.phase);
                        watch.see(Progress::Phase { phase: event.phase, detail: event.detail });
                    }
                }
                if text.len() > EVENT_BYTES_MAX {
                    break;
                }
            }
        }
    }
}

/// Takes one server-sent event off the front of `text`; those before it that are none of ours are dropped, all at once: a
/// node may send thousands of empty ones in a piece.
fn next_event(text: &mut Vec<u8>) -> Option<TaskEvent> {
    let (mut found, mut taken) = (None, 0);
    while found.is_none()
        && let Some(end) = text[taken..].windows(2).position(|pair| pair == b"\n\n")
    {
        found = parse_event(&text[taken..taken + end]);
        taken += end + 2;
    }
    text.drain(..taken);
    found
}

fn parse_event(text: &[u8]) -> Option<TaskEvent> {
    let data = String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| line.strip_prefix("data:").map(str::trim_start))
        .collect::<String>();
    serde_json::from_str(&data).ok()
}

fn phase(phase: Phase, detail: &str) -> Progress {
    Progress::Phase { phase, detail: detail.to_owned() }
}

/// A task to be asked for.
struct Wish<'a> {
    client: &'a Client,
    key: &'a AccountKey,
    request: &'a Request,
    seed: Bytes32,
    out: &'a Path,
    /// Whether nothing was written down in that folder yet.
    first: AtomicBool,
    /// What else was written down in that folder.
    rivals: Vec<Signed<Transaction>>,
}

impl Wish<'_> {
    fn task(&self, nonce: u64) -> Task {
        self.request.task(self.key, self.client, nonce, self.seed)
    }
}

impl Intent for Wish<'_> {
    fn what(&self) -> String {
        "the task".to_owned()
    }

    fn action(&self, nonce: u64) -> Action {
        Action::Submit { task: Box::new(self.task(nonce)) }
    }

    fn effect_key(&self, transaction: &Signed<Transaction>) -> ledger::Key {
        let asked = task_of(transaction).map_or_else(|| self.task(transaction.unverified().nonce).id(), Task::id);
        ledger::key::task(&asked)
    }

    fn in_effect(&self, _: &Signed<Transaction>, value: Option<&[u8]>) -> bool {
        value.is_some()
    }

    fn write_down(&self, transaction: &Signed<Transaction>) -> Result<(), ClientError> {
        for rival in &self.rivals {
            write_atomically(&refused_file(self.out, rival), &rival.to_bytes())?;
        }
        let (file, bytes) = (self.out.join(TASK), transaction.to_bytes());
        if !self.first.swap(false, Relaxed) {
            return Ok(write_atomically(&file, &bytes)?);
        }
        match write_first(&file, &bytes) {
            // The folder is held, but not every disk holds what it promises.
            Err(FileError::Write { cause, .. }) if cause.kind() == ErrorKind::AlreadyExists => Err(in_use(self.out)),
            written => Ok(written?),
        }
    }

    fn rivals(&self) -> &[Signed<Transaction>] {
        &self.rivals
    }

    fn rival_in_effect(&self, rival: &Signed<Transaction>) -> ClientError {
        let id = task_of(rival).map(|task| format!(" (task {})", task.id())).unwrap_or_default();
        other_task(&self.out.join(TASK), &format!("asks for something else, which the network has taken{id}"))
    }
}

/// The file of the transaction that holds.
const TASK: &str = "task";

/// The folder of those that were replaced before they took effect.
const REFUSED: &str = "refused";

/// How often one folder may serve another request.
const REFUSED_MAX: usize = 64;

/// A transaction that asks for a task, and that task.
type Written = (Signed<Transaction>, Task);

fn task_of(transaction: &Signed<Transaction>) -> Option<&Task> {
    match &transaction.unverified().action {
        Action::Submit { task } => Some(task),
        _ => None,
    }
}

/// Where a replaced transaction is kept. Names ascend in the order of nonces, so that the newest come last.
fn refused_file(out: &Path, transaction: &Signed<Transaction>) -> PathBuf {
    out.join(REFUSED).join(format!("{:020}-{}", transaction.unverified().nonce, transaction.id()))
}

fn refused_files(out: &Path) -> Result<Vec<PathBuf>, ClientError> {
    let folder = out.join(REFUSED);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(FileError::read(&folder, cause).into()),
    };
    let mut files = Vec::new();
    for entry in entries.take(REFUSED_MAX + 1) {
        let entry = entry.map_err(|cause| FileError::read(&folder, cause))?;
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            files.push(entry.path());
        }
    }
    if files.len() > REFUSED_MAX {
        return Err(other_task(&folder, "holds too many other requests"));
    }
    files.sort();
    Ok(files)
}

fn other_task(file: &Path, reason: &str) -> ClientError {
    ClientError::Folder {
        reason: format!("{} {reason}", file.display()),
        hint: "to go on with that task, repeat its command as it was; for another task name another --out".to_owned(),
    }
}

fn random() -> Result<Bytes32, ClientError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|cause| ClientError::machine("get random numbers")(cause.to_string().into()))?;
    Ok(Bytes32(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_one_by_one() {
        let event = TaskEvent { task: TaskId([1; 32]), phase: Phase::Drawn, detail: "x".into(), at_ms: 5 };
        let json = serde_json::to_string(&event).unwrap();
        let mut text = format!(": hello\n\nevent: task\ndata: {json}\n\ndata: {{}}\n\ndata: {json}\n").into_bytes();
        assert_eq!(next_event(&mut text), Some(event));
        assert_eq!(next_event(&mut text), None);
        text.push(b'\n');
        assert!(next_event(&mut text).is_some());
        assert!(text.is_empty());
    }

    /// Taking them off the front one by one would move all the rest each time.
    #[test]
    fn a_flood_of_empty_events_costs_one_look() {
        let mut text = b"\n\n".repeat(EVENT_BYTES_MAX * 4);
        assert_eq!(next_event(&mut text), None);
        assert!(text.is_empty());
        let mut text = b"x\n\ny".to_vec();
        assert_eq!((next_event(&mut text), &text[..]), (None, &b"y"[..]));
    }

    #[test]
    fn names_are_bounded() {
        assert!(check_input_name("records.csv").is_ok());
        for name in ["", ".hidden", "a/b", "a b", &"x".repeat(65), "ä"] {
            assert!(check_input_name(name).is_err(), "{name:?} was accepted");
        }
    }
}
