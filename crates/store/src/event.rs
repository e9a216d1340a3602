//! Events: stored once each, in order, with the resources' current conditions kept beside them.

use crate::{
    Cluster, Error, Handle, PageRequest, Read, Serve, Store,
    codec::{from_json, micros, time, to_json},
    connection::Statements,
    page::Filling,
    report_digest, resource,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use vworkspace_core::{
    control::{EventBatch, ingest::Identity},
    report_digest::ReportDigest,
};
use vworkspace_protocol::{admin, event::Event};

/// What became of a batch of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// How many were new; the rest were repeats.
    pub new: usize,
    /// Digest of the cluster's current conditions after this batch; `None` if the batch held no event to store.
    pub digest: Option<ReportDigest>,
}

impl Store {
    /// Stores each event once and brings the resources' current conditions up to date, as one transaction. A
    /// heartbeat updates the cluster's record in memory only.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn ingest_events(
        &self,
        cluster: &Handle<Cluster, Serve>,
        batch: EventBatch,
        now: Timestamp,
    ) -> Result<Ingested, Error> {
        let events = batch.events.into_iter().map(|(identity, event)| Encoded::try_new(identity, event));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let mut ingested = Ingested { new: 0, digest: None };
        if !events.is_empty() {
            let row = cluster.row;
            let store_all = move |connection: &Connection| {
                let (mut new, mut change) = (0, ReportDigest::default());
                for event in &events {
                    new += event.store(connection, row, now, &mut change)?;
                }
                let digest = Some(report_digest::change(connection, row, change)?);
                Ok(Ingested { new, digest })
            };
            ingested = self.write(store_all).await?;
        }
        if let Some(beat) = batch.heartbeat {
            self.inner.presence.heartbeat(cluster.row, beat);
        }
        Ok(ingested)
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
        let list = self.inner.cursors.list("events", Some(cluster.row));
        let ids = self.inner.cursors.list("event", Some(cluster.row));
        let before = page.after::<i64>(&list)?.unwrap_or(i64::MAX);
        let (row, rows, kind, page) = (cluster.row, page.rows(), kind.map(str::to_owned), page.filling());
        let filled = self
            .read(move |connection| newest(connection, row, kind.as_deref(), (before, rows), page))
            .await?;
        let (items, next_cursor) = filled.finish(&list, |(seq, _)| *seq)?;
        let named =
            items.into_iter().map(|(seq, event)| Ok(admin::EventRecord { id: ids.seal(&seq)?, ..event }));
        Ok(admin::EventPage { items: named.collect::<Result<_, Error>>()?, next_cursor })
    }
}

/// An event as columns, made before the writer sees it.
struct Encoded {
    identity: Identity,
    event: Event,
    resource: String,
    conditions: String,
}

impl Encoded {
    fn try_new(identity: Identity, event: Event) -> Result<Self, Error> {
        let (resource, conditions) = (to_json(&event.resource_ref)?, to_json(&event.conditions)?);
        Ok(Self { identity, event, resource, conditions })
    }

    /// Stores it unless it is a repeat, and adds to `change` what it changes in the digest of the cluster's conditions.
    /// Returns how many were added: 0 or 1.
    fn store(
        &self,
        connection: &Connection,
        cluster: i64,
        now: Timestamp,
        change: &mut ReportDigest,
    ) -> Result<usize, Error> {
        let added = connection.run(
            "INSERT INTO event (cluster, identity, event_key, kind, resource, conditions, told_at, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (cluster, identity) WHERE identity IS NOT NULL DO NOTHING",
            params![
                cluster,
                self.identity,
                self.event.event_key,
                self.event.kind,
                self.resource,
                self.conditions,
                self.event.timestamp.map(micros),
                micros(now)
            ],
        )?;
        if added > 0 {
            resource::project(connection, cluster, &self.event, now, change)?;
        }
        Ok(added)
    }
}

/// The newest events before `before`, each with its number and still without its id.
fn newest(
    connection: &Connection,
    cluster: i64,
    kind: Option<&str>,
    (before, rows): (i64, i64),
    mut page: Filling<(i64, admin::EventRecord)>,
) -> Result<Filling<(i64, admin::EventRecord)>, Error> {
    connection.each(
        "SELECT seq, event_key, kind, resource, conditions, told_at, received_at FROM event
         WHERE cluster = ?1 AND seq < ?2 AND (?3 IS NULL OR kind = ?3) ORDER BY seq DESC LIMIT ?4",
        params![cluster, before, kind, rows],
        |row| {
            let (resource, conditions) = (row.get::<_, String>(3)?, row.get::<_, String>(4)?);
            let record = admin::EventRecord {
                id: String::new(),
                event_key: row.get(1)?,
                kind: row.get(2)?,
                resource_ref: from_json("resource reference", &resource)?,
                conditions: from_json("conditions", &conditions)?,
                timestamp: row.get::<_, Option<i64>>(5)?.map(time),
                received_at: time(row.get(6)?),
            };
            Ok(page.add((row.get(0)?, record), resource.len() + conditions.len()))
        },
    )?;
    Ok(page)
}
