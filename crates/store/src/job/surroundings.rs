//! What decides about a job's next step, beside the job itself.

use crate::{
    Error, Handle, Job, Read, Store,
    codec::{micros, time},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::time::Duration;
use uuid::Uuid;
use vworkspace_core::control::{explain::Surroundings, presence::presence};
use vworkspace_protocol::{JobId, outcome::phase};

struct Found {
    cluster: i64,
    leased_until: Option<i64>,
    ever_acked: bool,
    registered: bool,
    behind: Option<Uuid>,
    ahead: Option<Uuid>,
}

impl Store {
    /// What is known beside a job: its lease, its lane, its cluster's agent.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn surroundings(&self, job: &Handle<Job, Read>, now: Timestamp) -> Result<Surroundings, Error> {
        let seq = job.row;
        let settings = &self.inner.settings;
        let lease = settings.job_lease;
        let found = self.read(move |connection| find(connection, seq, lease, now)).await?;
        let sighting = self.inner.presence.known(found.cluster).sighting;
        Ok(Surroundings {
            presence: presence(found.registered, sighting.last_seen, now, settings.disconnect_after),
            last_seen: sighting.last_seen,
            leased_until: found.leased_until.map(time),
            behind: found.behind.map(|id| JobId::new(id.to_string())),
            ahead: found.ahead.map(|id| JobId::new(id.to_string())),
            ever_acked: found.ever_acked,
            stale_session: settings.stale_session,
        })
    }
}

fn find(connection: &Connection, seq: i64, lease: Duration, now: Timestamp) -> Result<Found, Error> {
    let found = connection.row(
        "SELECT j.cluster, j.leased_until, j.ever_acked, c.registered_at IS NOT NULL,
                (SELECT e.id FROM job e WHERE e.cluster = j.cluster AND e.state = 1 AND e.ended_at IS NULL AND e.withheld_at IS NULL AND e.seq < j.seq
                    AND e.lane = j.lane AND e.leased_until > ?2 AND e.leased_until <= ?3 ORDER BY e.seq LIMIT 1),
                (SELECT e.id FROM job e LEFT JOIN job_report r ON r.job = e.seq
                    WHERE e.cluster = j.cluster AND e.state = 2 AND e.ended_at IS NULL AND e.withheld_at IS NULL AND e.seq < j.seq AND e.lane = j.lane
                    AND coalesce(r.phase, '') NOT IN (?4, ?5) ORDER BY e.seq LIMIT 1)
         FROM job j JOIN cluster c ON c.row = j.cluster WHERE j.seq = ?1",
        params![seq, micros(now), micros(now + lease), phase::RECONCILING, phase::BLOCKED],
        |row| {
            Ok(Found {
                cluster: row.get(0)?,
                leased_until: row.get(1)?,
                ever_acked: row.get(2)?,
                registered: row.get(3)?,
                behind: row.get(4)?,
                ahead: row.get(5)?,
            })
        },
    )?;
    found.ok_or(Error::NotFound)
}
