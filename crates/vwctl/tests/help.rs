//! What `--help` says: a change of the command line shows up in review.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vwctl"));
    let output = command.env_clear().args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_explains_itself() {
    for words in [
        "",
        "login",
        "org",
        "org archive",
        "token",
        "token create",
        "token list",
        "token revoke",
        "cluster",
        "cluster token",
        "cluster rotate",
        "cluster keep",
        "cluster unknown-results",
        "cluster tokens",
        "cluster revoke-token",
        "cluster revoke",
        "cluster archive",
        "cluster leave",
        "app",
        "app deploy",
        "app values",
        "job",
        "job create",
        "job watch",
        "job release",
        "events",
        "whoami",
    ] {
        let arguments: Vec<_> = words.split_whitespace().collect();
        let name = if words.is_empty() { "vwctl".to_owned() } else { words.replace(' ', "_") };
        insta::assert_snapshot!(name, help(&arguments));
    }
}

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vwctl"));
        let output = command.env_clear().args(["completions", shell]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("deploy"), "{shell}");
    }
}
