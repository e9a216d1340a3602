//! `vwctl app`.

mod deploy;
mod manifest;
mod values;

use super::enqueue::Waiting;
use crate::{
    Error,
    connect::Context,
    error::Thing,
    output::{print, say, say_if_cut},
    render, resolve,
};
use clap::{Args, Subcommand};
use deploy::Deploy;
use serde_json::json;
use values::Values;
use vworkspace_client::Client;
use vworkspace_protocol::admin::{Cluster, Resource};

/// Applications in a cluster.
#[derive(Args, Debug)]
pub struct App {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Install or change an application.
    Deploy(Box<Deploy>),
    /// List the applications a cluster reports.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show one application with its conditions.
    Get {
        /// Name of the application.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show the values that were asked for, and those that run.
    Values(Values),
    /// Uninstall an application.
    Delete(Delete),
}

/// Where to look.
#[derive(Args, Debug)]
struct Place {
    /// Name or id of the cluster.
    #[arg(short, long, env = "VWCTL_CLUSTER", hide_env_values = true, value_name = "CLUSTER")]
    cluster: String,
    /// Only this namespace; without: all.
    #[arg(short, long, env = "VWCTL_NAMESPACE", hide_env_values = true)]
    namespace: Option<String>,
}

#[derive(Args, Debug)]
struct Delete {
    /// Name of the application.
    name: String,
    /// Name or id of the cluster.
    #[arg(short, long, env = "VWCTL_CLUSTER", hide_env_values = true, value_name = "CLUSTER")]
    cluster: String,
    /// Its namespace.
    #[arg(short, long, env = "VWCTL_NAMESPACE", hide_env_values = true)]
    namespace: String,
    #[command(flatten)]
    waiting: Waiting,
}

/// The kind this command is about.
const KIND: &str = "ApplicationInstance";

impl App {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        match self.action {
            Action::Deploy(deploy) => deploy.run(context).await,
            Action::List { place } => list(context, &place).await,
            Action::Get { name, place } => get(context, &name, &place).await,
            Action::Values(values) => values.run(context).await,
            Action::Delete(delete) => delete.run(context).await,
        }
    }
}

async fn list(context: &Context, place: &Place) -> Result<(), Error> {
    let client = context.client()?;
    let cluster = resolve::cluster(&client, &place.cluster).await?;
    let namespace = place.namespace.as_deref().unwrap_or_default();
    let page = client.resources(&cluster.id, KIND, namespace, "").await?;
    say_if_cut(page.next_cursor.is_some(), page.items.len());
    say_absence(&cluster);
    print(&context.format.render(&page, render::applications)?)
}

async fn get(context: &Context, name: &str, place: &Place) -> Result<(), Error> {
    let resource = find(&context.client()?, name, place).await?;
    print(&context.format.render(&resource, render::application)?)
}

async fn find(client: &Client, name: &str, place: &Place) -> Result<Resource, Error> {
    let cluster = resolve::cluster(client, &place.cluster).await?;
    let namespace = place.namespace.as_deref().unwrap_or_default();
    let found = client.resources(&cluster.id, KIND, namespace, name).await?.items;
    let resource = resolve::only(Thing::Application { cluster: place.cluster.clone() }, name, found)?;
    say_absence(&cluster);
    Ok(resource)
}

fn say_absence(cluster: &Cluster) {
    if let Some(absence) = render::absence(cluster) {
        say(&absence);
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let cluster = resolve::cluster(&client, &self.cluster).await?;
        let intent = json!({ "intent": "delete-application-instance", "name": self.name, "namespace": self.namespace });
        self.waiting.hand_in_intent(context, &client, &cluster, intent).await
    }
}
