//! Handing jobs out under a lease, and ending those whose time passed.

use super::{own_key, timeline};
use crate::{
    Cluster, Error, Handle, Serve, Store,
    access::AuditActor,
    audit::Record,
    codec::{from_json, kind, micros, state, state_code, time, whole_micros},
    connection::Statements,
    known::JobPlace,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;
use std::time::Duration;
use uuid::Uuid;
use vworkspace_core::control::lease::{Candidate, Limits, MOST_SCANNED, MOST_UNACKED, plan};
use vworkspace_protocol::{JobId, admin::JobState, id::SessionId, job};

/// Jobs acked before a break that one poll offers again.
const MOST_AGAIN: usize = 100;
/// Jobs that one sweep ends.
const MOST_SWEPT: i64 = 500;

/// What a poll gets.
#[derive(Debug, Default)]
pub struct Leased {
    /// In enqueue order.
    pub jobs: Vec<job::Job>,
    /// The earliest moment at which, without a wake-up, asking again may give more (a lease ends).
    pub next_due: Option<Timestamp>,
    /// Jobs found over, and how: expired, undeliverable. Whoever watches them is to be woken.
    pub ended: Vec<(JobId, JobState)>,
}

impl Store {
    /// Hands out jobs in enqueue order under a lease. Writes nothing where there is nothing. Does not wait: register
    /// for wake-ups first, then call this, then wait for a wake-up or `next_due`.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn lease(
        &self,
        cluster: &Handle<Cluster, Serve>,
        session: Option<&SessionId>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Leased, Error> {
        let poll = Poll {
            cluster: cluster.row,
            broken: self.inner.presence.break_to_heal(cluster.row),
            lease: self.inner.settings.job_lease,
            cause: session
                .map_or_else(|| "leased".to_owned(), |session| format!("leased to session {session}")),
            limits,
            now: whole_micros(now),
        };
        let broken = poll.broken;
        let taken = self.write(move |connection| poll.take(connection)).await?;
        if let Some(healed) = broken
            && taken.healed
        {
            self.inner.presence.healed(cluster.row, healed);
        }
        let places = taken.rows.iter().map(|job| (job.id, JobPlace { seq: job.seq, cluster: cluster.row }));
        self.inner.known.keep_jobs(places);
        let jobs = taken.rows.into_iter().map(Delivered::into_job).collect::<Result<_, _>>()?;
        Ok(Leased { jobs, next_due: taken.next_due, ended: taken.ended })
    }

    /// Ends jobs whose time passed before they started, of clusters that never ask. Bounded per call; answers the
    /// jobs it ended, whose watchers are to be woken.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn expire_due(&self, now: Timestamp) -> Result<Vec<JobId>, Error> {
        let lease = self.inner.settings.job_lease;
        self.write(move |connection| sweep(connection, lease, now)).await
    }
}

/// One poll of one cluster.
struct Poll {
    cluster: i64,
    /// Jobs acked before this are offered again.
    broken: Option<Timestamp>,
    lease: Duration,
    cause: String,
    limits: Limits,
    now: Timestamp,
}

#[derive(Default)]
struct Taken {
    rows: Vec<Delivered>,
    next_due: Option<Timestamp>,
    ended: Vec<(JobId, JobState)>,
    /// Nothing acked before the break is left.
    healed: bool,
}

/// An open job: what decides about it, and what its transition needs.
struct Open {
    candidate: Candidate,
    id: Uuid,
    steps: u32,
}

impl Poll {
    fn take(&self, connection: &Connection) -> Result<Taken, Error> {
        let (open, healed) = self.open(connection)?;
        let candidates: Vec<Candidate> = open.iter().map(|job| job.candidate.clone()).collect();
        let plan = plan(&candidates, self.now, self.lease, self.limits);
        let mut taken = Taken { next_due: plan.next_due, healed, ..Taken::default() };
        let end_of_lease = self.now + self.lease;
        for job in &open {
            let seq = job.candidate.seq;
            // Ascending, like `open`.
            if plan.offer.binary_search(&seq).is_ok() {
                taken.rows.push(self.deliver(connection, job, end_of_lease)?);
                taken.next_due = Some(taken.next_due.map_or(end_of_lease, |due| due.min(end_of_lease)));
            } else if plan.expired.binary_search(&seq).is_ok() {
                taken.ended.push((expire(connection, job, self.now)?, JobState::Expired));
            } else if plan.undeliverable.binary_search(&seq).is_ok() {
                taken.ended.push((self.park(connection, job)?, JobState::Undeliverable));
            }
        }
        Ok(taken)
    }

    /// Every job that counts for this poll, ascending; and whether the break is healed.
    fn open(&self, connection: &Connection) -> Result<(Vec<Open>, bool), Error> {
        let mut open = self.in_state(connection, JobState::Leased, i64::MAX, 2 * MOST_UNACKED)?;
        let mut healed = true;
        if let Some(broken) = self.broken {
            let again = self.in_state(connection, JobState::Acked, micros(broken), MOST_AGAIN)?;
            healed = again.is_empty();
            open.extend(again);
        }
        if healed {
            open.extend(self.in_state(connection, JobState::Queued, i64::MAX, MOST_SCANNED)?);
        }
        open.sort_by_key(|job| job.candidate.seq);
        Ok((open, healed))
    }

    /// Jobs held at no known time, or before `held_before`.
    fn in_state(
        &self,
        connection: &Connection,
        state: JobState,
        held_before: i64,
        most: usize,
    ) -> Result<Vec<Open>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        connection.rows(
            "SELECT seq, state, lane, bytes, deliveries, ever_acked, leased_until, expires_at, id, steps FROM job
             WHERE cluster = ?1 AND state = ?2 AND ended_at IS NULL AND withheld_at IS NULL
               AND (held_at IS NULL OR held_at < ?3) ORDER BY seq LIMIT ?4",
            params![self.cluster, state_code(state), held_before, most],
            open,
        )
    }

    fn deliver(&self, connection: &Connection, job: &Open, until: Timestamp) -> Result<Delivered, Error> {
        let seq = job.candidate.seq;
        connection.run(
            "UPDATE job SET state = 1, deliveries = deliveries + 1, steps = ?2, leased_until = ?3, held_at = ?4
             WHERE seq = ?1",
            params![seq, job.steps + 1, micros(until), micros(self.now)],
        )?;
        timeline::add_step(connection, seq, job.steps, JobState::Leased, &self.cause, self.now)?;
        let delivered = connection.row(
            "SELECT j.id, j.kind, s.payload, s.key, s.created_at, j.expires_at, s.wait_for, s.deadline_seconds,
                s.retry_seconds, s.force, j.seq
             FROM job j JOIN job_spec s ON s.job = j.seq WHERE j.seq = ?1",
            [seq],
            delivered,
        )?;
        delivered.ok_or(Error::Corrupt { what: "job" })
    }

    fn park(&self, connection: &Connection, job: &Open) -> Result<JobId, Error> {
        let seq = job.candidate.seq;
        let cause = format!("delivered {} times, never acked", job.candidate.deliveries);
        timeline::end(connection, seq, job.steps, JobState::Undeliverable, &cause, self.now)?;
        let record =
            Record::new(&AuditActor::server(), "undeliverable", cause).cluster(self.cluster).job(job.id);
        record.write(connection, self.now)?;
        Ok(JobId::new(job.id.to_string()))
    }
}

fn expire(connection: &Connection, job: &Open, now: Timestamp) -> Result<JobId, Error> {
    let cause = "its time passed before it started";
    timeline::end(connection, job.candidate.seq, job.steps, JobState::Expired, cause, now)?;
    Ok(JobId::new(job.id.to_string()))
}

fn sweep(connection: &Connection, lease: Duration, now: Timestamp) -> Result<Vec<JobId>, Error> {
    let due = connection.rows(
        "SELECT seq, state, lane, bytes, deliveries, ever_acked, leased_until, expires_at, id, steps FROM job
         WHERE expires_at IS NOT NULL AND state < 2 AND expires_at <= ?1
           AND ever_acked = 0 AND (leased_until IS NULL OR leased_until <= ?1 OR leased_until > ?2) LIMIT ?3",
        params![micros(now), micros(now + lease), MOST_SWEPT],
        open,
    )?;
    due.iter().map(|job| expire(connection, job, now)).collect()
}

fn open(row: &Row<'_>) -> rusqlite::Result<Open> {
    let candidate = Candidate {
        seq: row.get(0)?,
        state: state(row.get(1)?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(1, 0))?,
        lane: row.get(2)?,
        bytes: row.get::<_, u32>(3)? as usize,
        deliveries: row.get(4)?,
        ever_acked: row.get(5)?,
        leased_until: row.get::<_, Option<i64>>(6)?.map(time),
        expires_at: row.get::<_, Option<i64>>(7)?.map(time),
    };
    Ok(Open { candidate, id: row.get(8)?, steps: row.get(9)? })
}

/// A delivered job as columns; decoded outside the writer.
struct Delivered {
    seq: i64,
    id: Uuid,
    kind: i64,
    payload: String,
    key: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
    wait_for: Option<String>,
    deadline_seconds: Option<u32>,
    retry_seconds: Option<u32>,
    force: bool,
}

fn delivered(row: &Row<'_>) -> rusqlite::Result<Delivered> {
    Ok(Delivered {
        id: row.get(0)?,
        kind: row.get(1)?,
        payload: row.get(2)?,
        key: row.get(3)?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        wait_for: row.get(6)?,
        deadline_seconds: row.get(7)?,
        retry_seconds: row.get(8)?,
        force: row.get(9)?,
        seq: row.get(10)?,
    })
}

impl Delivered {
    fn into_job(self) -> Result<job::Job, Error> {
        Ok(job::Job {
            id: JobId::new(self.id.to_string()),
            kind: kind(self.kind)?,
            payload: RawValue::from_string(self.payload).map_err(|_| Error::Corrupt { what: "payload" })?,
            idempotency_key: self.key.unwrap_or_else(|| own_key(self.id)),
            created_at: Some(time(self.created_at)),
            expires_at: self.expires_at.map(time),
            wait_for: self.wait_for.map(|text| from_json("waitFor", &text)).transpose()?,
            deadline_seconds: self.deadline_seconds,
            retry_seconds: self.retry_seconds,
            force: self.force,
        })
    }
}
