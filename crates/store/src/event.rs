use super::*;
use vworkspace_core::control::EventBatch;
use vworkspace_protocol::admin;

impl Store {
    /// Stores each event once and brings the resources' current conditions up to date, as one transaction. A
    /// heartbeat updates the cluster's record in memory only. Answers how many of the events were new (the server
    /// counts them; the rest were repeats).
    ///
    /// # Errors
    /// Those of writing.
    pub async fn ingest_events(
        &self,
        cluster: &Handle<Cluster, Serve>,
        batch: EventBatch,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let _ = (cluster, batch, now);
        Err(Error::Stopped)
    }

    /// A cluster's events, newest first, all or of one `kind`.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn events(
        &self,
        cluster: &Handle<Cluster, Read>,
        kind: Option<&str>,
        page: &PageRequest,
    ) -> Result<admin::EventPage, Error> {
        let _ = (cluster, kind, page);
        Err(Error::Stopped)
    }
}
