//! A real network for tests: `samovar network create`, then one process per node, on free ports of the loopback device.
//!
//! Everything is done through the binary and its HTTP API, as a user would. Processes are ended by their id when the
//! network is dropped; waits are bounded and poll.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The binary under test.
pub const SAMOVAR: &str = env!("CARGO_BIN_EXE_samovar");

/// How long anything may take on a busy machine before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How much of each node's log a failed test shows.
const LOG_LINES: usize = 120;

/// How a test network differs from the default one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long a verdict lives, seconds.
    pub verdict_s: Option<u64>,
    /// What is added to a task's declared run time, seconds.
    pub overhead_s: Option<u64>,
}

/// Four nodes and their folder.
pub struct Network {
    folder: tempfile::TempDir,
    nodes: Vec<Option<Child>>,
}

impl Network {
    /// Creates a network of four nodes, none of them running.
    pub fn create(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join("network");
        let mut arguments =
            vec!["network".into(), "create".into(), dir.display().to_string(), "--nodes".into(), "4".into()];
        for (name, value) in [("--verdict-seconds", options.verdict_s), ("--overhead-seconds", options.overhead_s)] {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value.to_string()]);
            }
        }
        let created = Command::new(SAMOVAR).args(&arguments).output().expect("samovar runs");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        Self { folder, nodes: (0..4).map(|_| None).collect() }
    }

    /// Creates a network and waits until every node has a verdict.
    pub fn running(options: Options) -> Self {
        let mut network = Self::create(options);
        network.start_all();
        network
    }

    /// Where the network is.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("network")
    }

    /// A file beside the network, for whatever a test writes.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The network file for clients.
    pub fn file(&self) -> PathBuf {
        self.dir().join("network.toml")
    }

    /// A network file that names the address of one node only.
    pub fn file_naming(&self, node: usize) -> PathBuf {
        let text = std::fs::read_to_string(self.file()).expect("a network file");
        let mut parts = text.split("[[nodes]]");
        let general = parts.next().expect("a text has a first part");
        let api = self.api(node);
        let entry = parts.find(|entry| entry.contains(&api)).expect("every node is named");
        let file = self.path(&format!("only-node-{node}.toml"));
        std::fs::write(&file, format!("{general}[[nodes]]{entry}")).expect("a writable folder");
        file
    }

    /// Starts every node and waits until each has a verdict.
    pub fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        for node in 0..self.nodes.len() {
            self.wait_for_verdict(node);
        }
    }

    /// Starts one node with the binary under test.
    pub fn start(&mut self, node: usize) {
        self.start_with(node, Path::new(SAMOVAR));
    }

    /// Starts one node with some binary.
    pub fn start_with(&mut self, node: usize, binary: &Path) {
        assert!(self.nodes[node].is_none(), "node {node} runs already");
        let log = self.path(&format!("node-{node}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let child = Command::new(binary)
            .args(["node", "--config"])
            .arg(self.dir().join(format!("node-{node}/node.toml")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("samovar node starts");
        self.nodes[node] = Some(child);
    }

    /// Ends one node without warning, as a power cut would.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            // It may have ended by itself; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends a node's software TPM, and not the node.
    pub fn kill_tpm(&self, node: usize) {
        use rustix::process::{Pid, Signal, kill_process};
        let state = format!("dir={}\0", self.dir().join(format!("node-{node}/tpm")).display());
        let of_tpm = |process: &std::fs::DirEntry| {
            let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            command.split('\0').next().is_some_and(|program| program.ends_with("/swtpm")) && command.contains(&state)
        };
        let mut processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let tpm = processes.find(of_tpm).expect("a running software TPM").file_name();
        let id = tpm.to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw).expect("the id of a process");
        kill_process(id, Signal::KILL).expect("a process of ours");
    }

    /// Stops one node in its tracks, or lets it go on: it keeps its memory and its connections.
    pub fn freeze(&self, node: usize, frozen: bool) {
        use rustix::process::{Pid, Signal, kill_process};
        let child = self.nodes[node].as_ref().expect("a running node");
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("the id of a process");
        kill_process(id, if frozen { Signal::STOP } else { Signal::CONT }).expect("a process of ours");
    }

    /// Waits until a node has begun this phase of a task, as its stream of events says.
    pub fn wait_for_phase(&self, node: usize, task: &str, phase: &str) {
        let wanted = format!("\"phase\":\"{phase}\"");
        let seen = || {
            let mut stream = request(&self.api(node), &format!("/v1/tasks/{task}/events"), "text/event-stream")?;
            let mut text = Vec::new();
            let mut piece = [0; 4096];
            while !String::from_utf8_lossy(&text).contains(&wanted) {
                match stream.read(&mut piece) {
                    Ok(filled @ 1..) => text.extend_from_slice(&piece[..filled]),
                    _ => return None,
                }
            }
            Some(())
        };
        poll(&format!("node {node} says {phase}"), seen);
    }

    /// Every block in a node's store: just written, to go when room is needed, or to stay.
    pub fn blocks(&self, node: usize) -> std::collections::BTreeSet<PathBuf> {
        let store = self.dir().join(format!("node-{node}/blocks"));
        let in_folder = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path());
        let within = |sub: &str| in_folder(store.join(sub)).flat_map(in_folder).collect::<Vec<_>>();
        within("cache").into_iter().chain(within("blocks")).chain(in_folder(store.join("staged"))).collect()
    }

    /// Tells one node to stop, as an init system would, and waits until it has. Returns its exit code; none if it had not yet begun
    /// to listen.
    pub fn terminate(&mut self, node: usize) -> Option<i32> {
        let child = self.nodes[node].as_ref().expect("a running node");
        let id = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a child of ours");
        self.exit_code(node)
    }

    /// Waits until a node's process ends by itself and returns its exit code.
    pub fn exit_code(&mut self, node: usize) -> Option<i32> {
        let child = self.nodes[node].as_mut().expect("a running node");
        let status = poll("the node ends", || child.try_wait().expect("a child of ours"));
        self.nodes[node] = None;
        status.code()
    }

    /// What a node has logged since it was first started.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.path(&format!("node-{node}.log"))).unwrap_or_default()
    }

    /// The HTTP address of a node, as in its configuration.
    pub fn api(&self, node: usize) -> String {
        let config = std::fs::read_to_string(self.dir().join(format!("node-{node}/node.toml"))).expect("node.toml");
        let line = config.lines().find(|line| line.trim_start().starts_with("api")).expect("an api line");
        line.split('"').nth(1).expect("a quoted address").to_owned()
    }

    /// What `GET /v1/status` says, if the node answers.
    pub fn status(&self, node: usize) -> Option<serde_json::Value> {
        let body = get(&self.api(node), "/v1/status")?;
        serde_json::from_slice(&body).ok()
    }

    /// Waits until a node answers and has a verdict that holds.
    pub fn wait_for_verdict(&self, node: usize) {
        let fresh = || {
            let status = self.status(node)?;
            (status["verdict_expires_ms"].as_u64()? > status["time_ms"].as_u64()?).then_some(())
        };
        poll(&format!("node {node} has a verdict"), fresh);
    }

    /// Waits until a node has finalized `height`.
    pub fn wait_for_height(&self, node: usize, height: u64) {
        let reached = || (self.status(node)?["height"].as_u64()? >= height).then_some(());
        poll(&format!("node {node} reaches height {height}"), reached);
    }

    /// Waits until every node knows what the furthest of them knows now, and none runs a task. A node that was just started takes up
    /// what it was drawn for until it reads that this is over.
    pub fn wait_until_idle(&self) {
        let says = |node, what: &str| self.status(node)?[what].as_u64();
        let all = || (0..self.nodes.len()).map(|node| says(node, "height")).collect::<Option<Vec<u64>>>();
        let heights = poll("every node answers", all);
        for node in 0..heights.len() {
            self.wait_for_height(node, heights.iter().copied().max().unwrap_or_default());
            poll(&format!("node {node} runs nothing"), || (says(node, "running")? == 0).then_some(()));
        }
    }

    /// Runs `samovar ARGS` against this network with the key file of an account.
    pub fn samovar(&self, key: &Path, arguments: &[&str]) -> Output {
        Command::new(SAMOVAR)
            .args(arguments)
            .env("SAMOVAR_NETWORK", self.file())
            .env("SAMOVAR_KEY", key)
            .stdin(Stdio::null())
            .output()
            .expect("samovar runs")
    }

    /// Runs `samovar ARGS --json`, which must succeed, and reads its answer.
    pub fn json(&self, key: &Path, arguments: &[&str]) -> serde_json::Value {
        let output = self.samovar(key, &[arguments, &["--json"]].concat());
        let success = output.status.success();
        assert!(success, "samovar {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }

    /// A new account with credits.
    pub fn account(&self, name: &str) -> PathBuf {
        let key = self.path(&format!("{name}.key"));
        let made = Command::new(SAMOVAR).arg("keygen").arg(&key).output().expect("samovar runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.json(&key, &["account", "top-up", "10000"]);
        key
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
            // Whoever reads of a test that failed has nothing else to go by.
            if std::thread::panicking() {
                eprintln!("--- node {node} logged\n{}", tail(&self.log(node)));
            }
        }
    }
}

/// One `GET` over HTTP/1.0; `None` if nobody answers with 200.
pub fn get(address: &str, path: &str) -> Option<Vec<u8>> {
    get_as(address, path, "application/json")
}

/// The same, in some form.
pub fn get_as(address: &str, path: &str, accept: &str) -> Option<Vec<u8>> {
    let mut stream = request(address, path, accept)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    answer.starts_with(b"HTTP/1.0 200").then(|| answer.split_off(end + 4))
}

/// A question, sent; the answer is yet to be read.
pub fn request(address: &str, path: &str, accept: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n").ok()?;
    Some(stream)
}

/// Asks again and again until there is an answer; fails after [`PATIENCE`].
pub fn poll<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    poll_or(what, ask, String::new)
}

/// [`poll`] that says more when it fails.
pub fn poll_or<T>(what: &str, mut ask: impl FnMut() -> Option<T>, more: impl Fn() -> String) -> T {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited {PATIENCE:?} until {what}\n{}", more());
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("{line}\n")).collect()
}
