//! Sets up what the machine lacks: the software TPM that stands in for a chip, by the system's package manager.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

/// Programs that must be there, and the Debian package each comes from.
const NEEDED: [(&str, &str); 4] =
    [("setpriv", "util-linux"), ("swtpm", "swtpm"), ("swtpm_setup", "swtpm-tools"), ("swtpm_localca", "swtpm-tools")];

/// Installs what is missing, or says which command needs which right.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut packages: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !installed(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !installed("apt-get") {
        bail!(
            "{} missing: install the packages that hold setpriv, swtpm, swtpm_setup and swtpm_localca \
             (Debian and Ubuntu: {by_hand}; Fedora: dnf install util-linux swtpm swtpm-tools), then run this again",
            packages.join(" and ")
        );
    }
    eprintln!("installing {} (a software TPM 2.0)", packages.join(" and "));
    for arguments in [vec!["update", "-qq"], [&["install", "-y", "-qq"], packages.as_slice()].concat()] {
        let status = privileged("apt-get").args(&arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
        let status = status.with_context(|| format!("cannot run apt-get; as root, run: {by_hand}"))?;
        if !status.success() {
            bail!("apt-get {} failed ({status}); as root, run: {by_hand}", arguments.join(" "));
        }
    }
    Ok(())
}

/// Whether a program is on the path, or where Debian keeps programs for root.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir: std::path::PathBuf| dir.join(program).is_file())
}

/// The command, through `sudo` where this user is not root.
fn privileged(program: &str) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root || !Path::new("/usr/bin/sudo").exists() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}
