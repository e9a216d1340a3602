//! Clusters and organizations go out of use.

use super::{App, Error, access::Person, clusters, organizations};
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, JobState, Organization},
    id::OrganizationId,
};
use vworkspace_store::{self as store, Manage};

/// Batches of jobs that one request cancels at most; what is left is cancelled in the background.
const MOST_BATCHES: usize = 20;

/// Archives a cluster: its access ends, its open jobs are cancelled.
///
/// # Errors
/// It is not there, or not the caller's.
pub async fn cluster(app: &App, by: &Person, id: &ClusterId) -> Result<Cluster, Error> {
    let cluster = app.store.lookup_cluster::<Manage>(&by.caller, id).await?;
    app.store.archive_cluster(&cluster, app.clock.now()).await?;
    cancel_jobs(app, MOST_BATCHES).await?;
    clusters::read(app, by, id).await
}

/// Archives an organization with all its clusters; its tokens end.
///
/// # Errors
/// It is not there, or not the caller's; the caller is no admin.
pub async fn organization(app: &App, by: &Person, id: &OrganizationId) -> Result<Organization, Error> {
    // In this order a stranger learns nothing of whether it is there.
    let organization = app.store.lookup_organization::<Manage>(&by.caller, id).await?;
    let installation = app.store.installation::<Manage>(&by.caller)?;
    app.store.archive_organization(&organization, &installation, app.clock.now()).await?;
    cancel_jobs(app, MOST_BATCHES).await?;
    organizations::read(app, by, id).await
}

/// Cancels open jobs of archived clusters, at most so many batches; wakes whoever watches them, and ends the clusters'
/// open polls. Also called in the background: a caller may go away, and a server may stop, before all are cancelled.
///
/// # Errors
/// Those of the store.
pub async fn cancel_jobs(app: &App, most_batches: usize) -> Result<(), store::Error> {
    for _ in 0..most_batches {
        let batch = app.store.cancel_archived(app.clock.now()).await?;
        app.metrics.transition(JobState::Cancelled, batch.cancelled.len());
        batch.cancelled.iter().for_each(|job| app.watches.wake(job));
        batch.clusters.iter().for_each(|cluster| app.polls.wake(cluster));
        if batch.finished {
            break;
        }
    }
    Ok(())
}
