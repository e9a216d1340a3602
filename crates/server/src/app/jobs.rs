//! Handing in, watching and withdrawing jobs.

use super::{
    App, Error,
    access::{Person, revoked},
    page::PageParams,
    pause::{Pause, pause},
    rules,
};
use serde_json::value::RawValue;
use std::time::Duration;
use vworkspace_core::{
    control::{admission, explain, job::Step},
    planted::{Bug, planted},
};
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{EnqueueJob, Explanation, Job, JobPage, JobState, Presence},
};
use vworkspace_store::{self as store, Command, Handle, Read};

/// Longest watch of a job.
const MOST_WATCH: Duration = Duration::from_secs(60);

/// A job that stands in the queue now.
pub struct Enqueued {
    /// The job with its timeline.
    pub job: Job,
    /// False when the caller's key named it before.
    pub is_new: bool,
}

/// Hands in a job.
///
/// # Errors
/// The cluster is not there, or not the caller's; the job breaks a rule; its key stands for another job.
pub async fn enqueue(
    app: &App,
    by: &Person,
    cluster: &ClusterId,
    body: EnqueueJob,
) -> Result<Enqueued, Error> {
    let cluster = app.store.lookup_cluster::<Command>(&by.caller, cluster).await?;
    let admitted = admission::admit(body)?;
    rules::check(&admitted, &app.store.capabilities(&cluster))?;
    let _waking = (!planted(Bug::LoseWakeUp)).then(|| app.polls.waking(cluster.id()));
    let enqueued = app.store.enqueue(&cluster, admitted, app.clock.now()).await?;
    if enqueued.created {
        app.metrics.transition(JobState::Queued, 1);
    }
    app.metrics.transition(JobState::Superseded, enqueued.superseded.len());
    enqueued.superseded.iter().for_each(|job| app.watches.wake(job));
    Ok(Enqueued { job: enqueued.job, is_new: enqueued.created })
}

/// A cluster's jobs.
///
/// # Errors
/// The cluster is not there, or not the caller's; an unreadable page.
pub async fn list(
    app: &App,
    by: &Person,
    cluster: &ClusterId,
    state: Option<JobState>,
    page: &PageParams,
) -> Result<JobPage, Error> {
    let cluster = app.store.lookup_cluster::<Read>(&by.caller, cluster).await?;
    Ok(app.store.jobs(&cluster, state, &page.parse()?, app.clock.now()).await?)
}

/// One job: at once when its timeline goes beyond `after` or will never go on, else when it does, or when `wait`
/// (at most 60 s) is over.
///
/// # Errors
/// It is not there, or not the caller's; the caller's token was revoked during the wait.
pub async fn watch(app: &App, by: &Person, job: &JobId, after: u32, wait: Duration) -> Result<Job, Error> {
    let handle = app.store.lookup_job::<Read>(&by.caller, job).await?;
    if wait.is_zero() {
        return Ok(app.store.job(&handle, app.clock.now()).await?);
    }
    tokio::select! {
        biased;
        error = revoked(app, by) => Err(error),
        news = wait_for_news(app, &handle, after, wait) => news,
    }
}

async fn wait_for_news(
    app: &App,
    handle: &Handle<store::Job, Read>,
    after: u32,
    wait: Duration,
) -> Result<Job, Error> {
    let mut patience = app.clock.sleep(wait.min(MOST_WATCH));
    // Without a free seat the answer comes at once: the caller asks again, as it does after every answer.
    let seat = app.watches.sit(handle.id());
    loop {
        let seen = app.store.job(handle, app.clock.now()).await?;
        let has_news = seen.timeline.last().is_some_and(|entry| entry.seq > after);
        let Some(seat) = &seat else { return Ok(seen) };
        if has_news || seen.state.is_terminal() || pause(app, seat, &mut patience, None).await == Pause::Over
        {
            return Ok(seen);
        }
        // The hint may come before the commit, see `Waiters::waking`: what was begun by then is there after this.
        app.store.barrier().await?;
    }
}

/// Why a job stands where it stands.
///
/// # Errors
/// It is not there, or not the caller's.
pub async fn explain(app: &App, by: &Person, job: &JobId) -> Result<Explanation, Error> {
    let handle = app.store.lookup_job::<Read>(&by.caller, job).await?;
    let now = app.clock.now();
    let (job, mut around) = (app.store.job(&handle, now).await?, app.store.surroundings(&handle, now).await?);
    // An agent whose poll is open is there, as its cluster shows: a queued job goes out at once.
    if around.presence == Presence::Disconnected && app.polls.is_waiting(handle.cluster_id()) {
        around.presence = Presence::Connected;
    }
    Ok(explain::explain(job, &around))
}

/// What a job asks for, as it was handed in.
///
/// # Errors
/// It is not there, or not the caller's.
pub async fn payload(app: &App, by: &Person, job: &JobId) -> Result<Box<RawValue>, Error> {
    let handle = app.store.lookup_job::<Read>(&by.caller, job).await?;
    Ok(app.store.job_payload(&handle).await?)
}

/// Withdraws a job.
///
/// # Errors
/// It is not there, or not the caller's; it has ended.
pub async fn cancel(app: &App, by: &Person, job: &JobId) -> Result<Job, Error> {
    let command = app.store.lookup_job::<Command>(&by.caller, job).await?;
    let read = app.store.lookup_job::<Read>(&by.caller, job).await?;
    // A later job for the same object may have waited for this one.
    let _waking = app.polls.waking(command.cluster_id());
    let _telling = app.watches.waking(job);
    if app.store.cancel(&command, app.clock.now()).await? == Step::Taken {
        app.metrics.transition(JobState::Cancelled, 1);
    }
    Ok(app.store.job(&read, app.clock.now()).await?)
}
