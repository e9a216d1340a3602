//! Jobs as the admin API shows them.

use super::own_key;
use crate::{
    Cluster, Error, Handle, Job, PageRequest, Read, Store,
    codec::{STATE_CODES, from_json, kind, outcome, state, state_code, time},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;
use uuid::Uuid;
use vworkspace_protocol::{
    ClusterId, JobId,
    admin::{self, JobState, JobTarget, TimelineEntry},
};

impl Store {
    /// A job with its timeline.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn job(&self, job: &Handle<Job, Read>, now: Timestamp) -> Result<admin::Job, Error> {
        let (seq, cluster) = (job.row, job.cluster_id().clone());
        self.read(move |connection| whole(connection, seq, &cluster, now)).await
    }

    /// What the job asks for, byte by byte as it was handed in.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn job_payload(&self, job: &Handle<Job, Read>) -> Result<Box<RawValue>, Error> {
        let seq = job.row;
        let select = "SELECT payload FROM job_spec WHERE job = ?1";
        let found = self.read(move |connection| connection.row(select, [seq], |row| row.get(0))).await?;
        let payload: String = found.ok_or(Error::NotFound)?;
        RawValue::from_string(payload).map_err(|_| Error::Corrupt { what: "payload" })
    }

    /// A cluster's jobs, newest first, all or in one state, without timelines.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn jobs(
        &self,
        cluster: &Handle<Cluster, Read>,
        state: Option<JobState>,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<admin::JobPage, Error> {
        let list = self.inner.cursors.list("jobs", Some(cluster.row));
        let before = page.after::<i64>(&list)?.unwrap_or(i64::MAX);
        let (row, id, rows) = (cluster.row, cluster.id().clone(), page.rows());
        let mut page = page.filling();
        let fill = move |connection: &Connection| {
            for seq in newest(connection, row, state, before, rows)? {
                let columns = read(connection, seq)?;
                let bytes = columns.bytes();
                if page.add((seq, columns.into_job(&id, now)?), bytes).is_break() {
                    break;
                }
            }
            Ok(page)
        };
        let (items, next_cursor) = self.read(fill).await?.finish(&list, |(seq, _)| *seq)?;
        Ok(admin::JobPage { items: items.into_iter().map(|(_, job)| job).collect(), next_cursor })
    }
}

/// A job with its timeline.
pub(super) fn whole(
    connection: &Connection,
    seq: i64,
    cluster: &ClusterId,
    now: Timestamp,
) -> Result<admin::Job, Error> {
    let steps = connection.rows(
        "SELECT n, at, state, cause FROM job_step WHERE job = ?1 ORDER BY n",
        [seq],
        |row| Ok((row.get(0)?, time(row.get(1)?), row.get(2)?, row.get(3)?)),
    )?;
    let entry = |(seq, at, code, cause)| Ok(TimelineEntry { seq, at, state: state(code)?, cause });
    let timeline = steps.into_iter().map(entry).collect::<Result<_, Error>>()?;
    Ok(admin::Job { timeline, ..read(connection, seq)?.into_job(cluster, now)? })
}

/// The newest jobs before `before`. Each state has its own range of the index, so whichever is asked for, no more
/// than a page per state is looked at.
fn newest(
    connection: &Connection,
    cluster: i64,
    state: Option<JobState>,
    before: i64,
    rows: i64,
) -> Result<Vec<i64>, Error> {
    let wanted = |code: &i64| state.is_none_or(|state| state_code(state) == *code);
    let mut found = Vec::new();
    for code in STATE_CODES.filter(wanted) {
        // Said once more in the words of the partial indexes, so that one of them is used.
        let statement = if code < state_code(JobState::Closed) {
            "SELECT seq FROM job WHERE cluster = ?1 AND state = ?2 AND ended_at IS NULL AND seq < ?3
             ORDER BY seq DESC LIMIT ?4"
        } else {
            "SELECT seq FROM job WHERE cluster = ?1 AND state = ?2 AND ended_at IS NOT NULL AND seq < ?3
             ORDER BY seq DESC LIMIT ?4"
        };
        found.extend(
            connection.rows(statement, params![cluster, code, before, rows], |row| row.get::<_, i64>(0))?,
        );
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.truncate(usize::try_from(rows).unwrap_or_default());
    Ok(found)
}

/// A job without its timeline.
fn read(connection: &Connection, seq: i64) -> Result<Columns, Error> {
    let found = connection.row(
        "SELECT j.id, j.state, j.kind, j.deliveries, j.expires_at,
                s.created_at, s.target_kind, s.target_namespace, s.target_name, s.key,
                r.phase, r.conditions, r.outcome, r.error, r.conflicts, r.applied_ref, j.withheld_at
         FROM job j JOIN job_spec s ON s.job = j.seq LEFT JOIN job_report r ON r.job = j.seq WHERE j.seq = ?1",
        [seq],
        columns,
    )?;
    found.ok_or(Error::NotFound)
}

struct Columns {
    id: Uuid,
    state: i64,
    kind: i64,
    deliveries: u32,
    expires_at: Option<i64>,
    created_at: i64,
    target: JobTarget,
    key: Option<String>,
    withheld_at: Option<i64>,
    report: Option<Report>,
}

struct Report {
    phase: String,
    conditions: String,
    outcome: Option<String>,
    error: String,
    conflicts: String,
    applied_ref: Option<String>,
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    let report = match row.get::<_, Option<String>>(10)? {
        None => None,
        Some(phase) => Some(Report {
            phase,
            conditions: row.get(11)?,
            outcome: row.get(12)?,
            error: row.get(13)?,
            conflicts: row.get(14)?,
            applied_ref: row.get(15)?,
        }),
    };
    Ok(Columns {
        id: row.get(0)?,
        state: row.get(1)?,
        kind: row.get(2)?,
        deliveries: row.get(3)?,
        expires_at: row.get(4)?,
        created_at: row.get(5)?,
        target: JobTarget { kind: row.get(6)?, namespace: row.get(7)?, name: row.get(8)? },
        key: row.get(9)?,
        withheld_at: row.get(16)?,
        report,
    })
}

impl Columns {
    /// Size of what the agent told.
    fn bytes(&self) -> usize {
        let texts = |report: &Report| {
            let object = report.applied_ref.as_ref().map_or(0, String::len);
            report.phase.len()
                + report.conditions.len()
                + report.error.len()
                + report.conflicts.len()
                + object
        };
        self.report.as_ref().map_or(0, texts)
    }

    fn into_job(self, cluster: &ClusterId, now: Timestamp) -> Result<admin::Job, Error> {
        let state = state(self.state)?;
        let job = admin::Job {
            id: JobId::new(self.id.to_string()),
            cluster_id: cluster.clone(),
            kind: kind(self.kind)?.as_str().to_owned(),
            target: self.target,
            state,
            outcome: None,
            error: String::new(),
            conflicts: Vec::new(),
            applied_ref: None,
            idempotency_key: self.key.unwrap_or_else(|| own_key(self.id)),
            deliveries: self.deliveries,
            phase: String::new(),
            conditions: Vec::new(),
            held_since: self.withheld_at.filter(|_| !state.is_terminal()).map(time),
            created_at: time(self.created_at),
            expires_at: self.expires_at.map(time),
            timeline: Vec::new(),
            as_of: now,
        };
        match self.report {
            Some(report) => report.into_job(job),
            None => Ok(job),
        }
    }
}

impl Report {
    fn into_job(self, job: admin::Job) -> Result<admin::Job, Error> {
        Ok(admin::Job {
            outcome: self.outcome.as_deref().map(outcome).transpose()?,
            error: self.error,
            conflicts: from_json("conflicts", &self.conflicts)?,
            applied_ref: self.applied_ref.map(|text| from_json("appliedRef", &text)).transpose()?,
            phase: self.phase,
            conditions: from_json("conditions", &self.conditions)?,
            ..job
        })
    }
}
