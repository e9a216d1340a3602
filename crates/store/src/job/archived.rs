//! Open jobs of archived clusters are cancelled here, in batches.

use super::timeline;
use crate::{Error, Store, access::AuditActor, audit::Record, codec::whole_micros, connection::Statements};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use uuid::Uuid;
use vworkspace_protocol::{ClusterId, JobId, admin::JobState};

/// Most jobs that one batch cancels.
const MOST_JOBS: usize = 500;
/// Most clusters that one batch looks at.
const MOST_CLUSTERS: i64 = 100;

/// What one batch did.
#[derive(Debug, Default)]
pub struct ArchivedBatch {
    /// Jobs that it cancelled: whoever watches them is to be woken.
    pub cancelled: Vec<JobId>,
    /// The clusters it looked at: their open polls are to be woken, and end.
    pub clusters: Vec<ClusterId>,
    /// Whether no archived cluster has an open job any more.
    pub finished: bool,
}

impl Store {
    /// Cancels the next open jobs of archived clusters, each with a timeline entry and an audit record that name who
    /// archived the cluster. Writes nothing where there is nothing to do.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn cancel_archived(&self, now: Timestamp) -> Result<ArchivedBatch, Error> {
        let any = |connection: &Connection| connection.row("SELECT 1 FROM archival LIMIT 1", [], |_| Ok(()));
        if self.read(any).await?.is_none() {
            return Ok(ArchivedBatch { finished: true, ..ArchivedBatch::default() });
        }
        let now = whole_micros(now);
        self.write(move |connection| cancel_batch(connection, now)).await
    }
}

fn cancel_batch(connection: &Connection, now: Timestamp) -> Result<ArchivedBatch, Error> {
    let clusters = connection.rows(
        "SELECT a.cluster, a.actor_kind, a.actor, c.id FROM archival a JOIN cluster c ON c.row = a.cluster
         ORDER BY a.cluster LIMIT ?1",
        [MOST_CLUSTERS],
        |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, Uuid>(3)?)),
    )?;
    let mut batch = ArchivedBatch::default();
    for (cluster, kind, name, id) in clusters {
        let by = AuditActor::stored(&kind, &name)?;
        let room = MOST_JOBS - batch.cancelled.len();
        let cancelled = cancel_jobs(connection, cluster, &by, room, now)?;
        if cancelled.len() < room {
            connection.run("DELETE FROM archival WHERE cluster = ?1", [cluster])?;
        }
        batch.cancelled.extend(cancelled);
        batch.clusters.push(ClusterId::new(id.to_string()));
        if batch.cancelled.len() >= MOST_JOBS {
            break;
        }
    }
    let left = connection.row("SELECT 1 FROM archival LIMIT 1", [], |_| Ok(()))?;
    Ok(ArchivedBatch { finished: left.is_none(), ..batch })
}

fn cancel_jobs(
    connection: &Connection,
    cluster: i64,
    by: &AuditActor,
    room: usize,
    now: Timestamp,
) -> Result<Vec<JobId>, Error> {
    let open = connection.rows(
        "SELECT seq, steps, id FROM job WHERE cluster = ?1 AND ended_at IS NULL LIMIT ?2",
        params![cluster, i64::try_from(room).unwrap_or(i64::MAX)],
        |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Uuid>(2)?)),
    )?;
    let cause = format!("cancelled: the cluster was archived by {}", by.kind);
    for (seq, steps, id) in &open {
        timeline::end(connection, *seq, *steps, JobState::Cancelled, &cause, now)?;
        let audit = Record::new(by, "cancel", "the cluster was archived");
        audit.cluster(cluster).job(*id).write(connection, now)?;
    }
    Ok(open.into_iter().map(|(_, _, id)| JobId::new(id.to_string())).collect())
}
