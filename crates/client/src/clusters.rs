use crate::{Client, Error, MOST_ITEMS, pages};
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, ClusterPage, CreateCluster, CreateRegistrationToken, CreatedRegistrationToken},
    id::OrganizationId,
};

const PATH: [&str; 3] = ["api", "v1", "clusters"];

impl Client {
    /// The clusters the bearer may see, or those of one organization, in order of making, at most [`MOST_ITEMS`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn clusters(&self, organization: Option<&OrganizationId>) -> Result<ClusterPage, Error> {
        let filter = [("organization", organization.map_or("", OrganizationId::as_str))];
        pages::all(&self.connection, &PATH, &filter, MOST_ITEMS).await
    }

    /// One cluster with its presence and its operator's conditions.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cluster(&self, id: &ClusterId) -> Result<Cluster, Error> {
        let [api, v1, clusters] = PATH;
        self.connection.get(&[api, v1, clusters, id.as_str()], &[]).await
    }

    /// Makes the record of a cluster.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_cluster(&self, wanted: &CreateCluster) -> Result<Cluster, Error> {
        self.connection.post(&PATH, wanted).await
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
        let [api, v1, clusters] = PATH;
        self.connection.post(&[api, v1, clusters, cluster.as_str(), "registration-tokens"], wanted).await
    }
}
