//! Digest of the current conditions of each cluster's objects, kept current by the writes that change them.
//!
//! ```text
//!   report ──► conditions change by some lines ──► stored sum + change   (one transaction)
//!   heartbeat ──► in memory? ──► else one row ──► else all conditions, once
//! ```
//!
//! The sum is stored beside the conditions, so a database that is set back to a backup comes with the digest of what it
//! holds. A write that changes resources in another way than by a report takes the row away.

use crate::{Cluster, Error, Handle, Serve, Store, connection::Statements, resource};
use rusqlite::{Connection, params};
use vworkspace_core::report_digest::{ReportDigest, ReportLine};

impl Store {
    /// The digest of the current conditions that are held of the cluster's objects. Nothing is written; an idle
    /// cluster's is kept in memory.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn report_digest(&self, cluster: &Handle<Cluster, Serve>) -> Result<ReportDigest, Error> {
        let (known, row) = (&self.inner.known, cluster.row);
        if let Some(digest) = known.digest(row) {
            return Ok(digest);
        }
        let epoch = known.digest_epoch();
        let digest = self
            .read(move |connection| match stored(connection, row)? {
                Some(digest) => Ok(digest),
                None => computed(connection, row),
            })
            .await?;
        known.keep_digest(epoch, row, digest);
        Ok(digest)
    }
}

/// Brings the stored digest up to date with a change of the cluster's conditions that was just made.
pub(crate) fn change(
    connection: &Connection,
    cluster: i64,
    change: ReportDigest,
) -> Result<ReportDigest, Error> {
    let held = stored(connection, cluster)?;
    let digest = match held {
        Some(held) => held.plus(change),
        // The change is made already.
        None => computed(connection, cluster)?,
    };
    if held != Some(digest) {
        connection.run(
            "INSERT INTO report_digest (cluster, digest) VALUES (?1, ?2)
             ON CONFLICT (cluster) DO UPDATE SET digest = excluded.digest",
            params![cluster, digest.to_bytes()],
        )?;
    }
    Ok(digest)
}

/// Resources of the cluster changed otherwise than by a report: the digest is computed when it is next needed.
pub(crate) fn forget(connection: &Connection, cluster: i64) -> Result<(), Error> {
    connection.run("DELETE FROM report_digest WHERE cluster = ?1", [cluster])?;
    Ok(())
}

fn stored(connection: &Connection, cluster: i64) -> Result<Option<ReportDigest>, Error> {
    let select = "SELECT digest FROM report_digest WHERE cluster = ?1";
    let bytes = connection.row(select, [cluster], |row| row.get::<_, [u8; 16]>(0))?;
    Ok(bytes.map(ReportDigest::from_bytes))
}

fn computed(connection: &Connection, cluster: i64) -> Result<ReportDigest, Error> {
    let mut digest = ReportDigest::default();
    resource::each_condition(connection, cluster, |object, condition| {
        digest.add(ReportLine::new(object, condition));
    })?;
    Ok(digest)
}
