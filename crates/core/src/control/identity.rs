//! Detects two agents that use one identity, and decides which of them the control plane serves.
//!
//! ```text
//!   A polls ─ B polls ─ A polls ─ B polls ─ ≥ 5 s ─ A polls ─ B polls: conflict      A is served, B gets 409
//!   A polls ─ B polls: none                                        A was restarted as B
//!   A polls ─ B polls ─ A's queued results: none                   A was a leader that ends
//!   A polls ─ B polls ─ A polls ─ ≥ 5 s ─ A polls: none            B had ended before, and its poll came late
//! ```
//!
//! A new session is served at once: a restart looks the same. Only two sessions that *go on polling* beside each other
//! prove a copy: a process that lost its leader-election lease flushes its queue, but polls no more; and the last polls
//! of a process that ended may come after the first ones of its successor.
//!
//! The former session stays served for as long as it calls, so that two copies never displace each other in turns. A
//! session that was silent for ten minutes is forgotten; a conflict ends when no more than one session is left.

use super::presence::elapsed;
use crate::planted::{Bug, planted};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};
use vworkspace_protocol::{
    admin::{AgentSession, IdentityConflict},
    id::SessionId,
};

/// For how long a session polls after another one did until it is proved to live beside it. What a paused process or a
/// broken line held back comes within a moment.
pub const PROOF: Duration = Duration::from_secs(5);
/// Most sessions remembered of one cluster. Overflow rule: the one silent for longest is forgotten, never the served one.
const MOST_SESSIONS: usize = 4;

/// The sessions lately heard under one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sessions {
    /// In the order in which they were first heard.
    heard: Vec<Heard>,
    /// Which polled last.
    polled: Option<SessionId>,
    conflict: Option<Conflict>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heard {
    session: SessionId,
    address: Option<IpAddr>,
    first: Timestamp,
    last: Timestamp,
    /// Its first poll after another session had polled since its last.
    again: Option<Timestamp>,
    /// It polled for [`PROOF`] since then.
    goes_on: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conflict {
    since: Timestamp,
    served: SessionId,
}

/// One request, as far as it tells two agents apart.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The run of the agent; plain v1 agents send none, and are never judged.
    pub session: Option<&'a SessionId>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Whether it asks for jobs or for a new credential. A process that ends does neither.
    pub is_poll: bool,
}

/// What a session may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    #[default]
    Served,
    /// Everything but rotate: another agent uses the identity, too.
    ServedInConflict,
    /// Report on jobs that it has, and nothing else: another agent was there first.
    Refused,
}

/// What a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It proved a conflict.
    Began,
    /// It found that no more than one session is left.
    Ended,
}

impl Sessions {
    /// Judges one call. A session that was not heard for `silence` is forgotten.
    pub fn handle_call(
        &mut self,
        call: Call<'_>,
        now: Timestamp,
        silence: Duration,
    ) -> (Standing, Option<Change>) {
        let Some(session) = call.session else { return (Standing::Served, None) };
        let ended = self.forget_silent(now, silence);
        let began = self.hear(session, call, now);
        (self.standing(Some(session)), if began { Some(Change::Began) } else { ended })
    }

    /// What `session` may do, as judged by the calls so far.
    pub fn standing(&self, session: Option<&SessionId>) -> Standing {
        match (&self.conflict, session) {
            (None, _) | (_, None) => Standing::Served,
            _ if planted(Bug::ServeBothTwins) => Standing::Served,
            (Some(conflict), Some(session)) if conflict.served == *session => Standing::ServedInConflict,
            (Some(_), Some(_)) => Standing::Refused,
        }
    }

    /// Returns `true` if `session` was heard lately.
    pub fn knows(&self, session: &SessionId) -> bool {
        self.heard.iter().any(|heard| heard.session == *session)
    }

    /// Forgets all sessions but this one, which ends a conflict; returns `true` if there was one.
    pub fn keep(&mut self, session: &SessionId) -> bool {
        self.heard.retain(|heard| heard.session == *session);
        self.heard.iter_mut().for_each(Heard::forget_turns);
        self.conflict.take().is_some()
    }

    /// The conflict, for people; `None` without one.
    pub fn conflict(&self) -> Option<IdentityConflict> {
        let conflict = self.conflict.as_ref()?;
        let (served, refused) = self.heard.iter().partition::<Vec<_>, _>(|h| h.session == conflict.served);
        Some(IdentityConflict {
            since: conflict.since,
            served: served.into_iter().next().map(Heard::shown)?,
            refused: refused.into_iter().map(Heard::shown).collect(),
        })
    }

    fn forget_silent(&mut self, now: Timestamp, silence: Duration) -> Option<Change> {
        // In either direction: one heard by a clock that went back since says nothing about now.
        self.heard.retain(|heard| elapsed(heard.last.min(now), heard.last.max(now)) < silence);
        let conflict = self.conflict.as_mut()?;
        if self.heard.len() <= 1 {
            self.conflict = None;
            self.heard.iter_mut().for_each(Heard::forget_turns);
            return Some(Change::Ended);
        }
        if !self.heard.iter().any(|heard| heard.session == conflict.served)
            && let Some(oldest) = self.heard.first()
        {
            conflict.served = oldest.session.clone();
        }
        None
    }

    /// Notes the call; returns `true` if it proves a conflict.
    fn hear(&mut self, session: &SessionId, call: Call<'_>, now: Timestamp) -> bool {
        let known = self.heard.iter().position(|heard| heard.session == *session);
        let place = known.unwrap_or_else(|| self.add(session, now));
        let Some(heard) = self.heard.get_mut(place) else { return false };
        heard.last = now;
        heard.address = call.address;
        if !call.is_poll {
            return false;
        }
        let is_other = self.polled.as_ref().is_some_and(|polled| polled != session);
        if known.is_some() && (is_other || heard.again.is_some()) {
            heard.goes_on |= elapsed(*heard.again.get_or_insert(now), now) >= PROOF;
        }
        self.polled = Some(session.clone());
        let mut going_on = self.heard.iter().filter(|heard| heard.goes_on);
        let (Some(former), Some(_), None) = (going_on.next(), going_on.next(), &self.conflict) else {
            return false;
        };
        self.conflict = Some(Conflict { since: now, served: former.session.clone() });
        true
    }

    /// Adds a session; returns its place.
    fn add(&mut self, session: &SessionId, now: Timestamp) -> usize {
        if self.heard.len() >= MOST_SESSIONS {
            let served = self.conflict.as_ref().map(|conflict| &conflict.served);
            let others = self.heard.iter().enumerate().filter(|(_, heard)| Some(&heard.session) != served);
            if let Some((place, _)) = others.min_by_key(|(_, heard)| heard.last) {
                self.heard.remove(place);
            }
        }
        // They have to be heard beside this one, too.
        self.heard.iter_mut().for_each(Heard::forget_turns);
        let session = session.clone();
        self.heard.push(Heard { session, address: None, first: now, last: now, again: None, goes_on: false });
        self.heard.len() - 1
    }
}

impl Heard {
    /// Makes what it polled so far prove nothing.
    fn forget_turns(&mut self) {
        (self.again, self.goes_on) = (None, false);
    }

    fn shown(&self) -> AgentSession {
        AgentSession {
            session: self.session.clone(),
            address: self.address.map(|address| address.to_string()).unwrap_or_default(),
            first_seen: self.first,
            last_seen: self.last,
        }
    }
}

#[cfg(test)]
mod tests;
