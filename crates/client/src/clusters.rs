use crate::{Client, Error, MOST_ITEMS, pages};
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, ClusterPage, CreateCluster},
    id::OrganizationId,
};

const PATH: [&str; 3] = ["api", "v1", "clusters"];

impl Client {
    /// The clusters the bearer may see, or those of one organization, in order of making, at most [`MOST_ITEMS`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn clusters(&self, organization: Option<&OrganizationId>) -> Result<ClusterPage, Error> {
        self.clusters_and(organization, false).await
    }

    /// As [`Client::clusters`], with the archived ones where `archived` says so.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn clusters_and(
        &self,
        organization: Option<&OrganizationId>,
        archived: bool,
    ) -> Result<ClusterPage, Error> {
        let organization = organization.map_or("", OrganizationId::as_str);
        let filter = [("organization", organization), ("archived", if archived { "true" } else { "" })];
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

    /// Ends every credential and open registration token of a cluster.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn revoke_cluster(&self, id: &ClusterId) -> Result<Cluster, Error> {
        let [api, v1, clusters] = PATH;
        self.connection.act(&[api, v1, clusters, id.as_str(), "revoke"]).await
    }

    /// Takes a cluster out of use for good.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn archive_cluster(&self, id: &ClusterId) -> Result<Cluster, Error> {
        let [api, v1, clusters] = PATH;
        self.connection.act(&[api, v1, clusters, id.as_str(), "archive"]).await
    }
}
