//! `vwctl job`.

mod create;

use super::{ClusterArg, limit, release::Release};
use crate::{
    Error,
    connect::Context,
    follow,
    output::{print, say, say_if_cut},
    render, resolve,
    signals::Signals,
};
use clap::{Args, Subcommand};
use create::Create;
use std::num::NonZeroU16;
use vworkspace_client::Client;
use vworkspace_protocol::{JobId, admin::JobState};

/// Jobs: what a cluster was asked to do, and what became of it.
#[derive(Args, Debug)]
pub struct Job {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Hand in a job of any kind from a file.
    Create(Create),
    /// List the jobs of a cluster, newest first.
    List(List),
    /// Show one job with its conditions and timeline.
    Get {
        /// Id of the job.
        id: String,
    },
    /// Follow one job to its end by its live timeline; exits 3 when it does not succeed.
    Watch {
        /// Id of the job.
        id: String,
    },
    /// Say who has a job now, and what happens next and when.
    Explain {
        /// Id of the job.
        id: String,
    },
    /// Release jobs that are held since the control plane was restored from a backup.
    Release(Release),
    /// Withdraw an open job; an agent that holds it already may still carry it out.
    Cancel {
        /// Id of the job.
        id: String,
    },
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Only jobs in this state, for example queued or closed.
    #[arg(long, value_parser = state)]
    state: Option<JobState>,
    /// At most so many.
    #[arg(long, default_value = "50", value_parser = limit, value_name = "N")]
    limit: NonZeroU16,
}

/// The states of the admin API, by their names there.
fn state(text: &str) -> Result<JobState, String> {
    serde_json::from_value(text.into()).map_err(|e| e.to_string())
}

impl Job {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self.action {
            Action::Create(create) => create.run(context, &client).await,
            Action::List(list) => list.run(context, &client).await,
            Action::Get { id } => {
                let id = JobId::new(id);
                let job = client.job(&id).await.map_err(|e| Error::from(e).about_job(&id))?;
                print(&context.format.render(&job, render::job)?)
            }
            Action::Watch { id } => {
                let id = JobId::new(id);
                watch(context, &client, &id).await.map_err(|e| e.about_job(&id))
            }
            Action::Explain { id } => {
                let id = JobId::new(id);
                let explained = client.explain_job(&id).await.map_err(|e| Error::from(e).about_job(&id))?;
                print(&context.format.render(&explained, render::explanation)?)
            }
            Action::Release(release) => release.run(context, &client).await,
            Action::Cancel { id } => {
                let id = JobId::new(id);
                let job = client.cancel_job(&id).await.map_err(|e| Error::from(e).about_job(&id))?;
                if job.timeline.iter().any(|entry| entry.state == JobState::Acked) {
                    say("The cluster had this job already: what it changed stays, and Flux goes on with it.");
                }
                print(&context.format.render(&job, render::job)?)
            }
        }
    }
}

impl List {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        let cluster = resolve::cluster(client, &self.cluster.cluster).await?;
        let page = client.jobs(&cluster.id, self.state, self.limit.get().into()).await?;
        say_if_cut(page.next_cursor.is_some(), page.items.len());
        print(&context.format.render(&page, render::jobs)?)
    }
}

async fn watch(context: &Context, client: &Client, id: &JobId) -> Result<(), Error> {
    let tell = |job: &_, entry: &_| {
        print(&context.format.render_one_of(entry, |entry| render::timeline_entry(job, entry))?)
    };
    let mut signals = Signals::catch().map_err(Error::Signals)?;
    let (job, ended) = follow::follow(client, &mut signals, id, None, tell).await;
    ended.and_then(|()| job.as_ref().map_or(Ok(()), follow::verdict))
}
