//! What to run: a job, its limits, and where the bytes of its inputs come from.

use std::fs::File;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::error::{InputError, JobError};

/// Bytes of a plaintext chunk in a sealed object: 1 MiB less the authentication tag.
pub const CHUNK_BYTES: u32 = 1_048_560;

/// One run of a compiled program.
#[derive(Clone, Debug)]
pub struct Job {
    /// Arguments after the program's name, at most 64 KiB in all, without NUL.
    pub args: Vec<String>,
    /// What the guest reads at `/data/<name>`; at most 64, names differ.
    pub inputs: Vec<Input>,
    /// What the run may use.
    pub limits: Limits,
    /// Seeds the guest's random numbers (ChaCha20).
    pub seed: [u8; 32],
}

/// One input file. Its bytes are asked for in chunks while the guest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// 1 to 64 of `a-z A-Z 0-9 . _ -`, not beginning with a dot.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Length of every chunk but the last, at least 1, at most [`Input::CHUNK_BYTES_MAX`].
    pub chunk_bytes: u32,
}

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time of the guest, milliseconds, until its output is handed over. Waiting for [`Inputs::chunk`] does not count, the
    /// first time for each chunk.
    pub run_ms: u64,
    /// Linear memories and tables of the guest, bytes.
    pub memory_bytes: u64,
    /// Standard output, files and their names together, bytes.
    pub output_bytes: u64,
}

/// What is counted while a guest runs. Part of the compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metering {
    /// Nothing: the wall clock alone ends a loop. Costs nothing over bare wasmtime.
    None,
    /// Instructions: the run ends at [`Limits::FUEL_PER_MS`] × `run_ms`, at the same instruction on every machine.
    Fuel,
    /// Fuel, and every NaN has the same bits whatever the processor.
    FuelNan,
}

/// Where the parent gets the plaintext of the inputs.
pub trait Inputs {
    /// Fills `into` with chunk `index` of input number `input`.
    ///
    /// `into` has exactly the chunk's length: `chunk_bytes` of that input, less for its last chunk. May be asked for
    /// the same chunk again.
    ///
    /// # Errors
    /// What went wrong; the run ends with [`crate::SandboxError::Input`].
    fn chunk(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), InputError>;
}

impl Job {
    const ARGS_BYTES_MAX: usize = 64 << 10;
    const INPUTS_MAX: usize = 64;

    pub(crate) fn check(&self) -> Result<(), JobError> {
        if self.args.iter().map(|arg| arg.len() + 1).sum::<usize>() > Self::ARGS_BYTES_MAX {
            return Err(JobError::ArgumentsTooLong { bytes_max: Self::ARGS_BYTES_MAX });
        }
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return Err(JobError::ArgumentWithNul);
        }
        if self.inputs.len() > Self::INPUTS_MAX {
            return Err(JobError::TooManyInputs { inputs_max: Self::INPUTS_MAX });
        }
        for (position, input) in self.inputs.iter().enumerate() {
            input.check()?;
            if self.inputs[..position].iter().any(|other| other.name == input.name) {
                return Err(JobError::InputTwice(input.name.clone()));
            }
        }
        Ok(())
    }
}

impl Input {
    /// Most bytes of a chunk.
    pub const CHUNK_BYTES_MAX: u32 = 4 << 20;

    fn check(&self) -> Result<(), JobError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if self.name.is_empty() || self.name.len() > 64 || self.name.starts_with('.') || !self.name.bytes().all(legal) {
            return Err(JobError::InputName(self.name.clone()));
        }
        if self.chunk_bytes == 0 || self.chunk_bytes > Self::CHUNK_BYTES_MAX {
            return Err(JobError::ChunkBytes { bytes: self.chunk_bytes, bytes_max: Self::CHUNK_BYTES_MAX });
        }
        Ok(())
    }

    /// Length of chunk `index`; `None` if the input has no such chunk.
    pub(crate) fn chunk_length(&self, index: u64) -> Option<usize> {
        let start = index.checked_mul(u64::from(self.chunk_bytes))?;
        let rest = self.bytes.checked_sub(start).filter(|rest| *rest > 0)?;
        usize::try_from(rest.min(u64::from(self.chunk_bytes))).ok()
    }
}

impl Limits {
    /// Fuel of a metered run for each millisecond it may take: less than an idle machine executes in that time, so
    /// that the deterministic end comes before the wall clock's. Whoever runs metered declares the time accordingly.
    pub const FUEL_PER_MS: u64 = 1_000_000;

    pub(crate) fn fuel(&self) -> u64 {
        self.run_ms.saturating_mul(Self::FUEL_PER_MS)
    }
}

/// Inputs in clear, for trying a program on one's own machine.
#[derive(Debug)]
pub struct PlainInputs {
    inputs: Vec<PlainInput>,
}

/// One input in clear.
#[derive(Debug)]
pub enum PlainInput {
    /// A file, read as it is asked for.
    File(File),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

impl PlainInputs {
    /// In the order of the job's inputs, each of which must have `chunk_bytes` = [`CHUNK_BYTES`].
    pub fn new(inputs: Vec<PlainInput>) -> Self {
        Self { inputs }
    }
}

impl Inputs for PlainInputs {
    fn chunk(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), InputError> {
        let start = index.checked_mul(u64::from(CHUNK_BYTES)).ok_or("no such chunk")?;
        match self.inputs.get(input).ok_or("no such input")? {
            PlainInput::File(file) => Ok(file.read_exact_at(into, start)?),
            PlainInput::Bytes(bytes) => {
                let chunk = usize::try_from(start).ok().and_then(|start| bytes.get(start..)?.get(..into.len()));
                into.copy_from_slice(chunk.ok_or("no such chunk")?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_chunk_is_shorter_and_nothing_follows_it() {
        let input = Input { name: "a".into(), bytes: 25, chunk_bytes: 10 };
        assert_eq!([0, 1, 2, 3].map(|index| input.chunk_length(index)), [Some(10), Some(10), Some(5), None]);
        assert_eq!(input.chunk_length(u64::MAX), None);
        assert_eq!(Input { bytes: 20, ..input.clone() }.chunk_length(2), None);
        assert_eq!(Input { bytes: 0, ..input }.chunk_length(0), None);
    }

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["", ".", "..", ".x", "a/b", "a\\b", "a b", "ä", &"a".repeat(65)] {
            let input = Input { name: name.into(), bytes: 1, chunk_bytes: 1 };
            assert!(matches!(input.check(), Err(JobError::InputName(_))), "{name:?}");
        }
    }
}
