//! After a restore from a backup: jobs that are held until a person releases them, results of jobs that nobody knows.

use super::{App, Error, access::Person, page::PageParams};
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{Job, JobState, ReleasedJobs, UnknownResultPage},
    id::OrganizationId,
};
use vworkspace_store::{Command, Read, Released};

/// Releases one held job. One that is not held stays as it is.
///
/// # Errors
/// It is not there, or not the caller's.
pub async fn release_job(app: &App, by: &Person, job: &JobId) -> Result<Job, Error> {
    let command = app.store.lookup_job::<Command>(&by.caller, job).await?;
    let read = app.store.lookup_job::<Read>(&by.caller, job).await?;
    let _waking = app.polls.waking(command.cluster_id());
    let _telling = app.watches.waking(job);
    let done = app.store.release_job(&command, app.clock.now()).await?;
    announce(app, &done);
    Ok(app.store.job(&read, app.clock.now()).await?)
}

/// Releases every held job of a cluster.
///
/// # Errors
/// The cluster is not there, or not the caller's.
pub async fn release_cluster(app: &App, by: &Person, id: &ClusterId) -> Result<ReleasedJobs, Error> {
    let cluster = app.store.lookup_cluster::<Command>(&by.caller, id).await?;
    let mut all = ReleasedJobs::default();
    loop {
        let done = app.store.release_jobs_of_cluster(&cluster, app.clock.now()).await?;
        if add(app, &mut all, &done) {
            return Ok(all);
        }
    }
}

/// Releases every held job of an organization.
///
/// # Errors
/// The organization is not there, or not the caller's.
pub async fn release_organization(
    app: &App,
    by: &Person,
    id: &OrganizationId,
) -> Result<ReleasedJobs, Error> {
    let organization = app.store.lookup_organization::<Command>(&by.caller, id).await?;
    let mut all = ReleasedJobs::default();
    loop {
        let done = app.store.release_jobs_of_organization(&organization, app.clock.now()).await?;
        if add(app, &mut all, &done) {
            return Ok(all);
        }
    }
}

/// Results for jobs that this control plane does not know.
///
/// # Errors
/// The cluster is not there, or not the caller's; an unreadable page.
pub async fn unknown_results(
    app: &App,
    by: &Person,
    id: &ClusterId,
    page: &PageParams,
) -> Result<UnknownResultPage, Error> {
    let cluster = app.store.lookup_cluster::<Read>(&by.caller, id).await?;
    Ok(app.store.unknown_results(&cluster, &page.parse()?).await?)
}

/// Adds one batch to the counts; returns `true` if nothing more is held.
fn add(app: &App, all: &mut ReleasedJobs, done: &Released) -> bool {
    announce(app, done);
    all.released += u32::try_from(done.released.len()).unwrap_or(u32::MAX);
    all.superseded += u32::try_from(done.superseded.len()).unwrap_or(u32::MAX);
    done.finished
}

fn announce(app: &App, done: &Released) {
    app.metrics.transition(JobState::Superseded, done.superseded.len());
    done.released.iter().chain(&done.superseded).for_each(|job| app.watches.wake(job));
    done.clusters.iter().for_each(|cluster| app.polls.wake(cluster));
}
