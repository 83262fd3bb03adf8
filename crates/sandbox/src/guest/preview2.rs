//! WASI 0.2 (`wasi:cli/command`) for components, over the same [`Host`] as WASI 0.1.
//!
//! Nothing ever blocks: what can be read or written is always ready, and waiting for a clock moves the clock.
#![allow(missing_docs, unreachable_pub, reason = "generated from the WIT files, and what the generated code names")]

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceType};
use wasmtime::{Engine, Error};

use super::LinkError;
use super::files::{Errno, Inode, OpenMode, PREOPENED};
use super::host::{Fault, Host, Stop, TICK_NS};

wasmtime::component::bindgen!({
    path: "wit",
    world: "samovar:sandbox/program",
    imports: { default: trappable },
    with: {
        "wasi:io/poll.pollable": Pollable,
        "wasi:io/streams.input-stream": InputStream,
        "wasi:io/streams.output-stream": OutputStream,
        "wasi:io/error.error": StreamFailure,
        "wasi:filesystem/types.descriptor": Descriptor,
        "wasi:filesystem/types.directory-entry-stream": Listing,
        "wasi:cli/terminal-input.terminal-input": NoTerminal,
        "wasi:cli/terminal-output.terminal-output": NoTerminal,
    },
});

use wasi::cli;
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::filesystem::types::{
    self as filesystem, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasi::io::streams::{self, StreamError};
use wasi::io::{error, poll};
use wasi::random;

/// Most bytes of one read or write.
const TRANSFER_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of one request for randomness.
const RANDOM_BYTES_MAX: u64 = 16 << 20;

/// What a guest can wait for: a point of the virtual clock, in the past for what is always ready.
pub struct Pollable {
    due_ns: u64,
}

pub enum InputStream {
    Stdin,
    File { inode: Inode, position: u64 },
}

#[derive(Clone, Copy)]
pub enum OutputStream {
    Stdout,
    Stderr,
    File { inode: Inode, position: u64 },
    Append { inode: Inode },
}

pub struct StreamFailure(Errno);

pub struct Descriptor {
    inode: Inode,
    read: bool,
    write: bool,
}

/// Where a guest is in a directory. Holds no copy of it, so that many of them cost little.
pub struct Listing {
    directory: Inode,
    last: Option<String>,
}

/// There is no terminal, so none of these is ever made.
pub struct NoTerminal;

type Trappable<T> = wasmtime::Result<T>;
type Filesystem<T> = Trappable<Result<T, ErrorCode>>;
type Streaming<T> = Trappable<Result<T, StreamError>>;

/// Adds everything that the world offers.
pub(crate) fn add_to(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    Program::add_to_linker::<_, HasSelf<_>>(linker, |host| host)
}

const SOCKETS: &str = "wasi:sockets/";

/// Lets programs load whose language's library always imports sockets; whoever calls one ends with a trap.
pub(crate) fn deny_sockets(engine: &Engine, linker: &mut Linker<Host>, component: &Component) -> wasmtime::Result<()> {
    for (name, import) in component.component_type().imports(engine) {
        let (true, ComponentItem::ComponentInstance(interface)) = (name.starts_with(SOCKETS), import.ty) else {
            continue;
        };
        let mut denied = linker.instance(name)?;
        for (item, kind) in interface.exports(engine) {
            match kind.ty {
                ComponentItem::ComponentFunc(_) => {
                    let call = format!("{name}#{item}");
                    denied.func_new(item, move |_, _, _, _| Err(Error::msg(format!("there is no {call} here"))))?;
                }
                ComponentItem::Resource(_) if owns_resource(name, item) => {
                    denied.resource(item, ResourceType::host::<NoSocket>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

struct NoSocket;

/// Whether an interface of `wasi:sockets` defines a resource; others only use it.
fn owns_resource(interface: &str, resource: &str) -> bool {
    let interface = interface.trim_start_matches(SOCKETS).split('@').next().unwrap_or_default();
    matches!(
        (interface, resource),
        ("network", "network")
            | ("udp", "udp-socket" | "incoming-datagram-stream" | "outgoing-datagram-stream")
            | ("tcp", "tcp-socket")
            | ("ip-name-lookup", "resolve-address-stream")
    )
}

/// Names the first import that nobody offers; the linker's own message would only say that linking failed.
pub(crate) fn check_imports(engine: &Engine, component: &Component) -> Result<(), LinkError> {
    const OFFERED: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", SOCKETS];
    let unknown = component
        .component_type()
        .imports(engine)
        .find(|(name, _)| !OFFERED.iter().any(|offered| name.starts_with(offered)))
        .map(|(name, _)| name.to_owned());
    unknown.map_or(Ok(()), |name| Err(LinkError::UnknownImport(name)))
}

fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::BadDescriptor => ErrorCode::BadDescriptor,
        Errno::Exists => ErrorCode::Exist,
        Errno::FileTooLarge => ErrorCode::FileTooLarge,
        Errno::Invalid => ErrorCode::Invalid,
        Errno::IsDirectory => ErrorCode::IsDirectory,
        Errno::NameTooLong => ErrorCode::NameTooLong,
        Errno::NoEntry => ErrorCode::NoEntry,
        Errno::NotDirectory => ErrorCode::NotDirectory,
        Errno::NotEmpty => ErrorCode::NotEmpty,
        Errno::NotPermitted => ErrorCode::NotPermitted,
        Errno::NotSupported => ErrorCode::Unsupported,
        Errno::NotWritable => ErrorCode::BadDescriptor,
        Errno::ReadOnly => ErrorCode::ReadOnly,
        Errno::Seek => ErrorCode::InvalidSeek,
        Errno::TooManyOpen => ErrorCode::InsufficientMemory,
        Errno::OverLimit => ErrorCode::InsufficientSpace,
    }
}

impl Host {
    /// Tells a file system call how it went, or ends the guest.
    fn answer<T>(&mut self, served: Result<T, Fault>) -> Filesystem<T> {
        match served {
            Ok(value) => Ok(Ok(value)),
            Err(Fault::Errno(errno)) => Ok(Err(code(errno))),
            Err(Fault::Stop(stop)) => Err(self.end(stop)),
        }
    }

    /// The same for a call on a stream.
    fn stream_answer<T>(&mut self, served: Result<T, Fault>) -> Streaming<T> {
        match served {
            Ok(value) => Ok(Ok(value)),
            Err(Fault::Errno(errno)) => {
                let failure = self.resources.push(StreamFailure(errno))?;
                Ok(Err(StreamError::LastOperationFailed(failure)))
            }
            Err(Fault::Stop(stop)) => Err(self.end(stop)),
        }
    }

    /// Counts a call; ends the guest when a metered run has called too often.
    fn count(&mut self, bytes: u64) -> Trappable<()> {
        match self.work(bytes) {
            Err(Fault::Stop(stop)) => Err(self.end(stop)),
            _ => Ok(()),
        }
    }

    /// `None` at the end of the stream.
    fn read_stream(&mut self, stream: &Resource<InputStream>, bytes: u64) -> Trappable<Result<Option<Vec<u8>>, Fault>> {
        let InputStream::File { inode, position } = *self.resources.get(stream)? else {
            return Ok(Ok(None));
        };
        let read = self.read_some(inode, position, bytes);
        if let (Ok(read), InputStream::File { position, .. }) = (&read, self.resources.get_mut(stream)?) {
            *position = position.saturating_add(read.len() as u64);
        }
        Ok(read.map(|read| if read.is_empty() && bytes > 0 { None } else { Some(read) }))
    }

    fn read_some(&mut self, inode: Inode, position: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
        let rest = self.files.status(inode).bytes.saturating_sub(position);
        // At most `TRANSFER_BYTES_MAX`.
        let mut read = vec![0; bytes.min(TRANSFER_BYTES_MAX).min(rest) as usize];
        let length = self.read_file(inode, position, &mut read)?;
        read.truncate(length);
        self.work(length as u64)?;
        Ok(read)
    }

    fn input(&mut self, stream: &Resource<InputStream>, bytes: u64) -> Streaming<Vec<u8>> {
        match self.read_stream(stream, bytes)? {
            Ok(Some(read)) => Ok(Ok(read)),
            Ok(None) => Ok(Err(StreamError::Closed)),
            Err(fault) => self.stream_answer(Err(fault)),
        }
    }

    fn output(&mut self, stream: &Resource<OutputStream>, bytes: &[u8]) -> Streaming<()> {
        self.count(bytes.len() as u64)?;
        let written = match *self.resources.get(stream)? {
            OutputStream::Stdout => self.write_stdout(bytes),
            OutputStream::Stderr => {
                self.write_stderr(bytes);
                Ok(())
            }
            OutputStream::File { inode, position } => self.files.write(inode, position, bytes).map_err(Fault::from),
            OutputStream::Append { inode } => {
                let end = self.files.status(inode).bytes;
                self.files.write(inode, end, bytes).map_err(Fault::from)
            }
        };
        if let (Ok(()), OutputStream::File { position, .. }) = (&written, self.resources.get_mut(stream)?) {
            *position = position.saturating_add(bytes.len() as u64);
        }
        self.stream_answer(written)
    }

    fn output_zeroes(&mut self, stream: &Resource<OutputStream>, bytes: u64) -> Streaming<()> {
        if bytes > TRANSFER_BYTES_MAX {
            return self.stream_answer(Err(Errno::Invalid.into()));
        }
        self.output(stream, &vec![0; bytes as usize])
    }

    fn copy(&mut self, to: &Resource<OutputStream>, from: &Resource<InputStream>, bytes: u64) -> Streaming<u64> {
        match self.input(from, bytes)? {
            Ok(read) => Ok(self.output(to, &read)?.map(|()| read.len() as u64)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn stat(&self, inode: Inode) -> DescriptorStat {
        let status = self.files.status(inode);
        DescriptorStat {
            type_: kind(status.directory),
            link_count: 1,
            size: status.bytes,
            data_access_timestamp: None,
            data_modification_timestamp: None,
            status_change_timestamp: None,
        }
    }

    fn inode(&self, descriptor: &Resource<Descriptor>) -> Trappable<Inode> {
        Ok(self.resources.get(descriptor)?.inode)
    }

    fn file_to_write(&self, descriptor: &Resource<Descriptor>) -> Trappable<Result<Inode, Fault>> {
        let descriptor = self.resources.get(descriptor)?;
        Ok(if descriptor.write { Ok(descriptor.inode) } else { Err(Errno::NotWritable.into()) })
    }

    fn file_to_read(&self, descriptor: &Resource<Descriptor>) -> Trappable<Result<Inode, Fault>> {
        let descriptor = self.resources.get(descriptor)?;
        Ok(match self.files.content(descriptor.inode) {
            Err(errno) => Err(errno.into()),
            Ok(_) if !descriptor.read => Err(Errno::BadDescriptor.into()),
            Ok(_) => Ok(descriptor.inode),
        })
    }

    /// Makes a resource that keeps a node open.
    fn push_open<T: Send + 'static>(&mut self, inode: Inode, resource: T) -> Trappable<Resource<T>> {
        let pushed = self.resources.push(resource)?;
        self.files.retain(inode);
        Ok(pushed)
    }
}

fn kind(directory: bool) -> DescriptorType {
    if directory { DescriptorType::Directory } else { DescriptorType::RegularFile }
}

// --- wasi:cli ---------------------------------------------------------------------------------------------------------

impl cli::environment::Host for Host {
    fn get_environment(&mut self) -> Trappable<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Trappable<Vec<String>> {
        Ok(self.args.clone())
    }

    fn initial_cwd(&mut self) -> Trappable<Option<String>> {
        Ok(None)
    }
}

impl cli::exit::Host for Host {
    fn exit(&mut self, status: Result<(), ()>) -> Trappable<()> {
        Err(self.end(Stop::Exit(i32::from(status.is_err()))))
    }

    fn exit_with_code(&mut self, code: u8) -> Trappable<()> {
        Err(self.end(Stop::Exit(code.into())))
    }
}

impl cli::stdin::Host for Host {
    fn get_stdin(&mut self) -> Trappable<Resource<InputStream>> {
        Ok(self.resources.push(InputStream::Stdin)?)
    }
}

impl cli::stdout::Host for Host {
    fn get_stdout(&mut self) -> Trappable<Resource<OutputStream>> {
        Ok(self.resources.push(OutputStream::Stdout)?)
    }
}

impl cli::stderr::Host for Host {
    fn get_stderr(&mut self) -> Trappable<Resource<OutputStream>> {
        Ok(self.resources.push(OutputStream::Stderr)?)
    }
}

impl cli::terminal_input::HostTerminalInput for Host {
    fn drop(&mut self, terminal: Resource<NoTerminal>) -> Trappable<()> {
        self.resources.delete(terminal)?;
        Ok(())
    }
}
impl cli::terminal_input::Host for Host {}

impl cli::terminal_output::HostTerminalOutput for Host {
    fn drop(&mut self, terminal: Resource<NoTerminal>) -> Trappable<()> {
        self.resources.delete(terminal)?;
        Ok(())
    }
}
impl cli::terminal_output::Host for Host {}

impl cli::terminal_stdin::Host for Host {
    fn get_terminal_stdin(&mut self) -> Trappable<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}

impl cli::terminal_stdout::Host for Host {
    fn get_terminal_stdout(&mut self) -> Trappable<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}

impl cli::terminal_stderr::Host for Host {
    fn get_terminal_stderr(&mut self) -> Trappable<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}

// --- wasi:io ----------------------------------------------------------------------------------------------------------

impl error::HostError for Host {
    fn to_debug_string(&mut self, failure: Resource<StreamFailure>) -> Trappable<String> {
        Ok(format!("{:?}", self.resources.get(&failure)?.0))
    }

    fn drop(&mut self, failure: Resource<StreamFailure>) -> Trappable<()> {
        self.resources.delete(failure)?;
        Ok(())
    }
}
impl error::Host for Host {}

impl poll::HostPollable for Host {
    fn ready(&mut self, pollable: Resource<Pollable>) -> Trappable<bool> {
        self.count(0)?;
        Ok(self.resources.get(&pollable)?.due_ns <= self.now_ns())
    }

    fn block(&mut self, pollable: Resource<Pollable>) -> Trappable<()> {
        self.count(0)?;
        let due_ns = self.resources.get(&pollable)?.due_ns;
        self.sleep_until(due_ns);
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> Trappable<()> {
        self.resources.delete(pollable)?;
        Ok(())
    }
}

impl poll::Host for Host {
    fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> Trappable<Vec<u32>> {
        self.count(16 * pollables.len() as u64)?;
        let mut due = Vec::with_capacity(pollables.len());
        for pollable in &pollables {
            due.push(self.resources.get(pollable)?.due_ns);
        }
        let first = due.iter().min().ok_or_else(|| Error::msg("poll of an empty list"))?;
        self.sleep_until(*first);
        let now = self.now_ns();
        Ok((0u32..).zip(&due).filter(|(_, due)| **due <= now).map(|(index, _)| index).collect())
    }
}

impl streams::HostInputStream for Host {
    fn read(&mut self, stream: Resource<InputStream>, bytes: u64) -> Streaming<Vec<u8>> {
        self.count(0)?;
        self.input(&stream, bytes)
    }

    fn blocking_read(&mut self, stream: Resource<InputStream>, bytes: u64) -> Streaming<Vec<u8>> {
        self.count(0)?;
        self.input(&stream, bytes)
    }

    fn skip(&mut self, stream: Resource<InputStream>, bytes: u64) -> Streaming<u64> {
        self.count(0)?;
        Ok(self.input(&stream, bytes)?.map(|read| read.len() as u64))
    }

    fn blocking_skip(&mut self, stream: Resource<InputStream>, bytes: u64) -> Streaming<u64> {
        self.count(0)?;
        Ok(self.input(&stream, bytes)?.map(|read| read.len() as u64))
    }

    fn subscribe(&mut self, stream: Resource<InputStream>) -> Trappable<Resource<Pollable>> {
        self.resources.get(&stream)?;
        Ok(self.resources.push(Pollable { due_ns: 0 })?)
    }

    fn drop(&mut self, stream: Resource<InputStream>) -> Trappable<()> {
        if let InputStream::File { inode, .. } = self.resources.delete(stream)? {
            self.files.close(inode);
        }
        Ok(())
    }
}

impl streams::HostOutputStream for Host {
    fn check_write(&mut self, stream: Resource<OutputStream>) -> Streaming<u64> {
        self.count(0)?;
        self.resources.get(&stream)?;
        Ok(Ok(TRANSFER_BYTES_MAX))
    }

    fn write(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Streaming<()> {
        self.output(&stream, &bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Streaming<()> {
        self.output(&stream, &bytes)
    }

    fn flush(&mut self, stream: Resource<OutputStream>) -> Streaming<()> {
        self.resources.get(&stream)?;
        Ok(Ok(()))
    }

    fn blocking_flush(&mut self, stream: Resource<OutputStream>) -> Streaming<()> {
        self.resources.get(&stream)?;
        Ok(Ok(()))
    }

    fn subscribe(&mut self, stream: Resource<OutputStream>) -> Trappable<Resource<Pollable>> {
        self.resources.get(&stream)?;
        Ok(self.resources.push(Pollable { due_ns: 0 })?)
    }

    fn write_zeroes(&mut self, stream: Resource<OutputStream>, bytes: u64) -> Streaming<()> {
        self.output_zeroes(&stream, bytes)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<OutputStream>, bytes: u64) -> Streaming<()> {
        self.output_zeroes(&stream, bytes)
    }

    fn splice(&mut self, to: Resource<OutputStream>, from: Resource<InputStream>, bytes: u64) -> Streaming<u64> {
        self.copy(&to, &from, bytes)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<OutputStream>,
        from: Resource<InputStream>,
        bytes: u64,
    ) -> Streaming<u64> {
        self.copy(&to, &from, bytes)
    }

    fn drop(&mut self, stream: Resource<OutputStream>) -> Trappable<()> {
        match self.resources.delete(stream)? {
            OutputStream::File { inode, .. } | OutputStream::Append { inode } => self.files.close(inode),
            OutputStream::Stdout | OutputStream::Stderr => {}
        }
        Ok(())
    }
}
impl streams::Host for Host {}

// --- wasi:clocks and wasi:random --------------------------------------------------------------------------------------

impl monotonic_clock::Host for Host {
    fn now(&mut self) -> Trappable<u64> {
        self.count(0)?;
        Ok(self.monotonic_ns())
    }

    fn resolution(&mut self) -> Trappable<u64> {
        Ok(TICK_NS)
    }

    fn subscribe_instant(&mut self, due_ns: u64) -> Trappable<Resource<Pollable>> {
        Ok(self.resources.push(Pollable { due_ns })?)
    }

    fn subscribe_duration(&mut self, duration_ns: u64) -> Trappable<Resource<Pollable>> {
        let due_ns = self.now_ns().saturating_add(duration_ns);
        Ok(self.resources.push(Pollable { due_ns })?)
    }
}

impl wall_clock::Host for Host {
    fn now(&mut self) -> Trappable<wall_clock::Datetime> {
        self.count(0)?;
        let (seconds, nanoseconds) = self.wall_clock();
        Ok(wall_clock::Datetime { seconds, nanoseconds })
    }

    fn resolution(&mut self) -> Trappable<wall_clock::Datetime> {
        // A microsecond.
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: TICK_NS as u32 })
    }
}

impl random::random::Host for Host {
    fn get_random_bytes(&mut self, bytes: u64) -> Trappable<Vec<u8>> {
        if bytes > RANDOM_BYTES_MAX {
            return Err(Error::msg("more random bytes at once than this sandbox gives"));
        }
        self.count(bytes)?;
        let mut random = vec![0; bytes as usize];
        self.fill_random(&mut random);
        Ok(random)
    }

    fn get_random_u64(&mut self) -> Trappable<u64> {
        self.count(8)?;
        Ok(self.random_u64())
    }
}

impl random::insecure::Host for Host {
    fn get_insecure_random_bytes(&mut self, bytes: u64) -> Trappable<Vec<u8>> {
        random::random::Host::get_random_bytes(self, bytes)
    }

    fn get_insecure_random_u64(&mut self) -> Trappable<u64> {
        random::random::Host::get_random_u64(self)
    }
}

impl random::insecure_seed::Host for Host {
    fn insecure_seed(&mut self) -> Trappable<(u64, u64)> {
        self.count(16)?;
        Ok((self.random_u64(), self.random_u64()))
    }
}

// --- wasi:filesystem --------------------------------------------------------------------------------------------------

impl wasi::filesystem::preopens::Host for Host {
    fn get_directories(&mut self) -> Trappable<Vec<(Resource<Descriptor>, String)>> {
        PREOPENED
            .iter()
            .map(|(name, inode)| {
                let descriptor = Descriptor { inode: *inode, read: true, write: self.files.is_writable(*inode) };
                Ok((self.push_open(*inode, descriptor)?, (*name).to_owned()))
            })
            .collect()
    }
}

impl filesystem::HostDescriptor for Host {
    fn read_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> Filesystem<Resource<InputStream>> {
        match self.file_to_read(&file)? {
            Ok(inode) => Ok(Ok(self.push_open(inode, InputStream::File { inode, position: offset })?)),
            Err(fault) => self.answer(Err(fault)),
        }
    }

    fn write_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> Filesystem<Resource<OutputStream>> {
        match self.file_to_write(&file)? {
            Ok(inode) => Ok(Ok(self.push_open(inode, OutputStream::File { inode, position: offset })?)),
            Err(fault) => self.answer(Err(fault)),
        }
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> Filesystem<Resource<OutputStream>> {
        match self.file_to_write(&file)? {
            Ok(inode) => Ok(Ok(self.push_open(inode, OutputStream::Append { inode })?)),
            Err(fault) => self.answer(Err(fault)),
        }
    }

    fn advise(&mut self, _: Resource<Descriptor>, _offset: u64, _bytes: u64, _advice: Advice) -> Filesystem<()> {
        Ok(Ok(()))
    }

    fn sync_data(&mut self, _: Resource<Descriptor>) -> Filesystem<()> {
        Ok(Ok(()))
    }

    fn sync(&mut self, _: Resource<Descriptor>) -> Filesystem<()> {
        Ok(Ok(()))
    }

    fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> Filesystem<DescriptorFlags> {
        let Descriptor { inode, read, write } = *self.resources.get(&descriptor)?;
        let directory = self.files.status(inode).directory;
        let mut flags = DescriptorFlags::empty();
        if read {
            flags |= DescriptorFlags::READ;
        }
        if write {
            flags |= if directory { DescriptorFlags::MUTATE_DIRECTORY } else { DescriptorFlags::WRITE };
        }
        Ok(Ok(flags))
    }

    fn get_type(&mut self, descriptor: Resource<Descriptor>) -> Filesystem<DescriptorType> {
        let inode = self.inode(&descriptor)?;
        Ok(Ok(kind(self.files.status(inode).directory)))
    }

    fn set_size(&mut self, file: Resource<Descriptor>, bytes: u64) -> Filesystem<()> {
        let done = match self.file_to_write(&file)? {
            Ok(inode) => self.files.set_length(inode, bytes).map_err(Fault::from),
            Err(fault) => Err(fault),
        };
        self.answer(done)
    }

    fn set_times(&mut self, _: Resource<Descriptor>, _access: NewTimestamp, _change: NewTimestamp) -> Filesystem<()> {
        Ok(Ok(()))
    }

    fn read(&mut self, file: Resource<Descriptor>, bytes: u64, offset: u64) -> Filesystem<(Vec<u8>, bool)> {
        self.count(0)?;
        let read = match self.file_to_read(&file)? {
            Ok(inode) => self.read_some(inode, offset, bytes).map(|read| {
                let end = offset.saturating_add(read.len() as u64) >= self.files.status(inode).bytes;
                (read, end)
            }),
            Err(fault) => Err(fault),
        };
        self.answer(read)
    }

    fn write(&mut self, file: Resource<Descriptor>, bytes: Vec<u8>, offset: u64) -> Filesystem<u64> {
        self.count(bytes.len() as u64)?;
        let written = match self.file_to_write(&file)? {
            Ok(inode) => self.files.write(inode, offset, &bytes).map_err(Fault::from),
            Err(fault) => Err(fault),
        };
        self.answer(written.map(|()| bytes.len() as u64))
    }

    fn read_directory(&mut self, directory: Resource<Descriptor>) -> Filesystem<Resource<Listing>> {
        self.count(0)?;
        let directory = self.inode(&directory)?;
        match self.files.next_entry(directory, None) {
            Ok(_) => Ok(Ok(self.push_open(directory, Listing { directory, last: None })?)),
            Err(errno) => self.answer(Err(errno.into())),
        }
    }

    fn create_directory_at(&mut self, base: Resource<Descriptor>, path: String) -> Filesystem<()> {
        let inode = self.inode(&base)?;
        let created = self.files.create_directory(inode, &path);
        self.answer(created.map_err(Fault::from))
    }

    fn stat(&mut self, descriptor: Resource<Descriptor>) -> Filesystem<DescriptorStat> {
        let inode = self.inode(&descriptor)?;
        Ok(Ok(Host::stat(self, inode)))
    }

    fn stat_at(&mut self, base: Resource<Descriptor>, _: PathFlags, path: String) -> Filesystem<DescriptorStat> {
        self.count(0)?;
        let inode = self.inode(&base)?;
        let found = self.files.find(inode, &path).map(|inode| Host::stat(self, inode));
        self.answer(found.map_err(Fault::from))
    }

    fn set_times_at(
        &mut self,
        base: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        _access: NewTimestamp,
        _change: NewTimestamp,
    ) -> Filesystem<()> {
        let inode = self.inode(&base)?;
        let found = self.files.find(inode, &path).map(drop);
        self.answer(found.map_err(Fault::from))
    }

    fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _path: String,
        _to: Resource<Descriptor>,
        _to_path: String,
    ) -> Filesystem<()> {
        Ok(Err(ErrorCode::Unsupported))
    }

    fn open_at(
        &mut self,
        base: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        how: OpenFlags,
        rights: DescriptorFlags,
    ) -> Filesystem<Resource<Descriptor>> {
        self.count(0)?;
        let base = self.inode(&base)?;
        let mode = OpenMode {
            create: how.contains(OpenFlags::CREATE),
            exclusive: how.contains(OpenFlags::EXCLUSIVE),
            truncate: how.contains(OpenFlags::TRUNCATE),
            directory: how.contains(OpenFlags::DIRECTORY),
            write: rights.contains(DescriptorFlags::WRITE),
        };
        let inode = match self.files.open(base, &path, mode) {
            Ok(inode) => inode,
            Err(errno) => return self.answer(Err(errno.into())),
        };
        let directory = self.files.status(inode).directory;
        let change = directory && rights.contains(DescriptorFlags::MUTATE_DIRECTORY) && self.files.is_writable(inode);
        let read = directory || rights.contains(DescriptorFlags::READ);
        Ok(Ok(self.resources.push(Descriptor { inode, read, write: mode.write || change })?))
    }

    fn readlink_at(&mut self, _: Resource<Descriptor>, _path: String) -> Filesystem<String> {
        Ok(Err(ErrorCode::Invalid))
    }

    fn remove_directory_at(&mut self, base: Resource<Descriptor>, path: String) -> Filesystem<()> {
        let inode = self.inode(&base)?;
        let removed = self.files.remove_directory(inode, &path);
        self.answer(removed.map_err(Fault::from))
    }

    fn rename_at(
        &mut self,
        from: Resource<Descriptor>,
        old: String,
        to: Resource<Descriptor>,
        new: String,
    ) -> Filesystem<()> {
        let (from, to) = (self.inode(&from)?, self.inode(&to)?);
        let renamed = self.files.rename((from, &old), (to, &new));
        self.answer(renamed.map_err(Fault::from))
    }

    fn symlink_at(&mut self, _: Resource<Descriptor>, _path: String, _to: String) -> Filesystem<()> {
        Ok(Err(ErrorCode::Unsupported))
    }

    fn unlink_file_at(&mut self, base: Resource<Descriptor>, path: String) -> Filesystem<()> {
        let inode = self.inode(&base)?;
        let removed = self.files.remove_file(inode, &path);
        self.answer(removed.map_err(Fault::from))
    }

    fn is_same_object(&mut self, one: Resource<Descriptor>, other: Resource<Descriptor>) -> Trappable<bool> {
        Ok(self.inode(&one)? == self.inode(&other)?)
    }

    fn metadata_hash(&mut self, descriptor: Resource<Descriptor>) -> Filesystem<MetadataHashValue> {
        let inode = self.inode(&descriptor)?;
        Ok(Ok(MetadataHashValue { lower: inode as u64 + 1, upper: 1 }))
    }

    fn metadata_hash_at(
        &mut self,
        base: Resource<Descriptor>,
        _: PathFlags,
        path: String,
    ) -> Filesystem<MetadataHashValue> {
        let inode = self.inode(&base)?;
        let found = self.files.find(inode, &path);
        let hash = found.map(|inode| MetadataHashValue { lower: inode as u64 + 1, upper: 1 });
        self.answer(hash.map_err(Fault::from))
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Trappable<()> {
        let Descriptor { inode, .. } = self.resources.delete(descriptor)?;
        self.files.close(inode);
        Ok(())
    }
}

impl filesystem::HostDirectoryEntryStream for Host {
    fn read_directory_entry(&mut self, listing: Resource<Listing>) -> Filesystem<Option<DirectoryEntry>> {
        self.count(0)?;
        let Listing { directory, last } = self.resources.get(&listing)?;
        let next = self.files.next_entry(*directory, last.as_deref()).map(|entry| {
            entry.map(|(name, inode)| DirectoryEntry {
                type_: kind(self.files.status(inode).directory),
                name: name.to_owned(),
            })
        });
        if let Ok(Some(entry)) = &next {
            self.resources.get_mut(&listing)?.last = Some(entry.name.clone());
        }
        self.answer(next.map_err(Fault::from))
    }

    fn drop(&mut self, listing: Resource<Listing>) -> Trappable<()> {
        let Listing { directory, .. } = self.resources.delete(listing)?;
        self.files.close(directory);
        Ok(())
    }
}

impl filesystem::Host for Host {
    fn filesystem_error_code(&mut self, failure: Resource<StreamFailure>) -> Trappable<Option<ErrorCode>> {
        Ok(Some(code(self.resources.get(&failure)?.0)))
    }
}
