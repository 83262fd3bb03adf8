//! What a run came to.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest ended by itself, with whatever exit code.
    Exited(Output),
    /// The guest did something that WebAssembly forbids, or aborted.
    Trapped(Trap),
    /// The guest reached a limit of its job. Nothing it wrote is kept.
    LimitReached(Limit),
}

/// Everything that a guest left behind.
#[derive(PartialEq, Eq)]
pub struct Output {
    /// 0 for success, by convention.
    pub exit_code: i32,
    /// Standard output, whole.
    pub stdout: Zeroizing<Vec<u8>>,
    /// Standard error, its first 64 KiB.
    pub stderr: Zeroizing<Vec<u8>>,
    /// Files under `/out`, ascending by path.
    pub files: Vec<OutputFile>,
}

/// One file that the guest wrote.
#[derive(PartialEq, Eq)]
pub struct OutputFile {
    /// Relative to `/out`: [`crate::is_output_path`].
    pub path: String,
    /// Its content.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Why a guest was stopped by the WebAssembly machine.
#[derive(PartialEq, Eq)]
pub struct Trap {
    /// One line, at most 1 KiB.
    pub reason: String,
    /// Standard error, its first 64 KiB.
    pub stderr: Zeroizing<Vec<u8>>,
}

/// A limit of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// `run_ms` of wall time.
    Time,
    /// `memory_bytes`: the guest failed after it had been refused more memory.
    Memory,
    /// `output_bytes`, or too many files.
    Output,
    /// Instructions, under [`crate::Metering::Fuel`] and [`crate::Metering::FuelNan`].
    Fuel,
}

// What a guest wrote is somebody's secret: lengths only.

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("exit_code", &self.exit_code)
            .field("stdout_bytes", &self.stdout.len())
            .field("stderr_bytes", &self.stderr.len())
            .field("files", &self.files)
            .finish()
    }
}

impl fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputFile").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").field("reason", &self.reason).field("stderr_bytes", &self.stderr.len()).finish()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "run time",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Fuel => "fuel",
        })
    }
}
