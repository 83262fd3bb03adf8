//! Nodes that change, die, or were away: what must be refused, and what must go on.

use std::{
    path::PathBuf,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use model::{Action, Canonical as _, Signed, Transaction};
use serde_json::Value;

use crate::{
    guests,
    harness::{Network, Options, SAMOVAR, poll, poll_or},
    story::alone,
};

/// Publishes a program and some data under fresh accounts.
pub(crate) struct Objects {
    pub(crate) program: String,
    pub(crate) data: String,
    pub(crate) requester: PathBuf,
}

impl Objects {
    pub(crate) fn publish(network: &Network, guest: &[u8]) -> Self {
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

    fn balance(&self, network: &Network) -> u64 {
        network.json(&self.requester, &["account", "show"])["balance"].as_u64().expect("a balance")
    }

    /// The requester has spent what the payments say, and a transaction fee.
    fn paid_once(&self, network: &Network, answer: &Value, before: u64) {
        self.has_spent(network, before, payments(answer).filter_map(|payment| payment["amount"].as_u64()).sum());
    }

    /// Some node that is asked for the balance may have been standing still a moment ago.
    fn has_spent(&self, network: &Network, before: u64, paid: u64) {
        let spent = || before - self.balance(network);
        let seen = || (paid + 1..paid + FEES_MAX).contains(&spent()).then_some(());
        poll_or("the balance shows what was paid", seen, || format!("spent {}, paid out {paid}", spent()));
    }

    /// Starts `samovar run` as a process of its own, as the requester would.
    fn run_in_background(&self, network: &Network, out: &str) -> JoinHandle<std::process::Output> {
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
            .args(LIMIT)
            .env("SAMOVAR_NETWORK", network.file())
            .env("SAMOVAR_KEY", &self.requester)
            .stdin(std::process::Stdio::null());
        thread::spawn(move || command.output().expect("samovar runs"))
    }
}

fn payments(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["payments"].as_array().expect("a list").iter()
}

fn answer(run: JoinHandle<std::process::Output>) -> Value {
    let output = run.join().expect("a thread without panics");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A copy of the node's binary in which one letter of its help text differs.
fn changed_binary(network: &Network) -> PathBuf {
    let mut bytes = std::fs::read(SAMOVAR).expect("the binary");
    let text = b"Runs a node until it is told to stop";
    let at = bytes.windows(text.len()).position(|window| window == text).expect("a text of the binary");
    bytes[at] = b'r';
    let path = network.path("changed");
    std::fs::write(&path, bytes).expect("a writable folder");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("own file");
    path
}

/// Which node runs the only open task.
pub(crate) fn executor(network: &Network) -> usize {
    let running = || (0..4).find(|node| network.status(*node).is_some_and(|status| status["running"] == 1));
    poll("a node runs the task", running)
}

/// One network through all of it, in the order in which it happens to operators; each step leaves it running.
#[test]
fn nodes_change_die_and_come_back_and_no_task_is_lost() {
    let _alone = alone();
    let mut network = Network::create(Options { verdict_s: Some(VERDICT_S), overhead_s: Some(4) });
    a_changed_binary_gets_no_identity_until_the_release_key_approves_it(&mut network);
    let objects = Objects::publish(&network, &guests::busy(3));
    let killed = a_killed_executor_is_replaced_and_the_task_is_paid_once(&mut network, &objects);
    a_node_that_was_killed_catches_up_and_takes_part_again(&mut network, &objects, killed);
    (0..4).for_each(|node| network.wait_for_verdict(node));
    network.wait_until_idle();
    an_executor_that_loses_its_result_before_others_have_it_is_not_paid(&network, &objects);
    a_network_that_was_dark_for_longer_than_a_verdict_lives_finishes_its_task(&mut network, &objects);
    a_node_whose_tpm_has_died_stops_and_says_so(&mut network);
}

const VERDICT_S: u64 = 32;
/// More than the transaction fee of a task, less than anything else that one costs.
const FEES_MAX: u64 = 10;
/// Declared run time, seconds: a busy machine is slow, and a dead executor is waited for that long.
const LIMIT: [&str; 2] = ["--time-limit", "16"];

fn a_changed_binary_gets_no_identity_until_the_release_key_approves_it(network: &mut Network) {
    let changed = changed_binary(network);
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

/// Returns who was killed.
fn a_killed_executor_is_replaced_and_the_task_is_paid_once(network: &mut Network, objects: &Objects) -> usize {
    let before = objects.balance(network);
    let run = objects.run_in_background(network, "killed");
    let killed = executor(network);
    let did = network.status(killed).expect("a running node")["node"].as_str().expect("an id").to_owned();
    network.kill(killed);

    let answer = answer(run);
    assert_eq!(answer["verified"], true, "{answer}");
    let executors: Vec<&Value> = payments(&answer).filter(|payment| payment["reason"] == "executor").collect();
    assert_eq!(executors.len(), 1);
    assert_ne!(executors[0]["to"], did.as_str(), "the dead are not paid");
    objects.paid_once(network, &answer, before);
    killed
}

fn a_node_that_was_killed_catches_up_and_takes_part_again(network: &mut Network, objects: &Objects, killed: usize) {
    let other = (killed + 1) % 4;
    let height = network.status(other).expect("a running node")["height"].as_u64().expect("a height");
    network.start(killed);
    network.wait_for_height(killed, height);
    network.wait_for_verdict(killed);
    // With another one gone, the network needs it.
    network.kill(other);
    assert_eq!(answer(objects.run_in_background(network, "again"))["verified"], true);
    publishing_goes_on_without_it(network, other);
    network.start(other);
}

/// The executor seals a result, and its blocks are gone before anybody could fetch them. The others stand still meanwhile,
/// so that there is no race.
fn an_executor_that_loses_its_result_before_others_have_it_is_not_paid(network: &Network, objects: &Objects) {
    let before = objects.balance(network);
    let run = objects.run_in_background(network, "lost");
    let task = written_task(network, "lost");
    let executor = executor(network);
    network.wait_for_phase(executor, &task, "running");
    let others = || (0..4).filter(|node| *node != executor);
    let known = network.blocks(executor);
    others().for_each(|node| network.freeze(node, true));
    // The result, and the list of its leaves.
    let new =
        || Some(network.blocks(executor).difference(&known).cloned().collect::<Vec<_>>()).filter(|new| new.len() >= 2);
    for block in poll("the executor has sealed a result", new) {
        std::fs::remove_file(block).expect("a block of the result");
    }
    others().for_each(|node| network.freeze(node, false));

    // Without two others who store it there is no receipt of success. The executor gives up and says so, and the price comes
    // back; or it is too slow even for that, and another is drawn. In no case is it paid for what nobody has.
    let output = run.join().expect("a thread without panics");
    let shown = network.json(&objects.requester, &["tasks", "show", &task]);
    if output.status.success() {
        assert_eq!(shown["attempts"], 2, "{shown}");
        objects.paid_once(network, &serde_json::from_slice(&output.stdout).expect("one JSON object"), before);
        assert_eq!(std::fs::read(network.path("lost/result/stdout")).expect("a result"), b"hello\n");
    } else {
        assert!(["node", "lapsed"].contains(&shown["failure"].as_str().unwrap_or_default()), "{shown}");
        assert!(payments(&shown).all(|payment| payment["reason"] != "executor"), "{shown}");
        objects.has_spent(network, before, 0);
    }
}

/// The task that a command has written down, before it handed it in.
fn written_task(network: &Network, out: &str) -> String {
    let file = network.path(out).join("task");
    let bytes = poll("a task is written down", || std::fs::read(&file).ok());
    let written = Signed::<Transaction>::from_bytes(&bytes, Transaction::BYTES_MAX).expect("a transaction");
    match &written.unverified().action {
        Action::Submit { task } => task.id().to_string(),
        other => panic!("{other:?} is no task"),
    }
}

/// Whoever is down gets no share, and the others get theirs also where only one address is known.
fn publishing_goes_on_without_it(network: &Network, down: usize) {
    let owner = network.account("publisher");
    let terms = guests::file(&network.path("."), "anybody.toml", b"").display().to_string();
    let only = network.file_naming((down + 1) % 4);
    for (name, file) in [("all", network.file()), ("one", only.clone()), ("more", only)] {
        let data = guests::file(&network.path("."), name, name.as_bytes()).display().to_string();
        let file = file.display().to_string();
        let published = network.json(&owner, &["publish", "data", &data, "--terms", &terms, "--network", &file]);
        assert_eq!(published["custodians"].as_array().expect("a list").len(), 3, "{published}");
    }
}

fn a_network_that_was_dark_for_longer_than_a_verdict_lives_finishes_its_task(network: &mut Network, objects: &Objects) {
    let before = objects.balance(network);
    let interrupted = objects.run_in_background(network, "dark");
    executor(network);
    (0..4).for_each(|node| network.kill(node));
    let dark = Instant::now();
    poll("every verdict has ended", || (dark.elapsed() > Duration::from_secs(VERDICT_S + 2)).then_some(()));
    network.start_all();

    // Whether the requester's command has waited or given up: the same command again ends it, and pays no second time.
    let first = interrupted.join().expect("a thread without panics");
    let told = |output: &std::process::Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let last = std::cell::RefCell::new(told(&first));
    let finished = || {
        let output = objects.run_in_background(network, "dark").join().expect("a thread without panics");
        last.replace(told(&output));
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).expect("one JSON object"))
    };
    let answer = poll_or("the task is finished", finished, || last.borrow().clone());
    assert_eq!(answer["verified"], true);
    objects.paid_once(network, &answer, before);
    assert_eq!(std::fs::read(network.path("dark/result/stdout")).expect("a result"), b"hello\n");
}

fn a_node_whose_tpm_has_died_stops_and_says_so(network: &mut Network) {
    network.kill_tpm(2);
    assert_eq!(network.exit_code(2), Some(1), "half of a verdict's life is the most that it takes to notice");
    let log = network.log(2);
    assert!(log.contains("the TPM is gone") && log.contains("error: attestation ended"), "{log}");
    network.start(2);
    network.wait_for_verdict(2);
}
