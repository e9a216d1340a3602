use super::*;
use vworkspace_protocol::id::SessionId;

/// What an agent's request says about the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Its run; plain v1 agents name none.
    pub session: Option<SessionId>,
    /// `User-Agent`.
    pub user_agent: String,
    /// What it announced.
    pub capabilities: Vec<String>,
}

impl Store {
    /// Notes a good request of the cluster's agent, in memory; [`Store::flush_presence`] writes it. To be called
    /// once for every agent request, before anything else is done for it.
    pub fn sighted(&self, cluster: &Handle<Cluster, Serve>, contact: &Contact, now: Timestamp) {
        let _ = (cluster, contact, now);
    }

    /// Writes what was noted since the last flush, as one transaction. To be called every few seconds and before
    /// the process ends; a crash loses the notes in between, nothing else.
    ///
    /// # Errors
    /// Those of writing; the notes are kept for the next flush.
    pub async fn flush_presence(&self) -> Result<(), Error> {
        Err(Error::Stopped)
    }
}
