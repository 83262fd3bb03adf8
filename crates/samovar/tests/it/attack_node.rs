//! Nodes that change, die, or were away: what must be refused, and what must go on.

use std::{
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    guests,
    harness::{Network, Options, SAMOVAR, poll, poll_or},
};

/// Publishes a program and some data under fresh accounts.
struct Objects {
    program: String,
    data: String,
    requester: PathBuf,
}

impl Objects {
    fn publish(network: &Network, guest: &[u8]) -> Self {
        let owner = network.account("owner");
        let program = guests::file(&network.path("."), "program.wasm", guest).display().to_string();
        let data = guests::file(&network.path("."), "data.bin", b"records").display().to_string();
        let terms = guests::file(&network.path("."), "terms.toml", b"price = 5\n").display().to_string();
        let publish = |kind: &str, file: &str| {
            let answer = network.json(&owner, &["publish", kind, file, "--terms", &terms]);
            answer["object"].as_str().expect("an object id").to_owned()
        };
        Self {
            program: publish("program", &program),
            data: publish("data", &data),
            requester: network.account("requester"),
        }
    }

    fn run(&self, network: &Network, out: &str, more: &[&str]) -> Value {
        let (out, input) = (network.path(out).display().to_string(), format!("in={}", self.data));
        let fixed = ["run", &self.program, "--data", &input, "--max-price", "5000", "--out", &out];
        network.json(&self.requester, &[&fixed, more].concat())
    }

    fn balance(&self, network: &Network) -> u64 {
        network.json(&self.requester, &["account", "show"])["balance"].as_u64().expect("a balance")
    }

    /// Starts `samovar run` as a process of its own, as the requester would.
    fn run_in_background(&self, network: &Network, out: &str, more: &[&str]) -> JoinHandle<std::process::Output> {
        let mut command = std::process::Command::new(SAMOVAR);
        command
            .args([
                "run",
                &self.program,
                "--data",
                &format!("in={}", self.data),
                "--max-price",
                "5000",
                "--json",
                "--out",
            ])
            .arg(network.path(out))
            .args(more)
            .env("SAMOVAR_NETWORK", network.file())
            .env("SAMOVAR_KEY", &self.requester)
            .stdin(std::process::Stdio::null());
        thread::spawn(move || command.output().expect("samovar runs"))
    }
}

fn answer(run: JoinHandle<std::process::Output>) -> Value {
    let output = run.join().expect("a thread without panics");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A copy of the node's binary in which one letter of its help text differs.
fn changed_binary(network: &Network) -> PathBuf {
    let mut bytes = std::fs::read(SAMOVAR).expect("the binary");
    let text = b"The measured half of a node";
    let at = bytes.windows(text.len()).position(|window| window == text).expect("a text of the binary");
    bytes[at] = b't';
    let path = network.path("changed");
    std::fs::write(&path, bytes).expect("a writable folder");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("own file");
    path
}

/// Which node runs the only open task.
fn executor(network: &Network) -> usize {
    let running = || (0..4).find(|node| network.status(*node).is_some_and(|status| status["running"] == 1));
    poll("a node runs the task", running)
}

#[test]
fn a_changed_binary_gets_no_identity_until_the_release_key_approves_it() {
    let mut network = Network::create(Options::default());
    let changed = changed_binary(&network);
    (0..3).for_each(|node| network.start(node));
    network.start_with(3, &changed);
    assert_eq!(network.exit_code(3), Some(1));
    let log = network.log(3);
    assert!(log.contains("error: this binary") && log.contains("not approved") && log.contains("hint:"), "{log}");

    // The others go on without it; it was never registered, so it is neither drawn nor given shares.
    (0..3).for_each(|node| network.wait_for_verdict(node));
    let key = network.account("anybody");
    let listed = network.json(&key, &["nodes", "list"]);
    assert_eq!(listed["nodes"].as_array().expect("a list").len(), 3, "{listed}");

    // A rebuild that the release key signs opens what the old one sealed.
    let (dir, binary) = (network.dir().display().to_string(), changed.display().to_string());
    network.json(&key, &["network", "approve", &dir, "--binary", &binary]);
    network.start_with(3, &changed);
    network.wait_for_verdict(3);
}

#[test]
fn a_killed_executor_is_replaced_and_the_task_is_paid_once() {
    let mut network = Network::running(Options { overhead_s: Some(4), ..Options::default() });
    let objects = Objects::publish(&network, &guests::busy(4));
    let before = objects.balance(&network);
    let run = objects.run_in_background(&network, "run", &["--time-limit", "8"]);
    let killed = executor(&network);
    let did = network.status(killed).expect("a running node")["node"].as_str().expect("an id").to_owned();
    network.kill(killed);

    let answer = answer(run);
    assert_eq!(answer["verified"], true, "{answer}");
    let paid = |reason: &str| -> Vec<&Value> {
        let payments = answer["payments"].as_array().expect("a list");
        payments.iter().filter(|payment| payment["reason"] == reason).collect()
    };
    assert_eq!(paid("executor").len(), 1);
    assert_ne!(paid("executor")[0]["to"], did.as_str(), "the dead are not paid");
    let total: u64 =
        answer["payments"].as_array().expect("a list").iter().filter_map(|payment| payment["amount"].as_u64()).sum();
    let spent = before - objects.balance(&network);
    assert!(spent >= total && spent < total + 50, "spent {spent}, paid out {total}");
}

#[test]
fn a_node_that_was_killed_catches_up_and_takes_part_again() {
    let mut network = Network::running(Options::default());
    let objects = Objects::publish(&network, &guests::hello(0));
    network.kill(2);
    assert_eq!(objects.run(&network, "without", &[])["verified"], true);
    let height = network.status(0).expect("a running node")["height"].as_u64().expect("a height");
    network.start(2);
    network.wait_for_height(2, height);
    network.wait_for_verdict(2);

    // With another one gone, the network needs it.
    network.kill(0);
    assert_eq!(objects.run(&network, "with", &[])["verified"], true);
}

#[test]
fn a_network_that_was_dark_for_longer_than_a_verdict_lives_finishes_its_task() {
    let mut network = Network::running(Options { verdict_s: Some(16), overhead_s: Some(4) });
    let objects = Objects::publish(&network, &guests::busy(3));
    let before = objects.balance(&network);
    let task = {
        let run = objects.run_in_background(&network, "run", &["--time-limit", "8"]);
        executor(&network);
        (0..4).for_each(|node| network.kill(node));
        let dark = Instant::now();
        // The requester's command gives up or waits; either way it is repeated below.
        poll("a verdict's life is over", || (dark.elapsed() > Duration::from_secs(20)).then_some(()));
        run
    };
    network.start_all();
    let _ = task.join();
    let finished = || {
        let out = network.path("run").display().to_string();
        let input = format!("in={}", objects.data);
        let arguments = ["run", &objects.program, "--data", &input, "--max-price", "5000", "--out", &out];
        let output = network.samovar(&objects.requester, &[&arguments[..], &["--time-limit", "8", "--json"]].concat());
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).expect("one JSON object"))
    };
    let answer = poll_or("the task is finished", finished, || network.log(0));
    assert_eq!(answer["verified"], true);
    let total: u64 =
        answer["payments"].as_array().expect("a list").iter().filter_map(|payment| payment["amount"].as_u64()).sum();
    let spent = before - objects.balance(&network);
    assert!(spent >= total && spent < total + 50, "spent {spent}, paid out {total}");
    assert!(Path::new(&network.path("run/result/stdout")).exists());
}
