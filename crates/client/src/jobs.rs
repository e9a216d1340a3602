use crate::{Client, Error, connection::CALL_TIMEOUT, pages};
use serde_json::value::RawValue;
use std::time::Duration;
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{EnqueueJob, Explanation, Job, JobPage, JobState},
};

/// Longest wait the server grants.
const MAX_WATCH: Duration = Duration::from_secs(60);

impl Client {
    /// Hands in a job. With an `idempotency_key` that was used before for an equal job, the earlier job is answered.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn enqueue_job(&self, cluster: &ClusterId, job: &EnqueueJob) -> Result<Job, Error> {
        self.connection.post(&["api", "v1", "clusters", cluster.as_str(), "jobs"], job).await
    }

    /// The newest `most` jobs of a cluster, or of those in one state, newest first, without timelines.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn jobs(
        &self,
        cluster: &ClusterId,
        state: Option<JobState>,
        most: usize,
    ) -> Result<JobPage, Error> {
        let path = ["api", "v1", "clusters", cluster.as_str(), "jobs"];
        let filter = [("state", state.map_or("", JobState::as_str))];
        pages::all(&self.connection, &path, &filter, most).await
    }

    /// One job with its timeline, as it is now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job(&self, id: &JobId) -> Result<Job, Error> {
        self.connection.get(&["api", "v1", "jobs", id.as_str()], &[]).await
    }

    /// One job with its timeline, once that has an entry with a sequence number above `after` or `wait` (at most
    /// 60 s, whole seconds) is over.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn watch_job(&self, id: &JobId, after: u32, wait: Duration) -> Result<Job, Error> {
        let wait = wait.min(MAX_WATCH);
        let (after, seconds) = (after.to_string(), wait.as_secs().to_string());
        let query = [("after", after.as_str()), ("wait", seconds.as_str())];
        self.connection.get_within(&["api", "v1", "jobs", id.as_str()], &query, wait + CALL_TIMEOUT).await
    }

    /// Why a job stands where it stands: who has it now, and what happens next and when.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn explain_job(&self, id: &JobId) -> Result<Explanation, Error> {
        self.connection.get(&["api", "v1", "jobs", id.as_str(), "explain"], &[]).await
    }

    /// What a job asks for, as it was handed in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job_payload(&self, id: &JobId) -> Result<Box<RawValue>, Error> {
        self.connection.get(&["api", "v1", "jobs", id.as_str(), "payload"], &[]).await
    }

    /// Withdraws an open job. An agent that holds it already may still carry it out.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel_job(&self, id: &JobId) -> Result<Job, Error> {
        let nothing = serde_json::Map::new();
        self.connection.post(&["api", "v1", "jobs", id.as_str(), "cancel"], &nothing).await
    }
}
