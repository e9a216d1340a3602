//! Objects in clusters as last reported: a projection of the events.
//!
//! An agent's outbox keeps the order of an object's reports, and a repeat is never projected. What an agent sent before
//! it died may arrive after what the next one sent: then the sequence that our agents tell decides; without one, the
//! order of arrival does. A new uid is a new life of the name: nothing of the old one is kept, and nothing brings a life
//! back whose end was told.

use crate::{
    Cluster, Error, Handle, PageRequest, Read, Store,
    codec::{micros, time},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use std::ops::ControlFlow;
use vworkspace_core::{
    control::{admission::group, ingest::identity_of_end},
    report_digest::{ReportDigest, ReportLine},
};
use vworkspace_protocol::{
    ClusterId, Condition, ConditionStatus, ObjectRef, admin,
    condition::reasons,
    event::{Event, kind},
};

/// Which resources are listed; `None` leaves a part open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceFilter {
    /// Exactly this kind.
    pub kind: Option<String>,
    /// Exactly this namespace; empty means cluster-scoped ones.
    pub namespace: Option<String>,
    /// Exactly this name.
    pub name: Option<String>,
}

/// Most conditions of one object, removed ones included. Overflow rule: the one that was removed longest ago gives way;
/// where all are there, further types are kept as events alone.
const MOST_CONDITIONS: i64 = 64;

/// The kind of the object that stands for the agent's own cluster.
pub(crate) const CLUSTER: &str = "Cluster";

/// Where a resource stands in the list: kind, namespace, name, group.
type Place = (String, String, String, String);

impl Store {
    /// The current conditions of a cluster's objects, ordered by kind, namespace and name.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn resources(
        &self,
        cluster: &Handle<Cluster, Read>,
        filter: &ResourceFilter,
        page: &PageRequest,
    ) -> Result<admin::ResourcePage, Error> {
        let places = self.inner.cursors.list("resources", Some(cluster.row));
        let after = page.after::<Place>(&places)?.unwrap_or_default();
        let (row, id, filter, rows) = (cluster.row, cluster.id().clone(), filter.clone(), page.rows());
        let mut page = page.filling();
        let fill = move |connection: &Connection| {
            for (row, bare) in list(connection, row, &id, &filter, &after, rows)? {
                let conditions = conditions(connection, row)?;
                let told = conditions.iter();
                let bytes = told.map(|told| told.type_.len() + told.reason.len() + told.message.len()).sum();
                if page.add(admin::Resource { conditions, ..bare }, bytes).is_break() {
                    break;
                }
            }
            Ok(page)
        };
        let (items, next_cursor) = self.read(fill).await?.finish(&places, place)?;
        let as_of = self.inner.presence.last_seen(cluster.row);
        Ok(admin::ResourcePage { items, next_cursor, as_of })
    }
}

/// Brings the projection up to date with an event that was not seen before; adds to `change` what that changes in the
/// digest of the cluster's conditions.
pub(crate) fn project(
    connection: &Connection,
    cluster: i64,
    event: &Event,
    now: Timestamp,
    change: &mut ReportDigest,
) -> Result<(), Error> {
    let object = &event.resource_ref;
    if object.kind.is_empty() || object.name.is_empty() {
        return Ok(());
    }
    if event.kind == kind::OBJECT_DELETED {
        return forget(connection, cluster, object, change);
    }
    // An audit event tells what was done, not how the object is.
    if event.conditions.is_empty() || kind::is_audit(&event.kind) {
        return Ok(());
    }
    if object.kind == CLUSTER && has_left(connection, cluster)? {
        return Ok(());
    }
    let Some(row) = upsert(connection, cluster, object, event.sequence, now, change)? else { return Ok(()) };
    let sequence = event.sequence;
    let noted = |condition| note(connection, (row, object), condition, sequence, now, change);
    event.conditions.iter().try_for_each(noted)
}

/// Whether the cluster has left, and its Cluster object is gone with it, while the report was on its way.
fn has_left(connection: &Connection, cluster: i64) -> Result<bool, Error> {
    let left = "SELECT 1 FROM cluster WHERE row = ?1 AND registered_at IS NULL";
    Ok(connection.row(left, [cluster], |_| Ok(()))?.is_some())
}

fn forget(
    connection: &Connection,
    cluster: i64,
    object: &ObjectRef,
    change: &mut ReportDigest,
) -> Result<(), Error> {
    let found = connection.row(
        "SELECT row, uid FROM resource
         WHERE cluster = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4 AND api_group = ?5
         AND (uid = ?6 OR uid = '' OR ?6 = '')",
        params![cluster, object.kind, object.namespace, object.name, object.group(), object.uid],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
    )?;
    let Some((row, uid)) = found else { return Ok(()) };
    forget_conditions(connection, row, &ObjectRef { uid, ..object.clone() }, change)?;
    connection.run("DELETE FROM resource WHERE row = ?1", [row])?;
    Ok(())
}

/// Takes away all conditions of the object's row.
fn forget_conditions(
    connection: &Connection,
    row: i64,
    object: &ObjectRef,
    change: &mut ReportDigest,
) -> Result<(), Error> {
    for condition in conditions(connection, row)? {
        change.remove(ReportLine::new(object, &condition));
    }
    connection.run("DELETE FROM resource_condition WHERE resource = ?1", [row])?;
    Ok(())
}

/// The object's row; `None`: the report is about a life that is over.
fn upsert(
    connection: &Connection,
    cluster: i64,
    object: &ObjectRef,
    sequence: u64,
    now: Timestamp,
    change: &mut ReportDigest,
) -> Result<Option<i64>, Error> {
    let sequence = place_of(sequence);
    let found = connection.row(
        "SELECT row, uid, sequence FROM resource
         WHERE cluster = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4 AND api_group = ?5",
        params![cluster, object.kind, object.namespace, object.name, group(&object.api_version)],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)),
    )?;
    if found.as_ref().is_none_or(|(_, uid, _)| *uid != object.uid) && is_over(connection, cluster, object)? {
        return Ok(None);
    }
    let Some((row, uid, newest)) = found else {
        let row = connection.add(
            "INSERT INTO resource (cluster, kind, namespace, name, api_group, api_version, uid, generation, as_of,
                sequence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                cluster,
                object.kind,
                object.namespace,
                object.name,
                group(&object.api_version),
                object.api_version,
                object.uid,
                object.generation,
                micros(now),
                sequence
            ],
        );
        return row.map(Some);
    };
    let is_late = sequence > 0 && sequence < newest;
    if uid != object.uid {
        if is_late {
            return Ok(None);
        }
        forget_conditions(connection, row, &ObjectRef { uid, ..object.clone() }, change)?;
    }
    if !is_late {
        connection.run(
            "UPDATE resource SET api_version = ?2, uid = ?3, generation = ?4, as_of = ?5, sequence = ?6
             WHERE row = ?1",
            params![row, object.api_version, object.uid, object.generation, micros(now), sequence],
        )?;
    }
    Ok(Some(row))
}

/// Whether the end of this life was told.
fn is_over(connection: &Connection, cluster: i64, object: &ObjectRef) -> Result<bool, Error> {
    let told = connection.row(
        "SELECT 1 FROM event WHERE cluster = ?1 AND identity = ?2",
        params![cluster, identity_of_end(&object.uid)],
        |_| Ok(()),
    )?;
    Ok(!object.uid.is_empty() && told.is_some())
}

/// As SQLite keeps it; the agent's numbers are milliseconds since 1970 and stay far below the bound.
fn place_of(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// Makes room for one more condition of the object; false where there is none to be had.
fn make_room(connection: &Connection, resource: i64) -> Result<bool, Error> {
    let count = "SELECT count(*) FROM resource_condition WHERE resource = ?1";
    let count = connection.row(count, [resource], |row| row.get::<_, i64>(0))?;
    if count.unwrap_or_default() < MOST_CONDITIONS {
        return Ok(true);
    }
    let gave_way = connection.run(
        "DELETE FROM resource_condition WHERE resource = ?1 AND type = (SELECT type FROM resource_condition
             WHERE resource = ?1 AND status = ?2 AND reason = ?3 ORDER BY sequence, as_of LIMIT 1)",
        params![resource, ConditionStatus::Unknown.as_str(), reasons::CONDITION_REMOVED],
    )?;
    Ok(gave_way > 0)
}

fn note(
    connection: &Connection,
    (resource, object): (i64, &ObjectRef),
    condition: &Condition,
    sequence: u64,
    now: Timestamp,
    change: &mut ReportDigest,
) -> Result<(), Error> {
    let sequence = place_of(sequence);
    let held = connection.row(
        "SELECT type, status, reason, message, observed_generation, last_transition, sequence
         FROM resource_condition WHERE resource = ?1 AND type = ?2",
        params![resource, condition.type_],
        |row| Ok((self::condition(row)?, row.get::<_, i64>(6)?)),
    )?;
    if sequence > 0 && held.as_ref().is_some_and(|(_, newest)| sequence < *newest) {
        return Ok(());
    }
    if held.is_none() && !make_room(connection, resource)? {
        return Ok(());
    }
    if let Some((held, _)) = &held {
        change.remove(ReportLine::new(object, held));
    }
    change.add(ReportLine::new(object, condition));
    // A removal is kept like any other report, and not shown: what was sent before it may arrive after it.
    connection.run(
        "INSERT OR REPLACE INTO resource_condition
            (resource, type, status, reason, message, observed_generation, last_transition, as_of, sequence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            resource,
            condition.type_,
            condition.status.as_str(),
            condition.reason,
            condition.message,
            condition.observed_generation,
            condition.last_transition_time.map(micros),
            micros(now),
            sequence
        ],
    )?;
    Ok(())
}

/// The objects, by row, without their conditions.
fn list(
    connection: &Connection,
    cluster: i64,
    id: &ClusterId,
    filter: &ResourceFilter,
    after: &Place,
    rows: i64,
) -> Result<Vec<(i64, admin::Resource)>, Error> {
    connection.rows(
        "SELECT row, api_version, kind, namespace, name, uid, generation, as_of FROM resource
         WHERE cluster = ?1 AND (kind, namespace, name, api_group) > (?2, ?3, ?4, ?5)
           AND (?6 IS NULL OR kind = ?6) AND (?7 IS NULL OR namespace = ?7) AND (?8 IS NULL OR name = ?8)
         ORDER BY kind, namespace, name, api_group LIMIT ?9",
        params![
            cluster,
            after.0,
            after.1,
            after.2,
            after.3,
            filter.kind,
            filter.namespace,
            filter.name,
            rows
        ],
        |row| Ok((row.get::<_, i64>(0)?, resource(row, id)?)),
    )
}

/// Shows every condition that is held of the cluster's objects, removed ones included.
pub(crate) fn each_condition(
    connection: &Connection,
    cluster: i64,
    mut see: impl FnMut(&ObjectRef, &Condition),
) -> Result<(), Error> {
    connection.each(
        "SELECT c.type, c.status, c.reason, c.message, c.observed_generation, c.last_transition,
                r.api_version, r.kind, r.namespace, r.name, r.uid
         FROM resource r JOIN resource_condition c ON c.resource = r.row WHERE r.cluster = ?1",
        [cluster],
        |row| {
            let object = ObjectRef {
                api_version: row.get(6)?,
                kind: row.get(7)?,
                namespace: row.get(8)?,
                name: row.get(9)?,
                uid: row.get(10)?,
                generation: 0,
            };
            see(&object, &condition(row)?);
            Ok(ControlFlow::Continue(()))
        },
    )
}

fn conditions(connection: &Connection, resource: i64) -> Result<Vec<Condition>, Error> {
    connection.rows(
        "SELECT type, status, reason, message, observed_generation, last_transition
         FROM resource_condition WHERE resource = ?1 AND NOT (status = ?2 AND reason = ?3) ORDER BY type",
        params![resource, ConditionStatus::Unknown.as_str(), reasons::CONDITION_REMOVED],
        condition,
    )
}

fn resource(row: &Row<'_>, cluster: &ClusterId) -> rusqlite::Result<admin::Resource> {
    Ok(admin::Resource {
        cluster_id: cluster.clone(),
        resource_ref: ObjectRef {
            api_version: row.get(1)?,
            kind: row.get(2)?,
            namespace: row.get(3)?,
            name: row.get(4)?,
            uid: row.get(5)?,
            generation: row.get(6)?,
        },
        conditions: Vec::new(),
        as_of: time(row.get(7)?),
    })
}

fn condition(row: &Row<'_>) -> rusqlite::Result<Condition> {
    let status = match row.get_ref(1)?.as_str()? {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    };
    Ok(Condition {
        type_: row.get(0)?,
        status,
        observed_generation: row.get(4)?,
        last_transition_time: row.get::<_, Option<i64>>(5)?.map(time),
        reason: row.get(2)?,
        message: row.get(3)?,
    })
}

fn place(resource: &admin::Resource) -> Place {
    let object = &resource.resource_ref;
    let group = group(&object.api_version).to_owned();
    (object.kind.clone(), object.namespace.clone(), object.name.clone(), group)
}
