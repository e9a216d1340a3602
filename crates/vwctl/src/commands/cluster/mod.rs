//! `vwctl cluster`.

mod identity;
mod leave;
mod manifest;
mod take_back;

use super::enqueue::{Waiting, Wishes};
use crate::{
    Error,
    connect::Context,
    duration::Span,
    output::{Format, print, say, say_if_cut},
    render, resolve,
};
use clap::{Args, Subcommand};
use identity::{Keep, UnknownResults};
use leave::Leave;
use manifest::Join;
use serde_json::json;
use take_back::TakeBack;
use vworkspace_client::{Client, Error as CallError};
use vworkspace_protocol::admin::{CreateCluster, CreateRegistrationToken, Role};

/// Clusters and their registration.
#[derive(Args, Debug)]
pub struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make the record of a cluster.
    Create {
        /// Unique in its organization, a DNS label.
        name: String,
        /// Name or id of its organization; an organization's own token needs none.
        #[arg(long, env = "VWCTL_ORG", hide_env_values = true, value_name = "ORG")]
        org: Option<String>,
    },
    /// List the clusters you may see.
    List {
        /// Only those of this organization, by name or id.
        #[arg(long, env = "VWCTL_ORG", hide_env_values = true, value_name = "ORG")]
        org: Option<String>,
        /// Show archived ones as well.
        #[arg(long)]
        archived: bool,
    },
    /// Show one cluster with the conditions of its operator.
    Get {
        /// Name or id of the cluster.
        cluster: String,
    },
    /// Make a single-use token that registers a cluster.
    Token(Token),
    /// Have the cluster's operator exchange its credential for a new one; the old one ends when that is first used.
    Rotate(Rotate),
    /// Decide which of two agents keeps the cluster's identity; the other loses it at once.
    Keep(Keep),
    /// List results that the cluster reported for jobs the control plane does not know, as after a restore.
    UnknownResults(UnknownResults),
    #[command(flatten)]
    TakeBack(TakeBack),
    /// End vWorkspace in a cluster, as its admin: with a kubeconfig and without the control plane.
    Leave(Leave),
}

#[derive(Args, Debug)]
struct Token {
    /// Name or id of the cluster.
    cluster: String,
    /// How long it may wait to be used; without, and at most: 24h.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// Print what the cluster's admin applies to join it: the Secrets and the Cluster object.
    #[arg(long)]
    manifest: bool,
    /// The operator's namespace, for the Secrets.
    #[arg(long, requires = "manifest", default_value = "vworkspace-system")]
    namespace: String,
    /// URL of the control plane as seen from the cluster; without: the one used here.
    #[arg(long, requires = "manifest", value_name = "URL")]
    endpoint: Option<String>,
}

#[derive(Args, Debug)]
struct Rotate {
    /// Name or id of the cluster.
    cluster: String,
    #[command(flatten)]
    waiting: Waiting,
}

impl Cluster {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        match self.action {
            Action::Create { name, org } => create(context, &context.client()?, name, org.as_deref()).await,
            Action::List { org, archived } => {
                list(context, &context.client()?, org.as_deref(), archived).await
            }
            Action::Get { cluster } => {
                let cluster = resolve::cluster(&context.client()?, &cluster).await?;
                print(&context.format.render(&cluster, render::cluster)?)
            }
            Action::Token(token) => token.run(context, &context.client()?).await,
            Action::Rotate(rotate) => rotate.run(context, &context.client()?).await,
            Action::Keep(keep) => keep.run(context, &context.client()?).await,
            Action::UnknownResults(unknown) => unknown.run(context, &context.client()?).await,
            Action::TakeBack(action) => action.run(context, &context.client()?).await,
            // Speaks to the cluster itself; the control plane is not asked.
            Action::Leave(leave) => leave.run(context.format).await,
        }
    }
}

async fn create(context: &Context, client: &Client, name: String, org: Option<&str>) -> Result<(), Error> {
    let organization_id = match org {
        Some(org) => Some(resolve::organization(client, org).await?.id),
        None => None,
    };
    let wanted = CreateCluster { organization_id, name };
    let made = match client.create_cluster(&wanted).await {
        Err(error) if lacks_organization(client, &wanted, &error).await => return Err(Error::NoOrganization),
        made => made?,
    };
    say(&format!("Made. `vwctl cluster token {} --manifest` says how to join it.", made.name));
    print(&context.format.render(&made, render::cluster)?)
}

/// Whether `error` is that nothing said which organization is meant, which only an admin has to.
async fn lacks_organization(client: &Client, wanted: &CreateCluster, error: &CallError) -> bool {
    let may_be = wanted.organization_id.is_none() && error.status() == Some(400);
    may_be && client.whoami().await.is_ok_and(|whoami| whoami.role == Role::Admin)
}

async fn list(context: &Context, client: &Client, org: Option<&str>, archived: bool) -> Result<(), Error> {
    let organization = match org {
        Some(org) => Some(resolve::organization(client, org).await?.id),
        None => None,
    };
    let page = client.clusters_and(organization.as_ref(), archived).await?;
    say_if_cut(page.next_cursor.is_some(), page.items.len());
    print(&context.format.render(&page, render::clusters)?)
}

impl Rotate {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        let cluster = resolve::cluster(client, &self.cluster).await?;
        let intent = json!({ "intent": "rotate-operator-credentials" });
        self.waiting.hand_in_intent(context, client, &cluster, intent, Wishes::default()).await
    }
}

impl Token {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        let cluster = resolve::cluster(client, &self.cluster).await?;
        let wanted = CreateRegistrationToken { ttl_seconds: self.ttl.as_ref().map(Span::seconds) };
        let made = client.create_registration_token(&cluster.id, &wanted).await?;
        say(&format!("Shown this once; good for one registration until {}.", render::when(made.expires_at)));
        if !self.manifest {
            return print(&context.format.render(&made, |made| made.token.expose().to_owned())?);
        }
        let login = context.login()?;
        let join = Join {
            endpoint: self.endpoint.as_deref().unwrap_or(&login.server),
            namespace: &self.namespace,
            ca: login.ca.as_deref(),
            token: &made.token,
        };
        say("Apply it as the cluster's admin, for example with `kubectl apply -f -`.");
        match context.format {
            Format::Json => print(&Format::Json.render(&join.list(), |_| String::new())?),
            Format::Table | Format::Yaml => print(&join.yaml()?),
        }
    }
}
