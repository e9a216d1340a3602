//! The end of everything by which a cluster's agent proves who it is.

use crate::{Cluster, Error, Handle, Manage, Store, audit::Record, codec::micros, connection::Statements};
use jiff::Timestamp;
use rusqlite::{Connection, params};

impl Store {
    /// Ends the cluster's access, as one transaction: every credential, every open registration token, and the right
    /// to repeat an exchange. A registration token that is issued afterwards brings the same cluster back. Open jobs
    /// stay open for the agent that registers next. Answers whether anything was there to end; a repeat changes
    /// nothing.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn revoke_cluster(
        &self,
        cluster: &Handle<Cluster, Manage>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let row = cluster.row;
        let audit = Record::new(&cluster.by, "revoke_cluster", "").cluster(row);
        let has_ended = self
            .write(move |connection| {
                let Ended { credentials, tokens } = end_access(connection, row, now)?;
                if credentials + tokens == 0 {
                    return Ok(false);
                }
                connection.run("UPDATE cluster SET registered_at = NULL WHERE row = ?1", [row])?;
                let detail = format!("ended {credentials} credentials and {tokens} open registration tokens");
                Record { detail, ..audit.clone() }.write(connection, now)?;
                Ok(true)
            })
            .await?;
        if has_ended {
            self.inner.presence.unregistered(row, now);
        }
        Ok(has_ended)
    }
}

/// How much was ended.
pub(crate) struct Ended {
    pub(crate) credentials: usize,
    pub(crate) tokens: usize,
}

/// Ends all by which anybody proves to be this cluster's agent, or becomes it.
pub(crate) fn end_access(connection: &Connection, cluster: i64, now: Timestamp) -> Result<Ended, Error> {
    // One statement for each partial index: without them SQLite would look at the credentials of all clusters.
    let current = connection.run("DELETE FROM credential WHERE cluster = ?1 AND pending = 0", [cluster])?;
    let pending = connection.run("DELETE FROM credential WHERE cluster = ?1 AND pending = 1", [cluster])?;
    let tokens = connection.run(
        "DELETE FROM registration_token WHERE cluster = ?1 AND consumed_at IS NULL AND expires_at > ?2",
        params![cluster, micros(now)],
    )?;
    connection.run(
        "UPDATE registration_token SET registration_id = NULL WHERE cluster = ?1 AND consumed_at IS NOT NULL",
        [cluster],
    )?;
    Ok(Ended { credentials: current + pending, tokens })
}
