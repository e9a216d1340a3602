use super::{
    actor::Caller,
    extract::{Id, Params},
};
use crate::app::{App, page::PageParams, reports};
use axum::{Json, extract::State};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use vworkspace_protocol::{ClusterId, admin::EventPage};
use vworkspace_transport::http::server::Refused;

/// Which events to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Only of this kind, for example `ConditionTransition`.
    kind: Option<String>,
}

/// What a cluster's operator reported, newest first, each once.
#[utoipa::path(get, path = "/api/v1/clusters/{clusterId}/events", tag = "admin", security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster"), EventParams, PageParams),
    responses((status = 200, description = "A page", body = EventPage)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(cluster): Id,
    Params(which): Params<EventParams>,
    Params(page): Params<PageParams>,
) -> Result<Json<EventPage>, Refused> {
    Ok(Json(reports::events(&app, &caller.0, &ClusterId::new(cluster), which.kind.as_deref(), &page).await?))
}
