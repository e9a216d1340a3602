//! The product as a user would start it: server with its own CA, one organization and cluster, and the operator
//! under its own ServiceAccount. Shared by the demo and the end-to-end tests.
//!
//! Everything goes the way a user goes: built programs, the admin API through `vworkspace-client`, and objects
//! that the cluster's admin makes.

mod cluster_admin;
mod operator;
mod server;
mod tls;
mod vwctl;

pub use cluster_admin::{register_cluster, release_is_named};
pub use operator::Operator;
pub use server::Server;
pub use tls::Tls;
pub use vwctl::Vwctl;

use crate::Testbed;
use anyhow::{Context as _, ensure};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use vworkspace_client::Client;
use vworkspace_protocol::{
    ClusterId,
    admin::{CreateCluster, CreateOrganization, CreateRegistrationToken, Presence},
};

/// How long a freshly started operator may take to show up at the control plane.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// Flags of the programs, besides those they need.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Of `vworkspace-server serve`.
    pub server: Vec<String>,
    /// Of `vworkspace-operator`.
    pub operator: Vec<String>,
}

/// Server and operator, running; both end with this value.
pub struct Stack {
    /// The control plane.
    pub server: Server,
    /// The in-cluster program.
    pub operator: Operator,
    /// The command line, logged in as the admin of the control plane.
    pub vwctl: Vwctl,
    /// The admin API, as the admin of the control plane.
    pub client: Client,
    /// The one cluster registered here.
    pub cluster: ClusterId,
    /// Name of that cluster.
    pub cluster_name: String,
}

impl Stack {
    /// Starts the server from `programs` (a folder with the built binaries), makes an organization and a cluster,
    /// registers it, and starts the operator. `work` takes data, logs and certificates.
    pub async fn start(testbed: &Testbed, programs: &Path, work: &Path) -> anyhow::Result<Self> {
        Self::start_with(testbed, programs, work, &Flags::default()).await
    }

    /// As [`Stack::start`], with other times than the shipped ones.
    pub async fn start_with(
        testbed: &Testbed,
        programs: &Path,
        work: &Path,
        flags: &Flags,
    ) -> anyhow::Result<Self> {
        let tls = tls::Tls::make(work)?;
        let server = Server::start(programs, work, &tls, &flags.server).await?;
        let vwctl = Vwctl::login(programs, work, &server)?;
        let client = server.client()?;

        let organization =
            client.create_organization(&CreateOrganization { name: "acme".to_owned() }).await?;
        let cluster_name = "clinic-1".to_owned();
        let wanted = CreateCluster { organization_id: Some(organization.id), name: cluster_name.clone() };
        let cluster = client.create_cluster(&wanted).await?.id;
        let token = client.create_registration_token(&cluster, &CreateRegistrationToken::default()).await?;

        register_cluster(&testbed.admin(), &server.url, &tls.ca, &token.token).await?;
        let operator = Operator::start(programs, work, testbed.operator_kubeconfig(), &flags.operator)?;
        Ok(Self { server, operator, vwctl, client, cluster, cluster_name })
    }

    /// Waits until the control plane sees the operator.
    pub async fn connected(&self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let presence = self.client.cluster(&self.cluster).await?.presence;
            if presence == Presence::Connected {
                return Ok(start.elapsed());
            }
            ensure!(
                start.elapsed() < CONNECT_WITHIN,
                "the operator did not connect; its log: {}",
                self.operator.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The folder of this build's programs: the one the running program, or test, was built into.
///
/// # Errors
/// A program is missing; the text says how to build it.
pub fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = own.ancestors().skip(1).find(|dir| dir.join("vworkspace-server").exists());
    folder.map(Path::to_path_buf).context(
        "the programs are not built: cargo build -p vworkspace-server -p vworkspace-operator -p vworkspace-vwctl",
    )
}
