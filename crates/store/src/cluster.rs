//! Clusters' records.

use crate::{
    Caller, Cluster, Error, Handle, Installation, Manage, Organization, PageRequest, Read, Right, Serve,
    Store,
    api_token::refuse_archived,
    audit,
    codec::{known_id, micros, new_id, time, whole_micros},
    connection::Statements,
    identity,
    known::ClusterPlace,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;
use vworkspace_core::control::{DnsLabel, presence::presence};
use vworkspace_protocol::{ClusterId, admin, id::OrganizationId};

/// Whether a list shows what was archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    /// Only what is in use.
    Hidden,
    /// What is in use and what was archived.
    Shown,
}

/// The stored part of a cluster.
struct Record {
    id: ClusterId,
    organization: OrganizationId,
    name: String,
    created_at: Timestamp,
    registered_at: Option<Timestamp>,
    held_jobs: u32,
    unknown_results: u32,
    archived_at: Option<Timestamp>,
}

impl Store {
    /// The right `A` on a cluster.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another tenant's as for none, [`Error::Forbidden`].
    pub async fn lookup_cluster<A: Right>(
        &self,
        caller: &Caller,
        id: &ClusterId,
    ) -> Result<Handle<Cluster, A>, Error> {
        let key = known_id(id.as_str())?;
        if let Some(ClusterPlace { row, organization }) = self.inner.known.cluster(key) {
            return caller.on_cluster(row, id.clone(), organization);
        }
        let epoch = self.inner.known.epoch();
        let find = move |connection: &Connection| {
            connection.row(
                "SELECT c.row, o.id FROM cluster c JOIN organization o ON o.row = c.organization WHERE c.id = ?1",
                [key],
                |row| Ok((row.get(0)?, row.get::<_, Uuid>(1)?)),
            )
        };
        let (row, organization) = self.read(find).await?.ok_or(Error::NotFound)?;
        let organization = OrganizationId::new(organization.to_string());
        let place = ClusterPlace { row, organization: organization.clone() };
        self.inner.known.keep_cluster(epoch, key, &place);
        caller.on_cluster(row, id.clone(), organization)
    }

    /// An agent's right on its own cluster; needs no database.
    ///
    /// # Errors
    /// [`Error::Forbidden`]: the caller is no agent.
    pub fn own_cluster(&self, caller: &Caller) -> Result<Handle<Cluster, Serve>, Error> {
        caller.on_own_cluster()
    }

    /// Makes a cluster's record; its agent registers with a token issued for it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]: the organization has one of this name in use. [`Error::LimitReached`],
    /// [`Error::Archived`].
    pub async fn create_cluster(
        &self,
        organization: &Handle<Organization, Manage>,
        name: &DnsLabel,
        now: Timestamp,
    ) -> Result<admin::Cluster, Error> {
        let now = whole_micros(now);
        let id = new_id(now);
        let record = Record {
            id: ClusterId::new(id.to_string()),
            organization: organization.id().clone(),
            name: name.to_string(),
            created_at: now,
            registered_at: None,
            held_jobs: 0,
            unknown_results: 0,
            archived_at: None,
        };
        let audit = audit::Record::new(&organization.by, "create_cluster", name.as_str());
        let (tenant, name, bounds) = (organization.row, name.clone(), self.inner.settings.bounds);
        let row = self
            .write(move |connection| {
                refuse_archived(connection, tenant)?;
                refuse_taken(connection, tenant, &name)?;
                bounds.admit_cluster(connection, tenant)?;
                let row = connection.add(
                    "INSERT INTO cluster (id, organization, name, created_at) VALUES (?1, ?2, ?3, ?4)",
                    params![id, tenant, name.as_str(), micros(now)],
                )?;
                audit.clone().organization(tenant).cluster(row).write(connection, now)?;
                Ok(row)
            })
            .await?;
        Ok(self.shown(row, record, now))
    }

    /// The clusters the caller may see, in order of making.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn clusters(
        &self,
        installation: &Handle<Installation, Read>,
        archived: Archived,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<admin::ClusterPage, Error> {
        self.clusters_within(installation.on.within, archived, page, now).await
    }

    /// One tenant's clusters, in order of making.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn clusters_of(
        &self,
        organization: &Handle<Organization, Read>,
        archived: Archived,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<admin::ClusterPage, Error> {
        self.clusters_within(Some(organization.row), archived, page, now).await
    }

    /// What the cluster's agent announced with its last call; nothing before the first.
    pub fn capabilities<A>(&self, cluster: &Handle<Cluster, A>) -> Vec<String> {
        self.inner.presence.known(cluster.row).capabilities
    }

    /// One cluster's record, with presence as of `now`.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn cluster(
        &self,
        cluster: &Handle<Cluster, Read>,
        now: Timestamp,
    ) -> Result<admin::Cluster, Error> {
        let row = cluster.row;
        let select = move |connection: &Connection| {
            connection.row(
                "SELECT c.row, c.id, o.id, c.name, c.created_at, c.registered_at, c.archived_at,
                        (SELECT count(*) FROM job WHERE cluster = c.row AND withheld_at IS NOT NULL AND ended_at IS NULL),
                        (SELECT count(*) FROM unknown_result WHERE cluster = c.row)
                 FROM cluster c JOIN organization o ON o.row = c.organization WHERE c.row = ?1",
                [row],
                record,
            )
        };
        let (row, record) = self.read(select).await?.ok_or(Error::NotFound)?;
        Ok(self.shown(row, record, now))
    }

    async fn clusters_within(
        &self,
        within: Option<i64>,
        archived: Archived,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<admin::ClusterPage, Error> {
        let list = self.inner.cursors.list("clusters", within);
        let after = page.after::<i64>(&list)?.unwrap_or_default();
        let (rows, shown) = (page.rows(), archived == Archived::Shown);
        let select = move |connection: &Connection| {
            connection.rows(
                "SELECT c.row, c.id, o.id, c.name, c.created_at, c.registered_at, c.archived_at,
                        (SELECT count(*) FROM job WHERE cluster = c.row AND withheld_at IS NOT NULL AND ended_at IS NULL),
                        (SELECT count(*) FROM unknown_result WHERE cluster = c.row)
                 FROM cluster c JOIN organization o ON o.row = c.organization
                 WHERE c.row > ?1 AND (?2 IS NULL OR c.organization = ?2) AND (?4 OR c.archived_at IS NULL)
                 ORDER BY c.row LIMIT ?3",
                params![after, within, rows, shown],
                record,
            )
        };
        let (items, next_cursor) = page.finish(&list, self.read(select).await?, |(row, _)| *row)?;
        let items = items.into_iter().map(|(row, record)| self.shown(row, record, now)).collect();
        Ok(admin::ClusterPage { items, next_cursor })
    }

    /// A record with what is known of its agent.
    fn shown(&self, row: i64, record: Record, now: Timestamp) -> admin::Cluster {
        let mut known = self.inner.presence.known(row);
        let is_registered = record.registered_at.is_some();
        // A cluster that has left has no Cluster object, whatever its agent still told on the way out.
        if !is_registered {
            known.conditions.clear();
        }
        let identity_conflict = known.sessions.conflict().filter(|_| is_registered);
        known.conditions.extend(identity_conflict.as_ref().map(identity::condition));
        let window = self.inner.settings.disconnect_after;
        admin::Cluster {
            presence: presence(is_registered, known.sighting.last_seen, now, window),
            last_seen: known.sighting.last_seen,
            agent: known.user_agent,
            capabilities: known.capabilities,
            operator_version: known.operator_version,
            kubernetes_version: known.kubernetes_version,
            conditions: known.conditions,
            identity_conflict,
            kept_session: self.inner.presence.kept(row).filter(|_| is_registered),
            held_jobs: record.held_jobs,
            unknown_results: record.unknown_results,
            id: record.id,
            organization_id: record.organization,
            name: record.name,
            created_at: record.created_at,
            registered_at: record.registered_at,
            archived_at: record.archived_at,
            as_of: now,
        }
    }
}

fn refuse_taken(connection: &Connection, organization: i64, name: &DnsLabel) -> Result<(), Error> {
    let select = "SELECT 1 FROM cluster WHERE organization = ?1 AND name = ?2 AND archived_at IS NULL";
    match connection.row(select, params![organization, name.as_str()], |row| row.get::<_, i64>(0))? {
        Some(_) => Err(Error::AlreadyExists { subject: "a cluster of this name" }),
        None => Ok(()),
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<(i64, Record)> {
    let record = Record {
        id: ClusterId::new(row.get::<_, Uuid>(1)?.to_string()),
        organization: OrganizationId::new(row.get::<_, Uuid>(2)?.to_string()),
        name: row.get(3)?,
        created_at: time(row.get(4)?),
        registered_at: row.get::<_, Option<i64>>(5)?.map(time),
        archived_at: row.get::<_, Option<i64>>(6)?.map(time),
        held_jobs: row.get(7)?,
        unknown_results: row.get(8)?,
    };
    Ok((row.get(0)?, record))
}
