use super::{
    actor::Caller,
    extract::{Body, Id},
};
use crate::app::{App, identity};
use axum::{Json, extract::State};
use std::sync::Arc;
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, KeepSession},
};
use vworkspace_transport::http::server::Refused;

/// Decides which session of the cluster's agent keeps the identity. All others lose it at once: the credential works for
/// this session alone, until the session uses the new one that a job makes it request. Registration tokens end.
#[utoipa::path(post, path = "/api/v1/clusters/{clusterId}/keep-session", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster")), request_body = KeepSession,
    responses((status = 200, description = "The cluster", body = Cluster)))]
pub async fn keep(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    Body(body): Body<KeepSession>,
) -> Result<Json<Cluster>, Refused> {
    Ok(Json(identity::keep(&app, &caller.0, &ClusterId::new(id), &body).await?))
}
