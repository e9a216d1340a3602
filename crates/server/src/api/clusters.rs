use super::{
    actor::Caller,
    extract::{Body, Id, Params},
};
use crate::app::{
    App, clusters,
    page::{ArchivedParams, PageParams},
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, ClusterPage, CreateCluster},
    id::OrganizationId,
};
use vworkspace_transport::http::server::Refused;

/// Which clusters to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ClusterParams {
    /// Only those of this organization.
    organization: Option<String>,
}

/// The clusters you may see.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "admin", security(("bearer" = [])),
    params(ClusterParams, ArchivedParams, PageParams),
    responses((status = 200, description = "A page", body = ClusterPage)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(which): Params<ClusterParams>,
    Params(archived): Params<ArchivedParams>,
    Params(page): Params<PageParams>,
) -> Result<Json<ClusterPage>, Refused> {
    let organization = which.organization.map(OrganizationId::new);
    Ok(Json(clusters::list(&app, &caller.0, organization.as_ref(), archived.parse(), &page).await?))
}

/// Makes the record of a cluster, to be registered with a registration token.
#[utoipa::path(post, path = "/api/v1/clusters", tag = "admin", security(("bearer" = [])),
    request_body = CreateCluster, responses((status = 201, description = "Made", body = Cluster)))]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body): Body<CreateCluster>,
) -> Result<(StatusCode, Json<Cluster>), Refused> {
    Ok((StatusCode::CREATED, Json(clusters::create(&app, &caller.0, body).await?)))
}

/// One cluster with its presence and its operator's conditions.
#[utoipa::path(get, path = "/api/v1/clusters/{clusterId}", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster")),
    responses((status = 200, description = "The cluster", body = Cluster)))]
pub async fn read(State(app): State<Arc<App>>, caller: Caller, Id(id): Id) -> Result<Json<Cluster>, Refused> {
    Ok(Json(clusters::read(&app, &caller.0, &ClusterId::new(id)).await?))
}

/// Ends every credential and every open registration token of a cluster. Its agent gets nothing more; a new
/// registration token brings the same cluster back. Open jobs wait for that. A repeat changes nothing.
#[utoipa::path(post, path = "/api/v1/clusters/{clusterId}/revoke", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster")),
    responses((status = 200, description = "The cluster, unregistered", body = Cluster)))]
pub async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Cluster>, Refused> {
    Ok(Json(clusters::revoke(&app, &caller.0, &ClusterId::new(id)).await?))
}
