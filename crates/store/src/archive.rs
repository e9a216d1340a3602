//! Archiving: a cluster or an organization goes out of use, its history stays.
//!
//! ```text
//!   archive, one transaction:   archived_at, every credential and token ended, audited, cluster noted in `archival`
//!   cancel_archived, in batches: open jobs of the clusters in `archival` cancelled and audited, then the note removed
//! ```
//!
//! From the first transaction on nothing is delivered and nothing can be made, so the jobs have no hurry: they may be
//! many, and one transaction for all would hold up every other write. A server that stops in between goes on with the
//! next batch when it starts again.

use crate::{
    Cluster, Error, Handle, Installation, Manage, Organization, Store, access::AuditActor, audit::Record,
    codec::micros, connection::Statements, revoke::end_access,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};

impl Store {
    /// Takes the cluster out of use and ends its access. Its name may be used again, its open jobs are cancelled by
    /// [`Store::cancel_archived`], and nothing is sent to it. A repeat changes nothing.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn archive_cluster(
        &self,
        cluster: &Handle<Cluster, Manage>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (row, by) = (cluster.row, cluster.by.clone());
        self.write(move |connection| {
            let in_use = "SELECT row FROM cluster WHERE row = ?1 AND archived_at IS NULL";
            match connection.row(in_use, [row], |row| row.get(0))? {
                Some(row) => close(connection, row, &by, now),
                None => Ok(()),
            }
        })
        .await?;
        self.inner.presence.unregistered(row, now);
        Ok(())
    }

    /// Takes the tenant out of use: its tokens end, and each of its clusters is archived as one transaction with it.
    /// Only an administrator may, so that a leaked token of the tenant cannot. A repeat changes nothing.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn archive_organization(
        &self,
        organization: &Handle<Organization, Manage>,
        installation: &Handle<Installation, Manage>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (row, by) = (organization.row, installation.by.clone());
        let audit = Record::new(&by, "archive_organization", "").organization(row);
        let closed = self
            .write(move |connection| {
                let archived = connection.run(
                    "UPDATE organization SET archived_at = ?2 WHERE row = ?1 AND archived_at IS NULL",
                    params![row, micros(now)],
                )?;
                if archived == 0 {
                    return Ok(Vec::new());
                }
                connection.run("DELETE FROM api_token WHERE organization = ?1", [row])?;
                let in_use = "SELECT row FROM cluster WHERE organization = ?1 AND archived_at IS NULL";
                let clusters: Vec<i64> = connection.rows(in_use, [row], |row| row.get(0))?;
                clusters.iter().try_for_each(|row| close(connection, *row, &by, now))?;
                audit.write(connection, now)?;
                Ok(clusters)
            })
            .await?;
        closed.into_iter().for_each(|row| self.inner.presence.unregistered(row, now));
        Ok(())
    }
}

/// Archives one cluster that is in use.
fn close(connection: &Connection, row: i64, by: &AuditActor, now: Timestamp) -> Result<(), Error> {
    connection.run(
        "UPDATE cluster SET archived_at = ?2, registered_at = NULL WHERE row = ?1",
        params![row, micros(now)],
    )?;
    end_access(connection, row, now)?;
    connection.run(
        "INSERT INTO archival (cluster, actor_kind, actor) VALUES (?1, ?2, ?3)",
        params![row, by.kind, by.name],
    )?;
    Record::new(by, "archive_cluster", "").cluster(row).write(connection, now)
}
