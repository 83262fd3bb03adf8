//! The whole story on four real processes, in the orders a user would try.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Mutex, MutexGuard},
};

use serde_json::Value;

use crate::{
    at_once, attack_lying_api, guests,
    harness::{Network, Options, SAMOVAR, get, poll},
    interop::{others_agree, others_refuse},
    openapi, publishing, suspicion,
};

/// A network with three funded accounts.
pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) owner: PathBuf,
    pub(crate) author: PathBuf,
    pub(crate) requester: PathBuf,
}

impl World {
    fn new() -> Self {
        let network = Network::running(Options::default());
        let [owner, author, requester] = ["owner", "author", "requester"].map(|name| network.account(name));
        Self { network, owner, author, requester }
    }

    fn publish(&self, key: &Path, kind: &str, name: &str, bytes: &[u8], terms: &str) -> String {
        let answer = succeeded(&self.try_to_publish(key, kind, name, bytes, terms, &["--json"]));
        rests_on_a_development_network(&answer);
        answer["object"].as_str().expect("an object id").to_owned()
    }

    pub(crate) fn try_to_publish(
        &self,
        key: &Path,
        kind: &str,
        name: &str,
        bytes: &[u8],
        terms: &str,
        more: &[&str],
    ) -> Output {
        let file = guests::file(&self.network.path("."), name, bytes);
        let terms = guests::file(&self.network.path("."), &format!("{name}.toml"), terms.as_bytes());
        let (file, terms) = (file.display().to_string(), terms.display().to_string());
        self.network.samovar(key, &[&["publish", kind, &file, "--terms", &terms], more].concat())
    }

    pub(crate) fn data(&self, bytes: &[u8], terms: &str) -> String {
        self.publish(&self.owner, "data", "data.bin", bytes, terms)
    }

    pub(crate) fn program(&self, bytes: &[u8]) -> String {
        self.publish(&self.author, "program", "program.wasm", bytes, "price = 3\n")
    }

    pub(crate) fn run(&self, program: &str, data: &str, out: &str, more: &[&str]) -> Output {
        let out = self.network.path(out).display().to_string();
        let input = format!("in={data}");
        let fixed = ["run", program, "--data", &input, "--max-price", "5000", "--out", &out];
        self.network.samovar(&self.requester, &[&fixed, more].concat())
    }

    pub(crate) fn balance(&self, key: &Path) -> u64 {
        self.network.json(key, &["account", "show"])["balance"].as_u64().expect("a balance")
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.network.path(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
    }
}

pub(crate) fn succeeded(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// What was refused, and the hint; the exit code must be 1.
pub(crate) fn refused(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default().to_owned();
    let (error, hint) = (line("error: "), line("hint: "));
    assert!(!error.is_empty() && !hint.is_empty(), "{text}");
    (error, hint)
}

/// Two networks at a time are more than a small machine does in good time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn the_demo_holds() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let output = std::process::Command::new(SAMOVAR).args(["demo", "--json", "--dir"]).arg(&dir).output().unwrap();
    let told = succeeded(&output);
    assert_eq!((&told["verified"], &told["nodes"], &told["simulated"]), (&true.into(), &4.into(), &true.into()));
    for key in ["dir", "program", "data", "task", "proof", "result", "network"] {
        assert!(told[key].is_string(), "{key} is missing: {told}");
    }
    let time = |phase: &&str| told["phases_ms"][phase].as_u64().expect(phase);
    let times: Vec<u64> =
        ["checked terms", "paid", "drawn", "running", "sealed", "finalized"].iter().map(time).collect();
    assert!(times.is_sorted(), "{times:?}");
    // Keys and ciphertext come at the same time.
    assert!(["attested", "released", "fetched"].iter().map(time).all(|at| (times[2]..=times[3]).contains(&at)));
    assert!(told["payments"].as_array().unwrap().len() > 3);

    // Its nodes are gone, and what it left is verified by anybody.
    let network = told["network"].as_str().unwrap();
    let api = std::fs::read_to_string(network).unwrap();
    let api =
        api.lines().find_map(|line| line.strip_prefix("api = \"http://")).unwrap().trim_end_matches('"').to_owned();
    assert!(std::net::TcpStream::connect(api).is_err(), "a node still listens");
    let verified = std::process::Command::new(SAMOVAR)
        .args(["verify", told["proof"].as_str().unwrap(), "--network", network, "--result"])
        .arg(told["result"].as_str().unwrap())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert!(String::from_utf8_lossy(&verified.stdout).trim_end().ends_with("verified"));
}

/// Starting a network takes longer than any of these stories, so one network serves them all, one after the other.
#[test]
fn stories_on_four_processes() {
    let _alone = alone();
    let world = World::new();
    let stories: [(&str, fn(&World)); 24] = [
        ("a task from door to door", a_task_from_door_to_door),
        ("evidence beside a proof is judged again or refused", evidence_beside_a_proof_is_judged_again_or_refused),
        ("what terms forbid is refused and costs nothing", what_terms_forbid_is_refused_and_costs_nothing),
        ("a guest that fails is named, signed and settled", a_guest_that_fails_is_named_signed_and_settled),
        ("no side door leads past what may leave", no_side_door_leads_past_what_may_leave),
        ("folders and keys are not mixed up", folders_and_keys_are_not_mixed_up),
        ("an interrupted requester pays once", an_interrupted_requester_pays_once),
        ("one folder is paid for once", at_once::one_folder_is_paid_for_once),
        ("one key serves many commands", at_once::one_key_serves_many_commands),
        ("a publication is under way once", at_once::a_publication_is_under_way_once),
        ("an owner is told before and after", publishing::an_owner_is_told_before_and_after),
        ("a poor account is told what it lacks", publishing::a_poor_account_is_told_what_it_lacks),
        ("what was paid for is named", publishing::what_was_paid_for_is_named_if_stdout_is_full),
        ("an interrupted publication is published once", an_interrupted_publication_is_published_once),
        ("components, binary files and several inputs", components_binary_files_and_several_inputs),
        ("a node that is down is passed over", a_node_that_is_down_is_passed_over),
        ("a lying API does not choose the custodians", attack_lying_api::a_lying_api_does_not_choose_the_custodians),
        ("answers are what the document says", openapi::answers_are_what_the_document_says),
        ("a node that keeps what it refuses is paid once", suspicion::a_node_that_keeps_what_it_refuses_is_paid_once),
        ("a network file cannot claim more", suspicion::a_network_file_cannot_claim_more_than_the_genesis),
        ("one address is enough", suspicion::one_address_is_enough),
        ("a pinned checkpoint needs a link", suspicion::a_pinned_checkpoint_needs_a_link),
        ("a result is not written over another", suspicion::a_result_is_not_written_over_another),
        ("nothing of one network holds on another", nothing_of_one_network_holds_on_another),
    ];
    for (name, story) in stories {
        eprintln!("story: {name}");
        story(&world);
    }
}

fn a_task_from_door_to_door(world: &World) {
    let program = world.program(&guests::copy("in"));
    // Not text, and longer than a chunk is not needed to see that bytes stay bytes.
    let secret: Vec<u8> = (0..1000u32).map(|n| (n * 7) as u8).collect();
    let data = world.data(&secret, &format!("price = 5\nprograms = [\"{program}\"]\nuses_max = 1\n"));
    let before = [&world.owner, &world.author, &world.requester].map(|key| world.balance(key));

    let answer = succeeded(&world.run(&program, &data, "run", &["--json"]));
    assert_eq!((&answer["verified"], &answer["exit_code"]), (&true.into(), &0.into()));
    rests_on_a_development_network(&answer);
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
    let (others_proof, others_result) = (Path::new(&proof), Path::new(&result));
    others_agree(others_proof, &world.network.file(), others_result, &verified);

    // One changed byte of the result, of the proof.
    std::fs::write(world.network.path("run/result/stdout"), &secret[1..]).unwrap();
    let (error, _) = refused(&world.network.samovar(&world.author, &["verify", &proof, "--result", &result]));
    assert!(error.contains("not the proven result"), "{error}");
    others_refuse(others_proof, &world.network.file(), Some(others_result), "result");
    let mut bytes = world.read("run/proof");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(world.network.path("changed"), &bytes).unwrap();
    refused(&world.network.samovar(&world.author, &["verify", &world.network.path("changed").display().to_string()]));
    others_refuse(&world.network.path("changed"), &world.network.file(), None, "");

    // The same result again, by the requester alone.
    let task = answer["task"].as_str().unwrap();
    let again = world.network.path("again").display().to_string();
    world.network.json(&world.requester, &["fetch", task, "--out", &again]);
    assert_eq!(world.read("again/result/stdout"), secret);
    let (error, hint) = refused(&world.network.samovar(&world.owner, &["fetch", task, "--out", &again]));
    assert!(error.contains("only its key opens the result") && hint.contains("--key"), "{error}");

    // What the ledger knows about it.
    let tasks = world.network.json(&world.owner, &["tasks", "list"]);
    assert!(
        tasks["tasks"].as_array().unwrap().iter().any(|known| known["task"] == task && known["standing"] == "done")
    );
    let shown = world.network.json(&world.owner, &["tasks", "show", task]);
    assert_eq!(shown["payments"], answer["payments"]);
    let objects = world.network.json(&world.owner, &["objects", "list", "--kind", "data"]);
    assert!(objects["objects"].as_array().unwrap().iter().any(|known| known["object"] == *data));
    assert_eq!(world.network.json(&world.owner, &["objects", "show", &data])["uses"], 1);
    assert_eq!(world.network.json(&world.owner, &["nodes", "list"])["nodes"].as_array().unwrap().len(), 4);

    for verb in ["objects", "tasks", "nodes"] {
        rests_on_a_development_network(&world.network.json(&world.owner, &[verb, "list"]));
    }
    rests_on_a_development_network(&verified);
    // People read it before the word.
    let run = world.run(&program, &data, "run", &[]);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    for word in ["simulated: ", "self-measured: ", "custody: development", "verified"] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
    assert!(text.find("simulated: ") < text.rfind("verified"), "{text}");

    // All uses are spent.
    let (error, _) = refused(&world.run(&program, &data, "spent", &[]));
    assert!(error.contains("uses"), "{error}");
}

/// A proof without the event log rests on the votes; with the log beside it, the evidence is judged again.
fn evidence_beside_a_proof_is_judged_again_or_refused(world: &World) {
    use model::Canonical as _;
    let program = world.program(&guests::hello(0));
    let data = world.data(b"x", "");
    succeeded(&world.run(&program, &data, "evidence", &[]));
    let mut proof = proof::Proof::decode(&world.read("evidence/proof")).expect("a proof");
    proof.event_log = None;
    let log = proof.event_log_block().expect("evidence that names its log");
    let car = |name: &str, id: &str| {
        let archive = (0..4).find_map(|node| get(&world.network.api(node), &format!("/ipfs/{id}?format=car")));
        guests::file(&world.network.path("."), name, &archive.expect("a node that has it")).display().to_string()
    };
    let bare = guests::file(&world.network.path("."), "bare", &proof.to_bytes()).display().to_string();
    let with_log = car("log.car", &log.to_string());

    let shown = |more: &[&str]| {
        let output = world.network.samovar(&world.author, &[&["verify", &bare], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(shown(&[]).contains("rests on the appraisers' votes"));
    let judged = shown(&["--evidence", &with_log]);
    assert!(judged.contains("judged again here") && !judged.contains("rests on the appraisers' votes"), "{judged}");

    // The evidence of a node, but not the log of the one that ran this; a changed byte; an archive that ends too early.
    let listed = world.network.json(&world.author, &["nodes", "list"]);
    let evidence = listed["nodes"][0]["evidence"].as_str().expect("a CID").to_owned();
    let bytes = world.read("log.car");
    let mut changed = bytes.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    let other = car("other.car", &evidence);
    let changed = guests::file(&world.network.path("."), "changed.car", &changed).display().to_string();
    let short = guests::file(&world.network.path("."), "short.car", &bytes[..bytes.len() - 1]).display().to_string();
    let refusals =
        [(&other, "does not contain"), (&changed, "bad block"), (&short, "ends too early"), (&bare, "not a CAR")];
    for (archive, expected) in refusals {
        let (error, _) = refused(&world.network.samovar(&world.author, &["verify", &bare, "--evidence", archive]));
        assert!(error.contains(expected), "{archive}: {error}");
    }
    // The right log, with the bundle of another proof: its own words about the log are authenticated as well.
    proof.event_log = Some(model::Blob(b"another log".to_vec()));
    let lying = guests::file(&world.network.path("."), "lying", &proof.to_bytes()).display().to_string();
    let (error, _) = refused(&world.network.samovar(&world.author, &["verify", &lying, "--evidence", &with_log]));
    assert!(error.contains("evidence"), "{error}");
}

/// Whoever reads an answer with a program learns what it rests on.
pub(crate) fn rests_on_a_development_network(answer: &Value) {
    let said = (&answer["simulated"], &answer["self_measured"], &answer["custody"]);
    assert_eq!(said, (&true.into(), &true.into(), &"development".into()), "{answer}");
}

fn what_terms_forbid_is_refused_and_costs_nothing(world: &World) {
    let allowed = world.program(&guests::hello(0));
    let other = world.program(&guests::hello(1));
    let data = world.data(b"x", &format!("programs = [\"{allowed}\"]\n"));
    let before = world.balance(&world.requester);

    let (error, hint) = refused(&world.run(&other, &data, "other", &[]));
    assert!(error.contains(&other) && !hint.is_empty(), "{error}");
    let quote = world.network.json(&world.requester, &["quote", &other, "--data", &format!("in={data}")]);
    assert_eq!(quote["allowed"], false);

    // Data where a program belongs; an object that does not exist; too little money offered.
    let (error, _) = refused(&world.run(&data, &allowed, "swapped", &[]));
    assert!(error.contains("is no program object"), "{error}");
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
    // What was refused is kept, for whoever refused it may have kept it too; the same folder serves a better offer.
    assert!(world.network.path("cheap/task").exists());
    succeeded(&world.run(&allowed, &data, "cheap", &[]));
    assert!(world.balance(&world.requester) < before);

    // Somebody else's object cannot be changed; its owner's can be withdrawn.
    let (error, _) = refused(&world.network.samovar(&world.requester, &["objects", "revoke", &data]));
    assert!(error.contains("does not belong"), "{error}");
    let quote = world.network.json(&world.requester, &["quote", &allowed, "--data", &input]);
    assert_eq!(quote["allowed"], true, "{quote}");
    world.network.json(&world.owner, &["objects", "revoke", &data]);
    let (error, hint) = refused(&world.run(&allowed, &data, "revoked", &[]));
    assert!(error.contains("withdrawn") && hint.contains("withdrawn for good"), "{error}: {hint}");
}

fn a_guest_that_fails_is_named_signed_and_settled(world: &World) {
    let data = world.data(b"x", "price = 50\n");
    let cases: [(&str, Vec<u8>, &[&str], &str); 4] = [
        ("outward", guests::outward(), &[], "none that the sandbox runs"),
        ("crash", guests::crash(), &[], "crashed"),
        ("spin", guests::spin(), &["--time-limit", "1"], "limit"),
        ("flood", guests::flood(), &["--output-limit", "1000"], "limit"),
    ];
    for (name, guest, limits, expected) in cases {
        let file = format!("{name}.wasm");
        let publish = |more: &[&str]| {
            let key = &world.author;
            world.try_to_publish(key, "program", &file, &guest, "price = 3\n", &[&["--json"], more].concat())
        };
        if name == "outward" {
            // An author with good intentions hears it before anybody pays; one without is not asked.
            let (error, hint) = refused(&publish(&[]));
            assert!(error.contains("which this sandbox does not offer") && hint.contains("--untried"), "{error}");
        }
        let published = succeeded(&publish(&["--untried"]));
        let program = published["object"].as_str().unwrap().to_owned();
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
    // One that makes a file with a name that no result can have is told so (EINVAL), there and then.
    let program = world.program(&guests::odd_file());
    let answer = succeeded(&world.run(&program, &data, "odd", &["--json"]));
    assert_eq!((&answer["exit_code"], &answer["verified"]), (&28.into(), &true.into()));
}

fn no_side_door_leads_past_what_may_leave(world: &World) {
    let data = world.data(&[9; 1000], "output_bytes_max = 10\n");
    let program = world.program(&guests::smuggle("in"));
    let answer = succeeded(&world.run(&program, &data, "smuggled", &["--json"]));
    // Ten bytes: the exit code's four, and six of the thousand on standard error.
    assert_eq!((&answer["verified"], &answer["exit_code"]), (&true.into(), &0x0909_0909.into()));
    assert_eq!(world.read("smuggled/result/stderr"), [9; 6]);
    assert_eq!(world.read("smuggled/result/stdout"), b"");

    // More than may leave: what binds is named, before and after.
    let flood = world.program(&guests::flood());
    let run = world.run(&flood, &data, "flooded", &["--output-limit", "2000"]);
    let (_, hint) = refused(&run);
    let bound = format!("bound by the terms of {data}");
    assert!(hint.contains(&bound) && hint.contains("at most 10 bytes"), "{hint}");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains(&format!("warning: at most 10 bytes leave, {bound}")), "{said}");
}

fn folders_and_keys_are_not_mixed_up(world: &World) {
    let program = world.program(&guests::hello(0));
    let data = world.data(b"x", "");
    succeeded(&world.run(&program, &data, "mixed", &[]));
    let (error, hint) = refused(&world.run(&program, &data, "mixed", &["--arg", "more"]));
    assert!(error.contains("asks for something else") && hint.contains("--out"), "{error}");
    let full = world.network.path("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("something"), "").unwrap();
    let (error, _) = refused(&world.run(&program, &data, "full", &[]));
    assert!(error.contains("is not empty"), "{error}");

    // A proof of this network means nothing on another with another key.
    let other = Network::create(Options::default());
    let proof = world.network.path("mixed/proof").display().to_string();
    let (error, _) = refused(&other.samovar(&world.requester, &["verify", &proof]));
    assert!(error.contains("network"), "{error}");
}

/// Kills the process of a run as soon as `when` holds; `true` if it was still running then.
fn interrupt(world: &World, program: &str, data: &str, out: &str, when: impl Fn() -> bool) -> bool {
    let (path, input) = (world.network.path(out), format!("in={data}"));
    let mut child = std::process::Command::new(SAMOVAR)
        .args(["run", program, "--data", &input, "--max-price", "5000", "--out"])
        .arg(path)
        .env("SAMOVAR_NETWORK", world.network.file())
        .env("SAMOVAR_KEY", &world.requester)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("samovar runs");
    poll("the run is as far as that, or over", || (when() || child.try_wait().unwrap().is_some()).then_some(()));
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

fn an_interrupted_requester_pays_once(world: &World) {
    let program = world.program(&guests::hello(0));
    let data = world.data(b"x", "price = 5\n");
    let before = world.balance(&world.requester);
    succeeded(&world.run(&program, &data, "whole", &[]));
    let price = before - world.balance(&world.requester);

    let tasks = || world.network.json(&world.owner, &["tasks", "list"])["tasks"].as_array().unwrap().clone();
    let known = tasks().len();
    let running = || (0..4).any(|node| world.network.status(node).is_some_and(|status| status["running"] != 0));
    let ended = |runs| move || tasks().len() > runs && tasks().iter().all(|task| task["standing"] == "done");
    let mut runs = 0;
    for moment in ["begun", "written", "asked", "ended", "opened"] {
        // A run on a quiet machine may be over before it is seen to have come so far: then another one is interrupted.
        let interrupted = (0..INTERRUPTIONS_MAX).any(|attempt| {
            let out = format!("{moment}-{attempt}");
            let path = |name: &str| world.network.path(&out).join(name);
            let before = world.balance(&world.requester);
            let hit = interrupt(world, &program, &data, &out, || match moment {
                "begun" => true,
                "written" => path("task").exists(),
                "asked" => running(),
                "ended" => ended(known + runs)(),
                _ => path("proof").exists(),
            });
            let answer = succeeded(&world.run(&program, &data, &out, &["--json"]));
            runs += 1;
            assert_eq!(answer["verified"], true, "{out}");
            assert_eq!(before - world.balance(&world.requester), price, "paid once, interrupted when {out}");
            assert_eq!(tasks().len(), known + runs, "{out}");
            // The last two moments are too short to be met for sure.
            hit || ["ended", "opened"].contains(&moment)
        });
        assert!(interrupted, "no run was interrupted when {moment}");
    }
}

/// How many runs may be over before they are interrupted.
const INTERRUPTIONS_MAX: usize = 5;

fn an_interrupted_publication_is_published_once(world: &World) {
    let file = guests::file(&world.network.path("."), "interrupted.bin", &[5; 5000]);
    let terms = guests::file(&world.network.path("."), "anybody.toml", b"");
    let state = world.network.path("state");
    let publish = |json: &[&str]| {
        let mut command = std::process::Command::new(SAMOVAR);
        command.args(["publish", "data"]).arg(&file).arg("--terms").arg(&terms).args(json);
        command
            .env("SAMOVAR_NETWORK", world.network.file())
            .env("SAMOVAR_KEY", &world.owner)
            .env("SAMOVAR_STATE", &state);
        command
    };
    let objects = || world.network.json(&world.owner, &["objects", "list"])["objects"].as_array().unwrap().len();
    let (known, before) = (objects(), world.balance(&world.owner));
    let mut child = publish(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("samovar runs");
    let written = || {
        let networks = std::fs::read_dir(&state).ok()?.flatten();
        let journals = networks.filter_map(|network| std::fs::read_dir(network.path().join("publishing")).ok());
        let mut files = journals.flatten().flatten();
        files.any(|file| file.path().extension().is_none()).then_some(())
    };
    poll("the publication is written down, or over", || written().or(child.try_wait().unwrap().map(|_| ())));
    child.kill().unwrap();
    child.wait().unwrap();
    // A first run that came to its end before it was killed has published an object of its own.
    let first = usize::from(written().is_none());
    succeeded(&publish(&["--json"]).output().expect("samovar runs"));
    assert_eq!(objects(), known + first + 1);
    let paid = before - world.balance(&world.owner);
    assert!((1..100).contains(&paid), "{paid}");
}

fn components_binary_files_and_several_inputs(world: &World) {
    // A WASI 0.2 component, on real records.
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let component = std::fs::read(examples.join("logistic-regression/logistic-regression.component.wasm")).unwrap();
    let records = std::fs::read(examples.join("breast-cancer/breast-cancer.csv")).unwrap();
    let program = world.publish(&world.author, "program", "component.wasm", &component, "");
    let data = world.publish(&world.owner, "data", "records.csv", &records, "");
    succeeded(&world.run(&program, &data, "component", &["--metering", "fuel-nan"]));
    assert!(!world.read("component/result/stdout").is_empty());
    assert!(world.network.path("component/result/out/model.json").exists());
    let (proof, result) = (world.network.path("component/proof"), world.network.path("component/result"));
    let verified = world.network.json(&world.owner, &["verify", proof.to_str().unwrap()]);
    others_agree(&proof, &world.network.file(), &result, &verified);

    // More than two leaves of bytes that are no text, beside a second input.
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let large_data = world.publish(&world.owner, "data", "large.bin", &large, "price = 1\n");
    let program = world.publish(&world.author, "program", "copy.wasm", &guests::copy("large.bin"), "");
    let (out, first, second) =
        (world.network.path("two").display().to_string(), format!("large.bin={large_data}"), format!("a={data}"));
    let run = ["run", &program, "--data", &first, "--data", &second, "--max-price", "5000", "--out", &out];
    succeeded(&world.network.samovar(&world.requester, &run));
    assert_eq!(world.read("two/result/stdout"), large[..1024]);
}

fn a_node_that_is_down_is_passed_over(world: &World) {
    let api = format!("http://{}", world.network.api(0));
    let nowhere = "http://127.0.0.1:9";
    let shown = world.network.samovar(&world.requester, &["account", "show", "--node", nowhere, "--json"]);
    assert!(succeeded(&shown)["balance"].as_u64().unwrap() > 0);
    let said = String::from_utf8_lossy(&shown.stderr);
    assert!(said.contains("warning: passed over http://127.0.0.1:9: cannot be reached"), "{said}");
    let preferred = world.network.json(&world.requester, &["objects", "list", "--node", &api]);
    assert!(!preferred["objects"].as_array().unwrap().is_empty());
}

fn nothing_of_one_network_holds_on_another(world: &World) {
    let program = world.program(&guests::hello(0));
    let data = world.data(b"x", "");
    succeeded(&world.run(&program, &data, "here", &[]));
    let other = Network::running(Options::default());
    let on_other = |arguments: &[&str]| other.samovar(&world.requester, arguments);

    // The folder of a task of one network is no task of another.
    let (out, input) = (world.network.path("here").display().to_string(), format!("in={data}"));
    let (error, _) = refused(&on_other(&["run", &program, "--data", &input, "--max-price", "5000", "--out", &out]));
    assert!(error.contains("is no task of this network"), "{error}");

    // The very same signed bytes, handed to a node of the other network: its account has the same key.
    assert!(on_other(&["account", "top-up", "1000"]).status.success());
    let transaction = world.read("here/task");
    let status = post(&other.api(0), "/v1/transactions", &transaction);
    assert!(status.contains(" 4"), "{status}");
    let tasks = other.json(&world.requester, &["tasks", "list"]);
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 0);

    // Its proof, its objects and its result mean nothing there.
    let proof = world.network.path("here/proof").display().to_string();
    let (error, _) = refused(&on_other(&["verify", &proof]));
    assert!(error.contains("network"), "{error}");
    others_refuse(Path::new(&proof), &other.file(), None, "genesis");
    refused(&on_other(&["objects", "show", &data]));
}

/// Sends bytes to a node as they are; returns the status line of the answer.
pub(crate) fn post(address: &str, path: &str, body: &[u8]) -> String {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("a node that listens");
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/vnd.ipld.dag-cbor\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("a node that reads");
    let mut status = String::new();
    std::io::BufReader::new(stream).read_line(&mut status).expect("a node that answers");
    status
}
