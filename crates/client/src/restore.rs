use crate::{Client, Error, MOST_ITEMS, pages};
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{Cluster, Job, KeepSession, ReleasedJobs, UnknownResultPage},
    id::{OrganizationId, SessionId},
};

impl Client {
    /// Decides which session of the cluster's agent keeps the identity; all others lose it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn keep_session(&self, cluster: &ClusterId, session: SessionId) -> Result<Cluster, Error> {
        let path = ["api", "v1", "clusters", cluster.as_str(), "keep-session"];
        self.connection.post(&path, &KeepSession { session }).await
    }

    /// Releases a job that is held since the control plane was restored from a backup.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn release_job(&self, id: &JobId) -> Result<Job, Error> {
        let nothing = serde_json::Map::new();
        self.connection.post(&["api", "v1", "jobs", id.as_str(), "release"], &nothing).await
    }

    /// Releases every held job of a cluster.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn release_jobs(&self, cluster: &ClusterId) -> Result<ReleasedJobs, Error> {
        let nothing = serde_json::Map::new();
        self.connection.post(&["api", "v1", "clusters", cluster.as_str(), "release-jobs"], &nothing).await
    }

    /// Releases every held job of an organization's clusters.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn release_jobs_of(&self, organization: &OrganizationId) -> Result<ReleasedJobs, Error> {
        let nothing = serde_json::Map::new();
        self.connection
            .post(&["api", "v1", "organizations", organization.as_str(), "release-jobs"], &nothing)
            .await
    }

    /// Results that the cluster reported for jobs the control plane does not know, newest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn unknown_results(&self, cluster: &ClusterId) -> Result<UnknownResultPage, Error> {
        let path = ["api", "v1", "clusters", cluster.as_str(), "unknown-results"];
        pages::all(&self.connection, &path, &[], MOST_ITEMS).await
    }
}
