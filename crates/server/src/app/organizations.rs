//! Tenants and their API tokens.

use super::{App, Error, access::Person, page::PageParams};
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::{
    admin::{CreateApiToken, CreateOrganization, CreatedApiToken, Organization, OrganizationPage},
    id::OrganizationId,
};
use vworkspace_store::{Manage, Read};

/// Longest description of an API token, in bytes.
const DESCRIPTION_BYTES: usize = 128;

/// The organizations the caller may see.
///
/// # Errors
/// An unreadable page.
pub async fn list(app: &App, by: &Person, page: &PageParams) -> Result<OrganizationPage, Error> {
    let installation = app.store.installation::<Read>(&by.caller)?;
    Ok(app.store.organizations(&installation, &page.parse()?).await?)
}

/// Makes an organization.
///
/// # Errors
/// The caller is no admin; the name is none or taken.
pub async fn create(app: &App, by: &Person, body: CreateOrganization) -> Result<Organization, Error> {
    let installation = app.store.installation::<Manage>(&by.caller)?;
    let name = DnsLabel::parse("name", &body.name)?;
    Ok(app.store.create_organization(&installation, &name, app.clock.now()).await?)
}

/// One organization.
///
/// # Errors
/// It is not there, or not the caller's.
pub async fn read(app: &App, by: &Person, id: &OrganizationId) -> Result<Organization, Error> {
    let organization = app.store.lookup_organization::<Read>(&by.caller, id).await?;
    Ok(app.store.organization(&organization).await?)
}

/// Makes an API token for the organization.
///
/// # Errors
/// The organization is not there, or not the caller's; the description is empty or too long.
pub async fn create_api_token(
    app: &App,
    by: &Person,
    id: &OrganizationId,
    body: CreateApiToken,
) -> Result<CreatedApiToken, Error> {
    let organization = app.store.lookup_organization::<Manage>(&by.caller, id).await?;
    let description = body.description.trim();
    if description.is_empty() || description.len() > DESCRIPTION_BYTES {
        return Err(Error::invalid("description must be 1 to 128 bytes"));
    }
    let token = app.store.create_api_token(&organization, description, app.clock.now()).await?;
    Ok(CreatedApiToken { token, organization_id: organization.id().clone() })
}
