//! The end of a cluster's membership.

use crate::{
    Cluster, Error, Handle, Serve, Store, audit::Record, connection::Statements, report_digest, resource,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use vworkspace_core::control::token;
use vworkspace_protocol::Secret;

impl Store {
    /// The cluster leaves, as one transaction: every credential of it ends, `bearer` included, and a registration
    /// token that was used brings none back. Unused tokens stay good: the cluster joins again with one.
    ///
    /// Its record stays, unregistered, and so do its events and what was last reported of its objects, which go on
    /// running; only the Cluster object itself is gone. Open jobs stay open: they are handed out to the agent that
    /// registers next, or expire, or are cancelled.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]: the bearer has ended meanwhile; whoever registered since then keeps its own.
    pub async fn decommission(
        &self,
        cluster: &Handle<Cluster, Serve>,
        bearer: &Secret,
        now: Timestamp,
    ) -> Result<(), Error> {
        let lookup = token::read(bearer).ok_or(Error::Unauthenticated)?.kept.lookup;
        let audit = Record::new(&cluster.by, "decommission", "the cluster has left").cluster(cluster.row);
        let row = cluster.row;
        self.write(move |connection| {
            end_credentials(connection, row, lookup)?;
            connection.run("UPDATE cluster SET registered_at = NULL WHERE row = ?1", [row])?;
            connection.run(
                "DELETE FROM resource WHERE cluster = ?1 AND kind = ?2",
                params![row, resource::CLUSTER],
            )?;
            report_digest::forget(connection, row)?;
            audit.write(connection, now)
        })
        .await?;
        self.inner.presence.unregistered(row, now);
        Ok(())
    }
}

fn end_credentials(connection: &Connection, cluster: i64, lookup: i64) -> Result<(), Error> {
    let alive = connection
        .run("DELETE FROM credential WHERE lookup = ?1 AND cluster = ?2", params![lookup, cluster])?;
    if alive == 0 {
        return Err(Error::Unauthenticated);
    }
    connection.run("DELETE FROM credential WHERE cluster = ?1", [cluster])?;
    connection.run(
        "UPDATE registration_token SET registration_id = NULL WHERE cluster = ?1 AND consumed_at IS NOT NULL",
        [cluster],
    )?;
    Ok(())
}
