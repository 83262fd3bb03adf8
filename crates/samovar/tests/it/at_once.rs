//! Several commands at the same moment: one folder is paid for once, and one key serves them all.

use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    guests,
    harness::{SAMOVAR, poll},
    story::{World, refused, succeeded},
};

/// Starts a command of the requester and does not wait for it.
fn start(world: &World, arguments: &[&str]) -> Child {
    Command::new(SAMOVAR)
        .args(arguments)
        .env("SAMOVAR_NETWORK", world.network.file())
        .env("SAMOVAR_KEY", &world.requester)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("samovar runs")
}

fn start_run(world: &World, program: &str, data: &str, out: &str) -> Child {
    let (out, input) = (world.network.path(out).display().to_string(), format!("in={data}"));
    start(world, &["run", program, "--data", &input, "--max-price", "5000", "--out", &out, "--json"])
}

fn ended(child: Child) -> Output {
    child.wait_with_output().expect("a child of ours")
}

fn tasks(world: &World) -> usize {
    world.network.json(&world.owner, &["tasks", "list"])["tasks"].as_array().unwrap().len()
}

/// A program, data, and what one run of it costs.
fn priced(world: &World, out: &str) -> (String, String, u64) {
    let (program, data) = (world.program(&guests::hello(0)), world.data(b"x", "price = 5\n"));
    let before = world.balance(&world.requester);
    succeeded(&world.run(&program, &data, out, &[]));
    (program, data, before - world.balance(&world.requester))
}

pub(crate) fn one_folder_is_paid_for_once(world: &World) {
    let (program, data, price) = priced(world, "one-folder");
    let (known, before) = (tasks(world), world.balance(&world.requester));
    let children: Vec<Child> = (0..4).map(|_| start_run(world, &program, &data, "at-once")).collect();
    let outputs: Vec<Output> = children.into_iter().map(ended).collect();
    assert!(outputs.iter().any(|output| output.status.success()), "{outputs:?}");
    for output in outputs.iter().filter(|output| !output.status.success()) {
        let (error, hint) = refused(output);
        assert!(error.contains("another samovar process works in") && hint.contains("pays nothing more"), "{error}");
    }
    assert_eq!(tasks(world), known + 1);
    assert_eq!(before - world.balance(&world.requester), price);
    // Whoever comes later goes on with that task.
    succeeded(&world.run(&program, &data, "at-once", &[]));
    assert_eq!((tasks(world), before - world.balance(&world.requester)), (known + 1, price));
}

pub(crate) fn one_key_serves_many_commands(world: &World) {
    let (program, data, price) = priced(world, "one-key");
    let (known, before) = (tasks(world), world.balance(&world.requester));
    let mut children: Vec<Child> =
        (0..3).map(|run| start_run(world, &program, &data, &format!("beside-{run}"))).collect();
    children.push(start(world, &["account", "top-up", "2000", "--json"]));
    for output in children.into_iter().map(ended) {
        succeeded(&output);
    }
    assert_eq!(tasks(world), known + 3);
    // Each task was paid for once, and the credits were drawn once, less a fee.
    let drawn = world.balance(&world.requester) + 3 * price - before;
    assert!((1_900..2_000).contains(&drawn), "{drawn}");
}

pub(crate) fn a_publication_is_under_way_once(world: &World) {
    let file = |name: &str, bytes: &[u8]| guests::file(&world.network.path("."), name, bytes);
    let (data, terms, state) = (file("once.bin", &[3; 5000]), file("once.toml", b""), world.network.path("once"));
    let publish = || {
        let mut command = Command::new(SAMOVAR);
        command.args(["publish", "data"]).arg(&data).arg("--terms").arg(&terms).arg("--json");
        command.env("SAMOVAR_NETWORK", world.network.file()).env("SAMOVAR_KEY", &world.owner);
        command.env("SAMOVAR_STATE", &state).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let objects = || world.network.json(&world.owner, &["objects", "list"])["objects"].as_array().unwrap().len();
    let known = objects();
    let mut first = publish().spawn().expect("samovar runs");
    // Where it seals, which it begins when nobody else can.
    let sealing = || {
        let networks = std::fs::read_dir(&state).ok()?.flatten();
        let mut within = networks.filter_map(|network| std::fs::read_dir(network.path()).ok()).flatten().flatten();
        within.any(|entry| entry.path().is_dir() && entry.file_name() != "publishing").then_some(())
    };
    poll("the publication has begun", sealing);
    let id = Pid::from_child(&first);
    kill_process(id, Signal::STOP).expect("a child of ours");
    assert!(first.try_wait().unwrap().is_none(), "it was over before it was stopped");
    let (error, hint) = refused(&publish().output().unwrap());
    assert!(error.contains("another samovar process publishes ") && hint.contains("nothing was paid"), "{error}");
    kill_process(id, Signal::CONT).expect("a child of ours");
    succeeded(&ended(first));
    assert_eq!(objects(), known + 1);
}
