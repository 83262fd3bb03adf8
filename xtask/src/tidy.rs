//! Checks what compilers do not: which crate knows which, licences, links in documents, leftovers.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{cargo, metadata, root};

/// Runs every check and reports everything it finds, not only the first.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = metadata()?;
    let files = tracked_files()?;
    let mut findings = Vec::new();
    layers(&metadata, &mut findings)?;
    engine(&metadata, &mut findings)?;
    licences(&mut findings)?;
    reasons(&mut findings)?;
    leftovers(&files, &mut findings);
    purposes(&files, &mut findings);
    links(&files, &mut findings);
    if findings.is_empty() {
        println!("tidy: {} files, {} packages, nothing to say", files.len(), packages(&metadata)?.len());
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!("tidy found {} things to mend", findings.len())
}

fn tracked_files() -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    let names = String::from_utf8(output.stdout)?;
    Ok(names.split('\0').filter(|name| !name.is_empty() && root().join(name).is_file()).map(str::to_owned).collect())
}

fn packages(metadata: &Value) -> anyhow::Result<&Vec<Value>> {
    metadata["packages"].as_array().context("cargo metadata lists no packages")
}

fn ours(metadata: &Value) -> anyhow::Result<Vec<&Value>> {
    Ok(packages(metadata)?.iter().filter(|package| package["source"].is_null()).collect())
}

/// Names of what a package uses in the product, tests apart.
fn uses(package: &Value) -> Vec<&str> {
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str())
        .collect()
}

/// Dependencies among our crates are exactly within `[workspace.metadata.layers]`.
fn layers(metadata: &Value, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let layers = metadata["metadata"]["layers"].as_object().context("Cargo.toml has no [workspace.metadata.layers]")?;
    let ours = ours(metadata)?;
    let names: BTreeSet<&str> = ours.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in ours {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = layers.get(name).and_then(Value::as_array) else {
            findings.push(format!("Cargo.toml: crate {name} is in no layer of [workspace.metadata.layers]"));
            continue;
        };
        for used in uses(package).into_iter().filter(|used| names.contains(used)) {
            if !allowed.iter().any(|allowed| allowed == used) {
                findings.push(format!("crates/{name}/Cargo.toml: {name} must not know {used} (ARCHITECTURE.md)"));
            }
        }
    }
    Ok(())
}

/// Only `finality` and `consensus` know the engine.
fn engine(metadata: &Value, findings: &mut Vec<String>) -> anyhow::Result<()> {
    for package in ours(metadata)? {
        let name = package["name"].as_str().unwrap_or_default();
        if !["finality", "consensus"].contains(&name)
            && uses(package).iter().any(|used| used.starts_with("commonware-"))
        {
            findings.push(format!("crates/{name}/Cargo.toml: only finality and consensus may know commonware"));
        }
    }
    Ok(())
}

/// Everything that is built can be had under a permissive licence.
fn licences(findings: &mut Vec<String>) -> anyhow::Result<()> {
    // Not from `cargo metadata`: it counts optional packages that no feature of ours turns on.
    let output = cargo()
        .args(["tree", "--workspace", "--locked", "--target", "all", "--prefix", "none", "--format", "{p}|{l}"])
        .output()
        .context("cannot run cargo tree")?;
    let lines: BTreeSet<String> =
        String::from_utf8(output.stdout)?.lines().map(|line| line.replace(" (*)", "")).collect();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let (package, licence) = line.rsplit_once('|').context("cargo tree's format has changed")?;
        // "A OR B AND C": some alternative whose every part is permissive.
        let fine = licence
            .replace('/', " OR ")
            .split(" OR ")
            .any(|choice| choice.split(" AND ").all(|part| PERMISSIVE.contains(&part.trim_matches(['(', ')', ' ']))));
        let name = package.split(' ').next().unwrap_or_default();
        if !fine && !READ_BY_HAND.contains(&name) {
            findings.push(format!(
                "Cargo.lock: {package} is under '{licence}', which is not on the list of permissive licences"
            ));
        }
    }
    Ok(())
}

/// Every dependency says why it is here.
fn reasons(findings: &mut Vec<String>) -> anyhow::Result<()> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let section = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    for line in section.take_while(|line| !line.starts_with('[')) {
        let is_foreign = line.contains(" = ") && !line.starts_with('#') && !line.contains("path = ");
        if is_foreign && !line.contains("# ") {
            let name = line.split(' ').next().unwrap_or_default();
            findings.push(format!("Cargo.toml: {name} does not say why it is here; write the reason behind it"));
        }
    }
    Ok(())
}

const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Crates whose manifest names only a licence file; somebody has read it.
const READ_BY_HAND: &[&str] = &[];

/// Nothing unfinished, nothing of one machine.
fn leftovers(files: &[String], findings: &mut Vec<String>) {
    // Spelt in two halves so that this file does not find itself.
    let banned = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("#[ign", "ore"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("static.crates", ".io"),
        concat!("index.crates", ".io"),
        concat!("registry.npm", "js"),
    ];
    let kinds = ["rs", "toml", "md", "sh", "go", "mjs", "ts", "js", "wat", "wit"];
    for name in files.iter().filter(|name| kinds.iter().any(|kind| name.ends_with(&format!(".{kind}")))) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{name}:{}: '{word}' does not belong in the tree", number + 1));
            }
        }
    }
}

/// Every Rust file says at its top what it is for.
fn purposes(files: &[String], findings: &mut Vec<String>) {
    for name in files.iter().filter(|name| name.ends_with(".rs")) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        if !text.starts_with("//!") && !text.starts_with("#![") {
            findings.push(format!("{name}:1: says nowhere at its top what it is for (//! …)"));
        }
    }
}

/// Links between documents lead somewhere.
fn links(files: &[String], findings: &mut Vec<String>) {
    for name in files.iter().filter(|name| name.ends_with(".md")) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        let folder = Path::new(name).parent().unwrap_or(Path::new(""));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !root().join(folder).join(path).exists() {
                findings.push(format!("{name}: the link to {target} leads nowhere"));
            }
        }
    }
}
