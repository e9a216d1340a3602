use crate::{Client, Error, MOST_ITEMS, pages};
use vworkspace_protocol::{
    ClusterId,
    admin::{
        ApiTokenPage, CreateApiToken, CreateRegistrationToken, CreatedApiToken, CreatedRegistrationToken,
        RegistrationTokenPage,
    },
    id::{OrganizationId, TokenId},
};

/// Whose API tokens: an organization's, or the administrators'.
fn api_tokens(organization: Option<&OrganizationId>) -> Vec<&str> {
    match organization {
        Some(id) => vec!["api", "v1", "organizations", id.as_str(), "api-tokens"],
        None => vec!["api", "v1", "api-tokens"],
    }
}

fn registration_tokens(cluster: &ClusterId) -> Vec<&str> {
    vec!["api", "v1", "clusters", cluster.as_str(), "registration-tokens"]
}

impl Client {
    /// Makes an API token of an organization, or an administrator's for `None`. The answer is the only place it is
    /// shown.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_api_token(
        &self,
        organization: Option<&OrganizationId>,
        wanted: &CreateApiToken,
    ) -> Result<CreatedApiToken, Error> {
        self.connection.post(&api_tokens(organization), wanted).await
    }

    /// The API tokens of an organization, or the administrators' for `None`, oldest first, at most [`MOST_ITEMS`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn api_tokens(&self, organization: Option<&OrganizationId>) -> Result<ApiTokenPage, Error> {
        pages::all(&self.connection, &api_tokens(organization), &[], MOST_ITEMS).await
    }

    /// Revokes an API token of an organization, or an administrator's for `None`; the last one only with `force`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn revoke_api_token(
        &self,
        organization: Option<&OrganizationId>,
        id: &TokenId,
        force: bool,
    ) -> Result<(), Error> {
        let mut path = api_tokens(organization);
        path.push(id.as_str());
        let query: &[(&str, &str)] = if force { &[("force", "true")] } else { &[] };
        self.connection.delete(&path, query).await
    }

    /// Makes a single-use registration token. The answer is the only place it is shown.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_registration_token(
        &self,
        cluster: &ClusterId,
        wanted: &CreateRegistrationToken,
    ) -> Result<CreatedRegistrationToken, Error> {
        self.connection.post(&registration_tokens(cluster), wanted).await
    }

    /// The open registration tokens of a cluster, oldest first, at most [`MOST_ITEMS`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn registration_tokens(&self, cluster: &ClusterId) -> Result<RegistrationTokenPage, Error> {
        pages::all(&self.connection, &registration_tokens(cluster), &[], MOST_ITEMS).await
    }

    /// Revokes an open registration token.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn revoke_registration_token(&self, cluster: &ClusterId, id: &TokenId) -> Result<(), Error> {
        let mut path = registration_tokens(cluster);
        path.push(id.as_str());
        self.connection.delete(&path, &[]).await
    }
}
