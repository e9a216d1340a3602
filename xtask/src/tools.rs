//! What a machine must have before anything is built: checked first, said in one sentence each.

use anyhow::bail;
use std::process::{Command, Stdio};

/// Programs that no file of ours can install, and the sentence for whoever lacks one.
const NEEDED: [(&str, &str, &str); 3] = [
    (
        "go",
        "version",
        "the real Kubernetes programs are built from pinned Go modules: install Go 1.26 or newer",
    ),
    (
        "cc",
        "--version",
        "SQLite and the TLS library contain C: install a C compiler (Debian: apt-get install gcc libc6-dev)",
    ),
    ("git", "--version", "the checks list the tracked files: install git (Debian: apt-get install git)"),
];

/// Checks that every needed program starts.
pub fn check() -> anyhow::Result<()> {
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|(program, flag, _)| !starts(program, flag))
        .map(|(program, _, sentence)| format!("`{program}` is missing: {sentence}"))
        .collect();
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n")) }
}

fn starts(program: &str, flag: &str) -> bool {
    Command::new(program)
        .arg(flag)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
