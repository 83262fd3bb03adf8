//! Starts children, one worker ahead of need, and buries them.
//!
//! All of it happens on one thread that lives as long as the sandbox: the kernel kills a child when the *thread* that
//! started it ends, not when the process does.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::channel::Channel;
use crate::error::{SandboxError, system};
use crate::sandbox::ChildProgram;

/// A child and the line to it. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) channel: Channel,
}

pub(crate) struct Nursery {
    /// `None` only while it is dropped.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Worker(SyncSender<Result<Process, SandboxError>>),
    Compiler(SyncSender<Result<Process, SandboxError>>),
    Bury(Process),
}

impl Nursery {
    pub(crate) fn new(worker: ChildProgram, compiler: ChildProgram) -> Result<Self, SandboxError> {
        let (orders, received) = channel();
        let thread = std::thread::Builder::new()
            .name("sandbox-nursery".into())
            .spawn(move || keep(&worker, &compiler, &received))
            .map_err(|cause| SandboxError::System { attempt: "start a thread", cause })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// The worker that was started ahead, or a new one.
    pub(crate) fn worker(&self) -> Result<Process, SandboxError> {
        self.ask(Order::Worker)
    }

    pub(crate) fn compiler(&self) -> Result<Process, SandboxError> {
        self.ask(Order::Compiler)
    }

    /// Kills a child, without waiting until the kernel has cleared its memory away.
    pub(crate) fn bury(&self, process: Process) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::Bury(process));
        }
    }

    fn ask(
        &self,
        order: impl FnOnce(SyncSender<Result<Process, SandboxError>>) -> Order,
    ) -> Result<Process, SandboxError> {
        let gone = || SandboxError::System { attempt: "start a process", cause: io::ErrorKind::BrokenPipe.into() };
        let (reply, answer) = sync_channel(1);
        self.orders.as_ref().ok_or_else(gone)?.send(order(reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(worker: &ChildProgram, compiler: &ChildProgram, orders: &Receiver<Order>) {
    let mut ahead = Process::start(worker).ok();
    for order in orders {
        match order {
            Order::Worker(reply) => {
                let _ = reply.send(ahead.take().map_or_else(|| Process::start(worker), Ok));
                ahead = Process::start(worker).ok();
            }
            Order::Compiler(reply) => {
                let _ = reply.send(Process::start(compiler));
            }
            Order::Bury(process) => drop(process),
        }
    }
}

impl Process {
    /// The child gets the socket as its standard input, no environment and nothing else.
    fn start(program: &ChildProgram) -> Result<Self, SandboxError> {
        let (channel, theirs) = Channel::pair().map_err(system("make a socket"))?;
        let child = Command::new(&program.program)
            .args(&program.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|cause| SandboxError::Start { program: program.program.display().to_string(), cause })?;
        Ok(Self { child, channel })
    }

    /// How a child that hung up has ended.
    pub(crate) fn died(&mut self) -> String {
        // It may have closed the socket without ending.
        let _ = self.child.kill();
        self.child.wait().map_or_else(|cause| cause.to_string(), describe)
    }
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGSYS) => "killed for a forbidden system call".into(),
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", status.code().unwrap_or_default()),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child has not been waited for, so its number cannot have gone to another process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
