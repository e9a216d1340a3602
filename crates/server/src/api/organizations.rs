use super::{
    actor::Caller,
    extract::{Body, Id, Params},
};
use crate::app::{
    App, organizations,
    page::{ArchivedParams, PageParams},
};
use axum::{Json, extract::State, http::StatusCode};
use std::sync::Arc;
use vworkspace_protocol::{
    admin::{CreateOrganization, Organization, OrganizationPage},
    id::OrganizationId,
};
use vworkspace_transport::http::server::Refused;

/// The organizations you may see: all for an admin, its own for an organization's token.
#[utoipa::path(get, path = "/api/v1/organizations", tag = "admin", security(("bearer" = [])),
    params(ArchivedParams, PageParams),
    responses((status = 200, description = "A page", body = OrganizationPage)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(archived): Params<ArchivedParams>,
    Params(page): Params<PageParams>,
) -> Result<Json<OrganizationPage>, Refused> {
    Ok(Json(organizations::list(&app, &caller.0, archived.parse(), &page).await?))
}

/// Makes an organization; admins only.
#[utoipa::path(post, path = "/api/v1/organizations", tag = "admin", security(("bearer" = [])),
    request_body = CreateOrganization, responses((status = 201, description = "Made", body = Organization)))]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body): Body<CreateOrganization>,
) -> Result<(StatusCode, Json<Organization>), Refused> {
    Ok((StatusCode::CREATED, Json(organizations::create(&app, &caller.0, body).await?)))
}

/// One organization.
#[utoipa::path(get, path = "/api/v1/organizations/{organizationId}", tag = "admin", security(("bearer" = [])),
    params(("organizationId" = String, Path, description = "Id of the organization")),
    responses((status = 200, description = "The organization", body = Organization)))]
pub async fn read(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Organization>, Refused> {
    Ok(Json(organizations::read(&app, &caller.0, &OrganizationId::new(id)).await?))
}
