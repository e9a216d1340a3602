//! What is deleted when it has been over for long enough: in small batches, oldest first.
//!
//! Each table's newest row stays whatever its age: numbers of rows are never given twice, so a cursor or a
//! remembered place cannot come to mean something else.

use crate::{Error, Store, codec::micros, connection::Statements};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::time::Duration;

/// Jobs that one batch looks at: each is about ten rows.
const JOBS: usize = 100;
/// Events, and audit records, that one batch deletes.
const ROWS: i64 = 500;
/// Tokens of each kind that one batch deletes.
const TOKENS: i64 = 100;

/// How long things are kept after they are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs that have ended, with their timelines, and with them the idempotency keys they were given. Default 30 days.
    pub jobs: Duration,
    /// Events; what objects are like now is kept as long as they are there. An event that is sent again later than
    /// this is stored again. Default 30 days.
    pub events: Duration,
    /// Audit records. Default 365 days.
    pub audit: Duration,
    /// Credentials and registration tokens whose life is over, used or not, and rotated credentials that were dropped.
    /// Default 30 days.
    pub tokens: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Retention {
    fn default() -> Self {
        Self { jobs: DAY * 30, events: DAY * 30, audit: DAY * 365, tokens: DAY * 30 }
    }
}

/// How far one pass over the database has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    after_job: i64,
}

/// What one batch deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Jobs with all that belongs to them.
    pub jobs: usize,
    /// Events.
    pub events: usize,
    /// Audit records.
    pub audit: usize,
    /// Credentials and registration tokens.
    pub tokens: usize,
    /// Whether the pass is over: nothing more is to be deleted now.
    pub finished: bool,
}

impl Store {
    /// Deletes the next batch of what the [`Retention`] of the settings no longer keeps. Each kind is a write of its
    /// own of a few milliseconds, so that others get their turn in between.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn prune(&self, pass: &mut Pass, now: Timestamp) -> Result<Pruned, Error> {
        let Retention { jobs, events, audit, tokens } = self.inner.settings.retention;
        let until = |kept: Duration| now.checked_sub(kept).map_or(i64::MIN, micros);
        let (after, ended) = (pass.after_job, until(jobs));
        let batch = self.write(move |connection| prune_jobs(connection, after, ended)).await?;
        pass.after_job = batch.last;
        let received = until(events);
        let events = self.write(move |connection| prune_events(connection, received)).await?;
        let written = until(audit);
        let audit = self.write(move |connection| prune_audit(connection, written)).await?;
        let ended = until(tokens);
        let tokens = self.write(move |connection| prune_tokens(connection, ended)).await?;
        let finished = batch.finished && [events, audit, tokens].iter().all(|deleted| *deleted == 0);
        Ok(Pruned { jobs: batch.deleted, events, audit, tokens, finished })
    }
}

struct Batch {
    deleted: usize,
    last: i64,
    finished: bool,
}

struct Seen {
    seq: i64,
    created_at: i64,
    /// Ended long enough ago.
    over: bool,
}

/// Goes on through the jobs in the order of their making, past those that are open or ended lately.
fn prune_jobs(connection: &Connection, after: i64, until: i64) -> Result<Batch, Error> {
    let seen = connection.rows(
        "SELECT j.seq, s.created_at, j.ended_at IS NOT NULL AND j.ended_at <= ?2
         FROM job j JOIN job_spec s ON s.job = j.seq
         WHERE j.seq > ?1 AND j.seq < (SELECT max(seq) FROM job) ORDER BY j.seq LIMIT ?3",
        params![after, until, JOBS as i64],
        |row| Ok(Seen { seq: row.get(0)?, created_at: row.get(1)?, over: row.get(2)? }),
    )?;
    // A job made after `until` cannot have ended before it, nor can those after it.
    let young = seen.iter().any(|job| job.created_at > until);
    let mut batch = Batch { deleted: 0, last: after, finished: young || seen.len() < JOBS };
    for job in &seen {
        batch.last = job.seq;
        if job.over {
            delete_job(connection, job.seq)?;
            batch.deleted += 1;
        }
    }
    Ok(batch)
}

fn delete_job(connection: &Connection, seq: i64) -> Result<(), Error> {
    for statement in [
        "DELETE FROM job_key WHERE job = ?1 AND cluster = (SELECT cluster FROM job WHERE seq = ?1)
         AND key = (SELECT key FROM job_spec WHERE job = ?1)",
        "DELETE FROM job_step WHERE job = ?1",
        "DELETE FROM job_report WHERE job = ?1",
        "DELETE FROM job_spec WHERE job = ?1",
        "DELETE FROM job WHERE seq = ?1",
    ] {
        connection.run(statement, [seq])?;
    }
    Ok(())
}

fn prune_events(connection: &Connection, until: i64) -> Result<usize, Error> {
    connection.run(
        "DELETE FROM event WHERE seq < (SELECT max(seq) FROM event) AND received_at <= ?1
         AND seq < (SELECT min(seq) FROM event) + ?2",
        params![until, ROWS],
    )
}

fn prune_audit(connection: &Connection, until: i64) -> Result<usize, Error> {
    connection.run(
        "DELETE FROM audit WHERE seq < (SELECT max(seq) FROM audit) AND at <= ?1
         AND seq < (SELECT min(seq) FROM audit) + ?2",
        params![until, ROWS],
    )
}

fn prune_tokens(connection: &Connection, until: i64) -> Result<usize, Error> {
    let tokens = connection.run(
        "DELETE FROM registration_token WHERE lookup IN
            (SELECT lookup FROM registration_token WHERE expires_at <= ?1 LIMIT ?2)",
        params![until, TOKENS],
    )?;
    let credentials = connection.run(
        "DELETE FROM credential WHERE lookup IN
            (SELECT lookup FROM credential WHERE expires_at <= ?1 OR drop_at <= ?1 LIMIT ?2)",
        params![until, TOKENS],
    )?;
    Ok(tokens + credentials)
}
