//! The child that runs one guest, once.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;

use rustix::process::Resource;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::channel::{Channel, ChannelError};
use crate::confine::{self, Filter};
use crate::engine::engine;
use crate::error::Confinement;
use crate::guest::{ChunkFailed, ChunkSource, Host, Program};
use crate::job::Metering;
use crate::memory_file;
use crate::outcome::Limit;
use crate::wire::{Assignment, DATA_BYTES_MAX, Ending, FromWorker, Kind, Stream, ToWorker};

/// What the host's own memory may grow to beside what the job allows the guest.
const OWN_BYTES: u64 = 256 << 20;

/// Serves one run for the parent at the other end of standard input, then returns.
///
/// Must be the first thing that its process does: there may be no other thread and no open file yet.
pub fn worker_main() -> ExitCode {
    worker_main_with(|| (), || ())
}

/// The same, and does `wait` while it waits for an assignment and `act` at the moment when the guest would start: how tests
/// show what can still be done then.
#[doc(hidden)]
pub fn worker_main_with(wait: impl FnOnce(), act: impl FnOnce()) -> ExitCode {
    let withdrawn = confine::withdraw();
    let Some(channel) = parent() else { return ExitCode::FAILURE };
    tell_of_panics(&channel);
    match serve(&channel, withdrawn, wait, act) {
        Ok(()) | Err(Failure::ParentGone) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = channel.borrow().send(&failure.message());
            ExitCode::FAILURE
        }
    }
}

type Shared = Rc<RefCell<Channel>>;

/// Why a worker gives up.
enum Failure {
    ParentGone,
    Unconfined(Confinement),
    Broken(String),
}

fn serve(
    channel: &Shared,
    withdrawn: Result<(), Confinement>,
    wait: impl FnOnce(),
    act: impl FnOnce(),
) -> Result<(), Failure> {
    withdrawn?;
    let filter = Filter::worker()?;
    let usual = engine(Metering::None)?;
    wait();
    channel.borrow().send(&FromWorker::Ready)?;

    let (ToWorker::Assign(task), files) = channel.borrow_mut().receive_with()? else {
        return Err(Failure::Broken("no assignment came".into()));
    };
    let mut files = files.into_iter();
    let code = files.next().ok_or_else(|| Failure::Broken("no code came".into()))?;
    let engine = if task.metering == Metering::None { usual } else { engine(task.metering)? };
    let program = map(&engine, task.kind, code)?;
    bound_memory(&task)?;
    filter.enter()?;

    let source = ParentsChunks { channel: channel.clone(), buffer: files.next() };
    let host = Host::new(&task, Box::new(source));
    channel.borrow().send(&FromWorker::Started)?;
    act();
    match program.run(&engine, &task, host) {
        Ok(ended) => deliver(&channel.borrow(), ended.how, ended.host),
        // Whoever refused the chunk knows, and has stopped listening.
        Err(ChunkFailed) => Err(Failure::ParentGone),
    }
}

fn parent() -> Option<Shared> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    Some(Rc::new(RefCell::new(Channel::new(socket))))
}

/// A panic's message may hold what a guest computed; its place in our source does not.
fn tell_of_panics(channel: &Shared) {
    let Ok(socket) = channel.borrow().as_fd().try_clone_to_owned() else { return };
    let channel = std::sync::Mutex::new(Channel::new(socket));
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(|| "somewhere".into(), ToString::to_string);
        if let Ok(channel) = channel.try_lock() {
            let _ = channel.send(&FromWorker::Broken(format!("panic at {place}")));
        }
        std::process::exit(101);
    }));
}

/// Maps native code and links it.
///
/// The code has to be believed. It comes from our own compiler through the parent, which accepts sealed files only, so
/// nobody can change it while it is mapped. If it were crafted after all, because a module had taken the compiler over,
/// it could do what this process can do: turn the guest's own input into the guest's own output.
#[allow(unsafe_code, reason = "native code cannot be checked")]
fn map(engine: &Engine, kind: Kind, code: OwnedFd) -> Result<Program, Failure> {
    let program = match kind {
        Kind::Module => {
            // SAFETY: made by our compiler and sealed, see above.
            let module = unsafe { Module::deserialize_open_file(engine, code.into()) }?;
            Program::from_module(engine, &module)
        }
        Kind::Component => {
            // Components can be mapped by path only; landlock does not govern a process's own memory files.
            let path = format!("/proc/self/fd/{}", code.as_raw_fd());
            // SAFETY: made by our compiler and sealed, see above.
            let component = unsafe { Component::deserialize_file(engine, path) }?;
            Program::from_component(engine, &component)
        }
    };
    program.map_err(|error| Failure::Broken(format!("compiled code does not link: {error:?}")))
}

/// A second fence behind the counting of the guest's memory and output, for what is not counted.
fn bound_memory(task: &Assignment) -> Result<(), Confinement> {
    let data = task.limits.memory_bytes.saturating_add(task.limits.output_bytes.saturating_mul(3));
    confine::limit(Resource::Data, data.saturating_add(OWN_BYTES))?;
    confine::limit(Resource::Fsize, 0)
}

/// The parent's decrypted chunks.
struct ParentsChunks {
    channel: Shared,
    buffer: Option<OwnedFd>,
}

impl ChunkSource for ParentsChunks {
    fn fetch(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), ChunkFailed> {
        let buffer = self.buffer.as_ref().ok_or(ChunkFailed)?;
        let mut channel = self.channel.borrow_mut();
        let need = FromWorker::Need { input: u32::try_from(input).map_err(|_| ChunkFailed)?, index };
        channel.send(&need).map_err(|_| ChunkFailed)?;
        match channel.receive() {
            Ok(ToWorker::Chunk) => memory_file::read_at(buffer, into, 0).map_err(|_| ChunkFailed),
            _ => Err(ChunkFailed),
        }
    }
}

/// Tells how the guest ended and hands over what it left.
fn deliver(channel: &Channel, how: Ending, host: Host) -> Result<(), Failure> {
    let Host { files, stdout, stderr, .. } = host;
    let (how, files) = match (how, files.into_output()) {
        (Ending::Exited(_), Err(_)) => (Ending::Limit(Limit::Output), Vec::new()),
        (how, files) => (how, files.unwrap_or_default()),
    };
    channel.send(&FromWorker::Finished(how.clone()))?;
    if !matches!(how, Ending::Limit(_)) {
        stream(channel, Stream::Stderr, &stderr)?;
    }
    if matches!(how, Ending::Exited(_)) {
        stream(channel, Stream::Stdout, &stdout)?;
        for (path, bytes) in files {
            stream(channel, Stream::File(path), &bytes)?;
        }
    }
    Ok(channel.send(&FromWorker::Done)?)
}

fn stream(channel: &Channel, stream: Stream, bytes: &[u8]) -> Result<(), Failure> {
    channel.send(&FromWorker::Stream { stream, bytes: bytes.len() as u64 })?;
    for piece in bytes.chunks(DATA_BYTES_MAX) {
        channel.send(&FromWorker::Data(piece.to_vec()))?;
    }
    Ok(())
}

impl Failure {
    fn message(&self) -> FromWorker {
        match self {
            Self::Unconfined(what) => FromWorker::Unconfined(what.to_string()),
            Self::Broken(what) => FromWorker::Broken(what.clone()),
            Self::ParentGone => FromWorker::Done,
        }
    }
}

impl From<Confinement> for Failure {
    fn from(what: Confinement) -> Self {
        Self::Unconfined(what)
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Broken(format!("{error:#}"))
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::ParentGone,
            other => Self::Broken(format!("{other:?}")),
        }
    }
}
