//! The timeline: one row per transition, written with it.

use crate::{
    Error,
    codec::{micros, state_code},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use vworkspace_protocol::admin::JobState;

/// Writes the entry after the first `steps` ones.
pub(super) fn add_step(
    connection: &Connection,
    seq: i64,
    steps: u32,
    state: JobState,
    cause: &str,
    now: Timestamp,
) -> Result<(), Error> {
    connection.run(
        "INSERT INTO job_step (job, n, at, state, cause) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![seq, steps + 1, micros(now), state_code(state), cause],
    )?;
    Ok(())
}

/// Ends a job: state and timeline.
pub(super) fn end(
    connection: &Connection,
    seq: i64,
    steps: u32,
    state: JobState,
    cause: &str,
    now: Timestamp,
) -> Result<(), Error> {
    connection.run(
        "UPDATE job SET state = ?2, leased_until = NULL, steps = ?3, ended_at = ?4 WHERE seq = ?1",
        params![seq, state_code(state), steps + 1, micros(now)],
    )?;
    add_step(connection, seq, steps, state, cause, now)
}
