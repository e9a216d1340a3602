//! What a program says of its own version.

use super::pin::Program;
use crate::process;
use anyhow::Context as _;
use std::{path::Path, process::Command};

/// The first line it says.
pub(super) async fn ask(program: Program, path: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(path);
    match program {
        Program::Kubectl => command.args(["version", "--client"]),
        Program::Helm => command.args(["version", "--short"]),
        Program::Crane => command.arg("version"),
        Program::Etcd
        | Program::KubeApiserver
        | Program::KubeControllerManager
        | Program::KubeScheduler
        | Program::Kwok
        | Program::ControllerGen => command.arg("--version"),
    };
    let said = process::output(command).await?;
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    Ok(line.with_context(|| format!("{} does not say its version", program.name()))?.to_owned())
}
