use super::{
    actor::Caller,
    extract::{Body, Id, Ids, Params},
};
use crate::app::{App, page::PageParams, tokens};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use vworkspace_protocol::{
    ClusterId,
    admin::{
        ApiTokenPage, CreateApiToken, CreateRegistrationToken, CreatedApiToken, CreatedRegistrationToken,
        RegistrationTokenPage,
    },
    id::{OrganizationId, TokenId},
};
use vworkspace_transport::http::server::Refused;

/// How a token is revoked.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ForceParams {
    /// Revoke it although it is the last one.
    #[serde(default)]
    force: bool,
}

/// The administrators' tokens, without their secrets; admins only.
#[utoipa::path(get, path = "/api/v1/api-tokens", tag = "admin", security(("bearer" = [])), params(PageParams),
    responses((status = 200, description = "A page", body = ApiTokenPage)))]
pub async fn list_admin(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<ApiTokenPage>, Refused> {
    Ok(Json(tokens::list_admin(&app, &caller.0, &page).await?))
}

/// Makes an administrator's token; admins only. The answer is the only place it is shown.
#[utoipa::path(post, path = "/api/v1/api-tokens", tag = "admin", security(("bearer" = [])),
    request_body = CreateApiToken, responses((status = 201, description = "Made", body = CreatedApiToken)))]
pub async fn create_admin(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body): Body<CreateApiToken>,
) -> Result<(StatusCode, Json<CreatedApiToken>), Refused> {
    Ok((StatusCode::CREATED, Json(tokens::create_admin(&app, &caller.0, &body).await?)))
}

/// Revokes an administrator's token; admins only. The last one goes only with `force`.
#[utoipa::path(delete, path = "/api/v1/api-tokens/{tokenId}", tag = "admin", security(("bearer" = [])),
    params(("tokenId" = String, Path, description = "Id of the token"), ForceParams),
    responses((status = 204, description = "Revoked")))]
pub async fn revoke_admin(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(token): Id,
    Params(how): Params<ForceParams>,
) -> Result<StatusCode, Refused> {
    tokens::revoke_admin(&app, &caller.0, &TokenId::new(token), how.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An organization's API tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/organizations/{organizationId}/api-tokens", tag = "admin",
    security(("bearer" = [])),
    params(("organizationId" = String, Path, description = "Id of the organization"), PageParams),
    responses((status = 200, description = "A page", body = ApiTokenPage)))]
pub async fn list_api(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    Params(page): Params<PageParams>,
) -> Result<Json<ApiTokenPage>, Refused> {
    Ok(Json(tokens::list_api(&app, &caller.0, &OrganizationId::new(id), &page).await?))
}

/// Makes an API token that may do everything within the organization. The answer is the only place it is shown.
#[utoipa::path(post, path = "/api/v1/organizations/{organizationId}/api-tokens", tag = "admin",
    security(("bearer" = [])),
    params(("organizationId" = String, Path, description = "Id of the organization")),
    request_body = CreateApiToken, responses((status = 201, description = "Made", body = CreatedApiToken)))]
pub async fn create_api(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    Body(body): Body<CreateApiToken>,
) -> Result<(StatusCode, Json<CreatedApiToken>), Refused> {
    let created = tokens::create_api(&app, &caller.0, &OrganizationId::new(id), &body).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes an organization's API token, at once also for requests that wait. The last one goes only with `force`.
#[utoipa::path(delete, path = "/api/v1/organizations/{organizationId}/api-tokens/{tokenId}", tag = "admin",
    security(("bearer" = [])),
    params(("organizationId" = String, Path, description = "Id of the organization"),
        ("tokenId" = String, Path, description = "Id of the token"), ForceParams),
    responses((status = 204, description = "Revoked")))]
pub async fn revoke_api(
    State(app): State<Arc<App>>,
    caller: Caller,
    Ids(id, token): Ids,
    Params(how): Params<ForceParams>,
) -> Result<StatusCode, Refused> {
    let (id, token) = (OrganizationId::new(id), TokenId::new(token));
    tokens::revoke_api(&app, &caller.0, &id, &token, how.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A cluster's open registration tokens, without their secrets: not used, and not past their time.
#[utoipa::path(get, path = "/api/v1/clusters/{clusterId}/registration-tokens", tag = "admin",
    security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster"), PageParams),
    responses((status = 200, description = "A page", body = RegistrationTokenPage)))]
pub async fn list_registration(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    Params(page): Params<PageParams>,
) -> Result<Json<RegistrationTokenPage>, Refused> {
    Ok(Json(tokens::list_registration(&app, &caller.0, &ClusterId::new(id), &page).await?))
}

/// Makes a single-use registration token. The answer is the only place it is shown.
#[utoipa::path(post, path = "/api/v1/clusters/{clusterId}/registration-tokens", tag = "admin",
    security(("bearer" = [])), params(("clusterId" = String, Path, description = "Id of the cluster")),
    request_body = CreateRegistrationToken,
    responses((status = 201, description = "Made", body = CreatedRegistrationToken)))]
pub async fn create_registration(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id,
    Body(body): Body<CreateRegistrationToken>,
) -> Result<(StatusCode, Json<CreatedRegistrationToken>), Refused> {
    let created = tokens::create_registration(&app, &caller.0, &ClusterId::new(id), &body).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes an open registration token.
#[utoipa::path(delete, path = "/api/v1/clusters/{clusterId}/registration-tokens/{tokenId}", tag = "admin",
    security(("bearer" = [])),
    params(("clusterId" = String, Path, description = "Id of the cluster"),
        ("tokenId" = String, Path, description = "Id of the token")),
    responses((status = 204, description = "Revoked")))]
pub async fn revoke_registration(
    State(app): State<Arc<App>>,
    caller: Caller,
    Ids(id, token): Ids,
) -> Result<StatusCode, Refused> {
    let (id, token) = (ClusterId::new(id), TokenId::new(token));
    tokens::revoke_registration(&app, &caller.0, &id, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}
