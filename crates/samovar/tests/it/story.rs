//! The whole story on four real processes, in the orders a user would try.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::{
    guests,
    harness::{Network, Options},
};

/// A network with three funded accounts.
struct World {
    network: Network,
    owner: PathBuf,
    author: PathBuf,
    requester: PathBuf,
}

impl World {
    fn new() -> Self {
        let network = Network::running(Options::default());
        let [owner, author, requester] = ["owner", "author", "requester"].map(|name| network.account(name));
        Self { network, owner, author, requester }
    }

    fn publish(&self, key: &Path, kind: &str, name: &str, bytes: &[u8], terms: &str) -> String {
        let file = guests::file(&self.network.path("."), name, bytes);
        let terms = guests::file(&self.network.path("."), &format!("{name}.toml"), terms.as_bytes());
        let (file, terms) = (file.display().to_string(), terms.display().to_string());
        let answer = self.network.json(key, &["publish", kind, &file, "--terms", &terms]);
        answer["object"].as_str().expect("an object id").to_owned()
    }

    fn data(&self, bytes: &[u8], terms: &str) -> String {
        self.publish(&self.owner, "data", "data.bin", bytes, terms)
    }

    fn program(&self, bytes: &[u8]) -> String {
        self.publish(&self.author, "program", "program.wasm", bytes, "price = 3\n")
    }

    fn run(&self, program: &str, data: &str, out: &str, more: &[&str]) -> Output {
        let out = self.network.path(out).display().to_string();
        let input = format!("in={data}");
        let fixed = ["run", program, "--data", &input, "--max-price", "5000", "--out", &out];
        self.network.samovar(&self.requester, &[&fixed, more].concat())
    }

    fn balance(&self, key: &Path) -> u64 {
        self.network.json(key, &["account", "show"])["balance"].as_u64().expect("a balance")
    }

    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.network.path(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
    }
}

fn succeeded(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// What was refused, and the hint; the exit code must be 1.
fn refused(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default().to_owned();
    let (error, hint) = (line("error: "), line("hint: "));
    assert!(!error.is_empty() && !hint.is_empty(), "{text}");
    (error, hint)
}

#[test]
fn a_task_from_door_to_door() {
    let world = World::new();
    let program = world.program(&guests::copy("in"));
    // Not text, and longer than a chunk is not needed to see that bytes stay bytes.
    let secret: Vec<u8> = (0..1000u32).map(|n| (n * 7) as u8).collect();
    let data = world.data(&secret, &format!("price = 5\nprograms = [\"{program}\"]\nuses_max = 1\n"));
    let before = [&world.owner, &world.author, &world.requester].map(|key| world.balance(key));

    let answer = succeeded(&world.run(&program, &data, "run", &["--json"]));
    assert_eq!((&answer["verified"], &answer["exit_code"]), (&true.into(), &0.into()));
    assert_eq!(world.read("run/result/stdout"), secret);
    assert_eq!(world.read("run/result/exit-code"), b"0\n");
    for phase in ["paid", "drawn", "finalized"] {
        assert!(answer["phases_ms"][phase].is_u64(), "{phase} was not shown: {answer}");
    }

    // Both owners and nobody else in this world were paid; the requester paid for all of it.
    let after = [&world.owner, &world.author, &world.requester].map(|key| world.balance(key));
    assert_eq!((after[0] - before[0], after[1] - before[1]), (5, 3));
    let paid: u64 =
        answer["payments"].as_array().unwrap().iter().map(|payment| payment["amount"].as_u64().unwrap()).sum();
    assert!(before[2] - after[2] >= paid && before[2] - after[2] < paid + 100, "{before:?} {after:?} {paid}");

    // The same command again: nothing more is paid.
    succeeded(&world.run(&program, &data, "run", &[]));
    assert_eq!(world.balance(&world.requester), after[2]);

    // Verified offline, and with the result.
    let (proof, result) = (world.network.path("run/proof"), world.network.path("run/result"));
    let (proof, result) = (proof.display().to_string(), result.display().to_string());
    let verified = world.network.json(&world.author, &["verify", &proof, "--result", &result]);
    assert_eq!((&verified["verified"], &verified["simulated"]), (&true.into(), &true.into()));
    let text = world.network.samovar(&world.author, &["verify", &proof]);
    assert!(String::from_utf8_lossy(&text.stdout).trim_end().ends_with("verified"));

    // One changed byte of the result, of the proof.
    std::fs::write(world.network.path("run/result/stdout"), &secret[1..]).unwrap();
    let (error, _) = refused(&world.network.samovar(&world.author, &["verify", &proof, "--result", &result]));
    assert!(error.contains("not the proven result"), "{error}");
    let mut bytes = world.read("run/proof");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(world.network.path("changed"), &bytes).unwrap();
    refused(&world.network.samovar(&world.author, &["verify", &world.network.path("changed").display().to_string()]));

    // The same result again, by the requester alone.
    let task = answer["task"].as_str().unwrap();
    let again = world.network.path("again").display().to_string();
    world.network.json(&world.requester, &["fetch", task, "--out", &again]);
    assert_eq!(world.read("again/result/stdout"), secret);
    let (error, hint) = refused(&world.network.samovar(&world.owner, &["fetch", task, "--out", &again]));
    assert!(error.contains("only its key opens the result") && hint.contains("--key"), "{error}");

    // What the ledger knows about it.
    let tasks = world.network.json(&world.owner, &["tasks", "list"]);
    assert_eq!(tasks["tasks"][0]["standing"], "done");
    let shown = world.network.json(&world.owner, &["tasks", "show", task]);
    assert_eq!(shown["payments"], answer["payments"]);
    assert_eq!(world.network.json(&world.owner, &["objects", "list"])["objects"].as_array().unwrap().len(), 2);
    assert_eq!(world.network.json(&world.owner, &["objects", "show", &data])["uses"], 1);
    assert_eq!(world.network.json(&world.owner, &["nodes", "list"])["nodes"].as_array().unwrap().len(), 4);

    // All uses are spent.
    let (error, _) = refused(&world.run(&program, &data, "spent", &[]));
    assert!(error.contains("uses"), "{error}");
}

#[test]
fn what_terms_forbid_is_refused_and_costs_nothing() {
    let world = World::new();
    let allowed = world.program(&guests::hello(0));
    let other = world.program(&guests::hello(1));
    let data = world.data(b"x", &format!("programs = [\"{allowed}\"]\n"));
    let before = world.balance(&world.requester);

    let (error, hint) = refused(&world.run(&other, &data, "other", &[]));
    assert!(error.contains(&other) && !hint.is_empty(), "{error}");
    let quote = world.network.json(&world.requester, &["quote", &other, "--data", &format!("in={data}")]);
    assert_eq!(quote["allowed"], false);

    // Data where a program belongs; an object that does not exist; too little money offered.
    refused(&world.run(&data, &allowed, "swapped", &[]));
    let nowhere = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    refused(&world.run(&allowed, nowhere, "nowhere", &[]));
    let out = world.network.path("cheap").display().to_string();
    let input = format!("in={data}");
    refused(
        &world
            .network
            .samovar(&world.requester, &["run", &allowed, "--data", &input, "--max-price", "1", "--out", &out]),
    );
    assert_eq!(world.balance(&world.requester), before);

    // Somebody else's object cannot be changed; its owner's can be withdrawn.
    let (error, _) = refused(&world.network.samovar(&world.requester, &["objects", "revoke", &data]));
    assert!(error.contains("does not belong"), "{error}");
    let quote = world.network.json(&world.requester, &["quote", &allowed, "--data", &input]);
    assert_eq!(quote["allowed"], true, "{quote}");
    world.network.json(&world.owner, &["objects", "revoke", &data]);
    let (error, _) = refused(&world.run(&allowed, &data, "revoked", &[]));
    assert!(error.contains("withdrawn"), "{error}");
}

#[test]
fn a_guest_that_fails_is_named_signed_and_settled() {
    let world = World::new();
    let data = world.data(b"x", "price = 50\n");
    let cases: [(&str, Vec<u8>, &[&str], &str); 3] = [
        ("crash", guests::crash(), &[], "crashed"),
        ("spin", guests::spin(), &["--time-limit", "1"], "limit"),
        ("flood", guests::flood(), &["--output-limit", "1000"], "limit"),
    ];
    for (name, guest, limits, expected) in cases {
        let program = world.publish(&world.author, "program", &format!("{name}.wasm"), &guest, "price = 3\n");
        let owners = [world.balance(&world.owner), world.balance(&world.author)];
        let before = world.balance(&world.requester);
        let (error, hint) = refused(&world.run(&program, &data, name, limits));
        assert!(error.contains(expected) && hint.contains("owners' prices came back"), "{name}: {error}");
        // The owners get nothing, the network its fee, and asking again with the same folder does not pay again.
        assert_eq!([world.balance(&world.owner), world.balance(&world.author)], owners);
        let after = world.balance(&world.requester);
        assert!(after < before);
        refused(&world.run(&program, &data, name, limits));
        assert_eq!(world.balance(&world.requester), after);
    }
    // A guest that ends with an exit code has ended by itself.
    let program = world.program(&guests::hello(9));
    let answer = succeeded(&world.run(&program, &data, "nine", &["--json"]));
    assert_eq!((&answer["exit_code"], &answer["verified"]), (&9.into(), &true.into()));
    assert_eq!(world.read("nine/result/stdout"), b"hello\n");
}

#[test]
fn folders_and_keys_are_not_mixed_up() {
    let world = World::new();
    let program = world.program(&guests::hello(0));
    let data = world.data(b"x", "");
    succeeded(&world.run(&program, &data, "run", &[]));
    let (error, hint) = refused(&world.run(&program, &data, "run", &["--arg", "more"]));
    assert!(error.contains("asks for something else") && hint.contains("--out"), "{error}");
    let full = world.network.path("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("something"), "").unwrap();
    let (error, _) = refused(&world.run(&program, &data, "full", &[]));
    assert!(error.contains("is not empty"), "{error}");

    // A proof of this network means nothing on another with another key.
    let other = Network::create(Options::default());
    let proof = world.network.path("run/proof").display().to_string();
    let (error, _) = refused(&other.samovar(&world.requester, &["verify", &proof]));
    assert!(error.contains("network"), "{error}");
}
