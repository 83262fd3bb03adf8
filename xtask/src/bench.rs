//! Measures, prints ratios, and writes docs/benchmarks.md with the machine named.
//!
//! Each crate measures its own part in an example that prints rows (`crates/*/examples`); the story as a whole is measured
//! here, on four real nodes. Only ratios within one run mean anything on a machine that others use too. Everything that runs
//! has a time limit, and what exceeds it is named.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{call, cargo, root, setup, target_dir};

/// Crate and example of each part.
const PARTS: [(&str, &str); 6] = [
    ("sandbox", "compute"),
    ("custody", "seal"),
    ("content", "transfer"),
    ("attest", "appraise"),
    ("consensus", "finality"),
    ("proof", "verify"),
];

/// Longest time that one example may take, and one call of `samovar`.
const PART_TIME_MAX: Duration = Duration::from_secs(240);
const CALL_TIME_MAX: Duration = Duration::from_secs(120);

/// Tasks that are timed, after a few that warm up and fill what the engine keeps of the last blocks.
const TASKS: usize = 40;
const WARM_UP: usize = 15;

/// One line of the table.
struct Row {
    what: String,
    value: String,
    peer: String,
    ratio: String,
    goal: String,
}

/// Measures everything, or the parts that `names` lists (`story` is the whole). What fails is named at the end, after the
/// rest was measured.
pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    // All at once: cargo would build dependencies again for every package on its own.
    call(cargo().args(["build", "--release", "--workspace", "--examples"]))?;
    if wanted("story") {
        call(cargo().args(["build", "--release", "--package", "samovar"]))?;
    }
    let machine = machine();
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    let mut measure = |name: &str, part: &dyn Fn() -> anyhow::Result<Vec<Row>>| {
        eprintln!("measuring {name}");
        match part() {
            Ok(measured) => rows.extend(measured),
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    };
    for (package, example) in PARTS.iter().filter(|(package, _)| wanted(package)) {
        measure(package, &|| part(package, example));
    }
    if wanted("story") {
        measure("the story on four nodes", &story);
    }
    let table = table(&rows);
    println!("{table}");
    if !failures.is_empty() {
        bail!("not everything could be measured, so nothing is written:\n{}", failures.join("\n"));
    }
    if names.is_empty() {
        let page = format!(
            "# Benchmarks\n\nMeasured by `cargo xtask bench` on {machine}. Only ratios within one run mean much where a \
             machine is shared.\n\n{table}"
        );
        fs::write(root().join("docs/benchmarks.md"), page)?;
        eprintln!("written to docs/benchmarks.md");
    }
    Ok(())
}

/// Runs one crate's example and reads its rows.
fn part(package: &str, example: &str) -> anyhow::Result<Vec<Row>> {
    let program = target_dir()?.join("release/examples").join(example);
    let what = format!("crates/{package}/examples/{example}");
    let output = finish(Command::new(program).current_dir(root()).stderr(Stdio::inherit()), &what, PART_TIME_MAX)?;
    if !output.status.success() {
        bail!("{what} failed ({})", output.status);
    }
    let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{package} prints no JSON"))?;
    let rows = answer["rows"].as_array().with_context(|| format!("{package} prints no rows"))?;
    Ok(rows.iter().map(row).collect())
}

/// Runs a program to its end. If its time is up before, it is ended and named.
fn finish(command: &mut Command, what: &str, limit: Duration) -> anyhow::Result<Output> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| what.to_owned())?;
    // Somebody has to read, or a program that says much waits for ever.
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = thread::spawn(move || read_all(stdout));
    let stderr = thread::spawn(move || read_all(stderr));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{what} did not end within {} s; it was ended", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(1));
    };
    let text = |reader: thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    Ok(Output { status, stdout: text(stdout), stderr: text(stderr) })
}

fn read_all(pipe: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What could be read is what there is to show.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

fn row(value: &Value) -> Row {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let number = value["value"].as_f64().map(short).unwrap_or_default();
    Row {
        what: text("what"),
        value: format!("{number} {}", text("unit")).trim().to_owned(),
        peer: text("peer"),
        ratio: value["ratio"].as_f64().map(short).unwrap_or_default(),
        goal: text("goal"),
    }
}

/// Three significant digits, or whole numbers.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => whole(value.round() as u64),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A number with commas.
fn whole(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(",")
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | measured | against | ratio | goal |\n|---|---|---|---|---|\n");
    for row in rows {
        let Row { what, value, peer, ratio, goal } = row;
        let missed = if row.is_missed() { ": **missed**" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {what} | {value} | {peer} | {ratio} | {goal}{missed} |");
    }
    text
}

impl Row {
    /// Whether the number that the goal is about, the ratio if there is one, is on its wrong side. Both are in one unit.
    fn is_missed(&self) -> bool {
        let number = |text: &str| text.split(' ').next().and_then(|text| text.replace(',', "").parse::<f64>().ok());
        let measured = number(if self.ratio.is_empty() { &self.value } else { &self.ratio });
        let bound = self.goal.split_once(' ').and_then(|(sign, bound)| Some((sign, number(bound)?)));
        match (measured, bound) {
            (Some(measured), Some(("<" | "≤", bound))) => measured > bound,
            (Some(measured), Some((">" | "≥", bound))) => measured < bound,
            _ => false,
        }
    }
}

/// Processor, cores and kernel, as the system names them, and how busy it is.
fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |line: &&str| line.starts_with("model name");
    let model =
        processors.lines().find(named).and_then(|line| line.split(": ").nth(1)).unwrap_or("an unnamed processor");
    let cores = processors.lines().filter(named).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}, load average {load} at the start", kernel.trim())
}

/// Four nodes, an owner, and tasks one after the other.
fn story() -> anyhow::Result<Vec<Row>> {
    let network = LocalNetwork::start(&target_dir()?.join("release/samovar"))?;
    let program = network.publish("program", &root().join("guests/trivial.wasm"))?;
    let small = network.dir.join("small.bin");
    fs::write(&small, b"a few bytes")?;
    let data = network.publish("data", &small)?;

    let mut times_ms = Vec::new();
    let mut before = network.ledger(0)?;
    for task in 0..WARM_UP + TASKS {
        if task == WARM_UP {
            before = network.ledger(0)?;
        }
        let out = network.dir.join(format!("run-{task}"));
        let begun = Instant::now();
        network.samovar(&[
            "run",
            &program,
            "--data",
            &format!("input={data}"),
            "--max-price",
            "100000",
            "--out",
            &text(&out),
        ])?;
        times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let after = network.ledger(0)?;
    let mut warm: Vec<f64> = times_ms.split_off(WARM_UP);
    warm.sort_by(f64::total_cmp);
    let at = |quantile: f64| warm[((warm.len() - 1) as f64 * quantile).round() as usize];
    let rest_kib = network.resident_kib(0)?;

    let large = network.dir.join("large.bin");
    fs::write(&large, noise(256 << 20))?;
    network.forget_peaks();
    let begun = Instant::now();
    network.publish("data", &large)?;
    let publish_s = begun.elapsed().as_secs_f64();
    let peak_kib = network.peak_kib()?;
    let proof_bytes = fs::metadata(network.dir.join("run-0/proof"))?.len();
    let per_task = |of: fn(&Ledger) -> u64| whole(of(&after).saturating_sub(of(&before)) / TASKS as u64);

    let row = |what: &str, value: String, goal: &str| Row {
        what: what.into(),
        value,
        peer: String::new(),
        ratio: String::new(),
        goal: goal.into(),
    };
    Ok(vec![
        row(
            "trivial task on 4 nodes, `samovar run` until verified, p50",
            format!("{} ms", short(at(0.5))),
            "< 1,500 ms now, < 500 ms then",
        ),
        row("the same, p95", format!("{} ms", short(at(0.95))), ""),
        row("proof of a task", format!("{} bytes", whole(proof_bytes)), "< 32,768 bytes"),
        row("live state of the ledger, per task", format!("{} bytes", per_task(|ledger| ledger.state_bytes)), ""),
        row(
            "the same, values",
            format!("{} more of {}", per_task(|ledger| ledger.state_values), whole(after.state_values)),
            "",
        ),
        row("blocks, per task", per_task(|ledger| ledger.height), ""),
        row("disk of one node's ledger, per task", format!("{} bytes", per_task(|ledger| ledger.disk_bytes)), ""),
        row("a node at rest, resident", format!("{} MiB", rest_kib >> 10), ""),
        row("publish 256 MiB, two copies elsewhere", format!("{} s", short(publish_s)), ""),
        row("the largest node meanwhile, peak resident", format!("{} MiB", peak_kib >> 10), "< 256 MiB above rest"),
    ])
}

/// Bytes that do not compress, the same every time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What one node's ledger holds.
struct Ledger {
    height: u64,
    state_values: u64,
    state_bytes: u64,
    /// As allocated.
    disk_bytes: u64,
}

/// Four real node processes in a temporary folder, gone with this value.
struct LocalNetwork {
    dir: PathBuf,
    samovar: PathBuf,
    nodes: Vec<Child>,
}

impl LocalNetwork {
    fn start(samovar: &Path) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("samovar-bench-{}", std::process::id()));
        let mut network = Self { dir: dir.clone(), samovar: samovar.to_owned(), nodes: Vec::new() };
        network.samovar(&["network", "create", &text(&dir), "--nodes", "4"])?;
        for index in 0..4 {
            let config = dir.join(format!("node-{index}/node.toml"));
            let log = fs::File::create(dir.join(format!("node-{index}.log")))?;
            let node = Command::new(samovar)
                .args(["node", "--config", &text(&config)])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            network.nodes.push(node);
        }
        network.samovar(&["keygen", &text(&dir.join("bench.key"))])?;
        network.until("the account is filled", &["account", "top-up", "1000000"])?;
        network.until("all nodes have verdicts", &["nodes", "list", "--json"])?;
        Ok(network)
    }

    /// Runs a verb against this network and returns what it prints.
    fn samovar(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.samovar);
        command
            .args(arguments)
            .env("SAMOVAR_NETWORK", self.dir.join("network.toml"))
            .env("SAMOVAR_KEY", self.dir.join("bench.key"))
            .env("SAMOVAR_STATE", self.dir.join("state"))
            .stderr(Stdio::piped());
        let output = finish(&mut command, &format!("samovar {}", arguments.join(" ")), CALL_TIME_MAX)?;
        if !output.status.success() {
            bail!("samovar {} failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Tries a verb until it works, and until a list of nodes shows four verdicts.
    fn until(&self, what: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.samovar(arguments);
            let enough = |answer: &String| arguments[0] != "nodes" || answer.matches("\"fresh\":true").count() >= 4;
            match answer {
                Ok(answer) if enough(&answer) => return Ok(()),
                Err(error) if begun.elapsed() > Duration::from_secs(60) => return Err(error.context(what.to_owned())),
                Ok(_) if begun.elapsed() > Duration::from_secs(60) => bail!("not within a minute: {what}"),
                _ => thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn publish(&self, kind: &str, file: &Path) -> anyhow::Result<String> {
        let terms = self.dir.join("terms.toml");
        fs::write(&terms, "price = 5\n")?;
        self.samovar(&["publish", kind, &text(file), "--terms", &text(&terms), "--json"])
            .and_then(|answer| Ok(serde_json::from_str::<Value>(&answer)?))
            .and_then(|answer| answer["object"].as_str().map(str::to_owned).context("publish --json names no object"))
    }

    fn status(&self, node: usize, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.nodes[node].id()))?;
        let line = status.lines().find(|line| line.starts_with(field)).context("no such field of /proc/PID/status")?;
        Ok(line.split_whitespace().nth(1).context("a field without a value")?.parse()?)
    }

    fn resident_kib(&self, node: usize) -> anyhow::Result<u64> {
        self.status(node, "VmRSS")
    }

    /// Begins a new peak for every node.
    fn forget_peaks(&self) {
        for node in &self.nodes {
            // Without this right the peak since the start is reported, which is no smaller.
            let _ = fs::write(format!("/proc/{}/clear_refs", node.id()), "5");
        }
    }

    fn peak_kib(&self) -> anyhow::Result<u64> {
        let peaks: Vec<u64> = (0..self.nodes.len()).map(|node| self.status(node, "VmHWM")).collect::<Result<_, _>>()?;
        Ok(peaks.into_iter().max().unwrap_or_default())
    }

    fn ledger(&self, node: usize) -> anyhow::Result<Ledger> {
        let metrics = self.metrics(node)?;
        let gauge = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse().ok()).with_context(|| format!("no metric is called {name}"))
        };
        Ok(Ledger {
            height: gauge("samovar_height")?,
            state_values: gauge("samovar_state_values")?,
            state_bytes: gauge("samovar_state_bytes")?,
            disk_bytes: allocated(&self.dir.join(format!("node-{node}/ledger")))?,
        })
    }

    /// What the node tells Prometheus.
    fn metrics(&self, node: usize) -> anyhow::Result<String> {
        let config = fs::read_to_string(self.dir.join(format!("node-{node}/node.toml")))?;
        let api = config.lines().find_map(|line| line.strip_prefix("api = \"")?.strip_suffix('"'));
        let mut stream = TcpStream::connect(api.context("node.toml names no address for the API")?)?;
        stream.set_read_timeout(Some(CALL_TIME_MAX))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Bytes that a folder takes on the disk. Files that go away meanwhile take none.
fn allocated(dir: &Path) -> anyhow::Result<u64> {
    const SECTOR: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated(&entry.path())?,
            Ok(metadata) => metadata.blocks() * SECTOR,
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Ours, by their pids; one that has ended already is no trouble.
            let _ = node.kill();
            let _ = node.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_goal_is_marked() {
        let missed = |value: &str, ratio: &str, goal: &str| {
            let [value, ratio, goal] = [value, ratio, goal].map(str::to_owned);
            Row { what: String::new(), value, peer: String::new(), ratio, goal }.is_missed()
        };
        assert!(missed("188 MiB/s", "0.200", "≥ 0.5") && !missed("188 MiB/s", "0.600", "≥ 0.5"));
        assert!(missed("2,100 ms", "", "< 2,000 ms") && !missed("462 ms", "", "< 2,000 ms"));
        assert!(missed("1,600 ms", "", "< 1,500 ms now, < 500 ms then"));
        assert!(missed("900 /s", "", "> 1,000") && !missed("1,555 /s", "", "> 1,000"));
        assert!(!missed("127 ms", "", ""));
    }
}
