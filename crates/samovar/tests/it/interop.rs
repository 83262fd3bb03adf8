//! What this binary proves, judged by a verifier that was written from `docs/spec` alone: `interop/verifier-go`.
//!
//! Needs Go; where it is not installed this says so and passes.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

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

/// Builds verifier-go once. `None` if there is no Go here.
fn verifier_go() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            if Command::new("go").arg("version").output().is_err() {
                let _ = writeln!(std::io::stderr(), "skipped: Go is not installed, so verifier-go cannot be built");
                return None;
            }
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/verifier-go");
            let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verifier-go");
            let built =
                Command::new("go").args(["build", "-o"]).arg(&binary).arg(".").current_dir(source).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            Some(binary)
        })
        .as_deref()
}
