//! From an admitted request to a queued job.

use super::{own_key, owner_of, read, timeline};
use crate::{
    Cluster, Command, Error, Handle, Store,
    audit::Record,
    codec::{effect, effect_code, kind_code, micros, new_id, to_json, whole_micros},
    connection::Statements,
    registration_token::owner_in_use,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::ops::ControlFlow;
use uuid::Uuid;
use vworkspace_core::{
    control::{
        AdmittedJob,
        admission::{Effect, ExplicitKey, ObjectWrite},
    },
    planted::{Bug, planted},
};
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{self, JobState, TimelineEntry},
};

/// What an enqueue did.
#[derive(Debug)]
pub struct Enqueued {
    /// The job, with its timeline.
    pub job: admin::Job,
    /// False: the caller's key named this job before, nothing was done.
    pub created: bool,
    /// Older jobs whose place it took: whoever watches them is to be woken, besides the cluster.
    pub superseded: Vec<JobId>,
}

impl Store {
    /// Stores a job and its audit record. A repeat of an explicit key with equal kind and payload answers the job
    /// that stands. An `apply` or ensure intent supersedes older ones for its object that were never leased, back to
    /// the last queued deletion of the object.
    ///
    /// The caller wakes the cluster: after this answer, or when it gives up waiting for it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]: the key stands for something else. [`Error::NotAJob`]: its time has passed.
    /// [`Error::Archived`].
    pub async fn enqueue(
        &self,
        cluster: &Handle<Cluster, Command>,
        job: AdmittedJob,
        now: Timestamp,
    ) -> Result<Enqueued, Error> {
        let now = whole_micros(now);
        let new = New::try_new(cluster, job, now)?;
        let shown = new.shown(cluster.id(), now);
        let cluster_id = cluster.id().clone();
        let stored = self.write(move |connection| new.store(connection, &cluster_id, now)).await?;
        Ok(match stored {
            Stored::New { superseded } => Enqueued { job: shown, created: true, superseded },
            Stored::Known(job) => Enqueued { job: *job, created: false, superseded: Vec::new() },
        })
    }
}

/// Writes of one object that were never leased, newest first. The index `job_replaceable` serves it whole.
const OLDER_WRITES: &str = "SELECT seq, steps, id, effect FROM job
    WHERE state = 0 AND effect IS NOT NULL AND cluster = ?1 AND lane = ?2 AND api_group = ?3 AND seq < ?4
    ORDER BY seq DESC";
/// The mistake of [`Bug::SupersedeAnyObject`]; no program that is shipped uses it.
const OLDER_WRITES_OF_ANY: &str = "SELECT seq, steps, id, effect FROM job
    WHERE state = 0 AND effect IS NOT NULL AND cluster = ?1 AND (lane = ?2 OR api_group = ?3) AND seq < ?4
    ORDER BY seq DESC";

enum Stored {
    New { superseded: Vec<JobId> },
    Known(Box<admin::Job>),
}

/// A job with everything the writer needs, made before it.
struct New {
    id: Uuid,
    cluster: i64,
    job: AdmittedJob,
    kind: i64,
    wait_for: Option<String>,
    cause: String,
    audit: Record,
}

impl New {
    fn try_new(cluster: &Handle<Cluster, Command>, job: AdmittedJob, now: Timestamp) -> Result<Self, Error> {
        let id = new_id(now);
        let target = job.target();
        let about = format!("{} {} {}/{}", job.kind().as_str(), target.kind, target.namespace, target.name);
        Ok(Self {
            id,
            cluster: cluster.row,
            kind: kind_code(job.kind()).ok_or(Error::Defect)?,
            wait_for: job.wait_for().map(|goal| to_json(&goal)).transpose()?,
            cause: format!("enqueued by {}", cluster.by.kind),
            audit: Record::new(&cluster.by, "enqueue", about).cluster(cluster.row).job(id),
            job,
        })
    }

    fn store(&self, connection: &Connection, cluster: &ClusterId, now: Timestamp) -> Result<Stored, Error> {
        owner_in_use(connection, self.cluster)?;
        if let Some(explicit) = self.job.explicit_key()
            && let Some(seq) = self.known(connection, explicit)?
        {
            return Ok(Stored::Known(Box::new(read::whole(connection, seq, cluster, now)?)));
        }
        self.job.start_by(now)?;
        let seq = self.insert(connection, now)?;
        let superseded = match self.job.object_write() {
            Some(write) if write.effect == Effect::Replace => self.supersede(connection, seq, write, now)?,
            Some(_) | None => Vec::new(),
        };
        timeline::add_step(connection, seq, 0, JobState::Queued, &self.cause, now)?;
        self.audit.write(connection, now)?;
        Ok(Stored::New { superseded })
    }

    /// The job that the caller's key stands for.
    fn known(&self, connection: &Connection, explicit: &ExplicitKey) -> Result<Option<i64>, Error> {
        let found = connection.row(
            "SELECT job, content FROM job_key WHERE cluster = ?1 AND key = ?2",
            params![self.cluster, explicit.key],
            |row| Ok((row.get(0)?, row.get::<_, [u8; 32]>(1)? == explicit.content)),
        )?;
        let found = if found.is_some() { found } else { self.owner(connection, &explicit.key)? };
        match found {
            None => Ok(None),
            Some((seq, true)) => Ok(Some(seq)),
            Some((_, false)) => {
                Err(Error::AlreadyExists { subject: "a job with this idempotencyKey and another payload" })
            }
        }
    }

    /// The job that was given this very key because its caller chose none, and whether it is equal: the agent would take
    /// this one for a repeat of it.
    fn owner(&self, connection: &Connection, key: &str) -> Result<Option<(i64, bool)>, Error> {
        let Some(id) = owner_of(key) else { return Ok(None) };
        connection.row(
            "SELECT j.seq, j.kind = ?3 AND s.payload = ?4 FROM job j JOIN job_spec s ON s.job = j.seq
             WHERE j.id = ?1 AND j.cluster = ?2 AND s.key IS NULL",
            params![id, self.cluster, self.kind, self.job.payload()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    fn insert(&self, connection: &Connection, now: Timestamp) -> Result<i64, Error> {
        let job = &self.job;
        let bytes = i64::try_from(job.payload().len()).unwrap_or(i64::MAX);
        let write = job.object_write();
        let seq = connection.add(
            "INSERT INTO job (id, cluster, state, kind, lane, bytes, expires_at, api_group, effect)
             VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                self.id,
                self.cluster,
                self.kind,
                job.lane(),
                bytes,
                job.expires_at().map(micros),
                write.map(|write| write.api_group.as_str()),
                write.map(|write| effect_code(write.effect))
            ],
        )?;
        let explicit = job.explicit_key();
        connection.run(
            "INSERT INTO job_spec (job, created_at, target_kind, target_namespace, target_name, key, wait_for,
                deadline_seconds, retry_seconds, force, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                seq,
                micros(now),
                job.target().kind,
                job.target().namespace,
                job.target().name,
                explicit.map(|explicit| explicit.key.as_str()),
                self.wait_for,
                job.deadline_seconds(),
                job.retry_seconds(),
                job.force(),
                job.payload()
            ],
        )?;
        if let Some(explicit) = explicit {
            connection.run(
                "INSERT INTO job_key (cluster, key, job, content) VALUES (?1, ?2, ?3, ?4)",
                params![self.cluster, explicit.key, seq, explicit.content],
            )?;
        }
        Ok(seq)
    }

    /// Ends the older writes that `write` makes pointless. Reads newest first and stops at a deletion, so that the
    /// work does not grow with the queue.
    fn supersede(
        &self,
        connection: &Connection,
        seq: i64,
        write: &ObjectWrite,
        now: Timestamp,
    ) -> Result<Vec<JobId>, Error> {
        let mut older: Vec<(i64, u32, Uuid)> = Vec::new();
        let object = params![self.cluster, self.job.lane(), write.api_group, seq];
        let sql = if planted(Bug::SupersedeAnyObject) { OLDER_WRITES_OF_ANY } else { OLDER_WRITES };
        connection.each(sql, object, |row| {
            match effect(row.get(3)?)? {
                Effect::Replace => older.push((row.get(0)?, row.get(1)?, row.get(2)?)),
                Effect::Delete if planted(Bug::SupersedeAcrossDelete) => {}
                Effect::Delete => return Ok(ControlFlow::Break(())),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let cause = format!("superseded by job {}", self.id);
        for (seq, steps, _) in &older {
            timeline::end(connection, *seq, *steps, JobState::Superseded, &cause, now)?;
        }
        Ok(older.into_iter().map(|(.., id)| JobId::new(id.to_string())).collect())
    }

    /// The job as it will be once stored.
    fn shown(&self, cluster: &ClusterId, now: Timestamp) -> admin::Job {
        let explicit = self.job.explicit_key();
        admin::Job {
            id: JobId::new(self.id.to_string()),
            cluster_id: cluster.clone(),
            kind: self.job.kind().as_str().to_owned(),
            target: self.job.target().clone(),
            state: JobState::Queued,
            outcome: None,
            error: String::new(),
            conflicts: Vec::new(),
            applied_ref: None,
            idempotency_key: explicit.map_or_else(|| own_key(self.id), |explicit| explicit.key.clone()),
            deliveries: 0,
            phase: String::new(),
            conditions: Vec::new(),
            held_since: None,
            created_at: now,
            expires_at: self.job.expires_at().map(whole_micros),
            timeline: vec![TimelineEntry {
                seq: 1,
                at: now,
                state: JobState::Queued,
                cause: self.cause.clone(),
            }],
            as_of: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superseding_reads_the_index_of_replaceable_jobs_alone() {
        let connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&connection).unwrap();
        let plan = connection
            .rows(
                &format!("EXPLAIN QUERY PLAN {OLDER_WRITES}"),
                params![1, [0_u8; 16], "apps.vworkspace.io", 9],
                |row| row.get::<_, String>(3),
            )
            .unwrap();
        let index =
            "SEARCH job USING INDEX job_replaceable (cluster=? AND lane=? AND api_group=? AND rowid<?)";
        assert_eq!(plan, [index]);
    }
}
