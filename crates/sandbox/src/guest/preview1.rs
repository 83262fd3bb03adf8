//! WASI 0.1 (`wasi_snapshot_preview1`) for core modules.
//!
//! Every pointer and length comes from the guest and may be anything: all of them go through [`Memory`], which counts
//! in 64 bits, so that no sum of two of them wraps.
//!
//! Source: WebAssembly/WASI, `legacy/preview1/docs.md`.

use wasmtime::{Caller, Linker};

use super::files::{Errno, Inode, OpenMode, PREOPENED, Status};
use super::host::{Fault, Host, Stop, TICK_NS};

const MODULE: &str = "wasi_snapshot_preview1";

const DESCRIPTORS_MAX: usize = 1024;
/// Most buffers of one read or write (POSIX `IOV_MAX`).
const VECTORS_MAX: u32 = 1024;
/// Most subscriptions of one poll.
const SUBSCRIPTIONS_MAX: u32 = 1024;

const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;
const RIGHTS_ALL: u64 = (1 << 30) - 1;
const FLAG_APPEND: u32 = 1;

const TYPE_CHARACTER: u8 = 2;
const TYPE_DIRECTORY: u8 = 3;
const TYPE_FILE: u8 = 4;

type Done = Result<(), Fault>;

/// The guest's open files, by number.
pub(crate) struct Descriptors(Vec<Option<Descriptor>>);

enum Descriptor {
    Stdin,
    Stdout,
    Stderr,
    Directory { inode: Inode, name: Option<&'static str> },
    File(OpenFile),
}

#[derive(Clone, Copy)]
struct OpenFile {
    inode: Inode,
    position: u64,
    append: bool,
    read: bool,
    write: bool,
}

/// The guest's linear memory during one call.
struct Memory<'a>(&'a mut [u8]);

/// Adds every function of WASI 0.1.
pub(crate) fn add_to(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    macro_rules! functions {
        ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
            linker.func_wrap(
                MODULE,
                stringify!($name),
                |mut caller: Caller<'_, Host> $(, $argument: $type)*| {
                    serve(&mut caller, |memory, host| $name(memory, host $(, $argument)*))
                },
            )?;
        )*};
    }
    functions! {
        args_get(pointers: u32, text: u32);
        args_sizes_get(count: u32, bytes: u32);
        environ_get(pointers: u32, text: u32);
        environ_sizes_get(count: u32, bytes: u32);
        clock_res_get(clock: u32, result: u32);
        clock_time_get(clock: u32, precision: u64, result: u32);
        fd_advise(fd: u32, offset: u64, bytes: u64, advice: u32);
        fd_allocate(fd: u32, offset: u64, bytes: u64);
        fd_close(fd: u32);
        fd_datasync(fd: u32);
        fd_fdstat_get(fd: u32, result: u32);
        fd_fdstat_set_flags(fd: u32, flags: u32);
        fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
        fd_filestat_get(fd: u32, result: u32);
        fd_filestat_set_size(fd: u32, bytes: u64);
        fd_filestat_set_times(fd: u32, access: u64, modification: u64, flags: u32);
        fd_pread(fd: u32, vectors: u32, count: u32, offset: u64, result: u32);
        fd_prestat_get(fd: u32, result: u32);
        fd_prestat_dir_name(fd: u32, text: u32, bytes: u32);
        fd_pwrite(fd: u32, vectors: u32, count: u32, offset: u64, result: u32);
        fd_read(fd: u32, vectors: u32, count: u32, result: u32);
        fd_readdir(fd: u32, buffer: u32, bytes: u32, cookie: u64, result: u32);
        fd_renumber(from: u32, to: u32);
        fd_seek(fd: u32, offset: i64, whence: u32, result: u32);
        fd_sync(fd: u32);
        fd_tell(fd: u32, result: u32);
        fd_write(fd: u32, vectors: u32, count: u32, result: u32);
        path_create_directory(fd: u32, path: u32, bytes: u32);
        path_filestat_get(fd: u32, flags: u32, path: u32, bytes: u32, result: u32);
        path_filestat_set_times(
            fd: u32, lookup: u32, path: u32, bytes: u32, access: u64, modification: u64, flags: u32
        );
        path_link(
            old_fd: u32, flags: u32, old_path: u32, old_bytes: u32, new_fd: u32, new_path: u32, new_bytes: u32
        );
        path_open(
            fd: u32, lookup: u32, path: u32, bytes: u32, open: u32, rights: u64, inheriting: u64, flags: u32,
            result: u32
        );
        path_readlink(fd: u32, path: u32, bytes: u32, buffer: u32, buffer_bytes: u32, result: u32);
        path_remove_directory(fd: u32, path: u32, bytes: u32);
        path_rename(old_fd: u32, old_path: u32, old_bytes: u32, new_fd: u32, new_path: u32, new_bytes: u32);
        path_symlink(old_path: u32, old_bytes: u32, fd: u32, new_path: u32, new_bytes: u32);
        path_unlink_file(fd: u32, path: u32, bytes: u32);
        poll_oneoff(subscriptions: u32, events: u32, count: u32, result: u32);
        proc_raise(signal: u32);
        random_get(buffer: u32, bytes: u32);
        sched_yield();
        sock_accept(fd: u32, flags: u32, result: u32);
        sock_recv(fd: u32, vectors: u32, count: u32, flags: u32, result: u32, result_flags: u32);
        sock_send(fd: u32, vectors: u32, count: u32, flags: u32, result: u32);
        sock_shutdown(fd: u32, how: u32);
    }
    linker.func_wrap(MODULE, "proc_exit", |mut caller: Caller<'_, Host>, code: i32| -> wasmtime::Result<()> {
        Err(caller.data_mut().end(Stop::Exit(code)))
    })?;
    Ok(())
}

/// Gives a function the guest's memory and turns its fault into what the guest is told, or into the guest's end.
fn serve(
    caller: &mut Caller<'_, Host>,
    function: impl FnOnce(&mut Memory<'_>, &mut Host) -> Done,
) -> wasmtime::Result<i32> {
    let memory = caller.get_export("memory").and_then(|export| export.into_memory());
    let memory = memory.ok_or_else(|| wasmtime::Error::msg("the program exports no memory"))?;
    let (bytes, host) = memory.data_and_store_mut(caller);
    let served = host.work(0).and_then(|()| function(&mut Memory(bytes), host));
    match served {
        Ok(()) => Ok(0),
        Err(Fault::Errno(errno)) => Ok(number(errno)),
        Err(Fault::Stop(stop)) => Err(host.end(stop)),
    }
}

fn number(errno: Errno) -> i32 {
    match errno {
        Errno::BadDescriptor => 8,
        Errno::Exists => 20,
        Errno::FileTooLarge => 22,
        Errno::Invalid => 28,
        Errno::IsDirectory => 31,
        Errno::TooManyOpen => 33,
        Errno::NameTooLong => 37,
        Errno::NoEntry => 44,
        Errno::OverLimit => 51,
        Errno::NotDirectory => 54,
        Errno::NotEmpty => 55,
        Errno::NotSupported => 58,
        Errno::NotPermitted => 63,
        Errno::ReadOnly => 69,
        Errno::Seek => 70,
        Errno::NotWritable => 76,
    }
}

impl Memory<'_> {
    fn bytes(&mut self, at: u64, length: u64) -> Result<&mut [u8], Errno> {
        let end = at.checked_add(length).ok_or(Errno::Invalid)?;
        let (start, end) = (usize::try_from(at), usize::try_from(end));
        let (Ok(start), Ok(end)) = (start, end) else { return Err(Errno::Invalid) };
        self.0.get_mut(start..end).ok_or(Errno::Invalid)
    }

    fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Errno> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(at, N as u64)?);
        Ok(array)
    }

    fn u32(&mut self, at: u64) -> Result<u32, Errno> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&mut self, at: u64) -> Result<u64, Errno> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.bytes(at, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    fn put_u32(&mut self, at: u32, value: u32) -> Done {
        Ok(self.put(at.into(), &value.to_le_bytes())?)
    }

    fn put_u64(&mut self, at: u32, value: u64) -> Done {
        Ok(self.put(at.into(), &value.to_le_bytes())?)
    }

    fn path(&mut self, at: u32, length: u32) -> Result<String, Errno> {
        let bytes = self.bytes(at.into(), length.into())?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Errno::Invalid)
    }

    /// Address and length of buffer `index` of a list of buffers.
    fn vector(&mut self, list: u32, index: u32) -> Result<(u64, u64), Errno> {
        let at = element(list, index, 8);
        Ok((self.u32(at)?.into(), self.u32(at + 4)?.into()))
    }
}

/// Address of element `index` of an array; cannot wrap, because all three numbers are below 2³².
fn element(array: u32, index: u32, bytes: u32) -> u64 {
    u64::from(array) + u64::from(index) * u64::from(bytes)
}

impl Descriptors {
    pub(crate) fn standard() -> Self {
        let preopened =
            PREOPENED.iter().map(|(name, inode)| Descriptor::Directory { inode: *inode, name: Some(*name) });
        let standard = [Descriptor::Stdin, Descriptor::Stdout, Descriptor::Stderr];
        Self(standard.into_iter().chain(preopened).map(Some).collect())
    }

    fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.0.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BadDescriptor)
    }

    fn directory(&self, fd: u32) -> Result<Inode, Errno> {
        match self.get(fd)? {
            Descriptor::Directory { inode, .. } => Ok(*inode),
            _ => Err(Errno::NotDirectory),
        }
    }

    fn file(&mut self, fd: u32) -> Result<&mut OpenFile, Errno> {
        match self.0.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BadDescriptor)? {
            Descriptor::File(file) => Ok(file),
            Descriptor::Directory { .. } => Err(Errno::IsDirectory),
            _ => Err(Errno::Seek),
        }
    }

    fn take(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.0.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::BadDescriptor)
    }

    /// The number that the next descriptor gets.
    fn vacant(&self) -> Result<usize, Errno> {
        let vacant = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if vacant < DESCRIPTORS_MAX { Ok(vacant) } else { Err(Errno::TooManyOpen) }
    }

    fn put(&mut self, number: usize, descriptor: Descriptor) {
        if number == self.0.len() {
            self.0.push(None);
        }
        self.0[number] = Some(descriptor);
    }
}

fn close(host: &mut Host, descriptor: &Descriptor) {
    match descriptor {
        Descriptor::Directory { inode, name: None } => host.files.close(*inode),
        Descriptor::File(file) => host.files.close(file.inode),
        _ => {}
    }
}

// --- arguments and environment ----------------------------------------------------------------------------------------

fn args_get(memory: &mut Memory<'_>, host: &mut Host, pointers: u32, text: u32) -> Done {
    let mut at = u64::from(text);
    for (index, argument) in (0u32..).zip(&host.args) {
        // An address that does not fit is out of the memory too, and the next line says so.
        let address = u32::try_from(at).unwrap_or(u32::MAX);
        memory.put(element(pointers, index, 4), &address.to_le_bytes())?;
        memory.put(at, argument.as_bytes())?;
        memory.put(at + argument.len() as u64, &[0])?;
        at += argument.len() as u64 + 1;
    }
    Ok(())
}

fn args_sizes_get(memory: &mut Memory<'_>, host: &mut Host, count: u32, bytes: u32) -> Done {
    // Jobs hold at most 64 KiB of arguments.
    memory.put_u32(count, host.args.len() as u32)?;
    memory.put_u32(bytes, host.args.iter().map(|argument| argument.len() as u32 + 1).sum())
}

fn environ_get(_: &mut Memory<'_>, _: &mut Host, _pointers: u32, _text: u32) -> Done {
    Ok(())
}

fn environ_sizes_get(memory: &mut Memory<'_>, _: &mut Host, count: u32, bytes: u32) -> Done {
    memory.put_u32(count, 0)?;
    memory.put_u32(bytes, 0)
}

// --- clock and randomness ---------------------------------------------------------------------------------------------

const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;

fn clock_res_get(memory: &mut Memory<'_>, _: &mut Host, clock: u32, result: u32) -> Done {
    match clock {
        CLOCK_REALTIME | CLOCK_MONOTONIC => memory.put_u64(result, TICK_NS),
        _ => Err(Errno::NotSupported.into()),
    }
}

fn clock_time_get(memory: &mut Memory<'_>, host: &mut Host, clock: u32, _precision: u64, result: u32) -> Done {
    let now = match clock {
        CLOCK_REALTIME => realtime_ns(host.wall_clock()),
        CLOCK_MONOTONIC => host.monotonic_ns(),
        _ => return Err(Errno::NotSupported.into()),
    };
    memory.put_u64(result, now)
}

fn realtime_ns((seconds, nanoseconds): (u64, u32)) -> u64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into())
}

fn random_get(memory: &mut Memory<'_>, host: &mut Host, buffer: u32, bytes: u32) -> Done {
    let into = memory.bytes(buffer.into(), bytes.into())?;
    host.work(bytes.into())?;
    host.fill_random(into);
    Ok(())
}

fn sched_yield(_: &mut Memory<'_>, _: &mut Host) -> Done {
    Ok(())
}

/// Answers at once: what can be read or written is always ready, and waiting for a clock moves the clock.
fn poll_oneoff(
    memory: &mut Memory<'_>,
    host: &mut Host,
    subscriptions: u32,
    events: u32,
    count: u32,
    result: u32,
) -> Done {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Invalid.into());
    }
    host.work(64 * u64::from(count))?;
    let mut waits = Vec::new();
    for index in 0..count {
        waits.push(wait(memory, host, element(subscriptions, index, 48))?);
    }
    let first = waits.iter().map(|wait| wait.due_ns).min().unwrap_or_default();
    host.sleep_until(first);
    let mut ready = 0;
    for wait in waits.iter().filter(|wait| wait.due_ns <= host.now_ns()) {
        let mut event = [0; 32];
        event[..8].copy_from_slice(&wait.user_data);
        event[10] = wait.kind;
        event[16] = u8::from(wait.kind != 0);
        memory.put(element(events, ready, 32), &event)?;
        ready += 1;
    }
    memory.put_u32(result, ready)
}

struct Wait {
    user_data: [u8; 8],
    kind: u8,
    due_ns: u64,
}

fn wait(memory: &mut Memory<'_>, host: &mut Host, at: u64) -> Result<Wait, Fault> {
    let user_data = memory.array(at)?;
    let [kind] = memory.array(at + 8)?;
    let due_ns = match kind {
        0 => {
            let (clock, timeout, flags) = (memory.u32(at + 16)?, memory.u64(at + 24)?, memory.u32(at + 40)?);
            let now = match clock {
                CLOCK_REALTIME => realtime_ns(host.wall_clock()),
                CLOCK_MONOTONIC => host.monotonic_ns(),
                _ => return Err(Errno::NotSupported.into()),
            };
            let absolute = flags & 1 != 0;
            let remaining = if absolute { timeout.saturating_sub(now) } else { timeout };
            host.now_ns().saturating_add(remaining)
        }
        1 | 2 => 0,
        _ => return Err(Errno::Invalid.into()),
    };
    Ok(Wait { user_data, kind, due_ns })
}

fn proc_raise(_: &mut Memory<'_>, _: &mut Host, _signal: u32) -> Done {
    Err(Errno::NotSupported.into())
}

// --- descriptors ------------------------------------------------------------------------------------------------------

fn fd_advise(_: &mut Memory<'_>, host: &mut Host, fd: u32, _offset: u64, _bytes: u64, _advice: u32) -> Done {
    host.descriptors.get(fd)?;
    Ok(())
}

fn fd_allocate(_: &mut Memory<'_>, host: &mut Host, fd: u32, _offset: u64, _bytes: u64) -> Done {
    host.descriptors.get(fd)?;
    Err(Errno::NotSupported.into())
}

fn fd_close(_: &mut Memory<'_>, host: &mut Host, fd: u32) -> Done {
    let descriptor = host.descriptors.take(fd)?;
    close(host, &descriptor);
    Ok(())
}

fn fd_datasync(_: &mut Memory<'_>, host: &mut Host, fd: u32) -> Done {
    host.descriptors.get(fd)?;
    Ok(())
}

fn fd_sync(_: &mut Memory<'_>, host: &mut Host, fd: u32) -> Done {
    host.descriptors.get(fd)?;
    Ok(())
}

fn fd_fdstat_get(memory: &mut Memory<'_>, host: &mut Host, fd: u32, result: u32) -> Done {
    let (kind, append, read, write) = match host.descriptors.get(fd)? {
        Descriptor::Stdin => (TYPE_CHARACTER, false, true, false),
        Descriptor::Stdout | Descriptor::Stderr => (TYPE_CHARACTER, false, false, true),
        Descriptor::Directory { inode, .. } => (TYPE_DIRECTORY, false, true, host.files.is_writable(*inode)),
        Descriptor::File(file) => (TYPE_FILE, file.append, file.read, file.write),
    };
    let denied = if read { 0 } else { RIGHT_READ } | if write { 0 } else { RIGHT_WRITE };
    let mut status = [0; 24];
    status[0] = kind;
    status[2] = u8::from(append);
    status[8..16].copy_from_slice(&(RIGHTS_ALL & !denied).to_le_bytes());
    status[16..24].copy_from_slice(&RIGHTS_ALL.to_le_bytes());
    Ok(memory.put(result.into(), &status)?)
}

fn fd_fdstat_set_flags(_: &mut Memory<'_>, host: &mut Host, fd: u32, flags: u32) -> Done {
    host.descriptors.file(fd)?.append = flags & FLAG_APPEND != 0;
    Ok(())
}

fn fd_fdstat_set_rights(_: &mut Memory<'_>, host: &mut Host, fd: u32, _base: u64, _inheriting: u64) -> Done {
    host.descriptors.get(fd)?;
    Err(Errno::NotSupported.into())
}

fn fd_filestat_get(memory: &mut Memory<'_>, host: &mut Host, fd: u32, result: u32) -> Done {
    let status = match host.descriptors.get(fd)? {
        Descriptor::Directory { inode, .. } => host.files.status(*inode),
        Descriptor::File(file) => host.files.status(file.inode),
        _ => return put_status(memory, result, TYPE_CHARACTER, 0, 0),
    };
    put_file_status(memory, result, status)
}

fn put_file_status(memory: &mut Memory<'_>, result: u32, status: Status) -> Done {
    let kind = if status.directory { TYPE_DIRECTORY } else { TYPE_FILE };
    put_status(memory, result, kind, status.inode, status.bytes)
}

fn put_status(memory: &mut Memory<'_>, result: u32, kind: u8, inode: u64, bytes: u64) -> Done {
    let mut status = [0; 64];
    status[0..8].copy_from_slice(&1u64.to_le_bytes());
    status[8..16].copy_from_slice(&inode.to_le_bytes());
    status[16] = kind;
    status[24..32].copy_from_slice(&1u64.to_le_bytes());
    status[32..40].copy_from_slice(&bytes.to_le_bytes());
    Ok(memory.put(result.into(), &status)?)
}

fn fd_filestat_set_size(_: &mut Memory<'_>, host: &mut Host, fd: u32, bytes: u64) -> Done {
    let file = *host.descriptors.file(fd)?;
    if !file.write {
        return Err(Errno::NotWritable.into());
    }
    Ok(host.files.set_length(file.inode, bytes)?)
}

fn fd_filestat_set_times(
    _: &mut Memory<'_>,
    host: &mut Host,
    fd: u32,
    _access: u64,
    _modification: u64,
    _flags: u32,
) -> Done {
    host.descriptors.get(fd)?;
    Ok(())
}

fn fd_prestat_get(memory: &mut Memory<'_>, host: &mut Host, fd: u32, result: u32) -> Done {
    let name = preopened_name(host, fd)?;
    // Kind 0 is a directory; the length of the name follows at offset 4.
    memory.put_u64(result, (name.len() as u64) << 32)
}

fn fd_prestat_dir_name(memory: &mut Memory<'_>, host: &mut Host, fd: u32, text: u32, bytes: u32) -> Done {
    let name = preopened_name(host, fd)?;
    if (bytes as usize) < name.len() {
        return Err(Errno::NameTooLong.into());
    }
    Ok(memory.put(text.into(), name.as_bytes())?)
}

fn preopened_name(host: &Host, fd: u32) -> Result<&'static str, Errno> {
    match host.descriptors.get(fd)? {
        Descriptor::Directory { name: Some(name), .. } => Ok(name),
        _ => Err(Errno::BadDescriptor),
    }
}

fn fd_renumber(_: &mut Memory<'_>, host: &mut Host, from: u32, to: u32) -> Done {
    host.descriptors.get(from)?;
    host.descriptors.get(to)?;
    if from == to {
        return Ok(());
    }
    let moved = host.descriptors.take(from)?;
    let replaced = host.descriptors.take(to)?;
    host.descriptors.put(to as usize, moved);
    close(host, &replaced);
    Ok(())
}

fn fd_seek(memory: &mut Memory<'_>, host: &mut Host, fd: u32, offset: i64, whence: u32, result: u32) -> Done {
    let file = *host.descriptors.file(fd)?;
    let base = match whence {
        0 => 0,
        1 => file.position,
        2 => host.files.status(file.inode).bytes,
        _ => return Err(Errno::Invalid.into()),
    };
    let position = base.checked_add_signed(offset).ok_or(Errno::Invalid)?;
    host.descriptors.file(fd)?.position = position;
    memory.put_u64(result, position)
}

fn fd_tell(memory: &mut Memory<'_>, host: &mut Host, fd: u32, result: u32) -> Done {
    let position = host.descriptors.file(fd)?.position;
    memory.put_u64(result, position)
}

// --- reading and writing ----------------------------------------------------------------------------------------------

fn fd_read(memory: &mut Memory<'_>, host: &mut Host, fd: u32, vectors: u32, count: u32, result: u32) -> Done {
    if matches!(host.descriptors.get(fd)?, Descriptor::Stdin) {
        return memory.put_u32(result, 0);
    }
    let file = readable(host, fd)?;
    let read = read_vectors(memory, host, file.inode, file.position, vectors, count)?;
    host.descriptors.file(fd)?.position = file.position.saturating_add(read.into());
    memory.put_u32(result, read)
}

fn fd_pread(
    memory: &mut Memory<'_>,
    host: &mut Host,
    fd: u32,
    vectors: u32,
    count: u32,
    offset: u64,
    result: u32,
) -> Done {
    let file = readable(host, fd)?;
    let read = read_vectors(memory, host, file.inode, offset, vectors, count)?;
    memory.put_u32(result, read)
}

fn readable(host: &mut Host, fd: u32) -> Result<OpenFile, Errno> {
    let file = *host.descriptors.file(fd)?;
    if file.read { Ok(file) } else { Err(Errno::BadDescriptor) }
}

/// Fills buffer after buffer and returns how many bytes that were.
fn read_vectors(
    memory: &mut Memory<'_>,
    host: &mut Host,
    inode: Inode,
    offset: u64,
    vectors: u32,
    count: u32,
) -> Result<u32, Fault> {
    let mut total = 0u64;
    for index in 0..checked_count(count)? {
        let (at, length) = memory.vector(vectors, index)?;
        let length = length.min(u64::from(u32::MAX) - total);
        let into = memory.bytes(at, length)?;
        let read = host.read_file(inode, offset.saturating_add(total), into)? as u64;
        host.work(read)?;
        total += read;
        if read < length {
            break;
        }
    }
    // Kept below 2³² above.
    Ok(total as u32)
}

fn checked_count(count: u32) -> Result<u32, Errno> {
    if count <= VECTORS_MAX { Ok(count) } else { Err(Errno::Invalid) }
}

fn fd_write(memory: &mut Memory<'_>, host: &mut Host, fd: u32, vectors: u32, count: u32, result: u32) -> Done {
    let sink = match host.descriptors.get(fd)? {
        Descriptor::Stdout => Sink::Stdout,
        Descriptor::Stderr => Sink::Stderr,
        _ => {
            let file = writable(host, fd)?;
            let start = if file.append { host.files.status(file.inode).bytes } else { file.position };
            Sink::File { inode: file.inode, start }
        }
    };
    let written = write_vectors(memory, host, &sink, vectors, count)?;
    if let Sink::File { start, .. } = sink {
        host.descriptors.file(fd)?.position = start.saturating_add(written.into());
    }
    memory.put_u32(result, written)
}

fn fd_pwrite(
    memory: &mut Memory<'_>,
    host: &mut Host,
    fd: u32,
    vectors: u32,
    count: u32,
    offset: u64,
    result: u32,
) -> Done {
    let file = writable(host, fd)?;
    let sink = Sink::File { inode: file.inode, start: offset };
    let written = write_vectors(memory, host, &sink, vectors, count)?;
    memory.put_u32(result, written)
}

fn writable(host: &mut Host, fd: u32) -> Result<OpenFile, Errno> {
    let file = match host.descriptors.get(fd)? {
        Descriptor::Stdin => return Err(Errno::BadDescriptor),
        _ => *host.descriptors.file(fd)?,
    };
    if file.write { Ok(file) } else { Err(Errno::BadDescriptor) }
}

enum Sink {
    Stdout,
    Stderr,
    File { inode: Inode, start: u64 },
}

/// Writes buffer after buffer, all of them, and returns how many bytes that were.
fn write_vectors(
    memory: &mut Memory<'_>,
    host: &mut Host,
    sink: &Sink,
    vectors: u32,
    count: u32,
) -> Result<u32, Fault> {
    let mut total = 0u64;
    for index in 0..checked_count(count)? {
        let (at, length) = memory.vector(vectors, index)?;
        if total + length > u64::from(u32::MAX) {
            return Err(Errno::Invalid.into());
        }
        let bytes = memory.bytes(at, length)?;
        host.work(length)?;
        match sink {
            Sink::Stdout => host.write_stdout(bytes)?,
            Sink::Stderr => host.write_stderr(bytes),
            Sink::File { inode, start } => {
                let offset = start.checked_add(total).ok_or(Errno::FileTooLarge)?;
                host.files.write(*inode, offset, bytes)?;
            }
        }
        total += length;
    }
    // Kept below 2³² above.
    Ok(total as u32)
}

// --- paths ------------------------------------------------------------------------------------------------------------

const OPEN_CREATE: u32 = 1;
const OPEN_DIRECTORY: u32 = 2;
const OPEN_EXCLUSIVE: u32 = 4;
const OPEN_TRUNCATE: u32 = 8;

#[allow(clippy::too_many_arguments, reason = "WASI's signature")]
fn path_open(
    memory: &mut Memory<'_>,
    host: &mut Host,
    fd: u32,
    _lookup: u32,
    path: u32,
    bytes: u32,
    open: u32,
    rights: u64,
    _inheriting: u64,
    flags: u32,
    result: u32,
) -> Done {
    let base = host.descriptors.directory(fd)?;
    let path = memory.path(path, bytes)?;
    let number = host.descriptors.vacant()?;
    // Guests ask for the right to write wherever they may need it: on a directory it means its entries.
    let directory = host.files.find(base, &path).is_ok_and(|inode| host.files.status(inode).directory);
    let mode = OpenMode {
        create: open & OPEN_CREATE != 0,
        exclusive: open & OPEN_EXCLUSIVE != 0,
        truncate: open & OPEN_TRUNCATE != 0,
        directory: open & OPEN_DIRECTORY != 0,
        write: rights & RIGHT_WRITE != 0 && !directory,
    };
    let inode = host.files.open(base, &path, mode)?;
    let descriptor = if directory {
        Descriptor::Directory { inode, name: None }
    } else {
        let read = rights & RIGHT_READ != 0;
        Descriptor::File(OpenFile { inode, position: 0, append: flags & FLAG_APPEND != 0, read, write: mode.write })
    };
    host.descriptors.put(number, descriptor);
    // Fewer than `DESCRIPTORS_MAX`.
    memory.put_u32(result, number as u32)
}

fn path_filestat_get(
    memory: &mut Memory<'_>,
    host: &mut Host,
    fd: u32,
    _flags: u32,
    path: u32,
    bytes: u32,
    result: u32,
) -> Done {
    let base = host.descriptors.directory(fd)?;
    let inode = host.files.find(base, &memory.path(path, bytes)?)?;
    put_file_status(memory, result, host.files.status(inode))
}

#[allow(clippy::too_many_arguments, reason = "WASI's signature")]
fn path_filestat_set_times(
    memory: &mut Memory<'_>,
    host: &mut Host,
    fd: u32,
    _lookup: u32,
    path: u32,
    bytes: u32,
    _access: u64,
    _modification: u64,
    _flags: u32,
) -> Done {
    let base = host.descriptors.directory(fd)?;
    host.files.find(base, &memory.path(path, bytes)?)?;
    Ok(())
}

fn path_create_directory(memory: &mut Memory<'_>, host: &mut Host, fd: u32, path: u32, bytes: u32) -> Done {
    let base = host.descriptors.directory(fd)?;
    Ok(host.files.create_directory(base, &memory.path(path, bytes)?)?)
}

fn path_remove_directory(memory: &mut Memory<'_>, host: &mut Host, fd: u32, path: u32, bytes: u32) -> Done {
    let base = host.descriptors.directory(fd)?;
    Ok(host.files.remove_directory(base, &memory.path(path, bytes)?)?)
}

fn path_unlink_file(memory: &mut Memory<'_>, host: &mut Host, fd: u32, path: u32, bytes: u32) -> Done {
    let base = host.descriptors.directory(fd)?;
    Ok(host.files.remove_file(base, &memory.path(path, bytes)?)?)
}

#[allow(clippy::too_many_arguments, reason = "WASI's signature")]
fn path_rename(
    memory: &mut Memory<'_>,
    host: &mut Host,
    old_fd: u32,
    old_path: u32,
    old_bytes: u32,
    new_fd: u32,
    new_path: u32,
    new_bytes: u32,
) -> Done {
    let (from, to) = (host.descriptors.directory(old_fd)?, host.descriptors.directory(new_fd)?);
    let (old_path, new_path) = (memory.path(old_path, old_bytes)?, memory.path(new_path, new_bytes)?);
    Ok(host.files.rename((from, &old_path), (to, &new_path))?)
}

#[allow(clippy::too_many_arguments, reason = "WASI's signature")]
fn path_link(
    _: &mut Memory<'_>,
    _: &mut Host,
    _old_fd: u32,
    _flags: u32,
    _old_path: u32,
    _old_bytes: u32,
    _new_fd: u32,
    _new_path: u32,
    _new_bytes: u32,
) -> Done {
    Err(Errno::NotSupported.into())
}

fn path_symlink(
    _: &mut Memory<'_>,
    _: &mut Host,
    _old_path: u32,
    _old_bytes: u32,
    _fd: u32,
    _new_path: u32,
    _new_bytes: u32,
) -> Done {
    Err(Errno::NotSupported.into())
}

/// There are no links, so nothing is one.
#[allow(clippy::too_many_arguments, reason = "WASI's signature")]
fn path_readlink(
    _: &mut Memory<'_>,
    _: &mut Host,
    _fd: u32,
    _path: u32,
    _bytes: u32,
    _buffer: u32,
    _buffer_bytes: u32,
    _result: u32,
) -> Done {
    Err(Errno::Invalid.into())
}

/// Entries are numbered from 0: itself, its parent, then its content. A cookie is the number of the next entry.
fn fd_readdir(
    memory: &mut Memory<'_>,
    host: &mut Host,
    fd: u32,
    buffer: u32,
    bytes: u32,
    cookie: u64,
    result: u32,
) -> Done {
    let directory = host.descriptors.directory(fd)?;
    let entries = directory_entries(host, directory, cookie, bytes)?;
    host.work(entries.len() as u64)?;
    memory.put(buffer.into(), &entries)?;
    // At most `bytes`.
    memory.put_u32(result, entries.len() as u32)
}

fn directory_entries(host: &Host, directory: Inode, cookie: u64, bytes: u32) -> Result<Vec<u8>, Errno> {
    let dots = [(".", directory), ("..", directory)];
    let mut encoded = Vec::new();
    for (next, (name, inode)) in (1u64..).zip(dots.into_iter().chain(host.files.list(directory)?)) {
        if next <= cookie {
            continue;
        }
        if encoded.len() >= bytes as usize {
            break;
        }
        let status = host.files.status(inode);
        encoded.extend_from_slice(&next.to_le_bytes());
        encoded.extend_from_slice(&status.inode.to_le_bytes());
        // Names have at most 255 bytes.
        encoded.extend_from_slice(&(name.len() as u32).to_le_bytes());
        encoded.extend_from_slice(&[if status.directory { TYPE_DIRECTORY } else { TYPE_FILE }, 0, 0, 0]);
        encoded.extend_from_slice(name.as_bytes());
    }
    encoded.truncate(bytes as usize);
    Ok(encoded)
}

// --- sockets: there are none ------------------------------------------------------------------------------------------

fn sock_accept(_: &mut Memory<'_>, _: &mut Host, _fd: u32, _flags: u32, _result: u32) -> Done {
    Err(Errno::NotSupported.into())
}

#[allow(clippy::too_many_arguments, reason = "WASI's signature")]
fn sock_recv(
    _: &mut Memory<'_>,
    _: &mut Host,
    _fd: u32,
    _vectors: u32,
    _count: u32,
    _flags: u32,
    _result: u32,
    _result_flags: u32,
) -> Done {
    Err(Errno::NotSupported.into())
}

fn sock_send(
    _: &mut Memory<'_>,
    _: &mut Host,
    _fd: u32,
    _vectors: u32,
    _count: u32,
    _flags: u32,
    _result: u32,
) -> Done {
    Err(Errno::NotSupported.into())
}

fn sock_shutdown(_: &mut Memory<'_>, _: &mut Host, _fd: u32, _how: u32) -> Done {
    Err(Errno::NotSupported.into())
}
