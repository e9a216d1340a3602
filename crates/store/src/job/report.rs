//! What the agent tells about a job, and its withdrawal.

use super::{Standing, timeline};
use crate::{
    Command, Error, Handle, Job, Serve, Store,
    audit::Record,
    codec::{known_id, micros, to_json, whole_micros},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use vworkspace_core::control::job::{self, Step};
use vworkspace_protocol::{
    admin::JobState,
    id::SessionId,
    limits::{MESSAGE_BYTES, clip},
    outcome::{JobResult, StatusUpdate},
};

/// Progress entries end here; later progress replaces the job's phase and conditions only.
const MOST_STEPS: u32 = 500;
/// Longest text of a phase, and of an error in a timeline entry.
const CAUSE_BYTES: usize = 512;

impl Store {
    /// The agent holds the job durably. A repeat changes nothing that is shown; answers whether it is one.
    ///
    /// # Errors
    /// [`Error::JobClosed`]: it must not start it.
    pub async fn ack(
        &self,
        job: &Handle<Job, Serve>,
        session: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<Step, Error> {
        let seq = job.row;
        let cause =
            session.map_or_else(|| "acked".to_owned(), |session| format!("acked by session {session}"));
        let now = whole_micros(now);
        let holding = self.inner.presence.holding(job.on.cluster_row, session, now);
        let held_at = holding.stamp;
        self.write(move |connection| ack(connection, seq, &cause, now, held_at)).await
    }

    /// Records progress. The timeline of one job keeps a bounded number of such entries; the job's current phase
    /// and conditions are always those told last.
    ///
    /// # Errors
    /// [`Error::JobClosed`].
    pub async fn record_status(
        &self,
        job: &Handle<Job, Serve>,
        session: Option<&SessionId>,
        update: StatusUpdate,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (seq, now) = (job.row, whole_micros(now));
        let conditions = to_json(&update.conditions)?;
        let phase = clip(&update.phase, CAUSE_BYTES).to_owned();
        let message = clip(&update.message, CAUSE_BYTES);
        let cause = if message.is_empty() {
            format!("progress: {phase}")
        } else {
            format!("progress: {phase}: {message}")
        };
        let holding = self.inner.presence.holding(job.on.cluster_row, session, now);
        let held_at = holding.stamp;
        self.write(move |connection| {
            hold(connection, seq, held_at)?;
            progress(connection, seq, &phase, &conditions, &cause, now)
        })
        .await
    }

    /// Closes the job with the agent's result.
    ///
    /// # Errors
    /// [`Error::ResultRecorded`], [`Error::JobClosed`].
    pub async fn close(
        &self,
        job: &Handle<Job, Serve>,
        result: JobResult,
        now: Timestamp,
    ) -> Result<(), Error> {
        let seq = job.row;
        let error = clip(&result.error, MESSAGE_BYTES).to_owned();
        let conflicts = to_json(&result.conflicts)?;
        let applied_ref = result.applied_ref.as_ref().map(to_json).transpose()?;
        let outcome = result.outcome.as_str();
        let told = clip(&error, CAUSE_BYTES);
        let cause =
            if told.is_empty() { format!("result: {outcome}") } else { format!("result: {outcome}: {told}") };
        self.write(move |connection| {
            let standing = Standing::read(connection, seq)?;
            job::close(standing.state)?;
            timeline::end(connection, seq, standing.steps, JobState::Closed, &cause, now)?;
            connection.run(
                "INSERT INTO job_report (job, outcome, error, conflicts, applied_ref) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (job) DO UPDATE SET outcome = ?2, error = ?3, conflicts = ?4, applied_ref = ?5",
                params![seq, outcome, error, conflicts, applied_ref],
            )?;
            Ok(())
        })
        .await
    }

    /// Withdraws an open job. A repeat changes nothing; answers whether it is one.
    ///
    /// # Errors
    /// [`Error::JobClosed`] or [`Error::ResultRecorded`]: it ended some other way.
    pub async fn cancel(&self, job: &Handle<Job, Command>, now: Timestamp) -> Result<Step, Error> {
        let seq = job.row;
        let cause = format!("cancelled by {}", job.by.kind);
        let audit = Record::new(&job.by, "cancel", "").job(known_id(job.id().as_str())?);
        self.write(move |connection| {
            let standing = Standing::read(connection, seq)?;
            let step = job::cancel(standing.state)?;
            if step == Step::Taken {
                timeline::end(connection, seq, standing.steps, JobState::Cancelled, &cause, now)?;
                audit.clone().cluster(standing.cluster).write(connection, now)?;
            }
            Ok(step)
        })
        .await
    }
}

fn ack(
    connection: &Connection,
    seq: i64,
    cause: &str,
    now: Timestamp,
    held_at: Timestamp,
) -> Result<Step, Error> {
    let standing = Standing::read(connection, seq)?;
    let step = job::ack(standing.state)?;
    match step {
        // The session that repeats it holds the job: nothing to offer it again.
        Step::Repeated => hold(connection, seq, held_at)?,
        Step::Taken => {
            connection.run(
                "UPDATE job SET state = 2, deliveries = 0, ever_acked = 1, steps = ?2, leased_until = NULL,
                    held_at = ?3 WHERE seq = ?1",
                params![seq, standing.steps + 1, micros(held_at)],
            )?;
            timeline::add_step(connection, seq, standing.steps, JobState::Acked, cause, now)?;
        }
    }
    Ok(step)
}

/// Whoever tells of a job holds it, and may have started it, also where its ack got lost.
fn hold(connection: &Connection, seq: i64, held_at: Timestamp) -> Result<(), Error> {
    let held = "UPDATE job SET held_at = ?2, ever_acked = 1 WHERE seq = ?1";
    connection.run(held, params![seq, micros(held_at)]).map(drop)
}

fn progress(
    connection: &Connection,
    seq: i64,
    phase: &str,
    conditions: &str,
    cause: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let standing = Standing::read(connection, seq)?;
    job::progress(standing.state)?;
    connection.run(
        "INSERT INTO job_report (job, phase, conditions) VALUES (?1, ?2, ?3)
         ON CONFLICT (job) DO UPDATE SET phase = ?2, conditions = ?3",
        params![seq, phase, conditions],
    )?;
    if standing.steps >= MOST_STEPS {
        return Ok(());
    }
    connection.run("UPDATE job SET steps = ?2 WHERE seq = ?1", params![seq, standing.steps + 1])?;
    timeline::add_step(connection, seq, standing.steps, standing.state, cause, now)
}
