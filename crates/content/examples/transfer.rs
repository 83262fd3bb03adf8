//! How fast a file goes from node to node, beside a plain TCP copy with fsync in the same run.
//!
//! ```text
//! cargo run --release -p content --example transfer -- [MIB] [FOLDER]
//! ```
//!
//! Both nodes run in processes of their own, as in real life. Prints one JSON object with rows for `cargo xtask bench`.

use std::{
    error::Error,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use content::{Multiaddr, Peer, PeerConfig, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const STEP: usize = 1 << 20;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve") => serve(Path::new(&args[1]), &args[2]),
        Some("--fetch") => fetch(Path::new(&args[1]), args[2].parse()?, args[3].parse()?),
        Some("--send") => send(&args[1]),
        Some("--copy") => copy(&args[1], Path::new(&args[2])),
        _ => measure(args.first().map_or(Ok(256), |mebibytes| mebibytes.parse())?, args.get(1).map(PathBuf::from)),
    }
}

/// Runs the four processes and prints what they found.
fn measure(mebibytes: u64, folder: Option<PathBuf>) -> Result<()> {
    let dir = match folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let file = dir.path().join("file");
    write_noise(&file, mebibytes << 20)?;
    let path = |name: &str| dir.path().join(name).display().to_string();

    let mut sender = start(&["--send", &path("file")])?;
    let address = sender.line()?;
    let copied = run(&["--copy", &address, &path("copy")])?;
    sender.child.wait()?;

    let mut server = start(&["--serve", &path("server"), &path("file")])?;
    let imported: serde_json::Value = serde_json::from_str(&server.line()?)?;
    let text = |key: &str| imported[key].as_str().unwrap_or_default().to_owned();
    let fetched = run(&["--fetch", &path("fetcher"), &text("address"), &text("root")])?;
    drop(server.child.stdin.take());
    let served: serde_json::Value = serde_json::from_str(&server.line()?)?;
    server.child.wait()?;

    let rate = |value: &serde_json::Value| mebibytes as f64 / value["seconds"].as_f64().unwrap_or(f64::NAN);
    let (transfer, plain) = (rate(&fetched), rate(&copied));
    let row = |what: String, value: f64, unit: &str| serde_json::json!({ "what": what, "value": value, "unit": unit });
    let mut rows = vec![
        row(format!("node to node, {mebibytes} MiB, synced to disk"), transfer.round(), "MiB/s"),
        row("import of the same file, synced to disk".into(), rate(&imported).round(), "MiB/s"),
    ];
    rows[0]["peer"] = format!("TCP copy + fsync, {plain:.0} MiB/s").into();
    rows[0]["ratio"] = ((transfer / plain * 100.0).round() / 100.0).into();
    rows[0]["goal"] = "≥ 0.5".into();
    for (who, process) in [("fetching", &fetched), ("serving", &served)] {
        let number = |key: &str| process[key].as_f64().unwrap_or(f64::NAN);
        let mut memory = row(format!("peak memory of the {who} node"), number("memory_mib"), "MiB");
        memory["goal"] = "< 256 MiB".into();
        rows.push(memory);
        rows.push(row(format!("processor time of the {who} node"), number("cpu_s"), "s"));
    }
    println!("{}", serde_json::json!({ "rows": rows }));
    Ok(())
}

fn serve(store: &Path, file: &str) -> Result<()> {
    let store = Store::open(store, u64::MAX)?;
    let start = Instant::now();
    let import = content::import(&store, &mut File::open(file)?)?;
    let seconds = start.elapsed().as_secs_f64();
    let before = cpu_seconds();
    runtime()?.block_on(async {
        let (peer, _inbound) = Peer::start(PeerConfig::loopback([1; 32]), store).await?;
        let address = peer.addresses().first().ok_or("no address")?.to_string();
        println!("{}", serde_json::json!({ "address": address, "root": import.root.to_string(), "seconds": seconds }));
        // until whoever started this process closes stdin
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        println!("{}", serde_json::json!({ "memory_mib": peak_memory_mib(), "cpu_s": cpu_seconds() - before }));
        peer.shutdown().await;
        Ok(())
    })
}

fn fetch(store: &Path, address: Multiaddr, root: model::ContentId) -> Result<()> {
    let store = Store::open(store, u64::MAX)?;
    runtime()?.block_on(async {
        let (peer, _inbound) = Peer::start(PeerConfig::loopback([2; 32]), store).await?;
        peer.connect_address(address).await?;
        while peer.connected().is_empty() {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        peer.fetch_all(&root, u64::MAX, &|_| {}).await?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{}",
            serde_json::json!({ "seconds": seconds, "memory_mib": peak_memory_mib(), "cpu_s": cpu_seconds() })
        );
        peer.shutdown().await;
        Ok(())
    })
}

fn send(file: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let mut file = File::open(file)?;
    let mut buffer = vec![0; STEP];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

fn copy(address: &str, to: &Path) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let start = Instant::now();
    let mut file = File::create(to)?;
    let mut buffer = vec![0; STEP];
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => file.write_all(&buffer[..read])?,
        }
    }
    file.sync_all()?;
    println!("{}", serde_json::json!({ "seconds": start.elapsed().as_secs_f64() }));
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Bytes that do not repeat: every leaf is a block of its own.
fn write_noise(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut buffer = vec![0; STEP];
    for _ in 0..bytes / STEP as u64 {
        for word in buffer.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&buffer)?;
    }
    Ok(file.sync_all()?)
}

struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().ok_or("the process ended early")??)
    }
}

fn start(args: &[&str]) -> Result<Running> {
    let mut child =
        Command::new(std::env::current_exe()?).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    Ok(Running { child, lines: BufReader::new(stdout).lines() })
}

fn run(args: &[&str]) -> Result<serde_json::Value> {
    let mut running = start(args)?;
    let line = running.line()?;
    running.child.wait()?;
    Ok(serde_json::from_str(&line)?)
}

fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |index: usize| after_name.split_whitespace().nth(index).and_then(|text| text.parse::<f64>().ok());
    let ticks_per_second = 100.0; // fixed for /proc on Linux
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / ticks_per_second
}
