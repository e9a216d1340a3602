//! Registration tokens: issued, listed and revoked for as long as nobody has used them.

use crate::{
    Cluster, Error, Handle, Manage, PageRequest, Read, Store,
    audit::Record,
    codec::{micros, time, whole_micros},
    connection::Statements,
    token::draw,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::time::Duration;
use vworkspace_core::control::token::{Kind, public_id, read_id};
use vworkspace_protocol::{
    admin::{CreatedRegistrationToken, RegistrationToken, RegistrationTokenPage},
    id::TokenId,
};

impl Store {
    /// Issues a single-use token that registers this cluster's agent; it ends after `life` unused.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::Archived`].
    pub async fn issue_registration_token(
        &self,
        cluster: &Handle<Cluster, Manage>,
        life: Duration,
        now: Timestamp,
    ) -> Result<CreatedRegistrationToken, Error> {
        let (token, kept) = draw(Kind::Registration)?;
        let now = whole_micros(now);
        let expires_at = now + life;
        let (row, bounds) = (cluster.row, self.inner.settings.bounds);
        let id = public_id(kept.lookup);
        let audit = Record::new(&cluster.by, "issue_registration_token", id.as_str()).cluster(row);
        self.write(move |connection| {
            let organization = owner_in_use(connection, row)?;
            bounds.admit_registration_token(connection, organization, now)?;
            connection.run(
                "INSERT INTO registration_token (lookup, digest, cluster, organization, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![kept.lookup, kept.digest, row, organization, micros(now), micros(expires_at)],
            )?;
            audit.write(connection, now)
        })
        .await?;
        Ok(CreatedRegistrationToken { token, id, cluster_id: cluster.id().clone(), expires_at })
    }

    /// The cluster's open tokens, oldest first: those that nobody has used and whose time has not passed.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn registration_tokens(
        &self,
        cluster: &Handle<Cluster, Read>,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<RegistrationTokenPage, Error> {
        let list = self.inner.cursors.list("registration tokens", Some(cluster.row));
        let (since, after) = page.after::<(i64, i64)>(&list)?.unwrap_or((i64::MIN, i64::MIN));
        let (row, rows) = (cluster.row, page.rows());
        let select = move |connection: &Connection| {
            connection.rows(
                "SELECT created_at, lookup, expires_at FROM registration_token
                 WHERE cluster = ?1 AND consumed_at IS NULL AND expires_at > ?2
                   AND (created_at, lookup) > (?3, ?4)
                 ORDER BY created_at, lookup LIMIT ?5",
                params![row, micros(now), since, after, rows],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)),
            )
        };
        let found = self.read(select).await?;
        let (items, next_cursor) = page.finish(&list, found, |(at, lookup, _)| (*at, *lookup))?;
        let shown = |(at, lookup, expires_at)| RegistrationToken {
            id: public_id(lookup),
            cluster_id: cluster.id().clone(),
            created_at: time(at),
            expires_at: time(expires_at),
        };
        Ok(RegistrationTokenPage { items: items.into_iter().map(shown).collect(), next_cursor })
    }

    /// Ends one of the cluster's open tokens: nobody registers by it any more.
    ///
    /// # Errors
    /// [`Error::NotFound`]: the cluster has no such open token.
    pub async fn revoke_registration_token(
        &self,
        cluster: &Handle<Cluster, Manage>,
        id: &TokenId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let lookup = read_id(id).ok_or(Error::NotFound)?;
        let row = cluster.row;
        let audit = Record::new(&cluster.by, "revoke_registration_token", id.as_str()).cluster(row);
        self.write(move |connection| {
            let ended = connection.run(
                "DELETE FROM registration_token
                 WHERE lookup = ?1 AND cluster = ?2 AND consumed_at IS NULL AND expires_at > ?3",
                params![lookup, row, micros(now)],
            )?;
            if ended == 0 {
                return Err(Error::NotFound);
            }
            audit.write(connection, now)
        })
        .await
    }
}

/// The organization of a cluster that is not archived.
pub(crate) fn owner_in_use(connection: &Connection, cluster: i64) -> Result<i64, Error> {
    let select = "SELECT organization FROM cluster WHERE row = ?1 AND archived_at IS NULL";
    let organization = connection.row(select, [cluster], |row| row.get(0))?;
    organization.ok_or(Error::Archived { what: "cluster" })
}
