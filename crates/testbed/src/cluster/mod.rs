//! A real Kubernetes on loopback: store, API server with RBAC, controllers, scheduler, and one fake node whose pods
//! "run". No containers.

mod control_plane;
mod controllers;
mod credentials;
mod install;
mod kubeconfig;
mod node;
mod operator_account;
mod ready;

pub use install::{apply_documents, shipped as apply_shipped};
pub use kubeconfig::client_config;
pub use operator_account::{ACCOUNT as OPERATOR_ACCOUNT, write_kubeconfig as write_operator_kubeconfig};

use crate::{process::Process, programs::Programs};
use anyhow::Context as _;
use control_plane::ControlPlane;
use credentials::{Credentials, User};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Times that a start is tried again because another program took a port first.
const PORT_RETRIES: usize = 3;

/// A running cluster; it ends with this value. Fields end in their order: the API server before its store, which it
/// would miss for seconds.
#[derive(Debug)]
pub struct Cluster {
    control_plane: ControlPlane,
    controllers: Vec<Process>,
    /// Kubeconfig of a member of `system:masters`.
    pub admin_kubeconfig: PathBuf,
}

impl Cluster {
    /// Starts it with its files in `dir` and waits until pods can be made: API server ready, Flux's and our own
    /// definitions established, our roles in place, node there.
    ///
    /// # Errors
    /// A program does not start or ends early: the error carries the tail of its log.
    pub async fn start(programs: &Programs, dir: &Path) -> anyhow::Result<Self> {
        let credentials = Credentials::make(dir)?;
        let control_plane = Self::start_control_plane(programs, dir, &credentials).await?;
        let url = control_plane.url.clone();
        let kubeconfig = |user: User| kubeconfig::write(dir, &url, &credentials, user);
        let admin_kubeconfig = kubeconfig(User::Admin)?;
        let client = kube::Client::try_from(client_config(&admin_kubeconfig).await?)?;

        let controllers = controllers::start(programs, dir, &credentials, kubeconfig)?;
        let mut cluster = Self { control_plane, controllers, admin_kubeconfig };
        let installed =
            tokio::try_join!(node::make(&client), install::definitions_and_roles(&client, programs));
        // A program that ended explains more than a request that failed.
        cluster.still_runs()?;
        installed?;
        Ok(cluster)
    }

    /// Fails when a program of the cluster has ended.
    ///
    /// # Errors
    /// With the tail of that program's log.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        self.control_plane.still_runs()?;
        self.controllers.iter_mut().try_for_each(Process::still_runs)
    }

    /// Ends the API server, starts it again, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_api_server(&mut self) -> anyhow::Result<()> {
        self.control_plane.restart_api_server()?;
        ready::api_server(&mut self.control_plane, &self.admin_kubeconfig).await
    }

    async fn start_control_plane(
        programs: &Programs,
        dir: &Path,
        credentials: &Credentials,
    ) -> anyhow::Result<ControlPlane> {
        for attempt in 1..=PORT_RETRIES {
            let mut control_plane = ControlPlane::spawn(programs, dir, credentials)?;
            let kubeconfig = kubeconfig::write(dir, &control_plane.url, credentials, User::Admin)?;
            match ready::api_server(&mut control_plane, &kubeconfig).await {
                Ok(()) => return Ok(control_plane),
                Err(error) if control_plane.missed_its_port() => {
                    tracing::info!(attempt, %error, "another program took a port; trying others");
                }
                Err(error) => return Err(error),
            }
            drop(control_plane);
            let store = dir.join(control_plane::STORE);
            fs::remove_dir_all(&store).with_context(|| format!("cannot remove {}", store.display()))?;
        }
        anyhow::bail!("other programs took the ports of the API server {PORT_RETRIES} times")
    }
}
