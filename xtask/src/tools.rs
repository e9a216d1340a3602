//! What a machine must have before anything is built: checked first, said in one sentence each.

use crate::step::root;
use anyhow::bail;
use std::process::{Command, Stdio};

/// The oldest Go that builds the pinned modules: major, minor.
const GO: (u32, u32) = (1, 26);

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

/// Checks that every needed program starts, and that Go is new enough.
pub fn check() -> anyhow::Result<()> {
    let mut missing: Vec<String> = NEEDED
        .iter()
        .filter(|(program, flag, _)| !starts(program, flag))
        .map(|(program, _, sentence)| format!("`{program}` is missing: {sentence}"))
        .collect();
    missing.extend(go_too_old());
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n")) }
}

/// A sentence about a Go that would not build the modules. It is asked where they are, since Go may fetch the version
/// that a module asks for. What it says of itself decides only when it is understood; without Go there is nothing to say.
fn go_too_old() -> Option<String> {
    let mut go = Command::new("go");
    go.args(["env", "GOVERSION"]).current_dir(root().join("testbed/kubernetes"));
    let output = go.env("GOFLAGS", "").env("GOWORK", "off").stdin(Stdio::null()).output().ok()?;
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let needed = format!("{}.{}", GO.0, GO.1);
    if !output.status.success() {
        return Some(format!(
            "`go` does not work here, Go {needed} or newer is needed; it says: {}",
            complaint.trim()
        ));
    }
    let found = go_version(&said).filter(|found| *found < GO)?;
    Some(format!(
        "`go` is too old: found {} ({}.{}), Go {needed} or newer is needed to build the real Kubernetes programs",
        said.trim(),
        found.0,
        found.1
    ))
}

/// Major and minor version in what `go env GOVERSION` or `go version` says. None for what is not a release, such as
/// `devel`, or not understood.
fn go_version(said: &str) -> Option<(u32, u32)> {
    let mut words = said.split_whitespace();
    let (major, rest) = words.find_map(|word| word.strip_prefix("go")?.split_once('.'))?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?)).filter(|_| !said.contains("devel"))
}

fn starts(program: &str, flag: &str) -> bool {
    Command::new(program)
        .arg(flag)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_go_says() {
        for (said, version) in [
            ("go1.26.8\n", (1, 26)),
            ("go1.26", (1, 26)),
            ("go1.9.7", (1, 9)),
            ("go1.27rc1", (1, 27)),
            ("go1.25.3-X:nogreenteagc", (1, 25)),
            ("go1.26.1 X:boringcrypto", (1, 26)),
            ("go2.0", (2, 0)),
            ("go version go1.22.2 linux/amd64", (1, 22)),
        ] {
            assert_eq!(go_version(said), Some(version), "{said}");
        }
    }

    #[test]
    fn what_is_no_release_or_not_understood_has_no_version() {
        for said in [
            "devel go1.27-0a1b2c3 Tue Mar 3 10:00:00 2026 +0000",
            "devel +0a1b2c3",
            "go version devel go1.20-abc linux/amd64",
            "go",
            "gotip",
            "go1",
            "go1.x",
            "",
        ] {
            assert_eq!(go_version(said), None, "{said}");
        }
    }

    #[test]
    fn no_pinned_module_asks_for_a_newer_go_than_is_checked() {
        let mut modules = 0;
        for folder in std::fs::read_dir(root().join("testbed")).unwrap() {
            let Ok(text) = std::fs::read_to_string(folder.unwrap().path().join("go.mod")) else { continue };
            let asked = text.lines().find_map(|line| line.strip_prefix("go ")).unwrap();
            assert!(go_version(&format!("go{asked}")).unwrap() <= GO, "{asked}");
            modules += 1;
        }
        assert!(modules > 0, "no module was read");
    }
}
