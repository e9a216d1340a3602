//! What is known of the clusters' agents: kept in memory, written in batches.
//!
//! An agent calls thousands of times a day; one row a call would be the store's largest cost and say nothing new. The
//! map holds one entry per cluster whose agent ever called: the number of clusters bounds it.

use crate::{
    Cluster, Error, Handle, Serve, Store,
    codec::{from_json, micros, time, to_json},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use vworkspace_core::control::presence::Sighting;
use vworkspace_protocol::{Condition, event::Event, id::SessionId};

/// What an agent's request says about the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Its run; plain v1 agents name none.
    pub session: Option<SessionId>,
    /// `User-Agent`.
    pub user_agent: String,
    /// What it announced.
    pub capabilities: Vec<String>,
}

impl Store {
    /// Notes a good request of the cluster's agent, in memory; [`Store::flush_presence`] writes it. To be called
    /// once for every agent request, before anything else is done for it.
    pub fn sighted(&self, cluster: &Handle<Cluster, Serve>, contact: &Contact, now: Timestamp) {
        let mut entries = self.inner.presence.entries();
        let entry = entries.entry(cluster.row).or_default();
        let before = entry.known.sighting.break_at;
        let stale = self.inner.settings.stale_session;
        entry.known.sighting.handle_call(contact.session.as_ref(), now, stale);
        entry.offer_again |= entry.known.sighting.break_at != before;
        if entry.known.user_agent != contact.user_agent {
            entry.known.user_agent.clone_from(&contact.user_agent);
        }
        if entry.known.capabilities != contact.capabilities {
            entry.known.capabilities.clone_from(&contact.capabilities);
        }
        entry.dirty = true;
    }

    /// Writes what was noted since the last flush, as one transaction. To be called every few seconds and before
    /// the process ends; a crash loses the notes in between, nothing else.
    ///
    /// # Errors
    /// Those of writing; the notes are kept for the next flush.
    pub async fn flush_presence(&self) -> Result<(), Error> {
        let notes = self.inner.presence.take_dirty();
        if notes.is_empty() {
            return Ok(());
        }
        let rows: Vec<i64> = notes.iter().map(|(row, _)| *row).collect();
        let encoded = notes.into_iter().map(|(row, known)| Encoded::try_new(row, known));
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        let written =
            self.write(move |connection| encoded.iter().try_for_each(|one| one.write(connection))).await;
        if written.is_err() {
            self.inner.presence.mark_dirty(&rows);
        }
        written
    }
}

/// What is known of one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentRecord {
    pub(crate) sighting: Sighting,
    pub(crate) user_agent: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) operator_version: String,
    pub(crate) kubernetes_version: String,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Default)]
struct Entry {
    known: AgentRecord,
    /// Acked jobs from before the break may wait to be offered again.
    offer_again: bool,
    /// Not written since it changed.
    dirty: bool,
}

/// One entry per cluster whose agent ever called, by row.
pub(crate) struct PresenceMap {
    entries: Mutex<HashMap<i64, Entry>>,
}

impl PresenceMap {
    pub(crate) fn load(connection: &Connection) -> Result<Self, Error> {
        // Later than what was noted of breaks: notes are lost in a crash.
        let held = connection.rows(
            "SELECT cluster, max(held_at) FROM job WHERE ended_at IS NULL AND held_at IS NOT NULL GROUP BY cluster",
            [],
            |row| Ok((row.get(0)?, time(row.get(1)?))),
        )?;
        let held: HashMap<i64, Timestamp> = held.into_iter().collect();
        // What was told of the Cluster object before a registration is over with it, see `registered`.
        let rows = connection.rows(
            "SELECT p.cluster, p.session, p.last_seen, p.break_at, p.user_agent, p.capabilities, p.operator_version,
                    p.kubernetes_version, iif(c.registered_at >= p.last_seen, '[]', p.conditions), c.registered_at
             FROM presence p JOIN cluster c ON c.row = p.cluster",
            [],
            |row| {
                // A registration is durable before any note of it.
                let breaks: [Option<i64>; 2] = [row.get(3)?, row.get(9)?];
                let break_at = breaks.into_iter().flatten().max().map(time);
                let sighting = Sighting {
                    session: row.get::<_, Option<String>>(1)?.map(SessionId::new),
                    last_seen: Some(time(row.get(2)?)),
                    break_at,
                    latest: break_at.max(held.get(&row.get(0)?).copied()),
                };
                let known = AgentRecord {
                    sighting,
                    user_agent: row.get(4)?,
                    operator_version: row.get(6)?,
                    kubernetes_version: row.get(7)?,
                    ..AgentRecord::default()
                };
                Ok((row.get(0)?, known, row.get::<_, String>(5)?, row.get::<_, String>(8)?))
            },
        )?;
        // Of an agent that no note was written of, what it holds is known all the same.
        let unnoted = held.iter().map(|(row, latest)| {
            let sighting = Sighting { latest: Some(*latest), ..Sighting::default() };
            (*row, Entry { known: AgentRecord { sighting, ..AgentRecord::default() }, ..Entry::default() })
        });
        let mut entries: HashMap<i64, Entry> = unnoted.collect();
        for (row, mut known, capabilities, conditions) in rows {
            known.capabilities = from_json("capabilities", &capabilities)?;
            known.conditions = from_json("conditions", &conditions)?;
            // Whether every job was offered again before the last stop is not known: look once.
            entries.insert(row, Entry { known, offer_again: true, dirty: false });
        }
        Ok(Self { entries: Mutex::new(entries) })
    }

    /// What is known of a cluster's agent.
    pub(crate) fn known(&self, cluster: i64) -> AgentRecord {
        self.entries().get(&cluster).map(|entry| entry.known.clone()).unwrap_or_default()
    }

    /// When the agent last called.
    pub(crate) fn last_seen(&self, cluster: i64) -> Option<Timestamp> {
        self.entries().get(&cluster).and_then(|entry| entry.known.sighting.last_seen)
    }

    /// The break before which acked jobs are to be offered again, if any may be left.
    pub(crate) fn break_to_heal(&self, cluster: i64) -> Option<Timestamp> {
        let entries = self.entries();
        entries
            .get(&cluster)
            .filter(|entry| entry.offer_again)
            .and_then(|entry| entry.known.sighting.break_at)
    }

    /// Nothing acked before this break is left.
    pub(crate) fn healed(&self, cluster: i64, healed: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&cluster) {
            entry.offer_again &= entry.known.sighting.break_at != Some(healed);
        }
    }

    /// A heartbeat tells the Cluster object's conditions and the versions.
    pub(crate) fn heartbeat(&self, cluster: i64, beat: Event) {
        let mut entries = self.entries();
        let entry = entries.entry(cluster).or_default();
        entry.known.conditions = beat.conditions;
        entry.known.operator_version = beat.operator_version;
        entry.known.kubernetes_version = beat.kubernetes_version;
        entry.dirty = true;
    }

    /// The agent says that it holds a job. To be kept over the write of that, which happens whoever waits for it.
    pub(crate) fn holding<'a>(
        &'a self,
        cluster: i64,
        session: Option<&'a SessionId>,
        now: Timestamp,
    ) -> Holding<'a> {
        let stamp = self.entries().get_mut(&cluster).map_or(now, |entry| entry.known.sighting.hold(now));
        Holding { presence: self, cluster, session, stamp }
    }

    fn held(&self, cluster: i64, session: Option<&SessionId>, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&cluster) {
            let before = entry.known.sighting.break_at;
            entry.known.sighting.handle_held(session, now);
            if entry.known.sighting.break_at != before {
                entry.offer_again = true;
                entry.dirty = true;
            }
        }
    }

    /// The cluster has registered: what its last agent acked is to be offered to the next one, and what that one told
    /// of its Cluster object says nothing any more.
    pub(crate) fn registered(&self, cluster: i64, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&cluster) {
            entry.known.sighting.handle_registration(now);
            entry.known.conditions.clear();
            entry.offer_again = true;
            entry.dirty = true;
        }
    }

    fn take_dirty(&self) -> Vec<(i64, AgentRecord)> {
        let mut entries = self.entries();
        let taken = entries
            .iter_mut()
            .filter_map(|(row, entry)| std::mem::take(&mut entry.dirty).then(|| (*row, entry.known.clone())));
        taken.collect()
    }

    fn mark_dirty(&self, rows: &[i64]) {
        let mut entries = self.entries();
        for row in rows {
            if let Some(entry) = entries.get_mut(row) {
                entry.dirty = true;
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<i64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an agent says of a job that it holds: noted when this is dropped, see [`Sighting::handle_held`].
pub(crate) struct Holding<'a> {
    presence: &'a PresenceMap,
    cluster: i64,
    session: Option<&'a SessionId>,
    /// Under which it is to be stored.
    pub(crate) stamp: Timestamp,
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.presence.held(self.cluster, self.session, self.stamp);
    }
}

/// A note as columns.
struct Encoded {
    row: i64,
    known: AgentRecord,
    capabilities: String,
    conditions: String,
}

impl Encoded {
    fn try_new(row: i64, known: AgentRecord) -> Result<Self, Error> {
        let (capabilities, conditions) = (to_json(&known.capabilities)?, to_json(&known.conditions)?);
        Ok(Self { row, known, capabilities, conditions })
    }

    fn write(&self, connection: &Connection) -> Result<(), Error> {
        let sighting = &self.known.sighting;
        // A heartbeat without a call before it cannot be; a note without a time says nothing.
        let Some(last_seen) = sighting.last_seen else { return Ok(()) };
        connection.run(
            "INSERT OR REPLACE INTO presence (cluster, session, last_seen, break_at, user_agent, capabilities,
                operator_version, kubernetes_version, conditions) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                self.row,
                sighting.session.as_ref().map(SessionId::as_str),
                micros(last_seen),
                sighting.break_at.map(micros),
                self.known.user_agent,
                self.capabilities,
                self.known.operator_version,
                self.known.kubernetes_version,
                self.conditions
            ],
        )?;
        Ok(())
    }
}
