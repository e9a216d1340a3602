//! Handing in an intent, and following its job where that is asked for.

use crate::{
    Error,
    connect::Context,
    duration::Span,
    follow,
    output::{print, say},
    render,
};
use clap::Args;
use serde_json::Value;
use vworkspace_client::Client;
use vworkspace_protocol::admin::{Cluster, EnqueueJob};

/// Whether and for how long to wait.
#[derive(Args, Debug)]
pub(super) struct Waiting {
    /// Follow the job to its end; exits 3 when it does not succeed.
    #[arg(short, long)]
    wait: bool,
    /// When to give the job up, for example 10m; without: 30m.
    #[arg(long, value_name = "DURATION")]
    deadline: Option<Span>,
    /// Makes a repeat of this command answer the job of the first time.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Waiting {
    /// Hands in `intent`, see [`Self::hand_in`].
    pub async fn hand_in_intent(
        self,
        context: &Context,
        client: &Client,
        cluster: &Cluster,
        intent: Value,
    ) -> Result<(), Error> {
        self.hand_in(context, client, cluster, EnqueueJob::new("intent", intent)).await
    }

    /// Hands in `job`, with what the flags say of it; prints the job as it is at the end of the command.
    pub async fn hand_in(
        self,
        context: &Context,
        client: &Client,
        cluster: &Cluster,
        job: EnqueueJob,
    ) -> Result<(), Error> {
        let request = EnqueueJob {
            idempotency_key: self.idempotency_key.or(job.idempotency_key),
            deadline_seconds: self.deadline.map(|deadline| deadline.seconds()).or(job.deadline_seconds),
            ..job
        };
        let job = client.enqueue_job(&cluster.id, &request).await?;
        if !self.wait {
            if let Some(why) = render::awaited(cluster).filter(|_| !job.state.is_terminal()) {
                say(&why);
            }
            say(&format!("Handed in. `vwctl job watch {}` follows it.", job.id));
            return print(&context.format.render(&job, render::job)?);
        }
        say(&format!("Following job {}; Ctrl-C ends the following, not the job.", job.id));
        let tell = |job: &_, entry: &_| {
            say(&render::timeline_entry(job, entry));
            Ok(())
        };
        let (job, ended) = follow::follow(client, job, tell).await;
        print(&context.format.render(&job, render::followed_job)?)?;
        ended.and_then(|()| follow::verdict(&job))
    }
}
