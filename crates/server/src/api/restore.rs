use super::{
    actor::Caller,
    extract::{Id, Params},
};
use crate::app::{App, page::PageParams, restore};
use axum::{Json, extract::State};
use std::sync::Arc;
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{Job, ReleasedJobs, UnknownResultPage},
    id::OrganizationId,
};
use vworkspace_transport::http::server::Refused;

/// Releases a job that is held since the control plane was restored from a backup. It ends `superseded` if a newer job for
/// its object was enqueued meanwhile. A job that is not held stays as it is.
#[utoipa::path(post, path = "/api/v1/jobs/{jobId}/release", tag = "admin", security(("bearer" = [])),
    params(("jobId" = String, Path, description = "Id of the job")),
    responses((status = 200, description = "The job", body = Job)))]
pub async fn release_job(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(job): Id,
) -> Result<Json<Job>, Refused> {
    Ok(Json(restore::release_job(&app, &caller.0, &JobId::new(job)).await?))
}

/// Releases every held job of a cluster, oldest first.
#[utoipa::path(post, path = "/api/v1/clusters/{clusterId}/release-jobs", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster")),
    responses((status = 200, description = "What was done", body = ReleasedJobs)))]
pub async fn release_cluster(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<ReleasedJobs>, Refused> {
    Ok(Json(restore::release_cluster(&app, &caller.0, &ClusterId::new(id)).await?))
}

/// Releases every held job of an organization's clusters, oldest first.
#[utoipa::path(post, path = "/api/v1/organizations/{organizationId}/release-jobs", tag = "admin",
    security(("bearer" = [])), params(("organizationId" = String, Path, description = "Id of the organization")),
    responses((status = 200, description = "What was done", body = ReleasedJobs)))]
pub async fn release_organization(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<ReleasedJobs>, Refused> {
    Ok(Json(restore::release_organization(&app, &caller.0, &OrganizationId::new(id)).await?))
}

/// Results that the cluster reported for jobs this control plane does not know, newest first, at most 1,000.
#[utoipa::path(get, path = "/api/v1/clusters/{clusterId}/unknown-results", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster"), PageParams),
    responses((status = 200, description = "A page", body = UnknownResultPage)))]
pub async fn unknown_results(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    Params(page): Params<PageParams>,
) -> Result<Json<UnknownResultPage>, Refused> {
    Ok(Json(restore::unknown_results(&app, &caller.0, &ClusterId::new(id), &page).await?))
}
