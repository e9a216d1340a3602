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

/// What a job asks for beside its payload.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// How long a failure that may pass is waited out; 0: until the deadline.
    pub retry_seconds: Option<u32>,
    /// Upgrade even if nothing changed.
    pub force: bool,
}

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
    /// Hands in `intent`; prints the job as it is at the end of the command.
    pub async fn hand_in(
        self,
        context: &Context,
        client: &Client,
        cluster: &Cluster,
        intent: Value,
        wishes: Wishes,
    ) -> Result<(), Error> {
        let is_keyed = self.idempotency_key.is_some();
        let request = EnqueueJob {
            idempotency_key: self.idempotency_key,
            retry_seconds: wishes.retry_seconds,
            force: wishes.force,
            deadline_seconds: self.deadline.map(|deadline| deadline.seconds()),
            ..EnqueueJob::new("intent", intent)
        };
        let job = client.enqueue_job(&cluster.id, &request).await?;
        if let Some(repeats) = render::repetition(&job).filter(|_| is_keyed) {
            say(&repeats);
            if job.state.is_terminal() {
                print(&context.format.render(&job, render::job)?)?;
                return if self.wait { follow::verdict(&job) } else { Ok(()) };
            }
        }
        if let Some(waits) = render::never_registered(cluster).filter(|_| !job.state.is_terminal()) {
            say(&waits);
        }
        if !self.wait {
            say(&format!("Handed in. `vwctl job watch {}` follows it.", job.id));
            return print(&context.format.render(&job, render::job)?);
        }
        say(&format!("Following job {}; Ctrl-C ends the following, not the job.", job.id));
        let tell = |job: &_, entry: &_| {
            say(&render::timeline_entry(job, entry));
            Ok(())
        };
        let job = follow::follow(client, &job.id, tell).await?;
        if let Some(replayed) = render::replayed(&job) {
            say(replayed);
        }
        print(&context.format.render(&job, render::followed_job)?)?;
        follow::verdict(&job)
    }
}
