use super::{actor::Caller, extract::Id};
use crate::app::{App, archive};
use axum::{Json, extract::State};
use std::sync::Arc;
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, Organization},
    id::OrganizationId,
};
use vworkspace_transport::http::server::Refused;

/// Takes a cluster out of use for good: ends its credentials and registration tokens, cancels its open jobs, hides it
/// from lists and frees its name. Nothing is sent to the cluster; jobs, events and audit records stay.
#[utoipa::path(post, path = "/api/v1/clusters/{clusterId}/archive", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster")),
    responses((status = 200, description = "The cluster, archived", body = Cluster)))]
pub async fn cluster(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Cluster>, Refused> {
    Ok(Json(archive::cluster(&app, &caller.0, &ClusterId::new(id)).await?))
}

/// Takes an organization out of use for good, with all its clusters; its API tokens end. Admins only.
#[utoipa::path(post, path = "/api/v1/organizations/{organizationId}/archive", tag = "admin",
    security(("bearer" = [])), params(("organizationId" = String, Path, description = "Id of the organization")),
    responses((status = 200, description = "The organization, archived", body = Organization)))]
pub async fn organization(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Organization>, Refused> {
    Ok(Json(archive::organization(&app, &caller.0, &OrganizationId::new(id)).await?))
}
