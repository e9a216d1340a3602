//! A job's life in the store (contract, section 2).
//!
//! ```text
//!   enqueue   admitted request → queued
//!   lease     poll → leased (or found expired, undeliverable)
//!   report    ack, progress, result of the agent; cancel of a person
//!   held      what is held since a restore, until a person releases it
//!   timeline  every transition with time and cause
//!   archived  what is open when its cluster is archived → cancelled
//!   read      what the admin API shows
//! ```
//!
//! What moves a job is decided in `vworkspace_core::control::{job, lease}`; here it is looked up and written down.

mod archived;
mod enqueue;
mod held;
mod lease;
mod read;
mod report;
mod surroundings;
mod timeline;

pub use archived::ArchivedBatch;
pub use enqueue::Enqueued;
pub use held::Released;
pub use lease::Leased;

use crate::{
    Caller, Error, Handle, Job, Right, Store, access,
    codec::{known_id, state},
    connection::Statements,
};
use rusqlite::Connection;
use uuid::Uuid;
use vworkspace_protocol::{ClusterId, JobId, admin::JobState, id::OrganizationId};

impl Store {
    /// The right `A` on a job.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another tenant's or cluster's as for none, [`Error::Forbidden`].
    pub async fn lookup_job<A: Right>(&self, caller: &Caller, id: &JobId) -> Result<Handle<Job, A>, Error> {
        let key = known_id(id.as_str())?;
        if let Some(place) = self.inner.known.job(key)
            && let Some(handle) = caller.on_own_job(place, id)
        {
            return handle;
        }
        let find = move |connection: &Connection| {
            connection.row(
                "SELECT j.seq, c.row, c.id, o.id FROM job j
                 JOIN cluster c ON c.row = j.cluster JOIN organization o ON o.row = c.organization WHERE j.id = ?1",
                [key],
                |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Uuid>(2)?, row.get::<_, Uuid>(3)?)),
            )
        };
        let (seq, cluster_row, cluster, organization) = self.read(find).await?.ok_or(Error::NotFound)?;
        let cluster = access::Cluster {
            id: ClusterId::new(cluster.to_string()),
            organization: OrganizationId::new(organization.to_string()),
        };
        caller.on_job(seq, Job { id: id.clone(), cluster, cluster_row })
    }
}

/// Where a job stands, as the next transition needs it.
struct Standing {
    state: JobState,
    /// Entries in its timeline.
    steps: u32,
    cluster: i64,
}

impl Standing {
    fn read(connection: &Connection, seq: i64) -> Result<Self, Error> {
        let found = connection.row("SELECT state, steps, cluster FROM job WHERE seq = ?1", [seq], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let (code, steps, cluster) = found.ok_or(Error::NotFound)?;
        Ok(Self { state: state(code)?, steps, cluster })
    }
}

/// The key of a job whose caller gave none: unique per enqueue.
fn own_key(id: Uuid) -> String {
    format!("job/{id}")
}

/// The job whose [`own_key`] this would be.
fn owner_of(key: &str) -> Option<Uuid> {
    key.strip_prefix("job/").and_then(|id| known_id(id).ok())
}
