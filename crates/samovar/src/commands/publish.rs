//! `publish`.

use std::path::Path;

use client::{Publication, Published, TermsDraft, Trust, describe_terms, read_description};
use model::{Canonical as _, ObjectKind};
use sandbox::{Metering, Sandbox, SandboxConfig};
use serde_json::json;

use super::{connect, load_key};
use crate::{
    cli::{Kind, Publish},
    failure::Failure,
    ui::{Answer, Phases, notes, print_warning, tell, with_trust},
};

/// What every WebAssembly file begins with.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Longer files are no programs on any network.
const PROGRAM_BYTES_MAX: u64 = 1 << 30;

pub(crate) async fn publish(args: &Publish) -> Result<Answer, Failure> {
    let kind = ObjectKind::from(args.kind);
    let publication = Publication {
        kind,
        file: args.file.clone(),
        terms: TermsDraft::read(&args.terms, kind)?,
        description: args.describe.as_deref().map(read_description).transpose()?,
        sample: args.sample.clone(),
    };
    let description_bytes = publication.description.as_ref().map(|description| description.to_bytes().len() as u64);
    let sample_bytes =
        args.sample.as_deref().and_then(|sample| std::fs::metadata(sample).ok()).map(|about| about.len());
    let key = load_key(&args.signing)?;
    if args.kind == Kind::Program && !args.untried {
        let file = args.file.clone();
        let checked = tokio::task::spawn_blocking(move || check_compiles(&file)).await;
        checked.map_err(|cause| Failure::of(&cause, "try again"))??;
    }
    let client = connect(&args.signing.asking)?;
    let watch = Phases::on_terminal(args.signing.output());
    let published = client.publish(&key, &publication, &watch).await?;
    let trust = client.trust().await?;
    if !args.signing.output().json {
        // On stderr, so that stdout is the id alone and can be put into a variable. The id stands here, too: it was paid for.
        let mut text = format!("published {kind} {} of {}\n", published.object, key.account());
        for (what, bytes) in [("description", description_bytes), ("sample", sample_bytes)] {
            text.extend(bytes.map(|bytes| format!("  {what}: published in clear, {bytes} bytes\n")));
        }
        tell((text + &summary(&published, kind, &trust)).trim_end());
    }
    let json = json!({
        "object": published.object,
        "kind": kind,
        "owner": key.account(),
        "terms": published.terms,
        "threshold": published.threshold,
        "custodians": published.custodians,
        "copies": published.copies,
        "in_clear": { "description_bytes": description_bytes, "sample_bytes": sample_bytes },
    });
    Ok(Answer::new(with_trust(json, &trust), published.object.to_string()))
}

fn summary(published: &Published, kind: ObjectKind, trust: &Trust) -> String {
    let mut text: String = describe_terms(&published.terms, kind).iter().map(|line| format!("  {line}\n")).collect();
    text.push_str(&format!(
        "  key: any {} of {} custodians together, copies: {}\n",
        published.threshold,
        published.custodians.len(),
        published.copies
    ));
    text + &notes(trust)
}

/// Whoever asks for a program that no node compiles pays the network for nothing.
fn check_compiles(file: &Path) -> Result<(), Failure> {
    let short = std::fs::metadata(file).is_ok_and(|about| about.is_file() && about.len() <= PROGRAM_BYTES_MAX);
    // What cannot be read, and what is no WebAssembly at all, is complained about where it is sealed.
    let Some(module) = short.then(|| std::fs::read(file).ok()).flatten().filter(|it| it.starts_with(WASM_MAGIC)) else {
        return Ok(());
    };
    let compiled =
        Sandbox::new(SandboxConfig::this_program()).map(|sandbox| sandbox.compile(&module, Metering::None, None));
    match compiled {
        Ok(Ok(_)) => {}
        Ok(Err(cause)) if cause.guest_at_fault() => {
            let hint =
                "`samovar try` shows more; --untried publishes it all the same, for nodes newer than this program";
            return Err(Failure::of(&cause, hint));
        }
        Ok(Err(cause)) => print_warning(&format!("not compiled here: {}", client::chain(&cause))),
        Err(cause) => print_warning(&format!("not compiled here: {}", client::chain(&cause))),
    }
    Ok(())
}
