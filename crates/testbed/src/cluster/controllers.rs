//! What moves objects: controller manager, scheduler, and kwok for the node and its pods.

use super::credentials::{Credentials, User};
use crate::{
    process::Process,
    programs::{Program, Programs},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Our stages for kwok.
const STAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/kwok-stages.yaml");
/// They serve one cluster of tests: fairness to other clients is not their worry.
const UNHURRIED: [&str; 2] = ["--kube-api-qps=200", "--kube-api-burst=400"];
/// Alone, and without a port of their own.
const ALONE: [&str; 2] = ["--leader-elect=false", "--secure-port=0"];

/// Starts the three; `kubeconfig` writes the file of a user.
pub(super) fn start(
    programs: &Programs,
    dir: &Path,
    credentials: &Credentials,
    kubeconfig: impl Fn(User) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<Vec<Process>> {
    let with = |user, program| {
        let file = kubeconfig(user)?;
        let mut command = Command::new(programs.path(program));
        command.arg(format!("--kubeconfig={}", file.display()));
        anyhow::Ok(command)
    };
    let mut controller_manager = with(User::ControllerManager, Program::KubeControllerManager)?;
    controller_manager
        .args(ALONE)
        .args(UNHURRIED)
        .arg(format!("--service-account-private-key-file={}", credentials.signing_key.display()))
        .arg(format!("--root-ca-file={}", credentials.ca.display()))
        .arg("--use-service-account-credentials=true");
    let mut scheduler = with(User::Scheduler, Program::KubeScheduler)?;
    scheduler.args(ALONE).args(UNHURRIED);
    let mut kwok = with(User::Admin, Program::Kwok)?;
    kwok.args(["--manage-all-nodes", "--node-lease-duration-seconds=0", "--config", STAGES]);

    Ok(vec![
        Process::start("kube-controller-manager", controller_manager, dir)?,
        Process::start("kube-scheduler", scheduler, dir)?,
        Process::start("kwok", kwok, dir)?,
    ])
}
