//! Runs a WASI program on bytes, within limits, with no way out.
//!
//! A guest is a WASI 0.1 core module or a WASI 0.2 command component. It sees `/data/<name>` (read-only), `/out`
//! (capped), its arguments, an empty standard input, a clock that only its own questions advance and random numbers
//! from a given seed. It sees no network, no environment, no real file, no other process and no time of day, so the
//! same job gives the same result on every machine.
//!
//! Three processes share the work, so that no memory ever holds both a key and somebody else's code:
//!
//! - the **parent** ([`Sandbox`]) has the keys and answers requests for chunks of the inputs; it never parses a module
//!   or runs guest code;
//! - the **compiler** ([`compiler_main`]) turns a module into native code that lives in a sealed memory file only;
//! - the **worker** ([`worker_main`]) is started ahead without any right to files or network, maps the native code,
//!   gives up every system call that it does not need, and only then asks for data. It serves one run and is killed.
//!
//! Needs Linux with landlock (5.13, and in the kernel's list of security modules) and seccomp; on any other kernel
//! [`Sandbox::new`] refuses. On x86-64 the processor must offer x86-64-v3 (AVX2, FMA, BMI), because compiled code is
//! pinned to that level and so is the same on every machine.
//!
//! This crate knows nothing of content ids, keys, attestation or the ledger.

mod cache;
mod channel;
mod compiler;
mod confine;
mod engine;
mod error;
mod guest;
mod job;
mod memory_file;
mod nursery;
mod outcome;
mod sandbox;
mod wire;
mod worker;

pub use compiler::compiler_main;
#[doc(hidden)]
pub use compiler::compiler_main_with;
pub use error::{CompileError, InputError, JobError, SandboxError};
pub use guest::is_output_path;
pub use job::{CHUNK_BYTES, Input, Inputs, Job, Limits, Metering, PlainInput, PlainInputs};
pub use outcome::{Limit, Outcome, Output, OutputFile, Trap};
pub use sandbox::{ChildProgram, Compiled, Phase, Sandbox, SandboxConfig, Watch};
pub use worker::worker_main;
#[doc(hidden)]
pub use worker::worker_main_with;
