use super::*;
use vworkspace_protocol::admin;

/// Which resources are listed; `None` leaves a part open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceFilter {
    /// Exactly this kind.
    pub kind: Option<String>,
    /// Exactly this namespace; empty means cluster-scoped ones.
    pub namespace: Option<String>,
    /// Exactly this name.
    pub name: Option<String>,
}

impl Store {
    /// The current conditions of a cluster's objects, ordered by kind, namespace and name.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn resources(
        &self,
        cluster: &Handle<Cluster, Read>,
        filter: &ResourceFilter,
        page: &PageRequest,
    ) -> Result<admin::ResourcePage, Error> {
        let _ = (cluster, filter, page);
        Err(Error::Stopped)
    }
}
