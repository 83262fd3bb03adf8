//! The demo's own nodes: child processes that nobody else's commands touch.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::failure::{Failure, OWN_FAULT};

/// How long a node may take to end in order.
const STOP: Duration = Duration::from_secs(5);

/// Nodes of this demo; ended when this is dropped, unless they are let go.
pub(crate) struct Nodes(Vec<Running>);

struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Nodes {
    /// Starts a process for each configuration. Its log goes into the demo's folder.
    pub(crate) fn start(dir: &Path, configs: &[std::path::PathBuf]) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|cause| Failure::of(&cause, OWN_FAULT))?;
        let mut nodes = Self(Vec::new());
        for (index, config) in configs.iter().enumerate() {
            let path = dir.join(format!("node-{index}.log"));
            let log = File::create(&path).map_err(|cause| Failure::disk(&path, &cause))?;
            let child = Command::new(&program)
                .args(["node", "--config"])
                .arg(config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                // Ctrl-C is for the demo; it ends its nodes itself, or leaves them running.
                .process_group(0)
                .spawn()
                .map_err(|cause| Failure::of(&cause, "close other programs and try again"))?;
            nodes.0.push(Running { child, log: path });
        }
        Ok(nodes)
    }

    /// The first node that has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        for (index, running) in self.0.iter_mut().enumerate() {
            let Ok(Some(status)) = running.child.try_wait() else { continue };
            let log = std::fs::read_to_string(&running.log).unwrap_or_default();
            let said = log.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("it said nothing");
            let hint = log.lines().rev().find_map(|line| line.strip_prefix("hint: "));
            let hint = hint.map_or_else(|| format!("its log is {}", running.log.display()), str::to_owned);
            return Err(Failure::new(format!("node {index} ended ({status}): {said}"), hint));
        }
        Ok(())
    }

    /// Their process ids.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.0.iter().map(|running| running.child.id()).collect()
    }

    /// Leaves them running.
    pub(crate) fn let_go(mut self) {
        self.0.clear();
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for running in &self.0 {
            let id = i32::try_from(running.child.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(id) = id {
                // It may have ended by itself.
                let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            }
        }
        let end = Instant::now() + STOP;
        for running in &mut self.0 {
            while matches!(running.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}
