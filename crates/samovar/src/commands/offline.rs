//! `verify`: a proof against a network file, without asking anybody.

use std::path::Path;

use client::{EXTENSION_FILE, NetworkFile};
use model::{Canonical as _, api::Extension};
use proof::Verified;
use serde_json::json;

use super::network_failure;
use crate::{cli::Verify, failure::Failure, ui::Answer};

/// Most bytes of a proof.
const PROOF_BYTES_MAX: u64 = proof::Proof::BYTES_MAX as u64;
/// Most bytes of evidence beside it.
const EVIDENCE_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn verify(args: &Verify) -> Result<Answer, Failure> {
    let network = NetworkFile::read(&args.network).map_err(network_failure)?;
    let bytes = read(&args.proof, PROOF_BYTES_MAX, "name the file `proof` that `samovar run` wrote")?;
    let blocks = args.evidence.as_deref().map_or_else(|| Ok(Vec::new()), read_blocks)?;
    if let Some(archive) = &args.evidence {
        check_belongs(archive, &blocks, &bytes)?;
    }
    let extension = read_extension(args, &network)?;
    let consistency = extension.as_ref().map(|extension| extension.digests.as_slice());
    let extras = proof::Extras { blocks: &blocks, consistency };
    let verified = proof::verify_with(&bytes, &network.proof_network(), &extras).map_err(|cause| refused(&cause))?;
    if verified.linked_with_checkpoint() == Some(false) {
        return Err(not_linked(&network, &verified));
    }
    let mut text = String::new();
    let mut not_proven = Vec::new();
    if let Some(folder) = &args.result {
        not_proven =
            client::check_result(folder, &verified).map_err(|cause| Failure::of(&cause, result_hint(&cause)))?;
        text = result_lines(folder, &not_proven);
    }
    let checklist = verified.checklist();
    text.push_str(&checklist.to_string());
    let json = json!({
        "verified": true,
        "task": verified.task_id(),
        "network": network.id,
        "height": checklist.height,
        "time_ms": checklist.time_ms,
        "simulated": verified.simulated(),
        "self_measured": verified.self_measured(),
        "custody": verified.genesis().custody,
        "checkpoint": verified.linked_with_checkpoint().is_some(),
        "outcome": verified.receipt().outcome,
        "payments": verified.payments(),
        "warnings": checklist.warnings,
        "checks": checklist.items,
        "result": args.result.is_some(),
        "not_proven": not_proven,
        "bytes": bytes.len(),
    });
    Ok(Answer::new(json, text))
}

/// What was found in the folder of a result: what is proven, and what else lies there.
fn result_lines(folder: &Path, not_proven: &[String]) -> String {
    let whose = if not_proven.is_empty() { "The files" } else { "The files of the result" };
    let mut text = format!("  [x] result    {whose} in {} are the proven result, byte for byte.\n", folder.display());
    text.extend(not_proven.iter().map(|name| format!("  [ ] result    not proven: {name}\n")));
    text
}

fn result_hint(cause: &client::ResultMismatch) -> &'static str {
    match cause {
        client::ResultMismatch::Other { .. } => "`samovar fetch TASK --out DIR` fetches the proven result again",
        _ => "--result takes the folder `result` that `samovar run` and `samovar fetch` write beside the proof",
    }
}

/// What links the proof with the pinned checkpoint: the file that was named, or the one beside the proof.
fn read_extension(args: &Verify, network: &NetworkFile) -> Result<Option<Extension>, Failure> {
    let Some(pinned) = &network.checkpoint else {
        // Nothing needs it; but whoever names a file means one.
        return args.extension.as_deref().map_or(Ok(None), |file| open_extension(file).map(Some));
    };
    let beside = args.proof.with_file_name(EXTENSION_FILE);
    let file = match &args.extension {
        Some(file) => file,
        None if beside.exists() => &beside,
        None => return Ok(None),
    };
    let extension = open_extension(file)?;
    if ![extension.from, extension.to].contains(&pinned.log_size) {
        return Err(Failure::new(format!("{} is about another checkpoint", file.display()), EXTENSION_HINT));
    }
    Ok(Some(extension))
}

const EXTENSION_HINT: &str = "fetch the result again, or name the right file with --extension";

fn open_extension(file: &Path) -> Result<Extension, Failure> {
    let bytes = read(file, Extension::BYTES_MAX as u64, EXTENSION_HINT)?;
    Extension::from_bytes(&bytes, Extension::BYTES_MAX).map_err(|cause| Failure::of(&cause, EXTENSION_HINT))
}

fn not_linked(network: &NetworkFile, verified: &Verified) -> Failure {
    let sizes = [verified.head().log_size(), network.checkpoint.map_or(0, |pinned| pinned.log_size)];
    let (from, to) = (sizes[0].min(sizes[1]), sizes[0].max(sizes[1]));
    let api = network.nodes.first().map_or("http://NODE", |node| &node.api);
    Failure::new(
        "the network file pins a checkpoint, and nothing links this proof with it",
        format!(
            "name with --extension the file `{EXTENSION_FILE}` that was written beside the proof; any node gives it, too: \
             curl -H 'Accept: application/vnd.ipld.dag-cbor' -o {EXTENSION_FILE} '{api}/v1/consistency?from={from}&to={to}'"
        ),
    )
}

/// A proof that does not hold.
pub(crate) fn refused(cause: &proof::ProofError) -> Failure {
    let hint = match cause {
        proof::ProofError::Encoding { link: proof::Link::Bundle, .. } => {
            "name the file `proof` that `samovar run` wrote; if it is that, it was damaged"
        }
        proof::ProofError::OtherNetwork => "name the file of the network that the task ran on with --network",
        _ => "do not rely on this proof: it was damaged or forged",
    };
    Failure::of(cause, hint)
}

/// Evidence that says nothing about this proof must not look as if it had been looked at.
fn check_belongs(archive: &Path, blocks: &[Vec<u8>], proof: &[u8]) -> Result<(), Failure> {
    // What cannot be read is refused by the verifier, with the reason.
    let named = proof::Proof::decode(proof).ok().and_then(|proof| proof.event_log_block());
    let Some(log) = named else { return Ok(()) };
    if blocks.iter().any(|block| model::ContentId::of_dag_cbor(block) == log) {
        return Ok(());
    }
    Err(Failure::new(
        format!("{} does not contain {log}, the event log behind this proof's evidence", archive.display()),
        format!("any node that took part has it: GET /ipfs/{log}?format=car"),
    ))
}

/// The blocks of a CAR, each checked against its CID.
fn read_blocks(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    const HINT: &str = "--evidence takes a CAR archive, as GET /ipfs/CID?format=car gives it";
    let items =
        content::car::decode(&read(path, EVIDENCE_BYTES_MAX, HINT)?).map_err(|cause| Failure::of(&cause, HINT))?;
    let block = |item| match item {
        content::car::Item::Block(block) => Some(block.data().to_vec()),
        content::car::Item::Roots(_) => None,
    };
    Ok(items.into_iter().filter_map(block).collect())
}

/// Reads a file; `hint` says which one it should be.
fn read(path: &Path, bytes_max: u64, hint: &str) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    if path.is_dir() {
        return Err(Failure::new(format!("{} is a folder", path.display()), "name a file in it, such as its `proof`"));
    }
    let failed = |cause: std::io::Error| Failure::disk(path, &cause);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        let error = format!("{} is longer than the {bytes_max} bytes that are read of such a file", path.display());
        return Err(Failure::new(error, hint));
    }
    Ok(bytes)
}
