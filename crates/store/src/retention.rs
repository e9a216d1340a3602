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
/// Events, and audit records, that one batch looks at.
const ROWS: usize = 500;
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
    jobs: Place,
    events: Place,
    audit: Place,
}

/// How far one pass over one table has come.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The last row that was looked at.
    after: i64,
    /// Nothing behind it is to be deleted now.
    finished: bool,
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
        let now = micros(now);
        let jobs = self.prune_batch(&mut pass.jobs, until(jobs), now, prune_jobs).await?;
        let events = self.prune_batch(&mut pass.events, until(events), now, prune_events).await?;
        let audit = self.prune_batch(&mut pass.audit, until(audit), now, prune_audit).await?;
        let ended = until(tokens);
        let tokens = self.write(move |connection| prune_tokens(connection, ended)).await?;
        let finished = [pass.jobs, pass.events, pass.audit].iter().all(|place| place.finished);
        let finished = finished && tokens == 0;
        Ok(Pruned { jobs, events, audit, tokens, finished })
    }

    /// Deletes the next batch of one table; answers how many.
    async fn prune_batch(
        &self,
        place: &mut Place,
        until: i64,
        now: i64,
        prune: fn(&Connection, &Window) -> Result<Batch, Error>,
    ) -> Result<usize, Error> {
        if place.finished {
            return Ok(0);
        }
        let window = Window { after: place.after, until, now };
        let batch = self.write(move |connection| prune(connection, &window)).await?;
        *place = batch.place;
        Ok(batch.deleted)
    }
}

/// What one batch is to look at.
struct Window {
    /// Rows behind this one.
    after: i64,
    /// What was over by then is deleted.
    until: i64,
    now: i64,
}

impl Window {
    /// Where the pass stands after rows of these numbers and times, of which there may be `limit`. What was made after
    /// `until` cannot have been over by then, nor can what was made later. A row that is dated in the future says
    /// nothing of those behind it: the clock was wrong when it was made.
    fn place(&self, seen: impl Iterator<Item = (i64, i64)>, limit: usize) -> Place {
        let mut place = Place { after: self.after, finished: false };
        let mut count = 0;
        for (seq, at) in seen {
            place.after = seq;
            place.finished |= (self.until + 1..=self.now).contains(&at);
            count += 1;
        }
        place.finished |= count < limit;
        place
    }
}

struct Batch {
    deleted: usize,
    place: Place,
}

struct Seen {
    seq: i64,
    created_at: i64,
    /// Ended long enough ago.
    over: bool,
}

/// Goes on through the jobs in the order of their making, past those that are open or ended lately.
fn prune_jobs(connection: &Connection, window: &Window) -> Result<Batch, Error> {
    let seen = connection.rows(
        "SELECT j.seq, s.created_at, j.ended_at IS NOT NULL AND j.ended_at <= ?2
         FROM job j JOIN job_spec s ON s.job = j.seq
         WHERE j.seq > ?1 AND j.seq < (SELECT max(seq) FROM job) ORDER BY j.seq LIMIT ?3",
        params![window.after, window.until, JOBS as i64],
        |row| Ok(Seen { seq: row.get(0)?, created_at: row.get(1)?, over: row.get(2)? }),
    )?;
    let over: Vec<i64> = seen.iter().filter(|job| job.over).map(|job| job.seq).collect();
    over.iter().try_for_each(|seq| delete_job(connection, *seq))?;
    let place = window.place(seen.iter().map(|job| (job.seq, job.created_at)), JOBS);
    Ok(Batch { deleted: over.len(), place })
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

fn prune_events(connection: &Connection, window: &Window) -> Result<Batch, Error> {
    let select = "SELECT seq, received_at FROM event
         WHERE seq > ?1 AND seq < (SELECT max(seq) FROM event) ORDER BY seq LIMIT ?2";
    let delete = "DELETE FROM event WHERE seq > ?1 AND seq <= ?2 AND received_at <= ?3";
    prune_rows(connection, window, select, delete)
}

fn prune_audit(connection: &Connection, window: &Window) -> Result<Batch, Error> {
    let select = "SELECT seq, at FROM audit
         WHERE seq > ?1 AND seq < (SELECT max(seq) FROM audit) ORDER BY seq LIMIT ?2";
    let delete = "DELETE FROM audit WHERE seq > ?1 AND seq <= ?2 AND at <= ?3";
    prune_rows(connection, window, select, delete)
}

fn prune_rows(connection: &Connection, window: &Window, select: &str, delete: &str) -> Result<Batch, Error> {
    let seen = connection
        .rows(select, params![window.after, ROWS as i64], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
    let place = window.place(seen.into_iter(), ROWS);
    let deleted = connection.run(delete, params![window.after, place.after, window.until])?;
    Ok(Batch { deleted, place })
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
