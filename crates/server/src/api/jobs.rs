use super::{
    actor::Caller,
    extract::{Body, Id, Params},
};
use crate::app::{App, jobs, page::PageParams};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use utoipa::IntoParams;
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{EnqueueJob, Explanation, Job, JobPage, JobState},
};
use vworkspace_transport::http::server::Refused;

/// Which jobs to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct JobParams {
    /// Only those in this state.
    state: Option<JobState>,
}

/// How long to wait for news of a job.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WatchParams {
    /// Sequence number of the last timeline entry you know; 0 knows none.
    #[serde(default)]
    after: u32,
    /// Seconds to wait for an entry after it, at most 60; absent: answer at once.
    #[serde(default)]
    wait: u64,
}

/// The jobs of a cluster, newest first.
#[utoipa::path(get, path = "/api/v1/clusters/{clusterId}/jobs", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster"), JobParams, PageParams),
    responses((status = 200, description = "A page", body = JobPage)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(cluster): Id,
    Params(which): Params<JobParams>,
    Params(page): Params<PageParams>,
) -> Result<Json<JobPage>, Refused> {
    Ok(Json(jobs::list(&app, &caller.0, &ClusterId::new(cluster), which.state, &page).await?))
}

/// Hands in a job for a cluster. With an `idempotencyKey` that was used before for an equal job, the earlier job is
/// answered.
#[utoipa::path(post, path = "/api/v1/clusters/{clusterId}/jobs", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster")), request_body = EnqueueJob,
    responses((status = 201, description = "Queued", body = Job),
        (status = 200, description = "The job this key was used for before", body = Job)))]
pub async fn enqueue(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(cluster): Id,
    Body(body): Body<EnqueueJob>,
) -> Result<(StatusCode, Json<Job>), Refused> {
    let enqueued = jobs::enqueue(&app, &caller.0, &ClusterId::new(cluster), body).await?;
    let status = if enqueued.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(enqueued.job)))
}

/// One job with its timeline. Waits for news when asked to.
#[utoipa::path(get, path = "/api/v1/jobs/{jobId}", tag = "admin", security(("bearer" = [])),
    params(("jobId" = String, Path, description = "Id of the job"), WatchParams),
    responses((status = 200, description = "The job", body = Job)))]
pub async fn read(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(job): Id,
    Params(watch): Params<WatchParams>,
) -> Result<Json<Job>, Refused> {
    let wait = Duration::from_secs(watch.wait);
    Ok(Json(jobs::watch(&app, &caller.0, &JobId::new(job), watch.after, wait).await?))
}

/// Why a job stands where it stands: who has it now, and what happens next and when.
#[utoipa::path(get, path = "/api/v1/jobs/{jobId}/explain", tag = "admin", security(("bearer" = [])),
    params(("jobId" = String, Path, description = "Id of the job")),
    responses((status = 200, description = "The job, explained", body = Explanation)))]
pub async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(job): Id,
) -> Result<Json<Explanation>, Refused> {
    Ok(Json(jobs::explain(&app, &caller.0, &JobId::new(job)).await?))
}

/// What the job asks for, byte by byte as it was handed in. Lists and the job itself leave it out: it may hold values that
/// not everybody who looks at jobs is to see by the way.
#[utoipa::path(get, path = "/api/v1/jobs/{jobId}/payload", tag = "admin", security(("bearer" = [])),
    params(("jobId" = String, Path, description = "Id of the job")),
    responses((status = 200, description = "The payload", body = Object)))]
pub async fn payload(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(job): Id,
) -> Result<Json<Box<RawValue>>, Refused> {
    Ok(Json(jobs::payload(&app, &caller.0, &JobId::new(job)).await?))
}

/// Withdraws an open job. An agent that holds it already may still apply it; its result is then not recorded.
#[utoipa::path(post, path = "/api/v1/jobs/{jobId}/cancel", tag = "admin", security(("bearer" = [])),
    params(("jobId" = String, Path, description = "Id of the job")),
    responses((status = 200, description = "The job, cancelled", body = Job)))]
pub async fn cancel(State(app): State<Arc<App>>, caller: Caller, Id(job): Id) -> Result<Json<Job>, Refused> {
    Ok(Json(jobs::cancel(&app, &caller.0, &JobId::new(job)).await?))
}
