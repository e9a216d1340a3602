use crate::{Client, Error, MOST_ITEMS, pages};
use vworkspace_protocol::{
    admin::{CreateApiToken, CreateOrganization, CreatedApiToken, Organization, OrganizationPage},
    id::OrganizationId,
};

const PATH: [&str; 3] = ["api", "v1", "organizations"];

impl Client {
    /// The organizations the bearer may see, in order of making, at most [`MOST_ITEMS`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn organizations(&self) -> Result<OrganizationPage, Error> {
        pages::all(&self.connection, &PATH, &[], MOST_ITEMS).await
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

    /// Makes an API token of an organization. The answer is the only place it is shown.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_api_token(
        &self,
        organization: &OrganizationId,
        wanted: &CreateApiToken,
    ) -> Result<CreatedApiToken, Error> {
        let [api, v1, organizations] = PATH;
        self.connection.post(&[api, v1, organizations, organization.as_str(), "api-tokens"], wanted).await
    }
}
