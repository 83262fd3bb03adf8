//! What this binary proves, judged by a verifier that was written from `docs/spec` alone: `interop/verifier-go`.
//!
//! Needs Go; where it is not installed this says so and passes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use serde_json::Value;

use crate::go;

/// Demands that the other verifier accepts a proof with its result, and states what `samovar verify --json` does.
pub fn others_agree(proof: &Path, network: &Path, result: &Path, ours: &Value) {
    let Some(binary) = verifier_go() else { return };
    let out = Command::new(binary).args([proof, network, result]).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && said.ends_with("\nverified\n"), "{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<String> = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let done = &ours["outcome"]["done"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let outcome = format!("outcome done: {} in {}", text(&done["seal"]["plaintext_root"]), text(&done["ciphertext"]));
    let mut stated =
        vec![format!("task {}", text(&ours["task"])), outcome, "result the files are the proven ones".into()];
    for payment in ours["payments"].as_array().unwrap() {
        stated.push(format!(
            "payments {} to {}: {}",
            payment["amount"],
            text(&payment["to"]),
            text(&payment["reason"])
        ));
    }
    for statement in stated {
        assert!(lines.contains(&statement), "{statement} is not in {said}");
    }
}

/// Demands that the other verifier refuses, and names a link that begins with `link`.
pub fn others_refuse(proof: &Path, network: &Path, result: Option<&Path>, link: &str) {
    let Some(binary) = verifier_go() else { return };
    let out = Command::new(binary).args([proof, network]).args(result).output().unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && complaint.starts_with(&format!("error: link {link}")), "{complaint}");
}

/// `None` if there is no Go here.
fn verifier_go() -> Option<&'static Path> {
    static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| go::build("verifier-go"));
    BUILT.as_deref()
}
