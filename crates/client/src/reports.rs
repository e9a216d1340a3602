use crate::{Client, Error, MOST_ITEMS, pages};
use vworkspace_protocol::{
    ClusterId,
    admin::{EventPage, ResourcePage},
};

impl Client {
    /// The objects a cluster's operator reports about, with their current conditions, ordered by kind, namespace and
    /// name, at most [`MOST_ITEMS`]. An empty `kind`, `namespace` or `name` means any.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resources(
        &self,
        cluster: &ClusterId,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<ResourcePage, Error> {
        let path = ["api", "v1", "clusters", cluster.as_str(), "resources"];
        let filter = [("kind", kind), ("namespace", namespace), ("name", name)];
        pages::all(&self.connection, &path, &filter, MOST_ITEMS).await
    }

    /// The newest `most` events of a cluster, newest first. An empty `kind` means any.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events(&self, cluster: &ClusterId, kind: &str, most: usize) -> Result<EventPage, Error> {
        let path = ["api", "v1", "clusters", cluster.as_str(), "events"];
        pages::all(&self.connection, &path, &[("kind", kind)], most).await
    }
}
