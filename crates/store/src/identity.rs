//! Two agents under one identity: who keeps it, and what is written down about it.
//!
//! Which session is served is decided in `vworkspace_core::control::identity` and remembered by [`crate::presence`].

use crate::{
    Cluster, Error, Handle, Manage, Serve, Store,
    access::AuditActor,
    audit::Record,
    codec::{micros, time, to_json, whole_micros},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::net::IpAddr;
use vworkspace_core::control::identity::{Change, Standing};
use vworkspace_protocol::{
    ClusterId, Condition, ConditionStatus, ObjectRef,
    admin::{AgentSession, IdentityConflict, KeptSession},
    condition::{reasons, types},
    event::kind,
    id::SessionId,
};

impl Store {
    /// What a session of the cluster's agent may do now.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]: somebody decided meanwhile that another session keeps the identity.
    pub fn standing(
        &self,
        cluster: &Handle<Cluster, Serve>,
        session: Option<&SessionId>,
    ) -> Result<Standing, Error> {
        self.inner.presence.standing(cluster.row, session).ok_or(Error::Unauthenticated)
    }

    /// All clusters whose identity two agents use now: for metrics.
    pub fn identity_conflicts(&self) -> Vec<(ClusterId, IdentityConflict)> {
        self.inner.presence.conflicts()
    }

    /// Decides which session keeps the cluster's identity. From then on the credential works for that session alone, and
    /// ends when the session first uses the one that it gets by rotating; credentials that nobody used, registration
    /// tokens and the id of the last registration end now. A repeat changes nothing but the time.
    ///
    /// # Errors
    /// [`Error::UnknownSession`]: it was not heard lately.
    pub async fn keep_session(
        &self,
        cluster: &Handle<Cluster, Manage>,
        session: &SessionId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (row, now) = (cluster.row, whole_micros(now));
        if !self.inner.presence.knows(row, session) {
            return Err(Error::UnknownSession);
        }
        let audit = Record::new(&cluster.by, "keep_session", format!("session {session}")).cluster(row);
        let kept = session.clone();
        self.write(move |connection| {
            connection.run("DELETE FROM credential WHERE cluster = ?1 AND pending = 1", [row])?;
            connection.run(
                "UPDATE registration_token SET registration_id = NULL, consumed_at = coalesce(consumed_at, ?2)
                 WHERE cluster = ?1",
                params![row, micros(now)],
            )?;
            connection.run(
                "INSERT INTO kept_session (cluster, session, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (cluster) DO UPDATE SET session = ?2, since = ?3",
                params![row, kept.as_str(), micros(now)],
            )?;
            audit.write(connection, now)
        })
        .await?;
        self.inner.presence.keep(row, session, now);
        Ok(())
    }
}

/// Ends the decision which session keeps the identity: it has another credential, or the identity is another agent's.
pub(crate) fn end_kept_session(connection: &Connection, cluster: i64) -> Result<(), Error> {
    connection.run("DELETE FROM kept_session WHERE cluster = ?1", [cluster]).map(drop)
}

/// Forgets who was heard under the identity: none of them has a credential that works. The notes in memory follow.
pub(crate) fn forget_sessions(connection: &Connection, cluster: i64) -> Result<(), Error> {
    connection.run("UPDATE presence SET sessions = '{}' WHERE cluster = ?1", [cluster]).map(drop)
}

/// Returns `true` if two agents use the identity, as far as it is written down.
pub(crate) fn in_conflict(connection: &Connection, cluster: i64) -> Result<bool, Error> {
    let found = connection.row(
        "SELECT json_extract(sessions, '$.conflict') IS NOT NULL FROM presence WHERE cluster = ?1",
        [cluster],
        |row| row.get(0),
    )?;
    Ok(found.unwrap_or_default())
}

/// The session that keeps an identity.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    session: SessionId,
    since: Timestamp,
    /// The session that was refused last.
    refused: Option<AgentSession>,
}

impl Kept {
    pub(crate) fn new(session: SessionId, since: Timestamp) -> Self {
        Self { session, since, refused: None }
    }

    /// All of the database, by cluster.
    pub(crate) fn load(connection: &Connection) -> Result<Vec<(i64, Self)>, Error> {
        connection.rows("SELECT cluster, session, since FROM kept_session", [], |row| {
            let session = SessionId::new(row.get::<_, String>(1)?);
            Ok((row.get(0)?, Self::new(session, time(row.get(2)?))))
        })
    }

    pub(crate) fn is(&self, session: Option<&SessionId>) -> bool {
        session == Some(&self.session)
    }

    pub(crate) fn knows(&self, session: &SessionId) -> bool {
        self.session == *session || self.refused.as_ref().is_some_and(|refused| refused.session == *session)
    }

    /// Returns `true` if a request of `session` may pass; notes one that may not.
    pub(crate) fn admits(
        &mut self,
        session: Option<&SessionId>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> bool {
        let Some(session) = session.filter(|session| **session != self.session) else {
            return session.is_some();
        };
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        match &mut self.refused {
            Some(refused) if refused.session == *session => {
                refused.last_seen = now;
                refused.address = address;
            }
            refused => {
                let session = session.clone();
                *refused = Some(AgentSession { session, address, first_seen: now, last_seen: now });
            }
        }
        false
    }

    pub(crate) fn shown(&self) -> KeptSession {
        KeptSession { session: self.session.clone(), since: self.since, refused: self.refused.clone() }
    }
}

/// The beginning or the end of a conflict, to be written as event and audit record.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    at: Timestamp,
    condition: Condition,
}

impl Announcement {
    pub(crate) fn new(change: Change, conflict: Option<&IdentityConflict>, now: Timestamp) -> Self {
        let condition = match (change, conflict) {
            (Change::Began, Some(conflict)) => condition(conflict),
            (Change::Began, None) | (Change::Ended, _) => Condition {
                type_: types::IDENTITY_CONFLICT.to_owned(),
                status: ConditionStatus::False,
                observed_generation: 0,
                last_transition_time: Some(now),
                reason: reasons::ONE_SESSION.to_owned(),
                message: "one agent uses this identity".to_owned(),
            },
        };
        Self { at: now, condition }
    }

    pub(crate) fn write(&self, connection: &Connection, cluster: i64) -> Result<(), Error> {
        let object = ObjectRef { kind: "Cluster".to_owned(), ..ObjectRef::default() };
        connection.run(
            "INSERT INTO event (cluster, identity, event_key, kind, resource, conditions, told_at, received_at)
             VALUES (?1, NULL, '', ?2, ?3, ?4, ?5, ?5)",
            params![
                cluster,
                kind::IDENTITY_CONFLICT,
                to_json(&object)?,
                to_json(&[&self.condition])?,
                micros(self.at)
            ],
        )?;
        let action = if self.condition.status == ConditionStatus::True {
            "identity_conflict"
        } else {
            "identity_conflict_ended"
        };
        let record = Record::new(&AuditActor::server(), action, self.condition.message.clone());
        record.cluster(cluster).write(connection, self.at)
    }
}

/// The conflict as a condition of the cluster's record.
pub(crate) fn condition(conflict: &IdentityConflict) -> Condition {
    let shown = |seen: &AgentSession| {
        let address = if seen.address.is_empty() { "an unknown address" } else { &seen.address };
        format!("{} from {address}", seen.session)
    };
    let refused: Vec<_> = conflict.refused.iter().map(shown).collect();
    Condition {
        type_: types::IDENTITY_CONFLICT.to_owned(),
        status: ConditionStatus::True,
        observed_generation: 0,
        last_transition_time: Some(conflict.since),
        reason: reasons::TWO_SESSIONS.to_owned(),
        message: format!(
            "two agents use this cluster's identity: session {} is served, session {} is not; decide with \
             `vwctl cluster keep --cluster CLUSTER --session SESSION`",
            shown(&conflict.served),
            refused.join(" and session "),
        ),
    }
}
