//! Jobs that are held since the control plane was restored from a backup: they may have been cancelled, superseded or done
//! since, so nobody is given them before a person has looked.

use super::timeline;
use crate::{
    Cluster, Command, Error, Handle, Job, Organization, Store,
    access::AuditActor,
    audit::Record,
    codec::{micros, state, whole_micros},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, btree_map::Entry};
use uuid::Uuid;
use vworkspace_protocol::{ClusterId, JobId, admin::JobState};

/// Most jobs that one write releases.
const MOST: usize = 500;

/// What a release did.
#[derive(Debug, Default)]
pub struct Released {
    /// Jobs that are delivered from now on.
    pub released: Vec<JobId>,
    /// Jobs that ended: a newer one for the same object was enqueued while they were held.
    pub superseded: Vec<JobId>,
    /// The clusters of these jobs: whoever waits for their jobs is to be woken.
    pub clusters: Vec<ClusterId>,
    /// Whether nothing more is held of what was asked for.
    pub finished: bool,
}

/// What a job is about: its lane, and the API group where the job writes a whole object.
type Object = ([u8; 16], Option<String>);

/// A job to release.
struct Held {
    seq: i64,
    id: Uuid,
    state: i64,
    steps: u32,
    object: Object,
    cluster: i64,
    cluster_id: Uuid,
}

impl Store {
    /// Holds every open job: to be called when the database was restored from a backup, before anything is delivered.
    /// Held jobs stay held over restarts. Returns how many are held now that were not before.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn hold_open_jobs(&self, now: Timestamp) -> Result<usize, Error> {
        let now = whole_micros(now);
        self.write(move |connection| hold_all(connection, now)).await
    }

    /// Releases one held job. A job that is not held stays as it is.
    ///
    /// # Errors
    /// [`Error::JobClosed`] or [`Error::ResultRecorded`]: it has ended.
    pub async fn release_job(&self, job: &Handle<Job, Command>, now: Timestamp) -> Result<Released, Error> {
        let (seq, by) = (job.row, job.by.clone());
        self.release(Scope::Job(seq), by, now).await
    }

    /// Releases the next held jobs of a cluster, oldest first.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn release_jobs_of_cluster(
        &self,
        cluster: &Handle<Cluster, Command>,
        now: Timestamp,
    ) -> Result<Released, Error> {
        self.release(Scope::Cluster(cluster.row), cluster.by.clone(), now).await
    }

    /// Releases the next held jobs of a tenant's clusters, oldest first.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn release_jobs_of_organization(
        &self,
        organization: &Handle<Organization, Command>,
        now: Timestamp,
    ) -> Result<Released, Error> {
        self.release(Scope::Organization(organization.row), organization.by.clone(), now).await
    }

    async fn release(&self, scope: Scope, by: AuditActor, now: Timestamp) -> Result<Released, Error> {
        let now = whole_micros(now);
        let (released, clusters) = self.write(move |connection| scope.release(connection, &by, now)).await?;
        // Who holds what was acked is not known: the agent may have finished it, and its result may be lost.
        self.inner.presence.offer_again(&clusters, now);
        Ok(released)
    }
}

fn hold_all(connection: &Connection, now: Timestamp) -> Result<usize, Error> {
    connection.run(
        "INSERT INTO job_step (job, n, at, state, cause)
         SELECT seq, steps + 1, ?1, state, 'held: the control plane was restored from a backup'
         FROM job WHERE ended_at IS NULL AND withheld_at IS NULL",
        [micros(now)],
    )?;
    let held = connection.run(
        "UPDATE job SET withheld_at = ?1, steps = steps + 1 WHERE ended_at IS NULL AND withheld_at IS NULL",
        [micros(now)],
    )?;
    let detail = format!("restored from a backup: {held} open jobs are held");
    Record::new(&AuditActor::server(), "restored", detail).write(connection, now)?;
    Ok(held)
}

/// Which held jobs to release.
#[derive(Clone, Copy)]
enum Scope {
    Job(i64),
    Cluster(i64),
    Organization(i64),
}

impl Scope {
    /// Returns what was done, and the rows of the clusters it was done for.
    fn release(
        self,
        connection: &Connection,
        by: &AuditActor,
        now: Timestamp,
    ) -> Result<(Released, Vec<i64>), Error> {
        let held = self.held(connection)?;
        let mut done = Released { finished: held.len() < MOST, ..Released::default() };
        let mut clusters: BTreeMap<i64, ClusterId> = BTreeMap::new();
        let mut newer: BTreeMap<i64, ByObject> = BTreeMap::new();
        for job in &held {
            clusters.entry(job.cluster).or_insert_with(|| ClusterId::new(job.cluster_id.to_string()));
            let objects = match newer.entry(job.cluster) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(newest_by_object(connection, job.cluster, job.seq)?),
            };
            let id = JobId::new(job.id.to_string());
            match objects.get(&job.object).filter(|(seq, _)| *seq > job.seq) {
                Some((_, successor)) => {
                    job.supersede(connection, *successor, by, now)?;
                    done.superseded.push(id);
                }
                None => {
                    job.release(connection, by, now)?;
                    done.released.push(id);
                }
            }
        }
        done.clusters = clusters.values().cloned().collect();
        Ok((done, clusters.into_keys().collect()))
    }

    fn held(self, connection: &Connection) -> Result<Vec<Held>, Error> {
        let (job, cluster, organization) = match self {
            Self::Job(seq) => (Some(seq), None, None),
            Self::Cluster(row) => (None, Some(row), None),
            Self::Organization(row) => (None, None, Some(row)),
        };
        connection.rows(
            "SELECT j.seq, j.id, j.state, j.steps, j.lane, j.cluster, c.id, j.api_group
             FROM job j JOIN cluster c ON c.row = j.cluster
             WHERE j.withheld_at IS NOT NULL AND j.ended_at IS NULL AND (?1 IS NULL OR j.seq = ?1)
               AND (?2 IS NULL OR j.cluster = ?2) AND (?3 IS NULL OR c.organization = ?3)
             ORDER BY j.seq LIMIT ?4",
            params![job, cluster, organization, i64::try_from(MOST).unwrap_or(i64::MAX)],
            |row| {
                Ok(Held {
                    seq: row.get(0)?,
                    id: row.get(1)?,
                    state: row.get(2)?,
                    steps: row.get(3)?,
                    object: (row.get(4)?, row.get(7)?),
                    cluster: row.get(5)?,
                    cluster_id: row.get(6)?,
                })
            },
        )
    }
}

/// A job for each object: its number and its id.
type ByObject = BTreeMap<Object, (i64, Uuid)>;

/// Of each object the newest job after `seq` that is not held and did not end without being delivered: what it did must not
/// be undone by an older one.
fn newest_by_object(connection: &Connection, cluster: i64, seq: i64) -> Result<ByObject, Error> {
    let found = connection.rows(
        "SELECT lane, api_group, max(seq), id FROM job
         WHERE cluster = ?1 AND seq > ?2 AND withheld_at IS NULL AND state IN (0, 1, 2, 3)
         GROUP BY lane, api_group",
        params![cluster, seq],
        |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))),
    )?;
    Ok(found.into_iter().collect())
}

impl Held {
    fn release(&self, connection: &Connection, by: &AuditActor, now: Timestamp) -> Result<(), Error> {
        connection.run(
            "UPDATE job SET withheld_at = NULL, held_at = NULL, steps = ?2 WHERE seq = ?1",
            params![self.seq, self.steps + 1],
        )?;
        let cause = format!("released by {}", by.kind);
        timeline::add_step(connection, self.seq, self.steps, state(self.state)?, &cause, now)?;
        let record = Record::new(by, "release", "held since a restore");
        record.cluster(self.cluster).job(self.id).write(connection, now)
    }

    fn supersede(
        &self,
        connection: &Connection,
        successor: Uuid,
        by: &AuditActor,
        now: Timestamp,
    ) -> Result<(), Error> {
        let cause = format!("superseded by job {successor}, which was enqueued while this one was held");
        timeline::end(connection, self.seq, self.steps, JobState::Superseded, &cause, now)?;
        let record = Record::new(by, "release", cause);
        record.cluster(self.cluster).job(self.id).write(connection, now)
    }
}
