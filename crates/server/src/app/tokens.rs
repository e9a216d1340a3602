//! Tokens: made, listed without their secrets, revoked.

use super::{App, Error, access::Person, page::PageParams};
use std::time::Duration;
use vworkspace_protocol::{
    ClusterId,
    admin::{
        ApiTokenPage, CreateApiToken, CreateRegistrationToken, CreatedApiToken, CreatedRegistrationToken,
        RegistrationTokenPage,
    },
    id::{OrganizationId, TokenId},
};
use vworkspace_store::{Manage, Read};

/// Longest description of an API token, in bytes.
const DESCRIPTION_BYTES: usize = 128;
/// Default and longest life of an unused registration token, in seconds (contract, section 4).
const TOKEN_SECONDS: u32 = 24 * 3600;

/// The administrators' tokens.
///
/// # Errors
/// The caller is no admin; an unreadable page.
pub async fn list_admin(app: &App, by: &Person, page: &PageParams) -> Result<ApiTokenPage, Error> {
    let installation = app.store.installation::<Manage>(&by.caller)?;
    Ok(app.store.admin_tokens(&installation, &page.parse()?).await?)
}

/// Makes an administrator's token.
///
/// # Errors
/// The caller is no admin; the description is empty or too long; there are too many.
pub async fn create_admin(app: &App, by: &Person, body: &CreateApiToken) -> Result<CreatedApiToken, Error> {
    let installation = app.store.installation::<Manage>(&by.caller)?;
    let description = description(body)?;
    Ok(app.store.create_admin_token(&installation, description, app.clock.now()).await?)
}

/// Revokes an administrator's token.
///
/// # Errors
/// The caller is no admin; there is no such token; it is the last one and `force` is not given.
pub async fn revoke_admin(app: &App, by: &Person, id: &TokenId, force: bool) -> Result<(), Error> {
    let installation = app.store.installation::<Manage>(&by.caller)?;
    Ok(app.store.revoke_admin_token(&installation, id, force, app.clock.now()).await?)
}

/// An organization's API tokens.
///
/// # Errors
/// The organization is not there, or not the caller's; an unreadable page.
pub async fn list_api(
    app: &App,
    by: &Person,
    id: &OrganizationId,
    page: &PageParams,
) -> Result<ApiTokenPage, Error> {
    let organization = app.store.lookup_organization::<Read>(&by.caller, id).await?;
    Ok(app.store.api_tokens(&organization, &page.parse()?).await?)
}

/// Makes an API token for the organization.
///
/// # Errors
/// The organization is not there, not the caller's, or archived; the description is empty or too long; there are too
/// many.
pub async fn create_api(
    app: &App,
    by: &Person,
    id: &OrganizationId,
    body: &CreateApiToken,
) -> Result<CreatedApiToken, Error> {
    let organization = app.store.lookup_organization::<Manage>(&by.caller, id).await?;
    let description = description(body)?;
    Ok(app.store.create_api_token(&organization, description, app.clock.now()).await?)
}

/// Revokes an API token of the organization. Whoever waits with it is answered at once.
///
/// # Errors
/// The organization or the token is not there, or not the caller's; it is the last one and `force` is not given.
pub async fn revoke_api(
    app: &App,
    by: &Person,
    id: &OrganizationId,
    token: &TokenId,
    force: bool,
) -> Result<(), Error> {
    let organization = app.store.lookup_organization::<Manage>(&by.caller, id).await?;
    Ok(app.store.revoke_api_token(&organization, token, force, app.clock.now()).await?)
}

/// A cluster's open registration tokens.
///
/// # Errors
/// The cluster is not there, or not the caller's; an unreadable page.
pub async fn list_registration(
    app: &App,
    by: &Person,
    id: &ClusterId,
    page: &PageParams,
) -> Result<RegistrationTokenPage, Error> {
    let cluster = app.store.lookup_cluster::<Read>(&by.caller, id).await?;
    Ok(app.store.registration_tokens(&cluster, &page.parse()?, app.clock.now()).await?)
}

/// Issues a registration token.
///
/// # Errors
/// The cluster is not there, not the caller's, or archived; a life out of range; there are too many.
pub async fn create_registration(
    app: &App,
    by: &Person,
    id: &ClusterId,
    body: &CreateRegistrationToken,
) -> Result<CreatedRegistrationToken, Error> {
    let cluster = app.store.lookup_cluster::<Manage>(&by.caller, id).await?;
    let seconds = body.ttl_seconds.unwrap_or(TOKEN_SECONDS);
    if !(1..=TOKEN_SECONDS).contains(&seconds) {
        return Err(Error::invalid(format!("ttlSeconds must be 1 to {TOKEN_SECONDS}")));
    }
    let life = Duration::from_secs(seconds.into());
    Ok(app.store.issue_registration_token(&cluster, life, app.clock.now()).await?)
}

/// Revokes an open registration token.
///
/// # Errors
/// The cluster or the token is not there, or not the caller's.
pub async fn revoke_registration(
    app: &App,
    by: &Person,
    id: &ClusterId,
    token: &TokenId,
) -> Result<(), Error> {
    let cluster = app.store.lookup_cluster::<Manage>(&by.caller, id).await?;
    Ok(app.store.revoke_registration_token(&cluster, token, app.clock.now()).await?)
}

fn description(body: &CreateApiToken) -> Result<&str, Error> {
    let description = body.description.trim();
    if description.is_empty() || description.len() > DESCRIPTION_BYTES {
        return Err(Error::invalid("description must be 1 to 128 bytes"));
    }
    Ok(description)
}
