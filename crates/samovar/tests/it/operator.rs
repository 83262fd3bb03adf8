//! What operators do to nodes: start them wrongly, and stop them at any moment.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    attack_node::{Objects, executor},
    guests,
    harness::{Network, Options, SAMOVAR, poll, poll_or},
    story::alone,
};

/// Starts node 0, which must refuse, and returns what it says.
fn refusal(network: &mut Network) -> String {
    network.start(0);
    assert_eq!(network.exit_code(0), Some(1), "{}", network.log(0));
    let log = network.log(0);
    let from = log.find("error:").unwrap_or_else(|| panic!("no error: {log}"));
    log[from..].to_owned()
}

#[test]
fn a_node_that_cannot_start_says_why_and_what_to_do() {
    let mut network = Network::create(Options::default());
    let folder = network.dir().join("node-0");

    let api = network.api(0);
    let taken = TcpListener::bind(&api).expect("a port that was free a moment ago");
    let said = refusal(&mut network);
    assert!(said.contains(&format!("cannot listen on {api}")) && said.contains("listening there already"), "{said}");
    drop(taken);

    std::fs::write(folder.join("blocks"), b"no folder").expect("an own folder");
    let said = refusal(&mut network);
    assert!(
        said.contains("the block store could not create") && said.contains("should be a folder is a file"),
        "{said}"
    );
    std::fs::remove_file(folder.join("blocks")).expect("an own file");

    let config = folder.join("node.toml");
    let written = std::fs::read_to_string(&config).expect("node.toml");
    let other = Network::create(Options::default());
    let elsewhere = other.dir().join("genesis.cbor").display().to_string();
    std::fs::write(&config, written.replace("../genesis.cbor", &elsewhere)).expect("an own file");
    let said = refusal(&mut network);
    assert!(said.contains("another network") && said.contains("name the genesis"), "{said}");

    std::fs::write(&config, written.replace("../genesis.cbor", "../nowhere.cbor")).expect("an own file");
    let said = refusal(&mut network);
    assert!(said.contains("cannot read") && said.contains("nowhere.cbor"), "{said}");
}

/// A name of its own for the binary, by which a node's processes are told from all others; the bytes are the approved ones.
fn own_binary(network: &Network, node: usize) -> PathBuf {
    let path = network.path(&format!("samovar-{node}"));
    std::fs::hard_link(SAMOVAR, &path).or_else(|_| std::fs::copy(SAMOVAR, &path).map(drop)).expect("a writable folder");
    path
}

/// Every process that runs `binary` (a node, its workers and compilers) or was started for `folder` (its TPM).
fn processes(binary: &Path, folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let numbers = std::fs::read_dir("/proc").expect("/proc").flatten();
    let of_node = |process: &Path| {
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let runs = std::fs::read_link(process.join("exe")).is_ok_and(|exe| exe == binary);
        // One that has ended and was not waited for yet has neither.
        (runs || command.contains(&folder)).then(|| format!("{} {command}", process.display()))
    };
    numbers.filter_map(|entry| of_node(&entry.path())).collect()
}

fn all_gone(network: &Network, node: usize) {
    let (binary, folder) = (network.path(&format!("samovar-{node}")), network.dir().join(format!("node-{node}")));
    let gone = || processes(&binary, &folder).is_empty().then_some(());
    poll_or("nothing of the node is left", gone, || processes(&binary, &folder).join("\n"));
}

/// A requester's command, ended with the test.
struct Requester(Child);

impl Requester {
    fn ask(network: &Network, objects: &Objects) -> Self {
        let mut command = Command::new(SAMOVAR);
        command.args(["run", &objects.program, "--data", &format!("in={}", objects.data), "--max-price", "5000"]);
        command.args(["--time-limit", "16", "--out"]).arg(network.path("stopped"));
        command.env("SAMOVAR_NETWORK", network.file()).env("SAMOVAR_KEY", &objects.requester);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("samovar runs"))
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(time: Duration) {
    let begun = Instant::now();
    poll("the moment has come", || (begun.elapsed() >= time).then_some(()));
}

#[test]
fn a_node_stopped_at_any_moment_leaves_no_process_behind_and_comes_back() {
    let _alone = alone();
    let mut network = Network::create(Options { verdict_s: Some(60), overhead_s: Some(4) });
    let binaries: Vec<PathBuf> = (0..4).map(|node| own_binary(&network, node)).collect();
    (0..3).for_each(|node| network.start_with(node, &binaries[node]));
    // Measuring, unsealing, opening what is on disk, catching up, being appraised.
    for (round, moment_ms) in [0, 50, 150, 400, 900, 1_800, 3_000].into_iter().enumerate() {
        network.start_with(3, &binaries[3]);
        wait(Duration::from_millis(moment_ms));
        if round % 3 == 2 {
            network.kill(3);
        } else {
            network.terminate(3);
        }
        all_gone(&network, 3);
    }
    network.start_with(3, &binaries[3]);
    (0..4).for_each(|node| network.wait_for_verdict(node));

    // In the middle of a task, with a guest that would run for much longer.
    let objects = Objects::publish(&network, &guests::busy(20));
    let _requester = Requester::ask(&network, &objects);
    let stopped = executor(&network);
    let worker = || {
        processes(&binaries[stopped], Path::new("/nowhere"))
            .iter()
            .any(|it| it.contains("sandbox-worker"))
            .then_some(())
    };
    poll("a worker is there", worker);
    let begun = Instant::now();
    assert_eq!(network.terminate(stopped), Some(0), "{}", network.log(stopped));
    assert!(begun.elapsed() < Duration::from_secs(15), "a guest holds up its node: {:?}", begun.elapsed());
    all_gone(&network, stopped);
    (0..4).filter(|node| *node != stopped).for_each(|node| assert!(network.terminate(node).is_some()));
    (0..4).for_each(|node| all_gone(&network, node));
}
