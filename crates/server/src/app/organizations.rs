//! Tenants.

use super::{App, Error, access::Person, page::PageParams};
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::{
    admin::{CreateOrganization, Organization, OrganizationPage},
    id::OrganizationId,
};
use vworkspace_store::{Archived, Manage, Read};

/// The organizations the caller may see.
///
/// # Errors
/// An unreadable page.
pub async fn list(
    app: &App,
    by: &Person,
    archived: Archived,
    page: &PageParams,
) -> Result<OrganizationPage, Error> {
    let installation = app.store.installation::<Read>(&by.caller)?;
    Ok(app.store.organizations(&installation, archived, &page.parse()?).await?)
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
