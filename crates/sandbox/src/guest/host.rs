//! What both versions of WASI stand on: arguments, streams, clock, randomness, and the counting of what is used.

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

use super::files::{Content, Errno, FileSystem, Inode};
use super::inputs::{ChunkFailed, ChunkSource, InputReader};
use super::preview1::Descriptors;
use crate::job::Metering;
use crate::outcome::Limit;
use crate::wire::Assignment;

/// What the guest sees as its own name.
const PROGRAM_NAME: &str = "program";
/// Bytes of standard error that are kept; the rest is dropped without an error.
pub(crate) const STDERR_BYTES_MAX: usize = 64 << 10;
/// Time between two questions for the time.
pub(crate) const TICK_NS: u64 = 1_000;
/// Time of day at the start of every run, seconds since 1970.
const START_S: u64 = 1_700_000_000;
/// What a table element counts as memory.
const TABLE_ELEMENT_BYTES: usize = 16;

/// Everything that belongs to one run.
pub(crate) struct Host {
    pub(crate) args: Vec<String>,
    pub(crate) files: FileSystem,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) meter: Meter,
    pub(crate) stop: Option<Stop>,
    pub(crate) descriptors: Descriptors,
    pub(crate) resources: ResourceTable,
    inputs: InputReader,
    now_ns: u64,
    random: ChaCha20Rng,
    work: u64,
    work_max: u64,
}

/// Why the guest does not go on, if not by its own mistake.
#[derive(Debug)]
pub(crate) enum Stop {
    Exit(i32),
    Limit(Limit),
    Input,
}

/// Why a request of the guest was not served: it is told, or it ends.
#[derive(Debug)]
pub(crate) enum Fault {
    Errno(Errno),
    Stop(Stop),
}

impl Host {
    pub(crate) fn new(task: &Assignment, source: Box<dyn ChunkSource>) -> Self {
        let work_max = if task.metering == Metering::None { u64::MAX } else { task.limits.fuel() };
        Self {
            args: std::iter::once(PROGRAM_NAME.into()).chain(task.args.iter().cloned()).collect(),
            files: FileSystem::new(&task.inputs, task.limits.output_bytes),
            stdout: Vec::new(),
            stderr: Vec::new(),
            meter: Meter::new(task.limits.memory_bytes),
            stop: None,
            descriptors: Descriptors::standard(),
            resources: super::resource_table(),
            inputs: InputReader::new(task.inputs.clone(), source),
            now_ns: 0,
            random: ChaCha20Rng::from_seed(task.seed),
            work: 0,
            work_max,
        }
    }

    /// Counts work that the host does for the guest, which fuel does not see, where the run is metered.
    pub(crate) fn work(&mut self, bytes: u64) -> Result<(), Fault> {
        self.work = self.work.saturating_add(100 + bytes / 16);
        if self.work > self.work_max { Err(Fault::Stop(Stop::Limit(Limit::Fuel))) } else { Ok(()) }
    }

    /// Time since the start. Asking takes a microsecond.
    pub(crate) fn monotonic_ns(&mut self) -> u64 {
        self.now_ns = self.now_ns.saturating_add(TICK_NS);
        self.now_ns
    }

    /// Time of day: seconds since 1970, and nanoseconds.
    pub(crate) fn wall_clock(&mut self) -> (u64, u32) {
        let now = self.monotonic_ns();
        // Less than a billion.
        (START_S.saturating_add(now / 1_000_000_000), (now % 1_000_000_000) as u32)
    }

    /// The clock, without a question.
    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Sleeps: the clock moves on at once.
    pub(crate) fn sleep_until(&mut self, due_ns: u64) {
        self.now_ns = self.now_ns.max(due_ns);
    }

    pub(crate) fn fill_random(&mut self, into: &mut [u8]) {
        self.random.fill_bytes(into);
    }

    pub(crate) fn random_u64(&mut self) -> u64 {
        self.random.next_u64()
    }

    pub(crate) fn write_stdout(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.files.charge(bytes.len() as u64)?;
        self.stdout.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn write_stderr(&mut self, bytes: &[u8]) {
        let room = STDERR_BYTES_MAX.saturating_sub(self.stderr.len());
        self.stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Reads what there is of a file from `offset` on, at most `into.len()` bytes.
    pub(crate) fn read_file(&mut self, inode: Inode, offset: u64, into: &mut [u8]) -> Result<usize, Fault> {
        match self.files.content(inode)? {
            Content::Input(input) => Ok(self.inputs.read(input, offset, into)?),
            Content::Memory(content) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or_default();
                let length = rest.len().min(into.len());
                into[..length].copy_from_slice(&rest[..length]);
                Ok(length)
            }
        }
    }

    /// Notes why the guest ends; the returned error unwinds it.
    pub(crate) fn end(&mut self, stop: Stop) -> wasmtime::Error {
        self.stop = Some(stop);
        wasmtime::Error::msg("the run has ended")
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::OverLimit => Self::Stop(Stop::Limit(Limit::Output)),
            errno => Self::Errno(errno),
        }
    }
}

impl From<ChunkFailed> for Fault {
    fn from(_: ChunkFailed) -> Self {
        Self::Stop(Stop::Input)
    }
}

/// Counts linear memories and tables.
pub(crate) struct Meter {
    used_bytes: usize,
    used_bytes_max: usize,
    refused: bool,
}

impl Meter {
    fn new(bytes_max: u64) -> Self {
        Self { used_bytes: 0, used_bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), refused: false }
    }

    /// Whether the guest ever asked for more than it may have.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, from: usize, to: usize) -> bool {
        let used = self.used_bytes.saturating_sub(from).saturating_add(to);
        if used > self.used_bytes_max {
            self.refused = true;
            return false;
        }
        self.used_bytes = used;
        true
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(bytes(current), bytes(desired)))
    }

    fn instances(&self) -> usize {
        256
    }

    fn tables(&self) -> usize {
        256
    }

    fn memories(&self) -> usize {
        64
    }
}
