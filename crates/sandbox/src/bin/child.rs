//! Worker and compiler for this crate's tests: honest ones, workers that try what a worker must not be able to do, and
//! liars.

use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::Serialize;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["compiler"] => sandbox::compiler_main(),
        ["compiler", "waiting", act] => sandbox::compiler_main_with(|| perform(act), || ()),
        ["compiler", act] => sandbox::compiler_main_with(|| (), || perform(act)),
        ["worker"] => sandbox::worker_main(),
        ["worker", "waiting", act] => sandbox::worker_main_with(|| perform(act), || ()),
        ["worker", act] => sandbox::worker_main_with(|| (), || perform(act)),
        ["mute"] => hear().and_then(|()| hear()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        ["liar", lie] => tell(lie).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        _ => ExitCode::from(2),
    }
}

/// Each of these is refused by the kernel. With a filter it kills the process; without one, those that say `must` panic if it
/// does not refuse. An unknown one does nothing.
fn perform(act: &str) {
    match act {
        "must-not-open" => must_be_denied(std::fs::File::open("/etc/passwd")),
        "must-not-make" => must_be_denied(std::fs::File::create("/tmp/made-by-a-confined-process")),
        "must-not-list" => must_be_denied(std::fs::read_dir("/")),
        "must-not-execute" => must_be_denied(std::process::Command::new("/bin/true").spawn()),
        "must-not-gain" => {
            use rustix::process::{DumpableBehavior, dumpable_behavior};
            assert!(rustix::thread::no_new_privs().expect("the kernel says"), "it can still gain privileges");
            assert_eq!(dumpable_behavior().expect("the kernel says"), DumpableBehavior::NotDumpable);
        }
        "open-file" => drop(std::fs::File::open("/etc/passwd")),
        "list-files" => drop(std::fs::read_dir("/")),
        "open-socket" => drop(std::net::TcpStream::connect("127.0.0.1:1")),
        "start-process" => drop(std::process::Command::new("/bin/true").spawn()),
        "start-thread" => drop(std::thread::Builder::new().spawn(|| ())),
        "map-executable" => map_executable(),
        "signal-init" => {
            let _ = rustix::process::kill_process(rustix::process::Pid::INIT, rustix::process::Signal::CONT);
        }
        "abort" => std::process::abort(),
        "panic" => panic!("as asked"),
        _ => {}
    }
}

fn must_be_denied<T>(attempt: std::io::Result<T>) {
    let denied = attempt.err().map(|cause| cause.kind());
    assert_eq!(denied, Some(std::io::ErrorKind::PermissionDenied));
}

fn map_executable() {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    // SAFETY: a new mapping at an address that the kernel chooses touches nothing that exists.
    #[allow(unsafe_code, reason = "there is no other way to ask for executable memory")]
    let _ = unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) };
}

/// What a worker or compiler can say, spelled as they spell it.
#[derive(Serialize)]
enum Say {
    Ready,
    Started,
    Need { input: u32, index: u64 },
    Finished(Ending),
    Stream { stream: Stream, bytes: u64 },
    Data(#[serde(with = "serde_bytes")] Vec<u8>),
    Done,
    Compiled(&'static str),
}

#[derive(Serialize)]
enum Ending {
    Exited(i32),
}

#[derive(Serialize)]
enum Stream {
    Stdout,
    Stderr,
    File(&'static str),
}

/// Plays its part up to the point where the lie comes.
fn tell(lie: &str) -> Result<(), Errno> {
    if lie == "no-code" {
        hear()?;
        return say(&Say::Compiled("Module"));
    }
    say(&Say::Ready)?;
    hear()?;
    if lie == "done-at-once" {
        return say(&Say::Done);
    }
    say(&Say::Started)?;
    let stream = |stream, bytes| Say::Stream { stream, bytes };
    let file = |path| stream(Stream::File(path), 0);
    let finished = || say(&Say::Finished(Ending::Exited(0)));
    match lie {
        "garbage" => raw(&[0xff; 100])?,
        "half-a-message" => raw(&[0xa1, 0x64])?,
        "no-such-input" => say(&Say::Need { input: 9, index: 0 })?,
        "no-such-chunk" => say(&Say::Need { input: 0, index: u64::MAX })?,
        "data-too-early" => say(&Say::Data(vec![1]))?,
        "too-much" => finished().and_then(|()| say(&stream(Stream::Stdout, u64::MAX)))?,
        "too-much-in-pieces" => {
            finished()?;
            // Each is allowed; together they are one byte too many.
            for (at, path) in [(0, "a"), (1, "b")] {
                say(&stream(Stream::File(path), (1 << 19) + at))?;
                for _ in 0..8 {
                    say(&Say::Data(vec![0; 1 << 16]))?;
                }
            }
        }
        "too-much-error" => finished().and_then(|()| say(&stream(Stream::Stderr, (64 << 10) + 1)))?,
        "more-than-announced" => {
            finished()?;
            say(&stream(Stream::Stdout, 1))?;
            say(&Say::Data(vec![0; 2]))?;
        }
        "less-than-announced" => {
            finished().and_then(|()| say(&stream(Stream::Stdout, 1))).and_then(|()| say(&Say::Done))?
        }
        "nothing-for-ever" => {
            finished()?;
            say(&stream(Stream::Stdout, 1))?;
            say(&Say::Data(Vec::new()))?;
        }
        "hands-over-nothing" => finished().and_then(|()| say(&stream(Stream::Stdout, 1)))?,
        "stdout-for-ever" => {
            finished()?;
            while say(&stream(Stream::Stdout, 0)).is_ok() {}
        }
        "stderr-last" => finished().and_then(|()| say(&file("a"))).and_then(|()| say(&stream(Stream::Stderr, 0)))?,
        "path-above" => finished().and_then(|()| say(&file("../x")))?,
        "path-absolute" => finished().and_then(|()| say(&file("/etc/cron.d/x")))?,
        "path-empty" => finished().and_then(|()| say(&file("")))?,
        "path-with-dot" => finished().and_then(|()| say(&file("a/./b")))?,
        "path-with-escape" => finished().and_then(|()| say(&file("\u{1b}[2J")))?,
        "path-twice" => finished().and_then(|()| say(&file("a"))).and_then(|()| say(&file("a")))?,
        _ => {}
    }
    // Hang up only when the parent does.
    hear()
}

fn say(what: &Say) -> Result<(), Errno> {
    raw(&serde_ipld_dagcbor::to_vec(what).map_err(|_| Errno::INVAL)?)
}

fn raw(bytes: &[u8]) -> Result<(), Errno> {
    send(std::io::stdin().as_fd(), bytes, SendFlags::NOSIGNAL).map(drop)
}

fn hear() -> Result<(), Errno> {
    recv(std::io::stdin().as_fd(), &mut [0u8; 1 << 17], RecvFlags::empty()).map(drop)
}
