use super::*;
use std::time::Duration;
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::admin;

impl Store {
    /// The right `A` on a cluster.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another tenant's as for none, [`Error::Forbidden`].
    pub async fn lookup_cluster<A: Right>(
        &self,
        caller: &Caller,
        id: &ClusterId,
    ) -> Result<Handle<Cluster, A>, Error> {
        caller.on_cluster(0, id.clone(), OrganizationId::new(""))
    }

    /// An agent's right on its own cluster; needs no database.
    ///
    /// # Errors
    /// [`Error::Forbidden`]: the caller is no agent.
    pub fn own_cluster(&self, caller: &Caller) -> Result<Handle<Cluster, Serve>, Error> {
        caller.on_own_cluster()
    }

    /// Makes a cluster's record; its agent registers with a token issued for it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]: the organization has one of this name.
    pub async fn create_cluster(
        &self,
        organization: &Handle<Organization, Manage>,
        name: &DnsLabel,
        now: Timestamp,
    ) -> Result<admin::Cluster, Error> {
        let _ = (organization, name, now);
        Err(Error::Stopped)
    }

    /// The clusters the caller may see, in order of making.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn clusters(
        &self,
        installation: &Handle<Installation, Read>,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<admin::ClusterPage, Error> {
        let _ = (installation, page, now);
        Err(Error::Stopped)
    }

    /// One tenant's clusters, in order of making.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn clusters_of(
        &self,
        organization: &Handle<Organization, Read>,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<admin::ClusterPage, Error> {
        let _ = (organization, page, now);
        Err(Error::Stopped)
    }

    /// One cluster's record, with presence as of `now`.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn cluster(&self, cluster: &Handle<Cluster, Read>, now: Timestamp) -> Result<admin::Cluster, Error> {
        let _ = (cluster, now);
        Err(Error::Stopped)
    }

    /// Issues a single-use token that registers this cluster's agent; it ends after `life` unused.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn issue_registration_token(
        &self,
        cluster: &Handle<Cluster, Manage>,
        life: Duration,
        now: Timestamp,
    ) -> Result<admin::CreatedRegistrationToken, Error> {
        let _ = (cluster, life, now);
        Err(Error::Stopped)
    }
}
