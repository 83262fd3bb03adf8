//! Against a verifier that knows nothing of this one: `interop/verifier-go`, written from `docs/spec`.
//!
//! The tests of this crate call [`verify`] here: where the other verifier could be built, both must say the same. Needs Go;
//! where it is not installed this says so, and the tests go on with one verifier.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use model::{Canonical as _, Digest, FailureClass, NetworkId, Outcome};
use proof::{Extras, Network, ProofError, Verified};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{go, story::Story};

/// Verifies, and demands that the other verifier agrees: on whether the proof holds, on the link that breaks, and on the
/// task, its outcome, every payment, and what must be said beside.
#[track_caller]
pub(crate) fn verify(bundle: &[u8], network: &Network) -> Result<Verified, ProofError> {
    agreed(bundle, network, None)
}

/// The same, with what links the proof to the network's checkpoint.
#[track_caller]
pub(crate) fn verify_linked(bundle: &[u8], network: &Network, extension: &Extension) -> Result<Verified, ProofError> {
    agreed(bundle, network, Some(extension))
}

/// The file `extension` beside a proof.
#[derive(Serialize, Deserialize)]
pub(crate) struct Extension {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) digests: Vec<Digest>,
}

#[track_caller]
fn agreed(bundle: &[u8], network: &Network, extension: Option<&Extension>) -> Result<Verified, ProofError> {
    let extras = Extras { consistency: extension.map(|it| it.digests.as_slice()), ..Extras::default() };
    let ours = proof::verify_with(bundle, network, &extras);
    if let Some(theirs) = verifier_go().map(|binary| ask(binary, bundle, network, extension)) {
        let stated = ours.as_ref().map(stated).map_err(|broken| broken.link().to_string());
        assert_eq!(stated, theirs, "ours and the other verifier's; ours in full: {:?}", ours.as_ref().err());
    }
    ours
}

/// `None` if there is no Go here.
fn verifier_go() -> Option<&'static Path> {
    static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| go::build("verifier-go"));
    BUILT.as_deref()
}

/// What the other verifier says: the lines that [`stated`] makes of ours, or the link that breaks.
fn ask(binary: &Path, bundle: &[u8], network: &Network, extension: Option<&Extension>) -> Result<Vec<String>, String> {
    let folder = TempDir::new().unwrap();
    let (proof, file) = (folder.path().join("proof"), folder.path().join("network.toml"));
    fs::write(&proof, bundle).unwrap();
    fs::write(&file, toml(network)).unwrap();
    if let Some(extension) = extension {
        fs::write(folder.path().join("extension"), extension.to_bytes()).unwrap();
    }
    let out = Command::new(binary).args([&proof, &file]).output().unwrap();
    let (said, complaint) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    if out.status.success() {
        assert!(said.ends_with("\nverified\n"), "{said}");
        let words = ["task ", "outcome ", "payments "];
        let stated = said.lines().filter(|line| words.iter().any(|word| line.starts_with(word))).map(one_line);
        let notes = |about| said.lines().any(|line| line.starts_with("note ") && line.contains(about));
        let notes = [notes("simulated"), notes("self-measured"), notes("checkpoint"), notes("appraised")];
        return Ok(stated.chain([format!("notes {notes:?}")]).collect());
    }
    assert!(said.is_empty() && out.status.code() == Some(1), "{said}{complaint}");
    let link = complaint.strip_prefix("error: link ").and_then(|rest| rest.split_once(" is broken: "));
    Err(link.unwrap_or_else(|| panic!("{complaint}")).0.to_owned())
}

fn one_line(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What our verifier states, in the words of the other.
fn stated(verified: &Verified) -> Vec<String> {
    let payments = verified.payments().iter().map(|it| format!("payments {} to {}: {}", it.amount, it.to, it.reason));
    let outcome = match &verified.receipt().outcome {
        Outcome::Done(result) => format!("outcome done: {} in {}", result.seal.plaintext_root, result.ciphertext),
        Outcome::Failed(class) => format!("outcome failed: {class}"),
    };
    let warnings = verified.checklist().warnings;
    let notes = ["simulated:", "self-measured:", "checkpoint:", "evidence:"];
    let notes = notes.map(|about| warnings.iter().any(|warning| warning.starts_with(about)));
    payments.chain([format!("task {}", verified.task_id()), outcome, format!("notes {notes:?}")]).collect()
}

/// The network file, as `docs/spec/network.md` has it.
fn toml(network: &Network) -> String {
    let mut text = format!("id = \"{}\"\nkey = \"{}\"\nsimulated = {}\n", network.id, network.key, network.simulated);
    if let Some(known) = &network.checkpoint {
        let (height, time_ms, log_size) = (known.height, known.time_ms, known.log_size);
        let root = known.log_root;
        writeln!(
            text,
            "[checkpoint]\nheight = {height}\ntime_ms = {time_ms}\nlog_size = {log_size}\nlog_root = \"{root}\""
        )
        .unwrap();
    }
    text
}

#[test]
fn both_accept_every_outcome() {
    use FailureClass::{Content, Guest, Keys, Limit, Node};
    let story = Story::success();
    verify(&story.bytes(), &story.file()).unwrap();
    for class in [Guest, Limit, Keys, Content, Node] {
        let story = Story::ending(Outcome::Failed(class));
        verify(&story.bytes(), &story.file()).unwrap();
    }
}

#[test]
fn both_refuse_what_is_damaged() {
    let story = Story::success();
    let (mut bytes, network) = (story.bytes(), story.file());
    verify(&bytes, &network).unwrap();
    // A spread of bytes, of each another bit; that no byte is without meaning, `attack_bytes` shows.
    for position in (0..bytes.len()).step_by(bytes.len() / 150) {
        let flipped = 1 << (position % 8);
        bytes[position] ^= flipped;
        assert!(verify(&bytes, &network).is_err(), "byte {position}");
        bytes[position] ^= flipped;
    }
    for length in (0..bytes.len()).step_by(bytes.len() / 20) {
        assert!(verify(&bytes[..length], &network).is_err(), "cut to {length}");
    }
    assert!(verify(&[&bytes[..], &[0]].concat(), &network).is_err());
}

/// A network may be made of any bytes: whoever knows its id has to read them in the one way that is allowed.
#[test]
fn both_read_the_same_genesis() {
    let story = Story::success();
    let (mut proof, network) = (story.proof(), story.file());
    for position in (0..proof.genesis.0.len()).step_by(proof.genesis.0.len() / 100) {
        for flipped in [1 << (position % 8), 0x80] {
            proof.genesis.0[position] ^= flipped;
            let id = NetworkId(Digest::of(&proof.genesis.0).0);
            assert!(verify(&proof.to_bytes(), &Network { id, ..network }).is_err(), "byte {position}");
            proof.genesis.0[position] ^= flipped;
        }
    }
}

/// Its own tests: the vectors of `docs/spec`, those that must be refused among them.
#[test]
fn the_other_verifier_passes_its_own_tests() {
    if verifier_go().is_some() {
        go::run("verifier-go", &["vet", "."]);
        go::run("verifier-go", &["test", "."]);
    }
}
