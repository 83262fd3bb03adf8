//! The parent: asks children to compile and to run, gives them data, and bounds what comes back.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::cache::{Cache, Key};
use crate::channel::{Channel, ChannelError};
use crate::compiler::CODE_BYTES_MAX;
use crate::error::{CompileError, SandboxError, system};
use crate::guest::{NODES_MAX, STDERR_BYTES_MAX, is_output_path};
use crate::job::{Inputs, Job, Metering};
use crate::memory_file;
use crate::nursery::{Nursery, Process};
use crate::outcome::{Limit, Outcome, Output, OutputFile, Trap};
use crate::wire::{Assignment, Compile, DATA_BYTES_MAX, Ending, FromCompiler, FromWorker, Kind, Stream, ToWorker};

/// How long a worker may take to start, to map its code, and to hand over one piece of its result.
const ANSWER_MS_MAX: u64 = 30_000;
/// Workers that may turn out to be dead before a run is given up.
const STARTS_MAX: usize = 3;

/// What children are made of, and bounds that are not part of a job.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// A program that calls [`crate::worker_main`] first.
    pub worker: ChildProgram,
    /// A program that calls [`crate::compiler_main`] first.
    pub compiler: ChildProgram,
    /// Longest compilation, milliseconds.
    pub compile_ms_max: u64,
    /// Largest module.
    pub module_bytes_max: u64,
    /// Most bytes of native code that is kept in memory for the next run of the same program.
    pub cache_bytes_max: u64,
}

/// A program and its arguments.
#[derive(Clone, Debug)]
pub struct ChildProgram {
    /// Path of the executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

impl SandboxConfig {
    /// This executable, whatever has become of its file, with the arguments `sandbox-worker` and `sandbox-compiler`.
    pub fn this_program() -> Self {
        let child = |arg: &str| ChildProgram { program: "/proc/self/exe".into(), args: vec![arg.into()] };
        Self {
            worker: child("sandbox-worker"),
            compiler: child("sandbox-compiler"),
            compile_ms_max: 120_000,
            module_bytes_max: 64 << 20,
            cache_bytes_max: 128 << 20,
        }
    }
}

/// Compiles and runs guests, each in a process of its own.
pub struct Sandbox {
    nursery: Nursery,
    compile_ms_max: u64,
    module_bytes_max: u64,
    cache: Cache,
}

/// A program, ready to run as often as one likes. Its code is in memory that no process can change.
#[derive(Clone)]
pub struct Compiled(Arc<Code>);

struct Code {
    file: OwnedFd,
    kind: Kind,
    metering: Metering,
    bytes: u64,
}

/// How the caller of a run looks on.
#[derive(Default)]
pub struct Watch<'a> {
    /// When the caller has no more time: the guest is killed then, whatever it has left.
    pub until: Option<Instant>,
    /// Is told when the run has come how far.
    pub observe: Option<&'a mut dyn FnMut(Phase)>,
}

impl Watch<'_> {
    fn see(&mut self, phase: Phase) {
        if let Some(observe) = &mut self.observe {
            observe(phase);
        }
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The code is mapped, the worker is confined, the guest starts.
    Started,
    /// The guest has ended.
    Finished,
}

impl Sandbox {
    /// Starts the first worker.
    ///
    /// # Errors
    /// [`SandboxError::Unconfined`] where the kernel cannot confine a process, [`SandboxError::Start`] if the program
    /// is not there.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let SandboxConfig { worker, compiler, compile_ms_max, module_bytes_max, cache_bytes_max } = config;
        let nursery = Nursery::new(worker, compiler)?;
        let sandbox = Self { nursery, compile_ms_max, module_bytes_max, cache: Cache::new(cache_bytes_max) };
        let mut first = sandbox.nursery.worker()?;
        await_ready(&mut first)?;
        sandbox.nursery.bury(first);
        Ok(sandbox)
    }

    /// Compiles a WASI 0.1 module or a WASI 0.2 component. Takes about one to two seconds per megabyte, unless the same program
    /// was compiled lately; `until` is when the caller has no more.
    ///
    /// # Errors
    /// Says whether the module is at fault: [`CompileError::guest_at_fault`]. [`SandboxError::Stopped`] if the caller's time is
    /// over.
    pub fn compile(&self, module: &[u8], metering: Metering, until: Option<Instant>) -> Result<Compiled, CompileError> {
        let bytes = module.len() as u64;
        if bytes > self.module_bytes_max {
            return Err(CompileError::TooLarge { bytes, bytes_max: self.module_bytes_max });
        }
        let key = Key::of(module, metering);
        if let Some(compiled) = self.cache.get(&key) {
            return Ok(compiled);
        }
        let compiled = self.compile_anew(module, metering, until)?;
        self.cache.put(key, compiled.clone());
        Ok(compiled)
    }

    fn compile_anew(
        &self,
        module: &[u8],
        metering: Metering,
        until: Option<Instant>,
    ) -> Result<Compiled, CompileError> {
        let own = Duration::from_millis(self.compile_ms_max);
        let callers = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        if callers.is_zero() {
            return Err(CompileError::Sandbox(SandboxError::Stopped));
        }
        let file = frozen("samovar-module", module).map_err(CompileError::Sandbox)?;
        let mut compiler = self.nursery.compiler().map_err(CompileError::Sandbox)?;
        let answer = ask_compiler(&compiler.channel, &file, metering, own.min(callers))
            .and_then(|()| compiler.channel.receive_with());
        let (answer, files) = match answer {
            Ok(answered) => answered,
            Err(ChannelError::TimedOut) if callers < own => return Err(CompileError::Sandbox(SandboxError::Stopped)),
            Err(ChannelError::TimedOut) => return Err(CompileError::TooSlow(self.compile_ms_max)),
            Err(ChannelError::Closed) => return Err(CompileError::CompilerDied(compiler.died())),
            Err(error) => return Err(CompileError::Sandbox(failure(error, &mut compiler))),
        };
        self.nursery.bury(compiler);
        let kind = compiled_kind(answer)?;
        let (file, bytes) = check_code(files).map_err(CompileError::Sandbox)?;
        Ok(Compiled(Arc::new(Code { file, kind, metering, bytes })))
    }

    /// Runs a program on a job. Blocks until it has ended and its output is here, at most about `run_ms` and the time that
    /// `inputs` takes.
    ///
    /// # Errors
    /// The guest is never at fault for an error; what a guest can do wrong is in [`Outcome`]. [`SandboxError::Stopped`] if the
    /// caller's time is over.
    pub fn run(
        &self,
        program: &Compiled,
        job: &Job,
        inputs: &mut dyn Inputs,
        mut watch: Watch<'_>,
    ) -> Result<Outcome, SandboxError> {
        job.check()?;
        let mut run = self.start(program, job)?;
        run.time.callers_end = watch.until;
        watch.see(Phase::Started);
        let outcome = run.attend(inputs, &mut watch);
        self.nursery.bury(run.worker);
        outcome
    }

    /// A run whose guest has started. A worker that died while it waited is no reason to fail: nobody's data has
    /// been near it.
    fn start<'j>(&self, program: &Compiled, job: &'j Job) -> Result<Run<'j>, SandboxError> {
        for _ in 1..STARTS_MAX {
            match Run::start(self.nursery.worker()?, program, job) {
                Err(SandboxError::WorkerDied(_)) => {}
                started => return started,
            }
        }
        Run::start(self.nursery.worker()?, program, job)
    }
}

impl Compiled {
    /// How it is metered.
    pub fn metering(&self) -> Metering {
        self.0.metering
    }

    /// Bytes of its native code.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }
}

#[cfg(test)]
impl Compiled {
    /// One that never runs, with so many bytes of native code.
    pub(crate) fn of_bytes(bytes: u64) -> Self {
        let file = memory_file::empty("samovar-test").expect("a memory file");
        Self(Arc::new(Code { file, kind: Kind::Module, metering: Metering::None, bytes }))
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Code { kind, metering, bytes, .. } = &*self.0;
        f.debug_struct("Compiled")
            .field("kind", kind)
            .field("metering", metering)
            .field("bytes", bytes)
            .finish_non_exhaustive()
    }
}

// --- compiling --------------------------------------------------------------------------------------------------------

fn ask_compiler(channel: &Channel, module: &OwnedFd, metering: Metering, time: Duration) -> Result<(), ChannelError> {
    channel.wait_at_most(Some(time))?;
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32);
    channel.send_with(&Compile { metering, threads }, &[module.as_fd()])
}

fn compiled_kind(answer: FromCompiler) -> Result<Kind, CompileError> {
    Err(match answer {
        FromCompiler::Compiled(kind) => return Ok(kind),
        FromCompiler::Invalid(why) => CompileError::Invalid(why),
        FromCompiler::UnknownImport(name) => CompileError::UnknownImport(name),
        FromCompiler::NotACommand(Kind::Module) => CompileError::NotACommand("a module must export `_start`"),
        FromCompiler::NotACommand(Kind::Component) => {
            CompileError::NotACommand("a component must export `wasi:cli/run`")
        }
        FromCompiler::Unconfined(what) => CompileError::Sandbox(SandboxError::Unconfined { what }),
        FromCompiler::Broken(what) => CompileError::Sandbox(SandboxError::WorkerBroke(what)),
    })
}

/// Code that its maker could still change would let one run's guest change the next run's.
fn check_code(files: Vec<OwnedFd>) -> Result<(OwnedFd, u64), SandboxError> {
    let file = files.into_iter().next().ok_or(SandboxError::Misbehaved("it compiled nothing"))?;
    let length = memory_file::frozen_length(&file).map_err(system("look at compiled code"))?;
    let length = length.ok_or(SandboxError::Misbehaved("its code can still change"))?;
    if length > CODE_BYTES_MAX { Err(SandboxError::Misbehaved("its code is too large")) } else { Ok((file, length)) }
}

fn frozen(name: &str, bytes: &[u8]) -> Result<OwnedFd, SandboxError> {
    let file = memory_file::empty(name).map_err(system("make a memory file"))?;
    memory_file::freeze(&file, bytes).map_err(system("fill a memory file"))?;
    Ok(file)
}

// --- running ----------------------------------------------------------------------------------------------------------

fn await_ready(worker: &mut Process) -> Result<(), SandboxError> {
    match answer(worker)? {
        FromWorker::Ready => Ok(()),
        FromWorker::Unconfined(what) => Err(SandboxError::Unconfined { what }),
        FromWorker::Broken(what) => Err(SandboxError::WorkerBroke(what)),
        _ => Err(SandboxError::Misbehaved("it began with another message")),
    }
}

/// The next message of a worker that has no reason to let anybody wait.
fn answer(worker: &mut Process) -> Result<FromWorker, SandboxError> {
    let time = Duration::from_millis(ANSWER_MS_MAX);
    let received = worker.channel.wait_at_most(Some(time)).and_then(|()| worker.channel.receive());
    received.map_err(|error| failure(error, worker))
}

/// The order in which a worker hands over streams; files follow in order of their paths.
fn rank(stream: &Stream) -> u8 {
    match stream {
        Stream::Stderr => 0,
        Stream::Stdout => 1,
        Stream::File(_) => 2,
    }
}

fn failure(error: ChannelError, process: &mut Process) -> SandboxError {
    match error {
        ChannelError::Closed => SandboxError::WorkerDied(process.died()),
        ChannelError::TimedOut => SandboxError::Silent(ANSWER_MS_MAX),
        ChannelError::Malformed => SandboxError::Misbehaved("it sent something that is no message"),
        ChannelError::System(errno) => system("talk to a process")(errno),
    }
}

/// When a run is over, whatever it waits for.
#[derive(Clone, Copy, Default)]
struct Time {
    /// The guest's own time; what handing over its output takes is part of it. `None`: longer than clocks count.
    guests_end: Option<Instant>,
    callers_end: Option<Instant>,
}

impl Time {
    fn left(&self) -> Option<Duration> {
        let end = self.guests_end.into_iter().chain(self.callers_end).min()?;
        Some(end.saturating_duration_since(Instant::now()))
    }

    /// Who has no more of it.
    fn over(&self) -> Silence {
        match (self.callers_end, self.guests_end) {
            (Some(callers), Some(guests)) if guests < callers => Silence::GuestsTimeIsOver,
            (Some(_), _) => Silence::Failed(SandboxError::Stopped),
            (None, _) => Silence::GuestsTimeIsOver,
        }
    }
}

/// Why a worker's next message is not waited for.
enum Silence {
    GuestsTimeIsOver,
    Failed(SandboxError),
}

impl From<SandboxError> for Silence {
    fn from(error: SandboxError) -> Self {
        Self::Failed(error)
    }
}

/// One run, from the parent's side.
struct Run<'j> {
    worker: Process,
    job: &'j Job,
    time: Time,
    /// Where chunks are put for the worker, and where they are decrypted to. None without inputs.
    shared: Option<OwnedFd>,
    plaintext: Zeroizing<Vec<u8>>,
    /// Chunks handed over, by input and index.
    handed: HashSet<(u32, u64)>,
}

impl<'j> Run<'j> {
    /// Gives a worker the job and waits until its guest starts.
    fn start(mut worker: Process, program: &Compiled, job: &'j Job) -> Result<Self, SandboxError> {
        await_ready(&mut worker)?;
        let chunk_bytes = job.inputs.iter().map(|input| input.chunk_bytes).max();
        let shared = chunk_bytes.map(|bytes| memory_file::buffer("samovar-chunk", bytes.into())).transpose();
        let shared = shared.map_err(system("make a memory file"))?;
        let plaintext = Zeroizing::new(vec![0; chunk_bytes.unwrap_or_default() as usize]);

        let files: Vec<_> = std::iter::once(program.0.file.as_fd()).chain(shared.as_ref().map(AsFd::as_fd)).collect();
        let assigned = worker.channel.send_with(&ToWorker::Assign(Box::new(assignment(program, job))), &files);
        assigned.map_err(|error| failure(error, &mut worker))?;
        match answer(&mut worker)? {
            FromWorker::Started => {
                let guests_end = Instant::now().checked_add(Duration::from_millis(job.limits.run_ms));
                let time = Time { guests_end, callers_end: None };
                Ok(Self { worker, job, time, shared, plaintext, handed: HashSet::new() })
            }
            FromWorker::Unconfined(what) => Err(SandboxError::Unconfined { what }),
            FromWorker::Broken(what) => Err(SandboxError::WorkerBroke(what)),
            _ => Err(SandboxError::Misbehaved("it did not say that it starts")),
        }
    }

    fn attend(&mut self, inputs: &mut dyn Inputs, watch: &mut Watch<'_>) -> Result<Outcome, SandboxError> {
        let ending = self.until_finished(inputs);
        watch.see(Phase::Finished);
        let outcome = ending.and_then(|ending| match ending {
            Ending::Limit(limit) => Ok(Outcome::LimitReached(limit)),
            Ending::Trapped(reason) => {
                let stderr = self.collect()?.stderr;
                Ok(Outcome::Trapped(Trap { reason, stderr }))
            }
            Ending::Exited(exit_code) => Ok(Outcome::Exited(Output { exit_code, ..self.collect()? })),
        });
        match outcome {
            Err(Silence::GuestsTimeIsOver) => Ok(Outcome::LimitReached(Limit::Time)),
            Err(Silence::Failed(error)) => Err(error),
            Ok(outcome) => Ok(outcome),
        }
    }

    /// Serves chunks until the guest has ended or its time is over. Time spent on a chunk is not the guest's, the first
    /// time: a guest that has one fetched again and again would else run for ever.
    fn until_finished(&mut self, inputs: &mut dyn Inputs) -> Result<Ending, Silence> {
        loop {
            match self.hear(None)? {
                FromWorker::Need { input, index } => {
                    let asked = Instant::now();
                    self.provide(inputs, input as usize, index)?;
                    if self.handed.insert((input, index)) {
                        let end = self.time.guests_end;
                        self.time.guests_end = end.and_then(|end| end.checked_add(asked.elapsed()));
                    }
                    match self.worker.channel.send(&ToWorker::Chunk) {
                        Err(ChannelError::TimedOut) => return Err(self.time.over()),
                        sent => sent.map_err(|error| failure(error, &mut self.worker))?,
                    }
                }
                FromWorker::Finished(ending) => return Ok(ending),
                FromWorker::Broken(what) => return Err(SandboxError::WorkerBroke(what).into()),
                _ => return Err(SandboxError::Misbehaved("it said something else while its guest ran").into()),
            }
        }
    }

    /// The worker's next message, which it may let wait for `time`, and never longer than the run lasts.
    fn hear(&mut self, time: Option<Duration>) -> Result<FromWorker, Silence> {
        let left = self.time.left();
        if left == Some(Duration::ZERO) {
            return Err(self.time.over());
        }
        let patience = left.into_iter().chain(time).min();
        let received = self.worker.channel.wait_at_most(patience).and_then(|()| self.worker.channel.receive());
        match received {
            Err(ChannelError::TimedOut) if left.is_some() && patience == left => Err(self.time.over()),
            received => Ok(received.map_err(|error| failure(error, &mut self.worker))?),
        }
    }

    /// A piece of the output, which a worker has no reason to let anybody wait for.
    fn hear_output(&mut self) -> Result<FromWorker, Silence> {
        self.hear(Some(Duration::from_millis(ANSWER_MS_MAX)))
    }

    /// Gets one chunk and puts it where the worker finds it.
    fn provide(&mut self, inputs: &mut dyn Inputs, input: usize, index: u64) -> Result<(), SandboxError> {
        let length = self.job.inputs.get(input).and_then(|input| input.chunk_length(index));
        let (Some(length), Some(shared)) = (length, &self.shared) else {
            return Err(SandboxError::Misbehaved("it asked for a chunk that does not exist"));
        };
        let plaintext = &mut self.plaintext[..length];
        inputs.chunk(input, index, plaintext).map_err(|cause| SandboxError::Input { input, index, cause })?;
        memory_file::write_at(shared, plaintext, 0).map_err(system("hand over a chunk"))
    }

    /// Takes over what the guest left, never more than the job allows whatever the worker says, and for no longer than the
    /// guest could have run.
    fn collect(&mut self) -> Result<Output, Silence> {
        let empty = || Zeroizing::new(Vec::new());
        let mut output = Output { exit_code: 0, stdout: empty(), stderr: empty(), files: Vec::new() };
        let mut left = self.job.limits.output_bytes;
        let mut last = None;
        loop {
            let (stream, bytes) = match self.hear_output()? {
                FromWorker::Done => return Ok(output),
                FromWorker::Stream { stream, bytes } => (stream, bytes),
                _ => {
                    return Err(SandboxError::Misbehaved("it hands over something else than its guest's output").into());
                }
            };
            if last.replace(rank(&stream)) >= Some(rank(&stream)) && !matches!(stream, Stream::File(_)) {
                return Err(SandboxError::Misbehaved("it hands over a stream twice or out of order").into());
            }
            let allowed = if stream == Stream::Stderr { STDERR_BYTES_MAX as u64 } else { left };
            let rest = allowed.checked_sub(bytes);
            let rest = rest.ok_or(SandboxError::Misbehaved("it hands over more than the job allows"))?;
            let content = self.take(bytes)?;
            match stream {
                Stream::Stderr => output.stderr = content,
                Stream::Stdout => (output.stdout, left) = (content, rest),
                Stream::File(path) => {
                    check_file(&output.files, &path)?;
                    let rest = rest.checked_sub(path.len() as u64);
                    left = rest.ok_or(SandboxError::Misbehaved("it hands over more than the job allows"))?;
                    output.files.push(OutputFile { path, bytes: content });
                }
            }
        }
    }

    /// Takes over exactly `bytes` bytes.
    fn take(&mut self, bytes: u64) -> Result<Zeroizing<Vec<u8>>, Silence> {
        let length = usize::try_from(bytes).map_err(|_| SandboxError::Misbehaved("its output is too large"))?;
        // Grows with what really comes, not with what was announced.
        let mut content = Zeroizing::new(Vec::new());
        while content.len() < length {
            let FromWorker::Data(piece) = self.hear_output()? else {
                return Err(SandboxError::Misbehaved("it hands over less than it announced").into());
            };
            let piece = Zeroizing::new(piece);
            if piece.is_empty() || piece.len() > DATA_BYTES_MAX.min(length - content.len()) {
                return Err(SandboxError::Misbehaved("it hands over other than it announced").into());
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }
}

fn assignment(program: &Compiled, job: &Job) -> Assignment {
    Assignment {
        kind: program.0.kind,
        metering: program.0.metering,
        args: job.args.clone(),
        inputs: job.inputs.clone(),
        limits: job.limits,
        seed: job.seed,
    }
}

/// A worker that was taken over must not be able to name a file outside the directory that its output goes to.
fn check_file(before: &[OutputFile], path: &str) -> Result<(), SandboxError> {
    let ascending = before.last().is_none_or(|last| last.path.as_str() < path);
    if before.len() >= NODES_MAX || !ascending || !is_output_path(path) {
        return Err(SandboxError::Misbehaved("it names an output file as no guest can"));
    }
    Ok(())
}
