//! `demo`: the whole story on a fresh local network of real nodes, in one command.

mod nodes;
mod story;

use std::path::{Path, PathBuf};

use serde_json::json;

use self::{nodes::Nodes, story::Story};
use crate::{
    cli::Demo,
    failure::Failure,
    ui::{Answer, print_line, with_trust},
};

/// What to do after Ctrl-C.
pub(super) const INTERRUPTED: &str = "its nodes were stopped; start it anew, with another --dir if you named one";

/// Tells the story; succeeds only if all of it held.
pub(crate) async fn demo(args: &Demo) -> Result<Answer, Failure> {
    let dir = folder(args.dir.as_deref())?;
    let mut story = Story::new(args, dir.clone());
    let told = story.tell().await;
    let nodes = story.take_nodes();
    let told = told?;
    let mut text = String::new();
    match nodes {
        Some(nodes) if args.keep => {
            text = by_hand(&dir, &told, &nodes);
            nodes.let_go();
        }
        _ => {}
    }
    let json = json!({
        "verified": true,
        "nodes": args.nodes,
        "dir": dir,
        "program": told.program,
        "data": told.data,
        "task": told.task,
        "proof": told.proof,
        "result": told.result,
        "network": told.network,
        "phases_ms": told.phases_ms,
        "payments": told.payments,
        "refused": told.refused,
        "total_ms": told.total_ms,
        "warnings": told.trust.warnings,
    });
    let json = with_trust(json, &told.trust);
    text.push_str(&format!(
        "\nverified: task {} in {:.1} s; everything is in {}",
        told.task,
        told.total_ms as f64 / 1_000.0,
        dir.display()
    ));
    Ok(Answer::new(json, text))
}

fn folder(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(dir) = named else {
        let fresh = tempfile::Builder::new().prefix("samovar-demo-").tempdir();
        return fresh.map(tempfile::TempDir::keep).map_err(|cause| Failure::of(&cause, "name a folder with --dir DIR"));
    };
    std::fs::create_dir_all(dir).map_err(|cause| Failure::disk(dir, &cause))?;
    let dir = dir.canonicalize().map_err(|cause| Failure::disk(dir, &cause))?;
    let mut entries = std::fs::read_dir(&dir).map_err(|cause| Failure::disk(&dir, &cause))?;
    match entries.next() {
        None => Ok(dir),
        Some(_) => Err(Failure::new(format!("{} is not empty", dir.display()), "name a new folder with --dir")),
    }
}

/// What a person can type next.
fn by_hand(dir: &Path, told: &story::Told, nodes: &Nodes) -> String {
    let samovar = std::env::current_exe().unwrap_or_else(|_| "samovar".into());
    let (dir, samovar) = (dir.display(), samovar.display());
    let ids: Vec<String> = nodes.ids().iter().map(ToString::to_string).collect();
    format!(
        "
The network keeps running. To use it by hand:
  export SAMOVAR_NETWORK={network} SAMOVAR_KEY={dir}/requester.key
  {samovar} nodes list
  {samovar} objects list
  {samovar} account show
  {samovar} run {program} --data records.csv={data} --max-price 1000 --out {dir}/again
  {samovar} verify {dir}/again/proof --result {dir}/again/result
To stop it:
  kill {ids}
",
        network = told.network.display(),
        program = told.program,
        data = told.data,
        ids = ids.join(" "),
    )
}

/// A line of the story, for people.
pub(crate) fn say(silent: bool, line: impl AsRef<str>) {
    if !silent {
        // The answer at its end says if nothing could be written.
        drop(print_line(line.as_ref()));
    }
}
