//! What is known of the clusters' agents: kept in memory, written in batches.
//!
//! An agent calls thousands of times a day; one row a call would be the store's largest cost and say nothing new. The
//! map holds one entry per cluster whose agent ever called: the number of clusters bounds it.

use crate::{
    Cluster, Error, Handle, Serve, Store,
    codec::{from_json, micros, time, to_json},
    connection::Statements,
    identity::{Announcement, Kept},
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;
use vworkspace_core::control::{
    identity::{Call, Change, Sessions, Standing},
    presence::Sighting,
};
use vworkspace_protocol::{
    ClusterId, Condition,
    admin::{IdentityConflict, KeptSession},
    event::Event,
    id::SessionId,
};

/// What an agent's request says about the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Its run; plain v1 agents name none.
    pub session: Option<SessionId>,
    /// `User-Agent`.
    pub user_agent: String,
    /// What it announced.
    pub capabilities: Vec<String>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Whether it asks for jobs or for a new credential, see [`Call::is_poll`].
    pub is_poll: bool,
}

/// How a request stands among all those under its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighted {
    /// Its session may do what [`Standing`] says; the change is what this very request brought about.
    Known(Standing, Option<Change>),
    /// Somebody decided that another session keeps the identity: this bearer is not good.
    NotKept,
}

impl Store {
    /// Notes a good request of the cluster's agent, in memory; [`Store::flush_presence`] writes it. To be called
    /// once for every agent request, before anything else is done for it. Of a session that is refused nothing is noted
    /// but that it called.
    pub fn sighted(&self, cluster: &Handle<Cluster, Serve>, contact: &Contact, now: Timestamp) -> Sighted {
        let mut entries = self.inner.presence.entries();
        let entry = entries.entry(cluster.row).or_default();
        if let Some(kept) = &mut entry.kept
            && !kept.admits(contact.session.as_ref(), contact.address, now)
        {
            return Sighted::NotKept;
        }
        let stale = self.inner.settings.stale_session;
        let call =
            Call { session: contact.session.as_ref(), address: contact.address, is_poll: contact.is_poll };
        let (standing, change) = entry.known.sessions.handle_call(call, now, stale);
        entry.dirty = true;
        if change.is_some() || standing != Standing::Served {
            entry.id = Some(cluster.id().clone());
        }
        if let Some(change) = change {
            entry.announce(change, now);
        }
        if standing == Standing::Refused {
            return Sighted::Known(standing, change);
        }
        let before = entry.known.sighting.break_at;
        entry.known.sighting.handle_call(contact.session.as_ref(), now, stale);
        if change == Some(Change::Ended) {
            // What the other session acked and did not finish is offered to the one that is left.
            entry.known.sighting.handle_registration(now);
        }
        entry.offer_again |= entry.known.sighting.break_at != before;
        if entry.known.user_agent != contact.user_agent {
            entry.known.user_agent.clone_from(&contact.user_agent);
        }
        if entry.known.capabilities != contact.capabilities {
            entry.known.capabilities.clone_from(&contact.capabilities);
        }
        Sighted::Known(standing, change)
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
        let rows: Vec<(i64, usize)> = notes.iter().map(|note| (note.row, note.announcements.len())).collect();
        let encoded = notes.into_iter().map(Encoded::try_new).collect::<Result<Vec<_>, _>>()?;
        let written =
            self.write(move |connection| encoded.iter().try_for_each(|one| one.write(connection))).await;
        match written {
            Ok(()) => self.inner.presence.announced(&rows),
            Err(_) => self.inner.presence.mark_dirty(&rows),
        }
        written
    }
}

/// What is known of one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentRecord {
    pub(crate) sighting: Sighting,
    pub(crate) sessions: Sessions,
    pub(crate) user_agent: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) operator_version: String,
    pub(crate) kubernetes_version: String,
    pub(crate) conditions: Vec<Condition>,
}

/// Most announcements of one cluster that wait to be written. Overflow rule: the oldest goes.
const MOST_ANNOUNCEMENTS: usize = 8;

#[derive(Default)]
struct Entry {
    known: AgentRecord,
    /// Set once there was a conflict.
    id: Option<ClusterId>,
    /// Set from the decision which session keeps the identity until that has another credential.
    kept: Option<Kept>,
    announcements: Vec<Announcement>,
    /// Acked jobs from before the break may wait to be offered again.
    offer_again: bool,
    /// Not written since it changed.
    dirty: bool,
}

impl Entry {
    /// Forgets who was heard under the identity. What another one of them acked and did not finish is offered to who is
    /// left.
    fn forget_sessions(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.known.sessions).conflict().is_some() {
            self.announce(Change::Ended, now);
            self.known.sighting.handle_registration(now);
            self.offer_again = true;
        }
        self.dirty = true;
    }

    fn announce(&mut self, change: Change, now: Timestamp) {
        if self.announcements.len() >= MOST_ANNOUNCEMENTS {
            self.announcements.remove(0);
        }
        self.announcements.push(Announcement::new(change, self.known.sessions.conflict().as_ref(), now));
    }
}

/// What is to be written of one agent.
struct Note {
    row: i64,
    known: AgentRecord,
    announcements: Vec<Announcement>,
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
                    p.kubernetes_version, iif(c.registered_at >= p.last_seen, '[]', p.conditions), c.registered_at,
                    iif(c.registered_at IS NULL, '{}', p.sessions), c.id
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
                let texts: [String; 3] = [row.get(5)?, row.get(8)?, row.get(10)?];
                Ok((row.get(0)?, known, texts, ClusterId::new(row.get::<_, Uuid>(11)?.to_string())))
            },
        )?;
        // Of an agent that no note was written of, what it holds is known all the same.
        let unnoted = held.iter().map(|(row, latest)| {
            let mut entry = Entry { offer_again: true, ..Entry::default() };
            entry.known.sighting.latest = Some(*latest);
            entry.known.sighting.handle_start();
            (*row, entry)
        });
        let mut entries: HashMap<i64, Entry> = unnoted.collect();
        for (row, mut known, [capabilities, conditions, sessions], id) in rows {
            known.capabilities = from_json("capabilities", &capabilities)?;
            known.conditions = from_json("conditions", &conditions)?;
            known.sessions = from_json("sessions", &sessions)?;
            let id = known.sessions.conflict().map(|_| id);
            // In a conflict each of the two goes on with what it holds.
            if id.is_none() {
                known.sighting.handle_start();
            }
            entries.insert(row, Entry { known, id, offer_again: true, ..Entry::default() });
        }
        for (row, kept) in Kept::load(connection)? {
            entries.entry(row).or_default().kept = Some(kept);
        }
        Ok(Self { entries: Mutex::new(entries) })
    }

    /// What is known of a cluster's agent.
    pub(crate) fn known(&self, cluster: i64) -> AgentRecord {
        self.entries().get(&cluster).map(|entry| entry.known.clone()).unwrap_or_default()
    }

    /// What `session` may do now; `None`: another one keeps the identity.
    pub(crate) fn standing(&self, cluster: i64, session: Option<&SessionId>) -> Option<Standing> {
        let entries = self.entries();
        let Some(entry) = entries.get(&cluster) else { return Some(Standing::Served) };
        let is_kept = entry.kept.as_ref().is_none_or(|kept| kept.is(session));
        is_kept.then(|| entry.known.sessions.standing(session))
    }

    /// The conflicts there are now, and which session keeps an identity.
    pub(crate) fn conflicts(&self) -> Vec<(ClusterId, IdentityConflict)> {
        let entries = self.entries();
        let found =
            entries.values().filter_map(|entry| entry.id.clone().zip(entry.known.sessions.conflict()));
        found.collect()
    }

    /// The session that keeps the cluster's identity, for people.
    pub(crate) fn kept(&self, cluster: i64) -> Option<KeptSession> {
        self.entries().get(&cluster).and_then(|entry| entry.kept.as_ref().map(Kept::shown))
    }

    /// Whether `session` was heard lately under this identity.
    pub(crate) fn knows(&self, cluster: i64, session: &SessionId) -> bool {
        self.entries().get(&cluster).is_some_and(|entry| {
            entry.known.sessions.knows(session)
                || entry.known.sighting.session.as_ref() == Some(session)
                || entry.kept.as_ref().is_some_and(|kept| kept.knows(session))
        })
    }

    /// From now on `session` keeps the identity: what others acked is offered to it.
    pub(crate) fn keep(&self, cluster: i64, session: &SessionId, now: Timestamp) {
        let mut entries = self.entries();
        let entry = entries.entry(cluster).or_default();
        if entry.known.sessions.keep(session) {
            entry.announce(Change::Ended, now);
        }
        entry.kept = Some(Kept::new(session.clone(), now));
        entry.known.sighting.handle_registration(now);
        entry.offer_again = true;
        entry.dirty = true;
    }

    /// A new credential is presented for the first time, which ends all others: whoever presents it is served, and the
    /// sessions that were heard by the others are gone, for they cannot be heard again.
    pub(crate) fn settled(&self, cluster: i64, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&cluster) {
            entry.kept = None;
            entry.forget_sessions(now);
        }
    }

    /// Acked jobs may have lost their holder: the next poll looks for those held at no known time.
    pub(crate) fn offer_again(&self, clusters: &[i64], now: Timestamp) {
        let mut entries = self.entries();
        for cluster in clusters {
            let entry = entries.entry(*cluster).or_default();
            if entry.known.sighting.break_at.is_none() {
                entry.known.sighting.handle_registration(now);
            }
            entry.offer_again = true;
        }
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
            // A session that is refused finishes what it has: that takes nothing from the one that is served.
            if entry.known.sessions.standing(session) == Standing::Refused {
                return;
            }
            let before = entry.known.sighting.break_at;
            entry.known.sighting.handle_held(session, now);
            if entry.known.sighting.break_at != before {
                entry.offer_again = true;
                entry.dirty = true;
            }
        }
    }

    /// The cluster has registered: what its last agent acked is to be offered to the next one, and what that one told
    /// of its Cluster object says nothing any more. With a new token (not `repeated`) the identity is another agent's.
    pub(crate) fn registered(&self, cluster: i64, repeated: bool, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&cluster) {
            if !repeated {
                entry.kept = None;
                entry.forget_sessions(now);
            }
            entry.known.sighting.handle_registration(now);
            entry.known.conditions.clear();
            entry.offer_again = true;
            entry.dirty = true;
        }
    }

    /// Every credential of the cluster has ended: nobody shares its identity any more.
    pub(crate) fn unregistered(&self, cluster: i64, now: Timestamp) {
        if let Some(entry) = self.entries().get_mut(&cluster) {
            entry.forget_sessions(now);
        }
    }

    fn take_dirty(&self) -> Vec<Note> {
        let mut entries = self.entries();
        let taken = entries.iter_mut().filter_map(|(row, entry)| {
            let note = |entry: &Entry| Note {
                row: *row,
                known: entry.known.clone(),
                announcements: entry.announcements.clone(),
            };
            std::mem::take(&mut entry.dirty).then(|| note(entry))
        });
        taken.collect()
    }

    /// So many announcements of each cluster are written.
    fn announced(&self, rows: &[(i64, usize)]) {
        let mut entries = self.entries();
        for (row, written) in rows.iter().filter(|(_, written)| *written > 0) {
            if let Some(entry) = entries.get_mut(row) {
                let written = (*written).min(entry.announcements.len());
                entry.announcements.drain(..written);
            }
        }
    }

    fn mark_dirty(&self, rows: &[(i64, usize)]) {
        let mut entries = self.entries();
        for (row, _) in rows {
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
    sessions: String,
    announcements: Vec<Announcement>,
}

impl Encoded {
    fn try_new(Note { row, known, announcements }: Note) -> Result<Self, Error> {
        let (capabilities, conditions) = (to_json(&known.capabilities)?, to_json(&known.conditions)?);
        let sessions = to_json(&known.sessions)?;
        Ok(Self { row, known, capabilities, conditions, sessions, announcements })
    }

    fn write(&self, connection: &Connection) -> Result<(), Error> {
        self.announcements.iter().try_for_each(|announcement| announcement.write(connection, self.row))?;
        let sighting = &self.known.sighting;
        // A heartbeat without a call before it cannot be; a note without a time says nothing.
        let Some(last_seen) = sighting.last_seen else { return Ok(()) };
        connection.run(
            "INSERT OR REPLACE INTO presence (cluster, session, last_seen, break_at, user_agent, capabilities,
                operator_version, kubernetes_version, conditions, sessions)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                self.row,
                sighting.session.as_ref().map(SessionId::as_str),
                micros(last_seen),
                sighting.break_at.map(micros),
                self.known.user_agent,
                self.capabilities,
                self.known.operator_version,
                self.known.kubernetes_version,
                self.conditions,
                self.sessions
            ],
        )?;
        Ok(())
    }
}
