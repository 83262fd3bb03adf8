//! Nodes that lie to somebody who asks only them, and folders that would be mixed up: nothing is paid twice or lost.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use model::{Canonical as _, Signed, Transaction};

use crate::{
    guests,
    harness::{SAMOVAR, poll},
    liar::Liar,
    story::{World, post, refused, rests_on_a_development_network, succeeded},
};

/// `samovar ARGS` of the requester with another network file.
fn samovar(world: &World, network: &Path, arguments: &[&str]) -> Output {
    Command::new(SAMOVAR)
        .args(arguments)
        .env("SAMOVAR_NETWORK", network)
        .env("SAMOVAR_KEY", &world.requester)
        .env("SAMOVAR_STATE", world.network.path("suspicion"))
        .stdin(Stdio::null())
        .output()
        .expect("samovar runs")
}

pub(crate) fn a_node_that_keeps_what_it_refuses_is_paid_once(world: &World) {
    let (program, data) = (world.program(&guests::hello(0)), world.data(b"x", "price = 5\n"));
    let (liar, input) = (Liar::of(&world.network), format!("in={data}"));
    let out = world.network.path("kept").display().to_string();
    let run = |network: &Path, price: &str| {
        samovar(world, network, &["run", &program, "--data", &input, "--max-price", price, "--out", &out, "--json"])
    };
    let tasks = || world.network.json(&world.owner, &["tasks", "list"])["tasks"].as_array().unwrap().len();
    let (known, before) = (tasks(), world.balance(&world.requester));

    // All that can be reached says no. The requester offers more, as it was told to, and hears no again.
    assert_eq!(refused(&run(liar.file(), "5000")).0, "the liar says no");
    assert_eq!(refused(&run(liar.file(), "6000")).0, "the liar says no");
    let kept = liar.kept();
    let nonces = kept.iter().map(|bytes| Signed::<Transaction>::from_bytes(bytes, Transaction::BYTES_MAX).unwrap());
    let nonces: Vec<u64> = nonces.map(|transaction| transaction.unverified().nonce).collect();
    assert_eq!((nonces.len(), nonces[0]), (2, nonces[1]), "only one of the two can ever take effect");

    // Then the liar hands in what it has kept.
    assert!(post(&world.network.api(1), "/v1/transactions", &kept[0]).contains(" 200"));
    poll("the first is final", || (tasks() == known + 1).then_some(()));

    // Whoever goes on with the better offer is told, and pays no second time.
    let (error, _) = refused(&run(&world.network.file(), "6000"));
    assert!(error.contains("asks for something else, which the network has taken (task "), "{error}");
    let answer = succeeded(&run(&world.network.file(), "5000"));
    assert_eq!(answer["verified"], true);
    assert_eq!(tasks(), known + 1);
    let paid: u64 =
        answer["payments"].as_array().unwrap().iter().map(|payment| payment["amount"].as_u64().unwrap()).sum();
    let spent = before - world.balance(&world.requester);
    assert!(spent >= paid && spent < paid + 100, "spent {spent}, paid out {paid}");
}

pub(crate) fn a_pinned_checkpoint_needs_a_link(world: &World) {
    let (program, data) = (world.program(&guests::hello(0)), world.data(b"x", ""));
    let plain = world.network.file();
    let file = |name: &str| world.network.path(name);
    let text = |name: &str| file(name).display().to_string();

    // What a command remembers of the ledger is what a network file can pin.
    succeeded(&samovar(world, &plain, &["nodes", "list", "--json"]));
    let states = std::fs::read_dir(file("suspicion")).unwrap();
    let head = states.map(|entry| std::fs::read_to_string(entry.unwrap().path().join("head.toml")).unwrap()).next();
    let network = std::fs::read_to_string(&plain).unwrap();
    let pin = |name: &str, head: &str| {
        std::fs::write(file(name), format!("{network}\n[checkpoint]\n{head}")).unwrap();
        file(name)
    };
    let head = head.unwrap();
    let pinned = pin("pinned.toml", &head);

    let (input, out) = (format!("in={data}"), text("linked"));
    let run = ["run", &program, "--data", &input, "--max-price", "5000", "--out", &out];
    succeeded(&samovar(world, &pinned, &run));
    let proof = text("linked/proof");
    let verify = |network: &Path, more: &[&str]| samovar(world, network, &[&["verify", &proof], more].concat());
    let shown = verify(&pinned, &[]);
    succeeded(&shown);
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("checkpoint"), "{shown:?}");

    // Away from its folder it must be named; without it there is no `verified`.
    std::fs::rename(file("linked/extension"), file("elsewhere")).unwrap();
    let (error, hint) = refused(&verify(&pinned, &[]));
    assert!(error.contains("nothing links this proof") && hint.contains("/v1/consistency?from="), "{error} {hint}");
    succeeded(&verify(&pinned, &["--extension", &text("elsewhere")]));
    // Where nothing is pinned nothing is needed.
    succeeded(&verify(&plain, &[]));

    // A changed link, and a checkpoint of a history that never was.
    let mut bytes = std::fs::read(file("elsewhere")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file("changed-link"), bytes).unwrap();
    refused(&verify(&pinned, &["--extension", &text("changed-link")]));
    let root = head.lines().find(|line| line.starts_with("log_root")).unwrap();
    let other = pin("other.toml", &head.replace(root, &format!("log_root = \"{}\"", "5".repeat(64))));
    refused(&verify(&other, &["--extension", &text("elsewhere")]));
    std::fs::remove_dir_all(file("suspicion")).unwrap();
    let (error, _) = refused(&samovar(world, &other, &["nodes", "list"]));
    assert!(error.contains("rewritten") || error.contains("two histories"), "{error}");
}

pub(crate) fn a_result_is_not_written_over_another(world: &World) {
    let program = world.program(&guests::copy("in"));
    let run = |bytes: &[u8], out: &str| {
        let data = world.data(bytes, "");
        succeeded(&world.run(&program, &data, out, &["--json"]))["task"].as_str().unwrap().to_owned()
    };
    let (first, second) = (run(b"first", "first"), run(b"second", "second"));
    let fetch = |task: &str, out: &str| {
        let out = world.network.path(out).display().to_string();
        world.network.samovar(&world.requester, &["fetch", task, "--out", &out])
    };
    for (task, out) in [(&second, "first"), (&first, "second")] {
        let (error, hint) = refused(&fetch(task, out));
        assert!(error.contains("holds task ") && hint.contains("--out"), "{error}");
    }
    // Also where nothing was asked for but only fetched, or the proof is gone.
    succeeded(&fetch(&first, "fetched"));
    assert!(refused(&fetch(&second, "fetched")).0.contains("holds the proof of task "));
    std::fs::remove_file(world.network.path("fetched/proof")).unwrap();
    assert!(refused(&fetch(&second, "fetched")).0.contains("a result without its proof"));
    assert_eq!(world.read("fetched/result/stdout"), b"first");
    assert_eq!(world.read("first/result/stdout"), b"first");
    // The same task again is welcome. What its owner put beside the result stays, and is not proven.
    std::fs::write(world.network.path("first/result/notes.txt"), "mine").unwrap();
    succeeded(&fetch(&first, "first"));
    assert_eq!(world.read("first/result/notes.txt"), b"mine");
    let path = |name: &str| world.network.path(name).display().to_string();
    let (proof, result) = (path("first/proof"), path("first/result"));
    let verify = ["verify", &proof, "--result", &result];
    let shown = world.network.samovar(&world.requester, &verify);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("not proven: notes.txt"), "{shown:?}");
    assert_eq!(world.network.json(&world.requester, &verify)["not_proven"], serde_json::json!(["notes.txt"]));
    // A file that is named must be there, also where nothing needs it.
    let (error, _) = refused(&world.network.samovar(&world.requester, &["verify", &proof, "--extension", "nofile"]));
    assert!(error.contains("nofile"), "{error}");
    // A folder with anything else in it is nobody's to write to.
    std::fs::create_dir(world.network.path("mine")).unwrap();
    std::fs::write(world.network.path("mine/thesis.txt"), "years of work").unwrap();
    assert!(refused(&fetch(&first, "mine")).0.contains("is not empty: it holds thesis.txt"));
}

/// Custodians whose addresses the network file does not name are reached through the node that it names.
pub(crate) fn one_address_is_enough(world: &World) {
    let only = world.network.file_naming(2);
    let file = |name: &str, bytes: &[u8]| guests::file(&world.network.path("."), name, bytes).display().to_string();
    let terms = file("anybody.toml", b"");
    let publish = |kind: &str, file: &str| {
        let published = succeeded(&samovar(world, &only, &["publish", kind, file, "--terms", &terms, "--json"]));
        published["object"].as_str().unwrap().to_owned()
    };
    let program = publish("program", &file("one-address.wasm", &guests::hello(0)));
    let (data, out) = (publish("data", &file("one-address.bin", b"x")), world.network.path("one-address"));
    let (input, out) = (format!("in={data}"), out.display().to_string());
    let run = ["run", &program, "--data", &input, "--max-price", "5000", "--out", &out, "--json"];
    assert_eq!(succeeded(&samovar(world, &only, &run))["verified"], true);
}

/// What a network rests on is read from its checked genesis: a file that claims more changes nothing.
pub(crate) fn a_network_file_cannot_claim_more_than_the_genesis(world: &World) {
    let text = std::fs::read_to_string(world.network.file()).unwrap();
    let file = world.network.path("boasting.toml");
    assert!(text.contains("custody = \"development\""), "{text}");
    std::fs::write(&file, text.replace("custody = \"development\"", "custody = \"strict\"")).unwrap();
    let listed = succeeded(&samovar(world, &file, &["nodes", "list", "--json"]));
    rests_on_a_development_network(&listed);
    let shown = samovar(world, &file, &["objects", "list"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("custody: development"), "{shown:?}");
}
