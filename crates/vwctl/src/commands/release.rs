//! `vwctl job release`.

use crate::{Error, connect::Context, output::print, render, resolve};
use clap::{ArgGroup, Args};
use vworkspace_client::Client;
use vworkspace_protocol::JobId;

/// Either one job by its id, or all of a cluster or an organization.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
pub(super) struct Release {
    /// Id of the job.
    id: Option<String>,
    /// Release every held job of a cluster or an organization.
    #[arg(long, requires = "whose")]
    all: bool,
    /// Name or id of the cluster.
    #[arg(short, long, requires = "all", group = "whose", value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Name or id of the organization.
    #[arg(long, requires = "all", group = "whose", value_name = "ORG")]
    org: Option<String>,
}

impl Release {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        let done = match (self.id, self.cluster, self.org) {
            (Some(id), _, _) => {
                let id = JobId::new(id);
                let job = client.release_job(&id).await.map_err(|e| Error::from(e).about_job(&id))?;
                return print(&context.format.render(&job, render::job)?);
            }
            (None, Some(cluster), _) => {
                client.release_jobs(&resolve::cluster(client, &cluster).await?.id).await?
            }
            (None, None, Some(org)) => {
                client.release_jobs_of(&resolve::organization(client, &org).await?.id).await?
            }
            // The command line lets no other case through.
            (None, None, None) => return Ok(()),
        };
        print(&context.format.render(&done, render::released)?)
    }
}
