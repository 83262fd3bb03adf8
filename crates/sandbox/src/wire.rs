//! What parent and children say to each other.

use serde::{Deserialize, Serialize};

use crate::job::{Input, Limits, Metering};
use crate::outcome::Limit;

/// Bytes of a [`FromWorker::Data`] message at most.
pub(crate) const DATA_BYTES_MAX: usize = 64 << 10;

/// What kind of program a memory file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// WASI 0.1.
    Module,
    /// WASI 0.2.
    Component,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The run. Carries the native code and, if there are inputs, the buffer that chunks arrive in.
    Assign(Box<Assignment>),
    /// The chunk that was asked for is in the buffer.
    Chunk,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) kind: Kind,
    pub(crate) metering: Metering,
    pub(crate) args: Vec<String>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) limits: Limits,
    pub(crate) seed: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// Without files and network, waiting.
    Ready,
    /// The kernel would not take a right away.
    Unconfined(String),
    /// The native code is mapped, the system calls are given up, the guest starts now.
    Started,
    /// A chunk of an input is wanted.
    Need { input: u32, index: u64 },
    /// The guest has ended. Unless a limit was reached, streams follow.
    Finished(Ending),
    /// So many bytes of this stream follow.
    Stream { stream: Stream, bytes: u64 },
    /// Some of them.
    Data(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Everything has been said.
    Done,
    /// The worker found a bug in itself, there.
    Broken(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Exited(i32),
    Trapped(String),
    Limit(Limit),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    File(String),
}

/// The order to a compiler. Carries the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compile {
    pub(crate) metering: Metering,
    pub(crate) threads: u32,
}

/// What the compiler says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromCompiler {
    /// Done. Carries the native code.
    Compiled(Kind),
    Unconfined(String),
    Invalid(String),
    UnknownImport(String),
    NotACommand(Kind),
    Broken(String),
}
