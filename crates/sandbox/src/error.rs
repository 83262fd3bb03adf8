//! Why something could not even be tried, and whose fault it is.

use std::io;

/// A module was not compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The module's fault: it is none, or uses what this sandbox leaves out (threads, 64-bit memories, …).
    #[error("not a WebAssembly program that this sandbox runs: {0}")]
    Invalid(String),
    /// The module's fault: it wants something from outside.
    #[error("the program imports {0}, which this sandbox does not offer")]
    UnknownImport(String),
    /// The module's fault: a library, or built for another kind of host.
    #[error("the program has no entry point: {0}")]
    NotACommand(&'static str),
    /// The module's fault.
    #[error("the program has {bytes} bytes, at most {bytes_max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What is accepted.
        bytes_max: u64,
    },
    /// The module's fault: crafted, or too large for this machine.
    #[error("compiling the program took more than {0} ms")]
    TooSlow(u64),
    /// The module's fault, as far as anybody can tell: too large for the compiler's memory, or it found a bug in it.
    #[error("the compiler gave up on the program ({0})")]
    CompilerDied(String),
    /// This machine's fault.
    #[error("the compiler could not be run")]
    Sandbox(#[source] SandboxError),
}

impl CompileError {
    /// Whether another module would have been compiled.
    pub fn guest_at_fault(&self) -> bool {
        !matches!(self, Self::Sandbox(_))
    }
}

/// Why a source of data could not give a chunk: an error of its own, which goes back to whoever brought the source.
pub type InputError = Box<dyn std::error::Error + Send + Sync>;

/// The sandbox itself failed, or what it was given to work with; the guest is not at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The caller's fault.
    #[error("the job cannot be run: {0}")]
    Job(#[from] JobError),
    /// This machine's kernel cannot confine a process; nothing is ever run unconfined.
    #[error("this kernel cannot confine a guest ({what}); Linux 5.13 or later with landlock and seccomp is needed")]
    Unconfined {
        /// What is missing.
        what: String,
    },
    /// The worker's or compiler's program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The worker ended before its run did: out of memory, killed, or a forbidden system call (signal 31).
    #[error("the worker died: {0}")]
    WorkerDied(String),
    /// The worker found itself broken.
    #[error("the worker broke down: {0}")]
    WorkerBroke(String),
    /// The worker said something that a worker never says. It may have been taken over by its guest.
    #[error("the worker misbehaved: {0}")]
    Misbehaved(&'static str),
    /// The worker did not answer in time, outside of its run.
    #[error("the worker did not answer within {0} ms")]
    Silent(u64),
    /// The source of data could not give a chunk, so the run could not go on.
    #[error("chunk {index} of input {input} could not be had")]
    Input {
        /// Position of the input in the job.
        input: usize,
        /// Which of its chunks.
        index: u64,
        /// What the source said.
        #[source]
        cause: InputError,
    },
    /// The caller had no more time.
    #[error("stopped before it had ended, because its caller had no more time")]
    Stopped,
    /// A system call failed.
    #[error("cannot {attempt}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// A job that no sandbox could run. The caller's fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobError {
    /// Too much text.
    #[error("its arguments are longer than {bytes_max} bytes")]
    ArgumentsTooLong {
        /// What is accepted.
        bytes_max: usize,
    },
    /// WASI ends arguments with a NUL.
    #[error("one of its arguments contains a NUL")]
    ArgumentWithNul,
    /// Too many files.
    #[error("it has more than {inputs_max} inputs")]
    TooManyInputs {
        /// What is accepted.
        inputs_max: usize,
    },
    /// The name is no plain file name.
    #[error("{0:?} cannot be the name of an input")]
    InputName(String),
    /// Two inputs would be one file.
    #[error("it has two inputs called {0:?}")]
    InputTwice(String),
    /// Chunks are shared through one buffer of bounded size.
    #[error("an input has chunks of {bytes} bytes; 1 to {bytes_max} are accepted")]
    ChunkBytes {
        /// What was declared.
        bytes: u32,
        /// What is accepted.
        bytes_max: u32,
    },
}

/// A step of giving up rights that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub(crate) struct Confinement {
    /// What was tried.
    pub(crate) step: &'static str,
    /// What the kernel said.
    pub(crate) cause: String,
}

impl Confinement {
    pub(crate) fn at(step: &'static str) -> impl FnOnce(&dyn std::fmt::Display) -> Self {
        move |cause| Self { step, cause: cause.to_string() }
    }
}

pub(crate) fn system(attempt: &'static str) -> impl FnOnce(rustix::io::Errno) -> SandboxError {
    move |errno| SandboxError::System { attempt, cause: errno.into() }
}
