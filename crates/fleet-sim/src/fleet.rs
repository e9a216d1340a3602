//! The agents of a benchmark: made through the admin API, registered through the transport.

use crate::{args::Setup, server::ServerProcess};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use std::{fs, time::Duration};
use vworkspace_client::Client;
use vworkspace_protocol::{
    ClusterId, Job, Outcome, Secret,
    admin::{CreateCluster, CreateOrganization, CreateRegistrationToken, EnqueueJob},
    credential::RegisterRequest,
    id::{OrganizationId, SessionId},
};
use vworkspace_transport::{
    AgentLink as _, LinkError,
    http::client::{HttpLink, LinkSettings},
};

/// Calls at the same time while the fleet is made.
const AT_ONCE: usize = 32;
/// Sockets of one agent: its own, and that of what enqueues for it.
const FILES_EACH: u64 = 2;
/// Open files beside those.
const SPARE_FILES: u64 = 200;

/// Who an agent is once registered.
pub struct Identity {
    cluster: ClusterId,
    credential: Secret,
}

/// One connected agent.
pub struct Agent {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its way to the server, with a connection of its own.
    pub link: HttpLink,
}

/// Makes an organization with a cluster for each agent and registers them all. Every registration goes through
/// one connection, so that the server's memory afterwards is that of no agent connected.
pub async fn enroll(server: &ServerProcess, admin: &Client, setup: &Setup) -> anyhow::Result<Vec<Identity>> {
    demand_files(u64::from(setup.agents) * FILES_EACH + SPARE_FILES)?;
    let organization = admin.create_organization(&CreateOrganization { name: "bench".to_owned() }).await?;
    let link = HttpLink::new(&link_settings(server, None, "enroll"))?;
    stream::iter(0..setup.agents)
        .map(|number| enroll_one(admin, &link, &organization.id, number))
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .context("cannot register the fleet")
}

/// Opens a connection for each agent with a first poll that does not wait.
pub async fn connect(server: &ServerProcess, identities: Vec<Identity>) -> anyhow::Result<Vec<Agent>> {
    stream::iter(identities)
        .map(async |identity| {
            let Identity { cluster, credential } = identity;
            let session = format!("session-{cluster}");
            let link = HttpLink::new(&link_settings(server, Some(credential), &session))?;
            link.jobs(&cluster, Duration::ZERO).await?;
            anyhow::Ok(Agent { cluster, link })
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .context("cannot connect the fleet")
}

/// An `apply` of an ApplicationInstance of this name, about 700 bytes.
pub fn job(name: &str) -> EnqueueJob {
    let chart = json!({ "repository": "oci://registry.example/charts", "name": "web", "version": "1.2.3" });
    let values = json!({ "replicas": 2, "image": "registry.example/web:1.2.3", "note": "x".repeat(300) });
    let instance = json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1",
        "kind": "ApplicationInstance",
        "metadata": { "name": name, "namespace": "bench" },
        "spec": { "chart": chart, "release": { "name": name, "values": values } },
    });
    EnqueueJob::new("apply", instance)
}

/// Takes a job to its end.
pub async fn finish(link: &HttpLink, job: &Job) -> Result<(), LinkError> {
    link.ack(&job.id).await?;
    link.result(&job.id, &Outcome::Succeeded.into()).await
}

async fn enroll_one(
    admin: &Client,
    link: &HttpLink,
    organization: &OrganizationId,
    number: u32,
) -> anyhow::Result<Identity> {
    let wanted =
        CreateCluster { organization_id: Some(organization.clone()), name: format!("cluster-{number}") };
    let cluster = admin.create_cluster(&wanted).await?.id;
    let token = admin.create_registration_token(&cluster, &CreateRegistrationToken::default()).await?.token;
    let request = RegisterRequest {
        registration_token: token,
        cluster_id: None,
        display_name: String::new(),
        registration_id: String::new(),
    };
    let registered = link.register(&request).await?;
    Ok(Identity { cluster: registered.cluster_id, credential: registered.token })
}

fn link_settings(server: &ServerProcess, bearer: Option<Secret>, session: &str) -> LinkSettings {
    LinkSettings {
        base_url: server.url().to_owned(),
        ca_pem: server.ca_pem().map(<[u8]>::to_vec),
        bearer,
        session: SessionId::new(session),
        user_agent: concat!("vworkspace-fleet-sim/", env!("CARGO_PKG_VERSION")).to_owned(),
        capabilities: vworkspace_protocol::headers::AGENT_CAPABILITIES.to_owned(),
        allow_insecure_http: false,
        witness: std::sync::Arc::default(),
    }
}

/// Says early what would otherwise fail as a refused connection halfway.
fn demand_files(needed: u64) -> anyhow::Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let allowed = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    // Not a number: unlimited.
    match allowed {
        Some(allowed) if allowed < needed => {
            anyhow::bail!("{needed} open files are needed and {allowed} allowed; raise it with ulimit -n")
        }
        Some(_) | None => Ok(()),
    }
}
