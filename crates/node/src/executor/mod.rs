//! One task, door to door: [`Executor::execute`] is the tour of the house.
//!
//! The executor looks at the ledger after every block and runs whatever is assigned to this node and not settled, so a
//! node that was killed begins again, with a new ephemeral key, as soon as it is back. Every attempt ends in a signed
//! receipt, of success or of failure; only a dead machine lets a task lapse.

mod keys;
mod open;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use custody::{NodeIdentity, ReleasedKeys, ResultArchive, ResultFile, ResultOrigin};
use finality::Finalized;
use model::{
    Assignment, Completion, FactKind, FailureClass, ObjectId, Outcome, PublishedObject, Receipt, Record, Release,
    ResultSeal, Signed, StorageAck, Task, TaskId, api::Phase,
};
use sandbox::{CompileError, Compiled, Sandbox, SandboxError, Watch};

use self::open::{Sealed, SealedInputs};
use crate::{
    account::Account,
    chain::Chain,
    custodian::Custody,
    handles::Handles,
    index::Index,
    metrics::{self, Metrics},
    peers::Peers,
    places::{OpenAssignment, OpenTask},
    progress::Progress,
    storage::{Content, Storage},
};

/// How long before its deadline an attempt is given up, so that its signed failure still gets into a block: the requester has the
/// money back then and there, and this node does not count as one that let a task lapse.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long before that each step ends by itself, so that what it was that took so long is in the failure's class.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Runs the tasks that are assigned to this node.
pub(crate) struct Executor {
    chain: Chain,
    index: Arc<Index>,
    content: Content,
    storage: Arc<Storage>,
    custody: Arc<Custody>,
    peers: Peers,
    account: Account,
    identity: Arc<NodeIdentity>,
    sandbox: Arc<Sandbox>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    /// Attempts that were begun, by task; those of settled tasks are forgotten.
    attempted: Mutex<HashSet<(TaskId, u8)>>,
    running: AtomicU32,
}

/// What is final about one attempt at one task.
struct Run {
    task: Finalized<Task>,
    assignment: Finalized<Assignment>,
    /// Every object of the task once.
    objects: Vec<Finalized<PublishedObject>>,
    /// When every step ends by itself.
    until: Instant,
}

impl Run {
    fn id(&self) -> TaskId {
        self.assignment.get().task
    }

    fn object(&self, id: &ObjectId) -> Result<&Finalized<PublishedObject>, Failure> {
        let object = self.objects.iter().find(|object| object.get().manifest.object_id() == *id);
        object.ok_or_else(|| Failure::node("an object of the task is missing"))
    }
}

/// Why an attempt failed: all that the public learns is the class.
#[derive(Debug)]
struct Failure {
    class: FailureClass,
    cause: Box<dyn std::error::Error + Send + Sync>,
    /// Shows that the keys were there, where the guest is at fault.
    releases: Vec<Signed<Release>>,
}

impl Failure {
    fn new(class: FailureClass, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { class, cause: cause.into(), releases: Vec::new() }
    }

    /// The ledger believes that a guest is at fault only of an executor that had the keys.
    fn with(self, keys: &ReleasedKeys) -> Self {
        Self { releases: keys.releases.clone(), ..self }
    }

    fn content(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(FailureClass::Content, cause)
    }

    fn node(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(FailureClass::Node, cause)
    }
}

impl Executor {
    /// Runs guests in `sandbox` with the keys of `custody` and others, and has their results kept by way of `storage`.
    pub(crate) fn new(
        handles: Handles,
        storage: Arc<Storage>,
        custody: Arc<Custody>,
        account: Account,
        sandbox: Sandbox,
    ) -> Self {
        let Handles { chain, index, content, peers, identity, progress, metrics } = handles;
        Self {
            chain,
            index,
            content,
            storage,
            custody,
            peers,
            account,
            identity,
            sandbox: Arc::new(sandbox),
            progress,
            metrics,
            attempted: Mutex::default(),
            running: AtomicU32::new(0),
        }
    }

    /// How many tasks run now.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Begins every attempt that the ledger has assigned to this node, until the node stops.
    pub(crate) async fn serve(self: Arc<Self>) {
        let mut blocks = self.index.watch();
        loop {
            blocks.borrow_and_update();
            if !self.index.is_behind() {
                self.begin_assigned();
            }
            if blocks.changed().await.is_err() {
                return;
            }
        }
    }

    fn begin_assigned(self: &Arc<Self>) {
        let assigned = self.index.places().assigned_to(&self.identity.node_id());
        self.forget_others(&assigned);
        for open in assigned {
            if let Some(current) = open.assignment.clone().filter(|current| self.is_new(current)) {
                tokio::spawn(self.clone().attempt(open, current));
            }
        }
    }

    fn is_new(&self, current: &OpenAssignment) -> bool {
        let attempt = (current.assignment.task, current.assignment.attempt);
        self.attempted.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt)
    }

    fn forget_others(&self, assigned: &[OpenTask]) {
        let still = |(task, _): &(TaskId, u8)| {
            assigned.iter().any(|open| open.assignment.as_ref().is_some_and(|it| it.assignment.task == *task))
        };
        self.attempted.lock().unwrap_or_else(PoisonError::into_inner).retain(still);
    }

    /// Runs one attempt and sees its receipt into a block.
    async fn attempt(self: Arc<Self>, open: OpenTask, current: OpenAssignment) {
        let task = current.assignment.task;
        let begun = Instant::now();
        tracing::info!(%task, attempt = current.assignment.attempt, "task begins");
        self.running.fetch_add(1, Ordering::Relaxed);
        let completion = tokio::select! {
            completion = self.completion(&open, &current) => Some(completion),
            () = self.over(&current) => None,
        };
        self.running.fetch_sub(1, Ordering::Relaxed);
        let Some(completion) = completion else {
            tracing::info!(%task, "task is over without this node");
            return;
        };
        let outcome = match &completion.receipt.unverified().outcome {
            Outcome::Done(_) => "done".to_owned(),
            Outcome::Failed(class) => class.to_string(),
        };
        let elapsed = begun.elapsed();
        match self.account.send(model::Action::Complete(Box::new(completion))).await {
            Ok(height) => {
                tracing::info!(%task, %outcome, height, elapsed_ms = elapsed.as_millis() as u64, "task ends");
                self.metrics.tasks.get_or_create(&metrics::Outcome { outcome }).inc();
                self.metrics.task_seconds.observe(elapsed.as_secs_f64());
            }
            Err(cause) => tracing::error!(%task, %outcome, error = %cause, "receipt not taken"),
        }
    }

    /// Returns when the attempt is nobody's to end any more. A node that was away may read of its task before it reads how that
    /// was settled.
    async fn over(&self, current: &OpenAssignment) {
        let me = self.identity.node_id();
        let is_open = || {
            let assigned = self.index.places().assigned_to(&me);
            assigned.iter().any(|open| open.assignment.as_ref().is_some_and(|it| it.digest == current.digest))
        };
        // An error means that the node is stopping.
        let _ = self.index.watch().wait_for(|_| !is_open()).await;
    }

    /// A receipt of success or failure, early enough to be in a block before the deadline.
    async fn completion(&self, open: &OpenTask, current: &OpenAssignment) -> Completion {
        let left = current.assignment.deadline_ms.saturating_sub(self.index.tip().time_ms);
        let work_time = time_to_work(Duration::from_millis(left));
        let (now, last_word) = (Instant::now(), LAST_WORD.min(work_time / 4));
        let work = async {
            let run = self.facts(open, current, now + work_time - last_word).await?;
            self.execute(&run).await
        };
        in_time(now + work_time, work).await.unwrap_or_else(|failure| {
            let task = current.assignment.task;
            let error = crate::chain_of(failure.cause.as_ref());
            tracing::warn!(%task, class = %failure.class, %error, "task failed");
            self.sign(current, Outcome::Failed(failure.class), failure.releases, Vec::new())
        })
    }

    /// Everything final about the attempt, as checked facts.
    async fn facts(&self, open: &OpenTask, current: &OpenAssignment, until: Instant) -> Result<Run, Failure> {
        let places = self.index.places().behind(&open.task, &current.assignment);
        let places = places.ok_or_else(|| Failure::node("this node does not have all records of the task"))?;
        let (_, records) = self.chain.finalized(&places).await.map_err(Failure::node)?;
        run_of(records, until).ok_or_else(|| Failure::node("the records of the task do not fit together"))
    }

    /// Runs one assigned task and returns its signed receipt, with what it rests on.
    ///
    /// This is the house tour: see ARCHITECTURE.md, "One task, door to door".
    async fn execute(&self, run: &Run) -> Result<Completion, Failure> {
        let ((compiled, keys), inputs) = tokio::try_join!(self.program(run), self.fetch_inputs(run))?; // checked against CIDs
        let inputs = open::inputs(run, inputs, &keys)?; // plaintext lives from here, in memory alone ...
        let outcome = self.run(run, compiled, inputs, &keys).await?; // bytes in, bytes out
        let output = disclose(run, outcome, &keys)?; // what the owners let out
        let sealed = seal(run, &output, self.identity.node_id(), self.chain.network_id())?; // ... to here
        let (result, storage) = self.publish(run, sealed).await?; // others have it before anybody is paid
        Ok(self.sign(&current_of(run), Outcome::Done(Box::new(result)), keys.releases, storage)) // a claim, not yet a proof
    }

    /// Fetches the ciphertext and leaf list of everything but the program, all at once.
    async fn fetch_inputs(&self, run: &Run) -> Result<Vec<Sealed>, Failure> {
        let mut fetches = Vec::with_capacity(run.objects.len());
        for input in &run.task.get().inputs {
            fetches.push(open::fetch(&self.content, run.object(&input.object)?.get()));
        }
        let sealed = futures::future::try_join_all(fetches).await?;
        self.progress.note(run.id(), Phase::Fetched, &format!("{} objects", run.objects.len()));
        Ok(sealed)
    }

    /// Gets the keys, and with them the program: fetched meanwhile, opened and compiled before all inputs need be here.
    async fn program(&self, run: &Run) -> Result<(Compiled, ReleasedKeys), Failure> {
        let program = run.object(&run.task.get().program)?;
        let (sealed, keys) = tokio::try_join!(open::fetch(&self.content, program.get()), self.keys(run))?;
        let opener = open::opener(&sealed, program.get(), &keys).map_err(|failure| failure.with(&keys))?;
        let (sandbox, metering, until) = (self.sandbox.clone(), metering(run.task.get().metering), run.until);
        let fair = Duration::from_millis(ledger::compile_ms(self.chain.genesis()));
        let work = move || {
            let plaintext = open::program(&sealed, &opener)?;
            let given = until.saturating_duration_since(Instant::now());
            let compiled = sandbox.compile(&plaintext, metering, Some(until));
            compiled.map_err(|cause| Failure::new(not_compiled(&cause, given >= fair), cause))
        };
        let compiled = tokio::task::spawn_blocking(work).await.map_err(Failure::node)?;
        Ok((compiled.map_err(|failure| failure.with(&keys))?, keys))
    }

    /// Runs the program on its inputs, which `keys` opened.
    async fn run(
        &self,
        run: &Run,
        program: Compiled,
        mut inputs: SealedInputs,
        keys: &ReleasedKeys,
    ) -> Result<sandbox::Outcome, Failure> {
        self.progress.note(run.id(), Phase::Running, "");
        let (sandbox, job, until) = (self.sandbox.clone(), job(run, &inputs), Some(run.until));
        let work = move || sandbox.run(&program, &job, &mut inputs, Watch { until, ..Watch::default() });
        let outcome = tokio::task::spawn_blocking(work).await.map_err(Failure::node)?;
        outcome.map_err(|cause| open::not_run(cause, keys))
    }

    /// Stores the sealed result here and, before it is claimed, with as many others as the network asks for.
    async fn publish(
        &self,
        run: &Run,
        sealed: custody::SealedResult,
    ) -> Result<(ResultSeal, Vec<Signed<StorageAck>>), Failure> {
        let store = self.content.store().clone();
        // Until others have it, nobody else has.
        let hold = store.hold();
        let held = hold.clone();
        let (ciphertext, leaves, sealed) = tokio::task::spawn_blocking(move || {
            let ciphertext = content::unixfs::import_held(&store, &mut sealed.ciphertext.as_slice(), &held)?;
            let leaves = content::unixfs::import_held(&store, &mut sealed.sealed.leaves.as_slice(), &held)?;
            Ok::<_, content::ImportError>((ciphertext, leaves, sealed))
        })
        .await
        .map_err(Failure::node)?
        .map_err(Failure::node)?;
        let roots = [ciphertext.root, leaves.root];
        for root in &roots {
            self.content.announce(root).await;
        }
        let copies = self.chain.genesis().limits.copies as usize;
        let spread = async { self.storage.spread(&roots, copies).await.map_err(Failure::node) };
        let storage = in_time(run.until, spread).await?;
        drop(hold);
        self.progress.note(run.id(), Phase::Sealed, &format!("{copies} copies elsewhere"));
        let result = ResultSeal {
            ciphertext: ciphertext.root,
            ciphertext_bytes: ciphertext.bytes,
            leaves: leaves.root,
            seal: sealed.sealed.seal,
            wrapped_key: sealed.wrapped_key,
        };
        Ok((result, storage))
    }

    fn sign(
        &self,
        current: &OpenAssignment,
        outcome: Outcome,
        releases: Vec<Signed<Release>>,
        storage: Vec<Signed<StorageAck>>,
    ) -> Completion {
        let receipt = Receipt {
            task: current.assignment.task,
            attempt: current.assignment.attempt,
            executor: self.identity.node_id(),
            assignment: current.digest,
            outcome,
        };
        Completion { receipt: self.identity.sign(self.chain.network_id(), receipt), releases, storage }
    }
}

/// What is left for the work itself: a quarter of it at most is kept for the receipt.
fn time_to_work(left: Duration) -> Duration {
    left - FAREWELL.min(left / 4)
}

/// Who is at fault for a program that was not compiled. One that had its fair share of the attempt ([`ledger::compile_ms`])
/// has reached a limit, whatever else has taken time.
fn not_compiled(cause: &CompileError, fair: bool) -> FailureClass {
    match cause {
        CompileError::TooSlow(_) => FailureClass::Limit,
        CompileError::Sandbox(SandboxError::Stopped) if fair => FailureClass::Limit,
        CompileError::Sandbox(_) => FailureClass::Node,
        _ => FailureClass::Guest,
    }
}

/// Gives up work that takes longer than that.
async fn in_time<T>(until: Instant, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout_at(until.into(), work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::node("the deadline is too close")),
    }
}

fn current_of(run: &Run) -> OpenAssignment {
    OpenAssignment { assignment: Arc::new(run.assignment.get().clone()), digest: run.assignment.digest() }
}

/// Sorts the records of one attempt.
fn run_of(records: Vec<Finalized<Record>>, until: Instant) -> Option<Run> {
    let (mut task, mut assignment, mut objects) = (None, None, Vec::new());
    for record in records {
        match record.get().fact.kind() {
            FactKind::Task => task = record.try_map(Task::try_from).ok(),
            FactKind::Assignment => assignment = record.try_map(Assignment::try_from).ok(),
            FactKind::Object => objects.extend(record.try_map(PublishedObject::try_from)),
            _ => {}
        }
    }
    Some(Run { task: task?, assignment: assignment?, objects, until })
}

fn metering(metering: model::Metering) -> sandbox::Metering {
    match metering {
        model::Metering::None => sandbox::Metering::None,
        model::Metering::Fuel => sandbox::Metering::Fuel,
        model::Metering::FuelNan => sandbox::Metering::FuelNan,
    }
}

fn job(run: &Run, inputs: &SealedInputs) -> sandbox::Job {
    let task = run.task.get();
    sandbox::Job {
        args: task.args.clone(),
        inputs: inputs.describe(),
        limits: sandbox::Limits {
            run_ms: task.limits.run_ms,
            memory_bytes: task.limits.memory_bytes,
            // The ledger has taken the strictest of the task and all terms.
            output_bytes: run.assignment.get().output_bytes_max,
        },
        seed: task.seed.0,
    }
}

/// Lets out what the owners' rule lets out; everything else is a failure of a class and no more.
fn disclose(run: &Run, outcome: sandbox::Outcome, keys: &ReleasedKeys) -> Result<ResultArchive, Failure> {
    let at_fault = |class, cause: String| Failure::new(class, cause).with(keys);
    let output = match outcome {
        sandbox::Outcome::Exited(output) => output,
        sandbox::Outcome::Trapped(_) => return Err(at_fault(FailureClass::Guest, "the guest trapped".into())),
        sandbox::Outcome::LimitReached(limit) => {
            return Err(at_fault(FailureClass::Limit, format!("the guest reached its {limit} limit")));
        }
    };
    let rule = disclosure::Rule { output_bytes_max: run.assignment.get().output_bytes_max };
    admitted(&rule, output).map_err(|cause| at_fault(FailureClass::Limit, cause.to_string()))
}

/// The archive of what `rule` lets out.
fn admitted(rule: &disclosure::Rule, output: sandbox::Output) -> Result<ResultArchive, disclosure::Withheld> {
    let files = output.files.iter().map(|file| file.bytes.len() + file.path.len());
    let left = disclosure::Left {
        result_bytes: (output.stdout.len() + files.sum::<usize>()) as u64,
        exit_code: output.exit_code,
        stderr_bytes: output.stderr.len() as u64,
    };
    let admitted = rule.admit(&left)?;
    let stderr = output.stderr.iter().copied().take(admitted.stderr_bytes as usize);
    let file = |file: sandbox::OutputFile| ResultFile { path: file.path, bytes: file.bytes.to_vec().into() };
    Ok(ResultArchive {
        exit_code: admitted.exit_code,
        stdout: output.stdout.to_vec().into(),
        stderr: stderr.collect::<Vec<_>>().into(),
        files: output.files.into_iter().map(file).collect(),
    })
}

fn seal(
    run: &Run,
    output: &ResultArchive,
    executor: model::NodeId,
    network: &model::NetworkId,
) -> Result<custody::SealedResult, Failure> {
    let origin = ResultOrigin { network: *network, task: run.id(), executor };
    custody::seal_result(&origin, &run.task.get().result_key, output).map_err(Failure::node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(stderr: &[u8]) -> sandbox::Output {
        let file = |path: &str| sandbox::OutputFile { path: path.into(), bytes: b"four".to_vec().into() };
        sandbox::Output {
            exit_code: 0x0102_0304,
            stdout: b"out".to_vec().into(),
            stderr: stderr.to_vec().into(),
            files: vec![file("a"), file("d/b")],
        }
    }

    /// Everything that the archive says, but for its frame.
    fn said(archive: &ResultArchive) -> usize {
        let files = archive.files.iter().map(|file| file.path.len() + file.bytes.0.len());
        let exit_code = if (0..=1).contains(&archive.exit_code) { 0 } else { 4 };
        archive.stdout.0.len() + archive.stderr.0.len() + files.sum::<usize>() + exit_code
    }

    #[test]
    fn a_program_that_takes_too_long_to_compile_reaches_a_limit() {
        let stopped = || CompileError::Sandbox(SandboxError::Stopped);
        assert_eq!(not_compiled(&CompileError::TooSlow(120_000), false), FailureClass::Limit);
        assert_eq!(not_compiled(&stopped(), true), FailureClass::Limit);
        assert_eq!(not_compiled(&stopped(), false), FailureClass::Node, "others had taken the time");
        assert_eq!(not_compiled(&CompileError::Invalid(String::new()), true), FailureClass::Guest);
        assert_eq!(not_compiled(&CompileError::Sandbox(SandboxError::Silent(1)), true), FailureClass::Node);
    }

    #[test]
    fn sandbox_and_archive_agree_about_paths() {
        let long = "n".repeat(1024);
        for path in ["a", "d/b.csv", "ä ö", "-", " ", long.as_str()] {
            assert!(sandbox::is_output_path(path) && custody::is_result_path(path), "{path:?}");
        }
        let too_long = format!("{long}n");
        for path in
            ["", ".", "..", "/a", "a/", "a//b", "a/../b", "a\\b", "a\0", "a\n", "\x1b[2J", "\u{9b}", too_long.as_str()]
        {
            assert!(!sandbox::is_output_path(path) && !custody::is_result_path(path), "{path:?}");
        }
    }

    #[test]
    fn no_way_out_leads_past_the_bound() {
        // 3 of standard output, 8 of files, 4 of paths: 15.
        let secret = vec![7; 60_000];
        for output_bytes_max in 15..100 {
            let rule = disclosure::Rule { output_bytes_max };
            let archive = admitted(&rule, output(&secret)).unwrap();
            assert!(said(&archive) as u64 <= output_bytes_max, "{output_bytes_max}");
            assert_eq!((archive.stdout.0.as_slice(), archive.files.len()), (&b"out"[..], 2), "the result is whole");
        }
        assert!(admitted(&disclosure::Rule { output_bytes_max: 14 }, output(b"")).is_err());
        let room = admitted(&disclosure::Rule { output_bytes_max: 22 }, output(b"why it failed")).unwrap();
        assert_eq!((room.exit_code, room.stderr.0.as_slice()), (0x0102_0304, &b"why"[..]));
    }

    /// The ledger allows the most that an honest executor's archive can have, and as much more as its frame may vary.
    #[test]
    fn the_largest_archive_that_may_leave_is_one_that_the_ledger_takes() {
        let key = custody::SealingKey::generate().unwrap().public();
        let origin = ResultOrigin {
            network: model::NetworkId([1; 32]),
            task: TaskId([2; 32]),
            executor: model::AccountId([3; 32]),
        };
        let file = |at: u32, bytes| ResultFile { path: format!("{at:04x}"), bytes: vec![0; bytes].into() };
        for (files, bytes, stderr) in [(0, 0, 10), (1, 10_000, 0), (4096, 0, 0), (4096, 300, 65_536), (3, 400_000, 7)] {
            let archive = ResultArchive {
                exit_code: i32::MIN,
                stdout: Vec::new().into(),
                stderr: vec![0; stderr].into(),
                files: (0..files).map(|at| file(at, bytes)).collect(),
            };
            let sealed = custody::seal_result(&origin, &key, &archive).unwrap();
            let most = ledger::result_bytes_max(said(&archive) as u64);
            let bytes = sealed.sealed.ciphertext_bytes;
            // Padding, and the frame of files that could have been there instead.
            let slack = bytes / 8 + 64 + 24 * 4096;
            assert!((bytes..=bytes + slack).contains(&most), "{files} {bytes} {most}");
        }
    }

    #[test]
    fn a_failure_has_two_seconds_to_get_into_a_block() {
        let work = |left_ms| time_to_work(Duration::from_millis(left_ms)).as_millis();
        assert_eq!(work(30_000), 28_000);
        assert_eq!(work(8_000), 6_000);
        assert_eq!(work(4_000), 3_000, "short deadlines leave some time to work as well");
        assert_eq!(work(0), 0);
    }

    #[tokio::test]
    async fn work_without_end_becomes_a_failure_before_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(2);
        let until = Instant::now() + time_to_work(Duration::from_millis(400));
        let failure = in_time(until, std::future::pending::<Result<(), Failure>>()).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Node);
        assert!(Instant::now() < deadline);
    }
}
