//! The child that turns one module into native code, once.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::process::Resource;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::channel::{Channel, ChannelError};
use crate::confine::{self, Filter};
use crate::engine::engine;
use crate::error::Confinement;
use crate::guest::{LinkError, Program};
use crate::memory_file;
use crate::wire::{Compile, FromCompiler, Kind};

/// Address space of a compiler. The largest real module seen took half a gigabyte.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Largest native code.
pub(crate) const CODE_BYTES_MAX: u64 = 1 << 30;
/// Most threads.
const THREADS_MAX: u32 = 16;
/// Longest text about what is wrong with a module.
const REASON_BYTES_MAX: usize = 1 << 10;

/// Compiles one module for the parent at the other end of standard input, then returns.
///
/// Must be the first thing that its process does: there may be no other thread and no open file yet.
pub fn compiler_main() -> ExitCode {
    compiler_main_with(|| (), || ())
}

/// The same, and does `wait` while it waits for a module and `act` on the thread that compiles it, just before: how tests show
/// what can still be done then.
#[doc(hidden)]
pub fn compiler_main_with(wait: impl FnOnce(), act: impl FnOnce() + Send) -> ExitCode {
    let withdrawn = confine::withdraw();
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut channel = Channel::new(socket);
    match serve(&mut channel, withdrawn, wait, act) {
        Ok(()) => ExitCode::SUCCESS,
        Err(answer) => {
            let _ = channel.send(&answer);
            ExitCode::FAILURE
        }
    }
}

/// `Err` holds the answer if there is no code.
fn serve(
    channel: &mut Channel,
    withdrawn: Result<(), Confinement>,
    wait: impl FnOnce(),
    act: impl FnOnce() + Send,
) -> Result<(), FromCompiler> {
    withdrawn?;
    wait();
    let (order, files) = channel.receive_with::<Compile>()?;
    let module = files.into_iter().next().ok_or_else(|| FromCompiler::Broken("no module came".into()))?;
    let bytes = read(&module)?;
    confine::limit(Resource::As, MEMORY_BYTES_MAX)?;
    confine::limit(Resource::Fsize, CODE_BYTES_MAX)?;
    let engine = engine(order.metering).map_err(|error| FromCompiler::Broken(format!("{error:#}")))?;
    let code = memory_file::empty("samovar-code").map_err(broken("make a memory file"))?;
    let threads = start_threads(order.threads)?;
    Filter::compiler()?.enter()?;

    let (kind, native) = threads.install(|| {
        act();
        compile(&engine, &bytes)
    })?;
    memory_file::freeze(&code, &native).map_err(broken("write native code"))?;
    Ok(channel.send_with(&FromCompiler::Compiled(kind), &[code.as_fd()])?)
}

fn read(module: &OwnedFd) -> Result<Vec<u8>, FromCompiler> {
    let length = memory_file::frozen_length(module).map_err(broken("look at the module"))?;
    let length = length.and_then(|length| usize::try_from(length).ok());
    let mut bytes = vec![0; length.ok_or_else(|| FromCompiler::Broken("the module can still change".into()))?];
    memory_file::read_at(module, &mut bytes, 0).map_err(broken("read the module"))?;
    Ok(bytes)
}

/// The threads that compile. All of them must be running before system calls are given up.
fn start_threads(threads: u32) -> Result<ThreadPool, FromCompiler> {
    let threads = threads.clamp(1, THREADS_MAX) as usize;
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| FromCompiler::Broken(error.to_string()))?;
    pool.broadcast(|_| ());
    Ok(pool)
}

fn compile(engine: &Engine, bytes: &[u8]) -> Result<(Kind, Vec<u8>), FromCompiler> {
    let kind = kind_of(bytes);
    let native = match kind {
        Kind::Module => {
            let module = Module::from_binary(engine, bytes).map_err(invalid)?;
            Program::from_module(engine, &module).map_err(|error| refused(kind, error))?;
            module.serialize()
        }
        Kind::Component => {
            let component = Component::from_binary(engine, bytes).map_err(invalid)?;
            Program::from_component(engine, &component).map_err(|error| refused(kind, error))?;
            component.serialize()
        }
    };
    Ok((kind, native.map_err(invalid)?))
}

/// Modules and components differ in the version field of their first eight bytes.
fn kind_of(bytes: &[u8]) -> Kind {
    if bytes.get(4..8) == Some(&[0x0d, 0, 1, 0]) { Kind::Component } else { Kind::Module }
}

fn refused(kind: Kind, error: LinkError) -> FromCompiler {
    match error {
        LinkError::UnknownImport(name) => FromCompiler::UnknownImport(shortened(name)),
        LinkError::NotACommand => FromCompiler::NotACommand(kind),
        LinkError::Invalid(why) => FromCompiler::Invalid(shortened(why)),
    }
}

fn invalid(error: wasmtime::Error) -> FromCompiler {
    FromCompiler::Invalid(shortened(format!("{error:#}").replace('\n', " ")))
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

fn broken(attempt: &'static str) -> impl FnOnce(rustix::io::Errno) -> FromCompiler {
    move |errno| FromCompiler::Broken(format!("cannot {attempt}: {errno}"))
}

impl From<Confinement> for FromCompiler {
    fn from(what: Confinement) -> Self {
        Self::Unconfined(what.to_string())
    }
}

impl From<ChannelError> for FromCompiler {
    fn from(error: ChannelError) -> Self {
        Self::Broken(format!("{error:?}"))
    }
}
