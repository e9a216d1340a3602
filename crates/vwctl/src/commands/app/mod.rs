//! `vwctl app`.

mod deploy;
mod manifest;
mod values;

use super::enqueue::{Waiting, Wishes};
use crate::{
    Error,
    connect::Context,
    duration::{Span, or_zero},
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
    /// Have Flux look at an application again: a release that was uninstalled by hand comes back, and a version published
    /// since is found. A healthy application is not upgraded.
    Sync(Sync),
    /// Try a failed application again as it was asked for; its failures are cleared. A healthy one is only looked at.
    Retry(Retry),
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

/// One application and the job about it.
#[derive(Args, Debug)]
struct Target {
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

#[derive(Args, Debug)]
struct Delete {
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
struct Sync {
    #[command(flatten)]
    target: Target,
    /// Upgrade even if nothing changed: hooks run again, and deleted objects of the chart come back.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Args, Debug)]
struct Retry {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    patience: Patience,
}

/// How long a failing application is waited for.
#[derive(Args, Debug)]
#[command(next_help_heading = "Waiting")]
pub(super) struct Patience {
    /// How long to wait while Helm fails and Flux tries again, for example 10m; 0: until the deadline. Without: two equal
    /// failures if chart or values are at fault, else three and 5m.
    #[arg(long, value_name = "DURATION", value_parser = or_zero)]
    retry_for: Option<Span>,
}

impl Patience {
    fn wishes(&self, force: bool) -> Wishes {
        Wishes { retry_seconds: self.retry_for.as_ref().map(Span::seconds), force }
    }
}

/// The kind this command is about.
const KIND: &str = "ApplicationInstance";

/// The intent that applies once more what was applied, as a request of its own.
const SYNC: &str = "sync-application-instance";

impl App {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        match self.action {
            Action::Deploy(deploy) => deploy.run(context).await,
            Action::List { place } => list(context, &place).await,
            Action::Get { name, place } => get(context, &name, &place).await,
            Action::Values(values) => values.run(context).await,
            Action::Sync(Sync { target, force, patience }) => {
                say(&match force {
                    false => format!("Flux is asked to look at {} again.", target.name),
                    true => format!("Flux is asked to upgrade {}, even if nothing changed.", target.name),
                });
                target.enqueue(context, SYNC, patience.wishes(force)).await
            }
            Action::Retry(Retry { target, patience }) => {
                say(&format!(
                    "Flux is asked to try {} again; its failures so far do not count.",
                    target.name
                ));
                target.enqueue(context, SYNC, patience.wishes(false)).await
            }
            Action::Delete(Delete { target }) => {
                target.say_if_unknown(context).await?;
                target.enqueue(context, "delete-application-instance", Wishes::default()).await
            }
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

impl Target {
    /// A deletion of what is not there succeeds; a typing error is to be noticed all the same.
    async fn say_if_unknown(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let cluster = resolve::cluster(&client, &self.cluster).await?;
        let found = client.resources(&cluster.id, KIND, &self.namespace, &self.name).await?.items;
        if found.is_empty() {
            say(&format!("{} reports no application {:?} in {:?}.", cluster.name, self.name, self.namespace));
        }
        Ok(())
    }

    /// Enqueues an intent that names the application alone.
    async fn enqueue(self, context: &Context, intent: &str, wishes: Wishes) -> Result<(), Error> {
        let client = context.client()?;
        let cluster = resolve::cluster(&client, &self.cluster).await?;
        let intent = json!({ "intent": intent, "name": self.name, "namespace": self.namespace });
        self.waiting.hand_in_intent(context, &client, &cluster, intent, wishes).await
    }
}
