use crate::{Client, Error, MOST_ITEMS, pages};
use vworkspace_protocol::{
    admin::{CreateOrganization, Organization, OrganizationPage},
    id::OrganizationId,
};

const PATH: [&str; 3] = ["api", "v1", "organizations"];

impl Client {
    /// The organizations the bearer may see, in order of making, at most [`MOST_ITEMS`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn organizations(&self) -> Result<OrganizationPage, Error> {
        self.organizations_and(false).await
    }

    /// As [`Client::organizations`], with the archived ones where `archived` says so.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn organizations_and(&self, archived: bool) -> Result<OrganizationPage, Error> {
        let filter = [("archived", if archived { "true" } else { "" })];
        pages::all(&self.connection, &PATH, &filter, MOST_ITEMS).await
    }

    /// One organization.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn organization(&self, id: &OrganizationId) -> Result<Organization, Error> {
        let [api, v1, organizations] = PATH;
        self.connection.get(&[api, v1, organizations, id.as_str()], &[]).await
    }

    /// Makes an organization; admins only.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_organization(&self, wanted: &CreateOrganization) -> Result<Organization, Error> {
        self.connection.post(&PATH, wanted).await
    }

    /// Takes an organization out of use for good, with all its clusters; admins only.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn archive_organization(&self, id: &OrganizationId) -> Result<Organization, Error> {
        let [api, v1, organizations] = PATH;
        self.connection.act(&[api, v1, organizations, id.as_str(), "archive"]).await
    }
}
