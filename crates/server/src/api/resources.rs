use super::{
    actor::Caller,
    extract::{Id, Params},
};
use crate::app::{App, page::PageParams, reports};
use axum::{Json, extract::State};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use vworkspace_protocol::{ClusterId, admin::ResourcePage};
use vworkspace_store::ResourceFilter;
use vworkspace_transport::http::server::Refused;

/// Which objects to list.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ResourceParams {
    /// Only of this kind, for example `ApplicationInstance`.
    kind: Option<String>,
    /// Only in this namespace.
    namespace: Option<String>,
    /// Only of this name.
    name: Option<String>,
}

/// The objects a cluster's operator reports about, with their current conditions.
#[utoipa::path(get, path = "/api/v1/clusters/{clusterId}/resources", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster"), ResourceParams, PageParams),
    responses((status = 200, description = "A page", body = ResourcePage)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(cluster): Id,
    Params(which): Params<ResourceParams>,
    Params(page): Params<PageParams>,
) -> Result<Json<ResourcePage>, Refused> {
    let ResourceParams { kind, namespace, name } = which;
    let filter = ResourceFilter { kind, namespace, name };
    Ok(Json(reports::resources(&app, &caller.0, &ClusterId::new(cluster), &filter, &page).await?))
}
