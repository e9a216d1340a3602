//! `vwctl cluster keep` and `vwctl cluster unknown-results`.

use crate::{
    Error,
    connect::Context,
    output::{print, say, say_if_cut},
    render, resolve,
};
use clap::Args;
use vworkspace_client::Client;
use vworkspace_protocol::id::SessionId;

#[derive(Args, Debug)]
pub(super) struct Keep {
    /// Name or id of the cluster.
    #[arg(short, long, env = "VWCTL_CLUSTER", hide_env_values = true, value_name = "CLUSTER")]
    cluster: String,
    /// Session that keeps the identity, as `vwctl cluster get` shows it.
    #[arg(long, value_name = "SESSION")]
    session: String,
}

#[derive(Args, Debug)]
pub(super) struct UnknownResults {
    /// Name or id of the cluster.
    cluster: String,
}

impl Keep {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        let cluster = resolve::cluster(client, &self.cluster).await?;
        let kept = client.keep_session(&cluster.id, SessionId::new(self.session)).await?;
        say("All other agents are refused from now on; a job asks the kept one to rotate its credential.");
        print(&context.format.render(&kept, render::cluster)?)
    }
}

impl UnknownResults {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        let cluster = resolve::cluster(client, &self.cluster).await?;
        let page = client.unknown_results(&cluster.id).await?;
        say_if_cut(page.next_cursor.is_some(), page.items.len());
        print(&context.format.render(&page, render::unknown_results)?)
    }
}
