//! `network create` and `network approve`.

use std::time::Duration;

use node::network::CreateOptions;
use serde_json::json;

use crate::{
    cli::{NetworkApprove, NetworkCreate},
    failure::Failure,
    ui::Answer,
};

pub(crate) fn create(args: &NetworkCreate) -> Result<Answer, Failure> {
    let options = CreateOptions {
        nodes: args.nodes as usize,
        name: args.name.clone(),
        verdict: Duration::from_secs(args.verdict_seconds),
        overhead: Duration::from_secs(args.overhead_seconds),
        ..CreateOptions::default()
    };
    let created = node::network::create(&args.dir, &options).map_err(|cause| Failure::of(&cause, cause.hint()))?;
    let mut text =
        format!("network {}\n{}\n\nStart its nodes, each in a terminal of its own:\n", created.network, created.notice);
    for config in &created.nodes {
        text.push_str(&format!("  samovar node --config {}\n", config.display()));
    }
    text.push_str(&format!("\nThen:\n  export SAMOVAR_NETWORK={}\n", created.file.display()));
    let json = json!({
        "network": created.network,
        "file": created.file,
        "nodes": created.nodes,
        "binary": created.binary,
        "notice": created.notice,
        "simulated": true,
    });
    Ok(Answer::new(json, text))
}

pub(crate) fn approve(args: &NetworkApprove) -> Result<Answer, Failure> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe().map_err(|cause| Failure::of(&cause, "name the binary with --binary FILE"))?,
    };
    let digest = node::network::approve(&args.dir, &binary).map_err(|cause| Failure::of(&cause, cause.hint()))?;
    Ok(Answer::new(
        json!({ "binary": digest, "file": binary }),
        format!("approved {digest}\nRestart the nodes to run it."),
    ))
}
