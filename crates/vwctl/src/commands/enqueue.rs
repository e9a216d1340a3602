//! Handing in an intent, and following its job where that is asked for.

use crate::{
    Error,
    connect::Context,
    duration::Span,
    error::Signal,
    follow,
    output::{print, say},
    render,
    signals::Signals,
};
use clap::Args;
use serde_json::Value;
use std::{pin::pin, time::Duration};
use vworkspace_client::Client;
use vworkspace_protocol::admin::{Cluster, EnqueueJob, Job};

/// How long the answer of the control plane is waited for after a signal.
const GRACE: Duration = Duration::from_secs(5);

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
    /// Hands in `intent`, see [`Self::hand_in`].
    pub async fn hand_in_intent(
        self,
        context: &Context,
        client: &Client,
        cluster: &Cluster,
        intent: Value,
        wishes: Wishes,
    ) -> Result<(), Error> {
        let Wishes { retry_seconds, force } = wishes;
        let job = EnqueueJob { retry_seconds, force, ..EnqueueJob::new("intent", intent) };
        self.hand_in(context, client, cluster, job).await
    }

    /// Hands in `job`, with what the flags say of it; prints the job as it is at the end of the command.
    pub async fn hand_in(
        self,
        context: &Context,
        client: &Client,
        cluster: &Cluster,
        job: EnqueueJob,
    ) -> Result<(), Error> {
        let is_keyed = self.idempotency_key.is_some();
        let request = EnqueueJob {
            idempotency_key: self.idempotency_key.or(job.idempotency_key),
            deadline_seconds: self.deadline.map(|deadline| deadline.seconds()).or(job.deadline_seconds),
            ..job
        };
        // A repetition of a job that is over: nothing is left to follow.
        let is_over_already = |job: &Job| {
            let repeats = render::repetition(job).filter(|_| is_keyed);
            repeats.inspect(|repeats| say(repeats)).is_some() && job.state.is_terminal()
        };
        if !self.wait {
            let job = client.enqueue_job(&cluster.id, &request).await?;
            if is_over_already(&job) {
                return print(&context.format.render(&job, render::job)?);
            }
            if let Some(why) = render::awaited(cluster).filter(|_| !job.state.is_terminal()) {
                say(&why);
            }
            say(&format!("Handed in. `vwctl job watch {}` follows it.", job.id));
            return print(&context.format.render(&job, render::job)?);
        }
        let mut signals = Signals::catch().map_err(Error::Signals)?;
        let (job, signal) = enqueue(client, &mut signals, cluster, &request).await?;
        if is_over_already(&job) {
            print(&context.format.render(&job, render::job)?)?;
            return follow::verdict(&job);
        }
        let id = job.id.clone();
        let (job, ended) = match signal {
            Some(signal) => (Some(job), Err(Error::Interrupted { id, signal })),
            None => {
                say(&format!("Following job {id}; Ctrl-C ends the following, not the job."));
                let tell = |job: &_, entry: &_| {
                    say(&render::timeline_entry(job, entry));
                    Ok(())
                };
                follow::follow(client, &mut signals, &id, Some(job), tell).await
            }
        };
        let Some(job) = job else { return ended };
        if let Some(replayed) = render::replayed(&job) {
            say(replayed);
        }
        print(&context.format.render(&job, render::followed_job)?)?;
        ended.and_then(|()| follow::verdict(&job))
    }
}

/// Hands the job in. After a signal, which is answered too, the answer is waited for a moment longer: where the job is in, its
/// document is printed.
async fn enqueue(
    client: &Client,
    signals: &mut Signals,
    cluster: &Cluster,
    request: &EnqueueJob,
) -> Result<(Job, Option<Signal>), Error> {
    let mut handed_in = pin!(client.enqueue_job(&cluster.id, request));
    let signal = tokio::select! {
        job = &mut handed_in => return Ok((job?, None)),
        signal = signals.first() => signal,
    };
    match tokio::time::timeout(GRACE, handed_in).await {
        Ok(job) => Ok((job?, Some(signal))),
        Err(_) => Err(Error::InterruptedEarly(signal)),
    }
}
