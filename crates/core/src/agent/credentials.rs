//! The credentials that a cluster holds (contract, section 4): which is presented, and what is stored after an answer.
//!
//! ```text
//!            rotation                    a good answer to next
//!   current ──────────► current + next ───────────────────────► next, as the current one; the old one as a former one
//!      ▲                      │
//!      └──────────────────────┘
//!        401 to next, and a good answer to current after that
//!
//!        401 to all newer ones, and a good answer to a former one
//!   current + former ───────────────────────────────────────────► that one, as the current one; a rotation is due
//! ```
//!
//! The next one is presented first. Its first use ends the current one at the control plane, and the answer may be
//! lost: until an answer says which of the two works both are kept, so at every instant one that is held works,
//! wherever the process dies. Each arrow is one write.
//!
//! Former credentials are for a control plane that was restored from a backup: it knows none of the newer ones. They
//! are bound to everything they were accepted with, see [`History`].

use super::{
    rotation::{Cause, Fulfilled, Life},
    session::Failure,
};
use crate::{
    canonical::sha256_hex,
    planted::{Bug, planted},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use vworkspace_protocol::{ClusterId, Secret, secret};

/// Most former credentials kept.
pub const MOST_FORMER: usize = 4;
/// How long a former credential is kept whose end was not told.
const FORMER_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What a cluster holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub cluster: ClusterId,
    /// The current credential.
    pub token: Secret,
    /// How long it is good for, if that was told.
    pub life: Option<Life>,
    /// Whose wishes for a rotation were fulfilled.
    pub fulfilled: Fulfilled,
    /// Id of the rotation that gave it; absent after a registration.
    pub rotation: Option<String>,
    next: Option<Next>,
    past: Past,
}

/// What is remembered beside the current credential.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Past {
    /// Newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former: Vec<Former>,
    /// The current credential is one that had been replaced: another is to be fetched at once.
    #[serde(skip_serializing_if = "is_false")]
    came_back: bool,
    /// The control plane is known to echo the session of a request.
    #[serde(skip_serializing_if = "is_false")]
    echoes: bool,
    /// A rotation was asked for and its answer has not been stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<LostRotation>,
}

/// A rotation whose answer may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LostRotation {
    /// It was asked for. Left when its answer is stored, or when the control plane refuses it for good.
    Asked,
    /// The cluster has registered again because of it, and was refused for good, or given another identity. It does so no
    /// more: only a rotation that begins later, which takes an accepted credential, replaces this.
    RegisteredAgain,
}

/// A credential that another one has replaced.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Former {
    #[serde(serialize_with = "secret::expose_on_wire")]
    token: Secret,
    expires_at: Timestamp,
}

/// What is remembered, as it is stored: bound to the URL and CA of the control plane, the cluster's identity and the
/// current credential. Where somebody else changes one of these, nothing of it counts any more.
#[derive(Serialize, Deserialize)]
pub struct History {
    /// Digest of all that it is bound to.
    follows: String,
    #[serde(flatten)]
    past: Past,
}

/// A credential that was fetched and not answered to yet, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// It.
    #[serde(serialize_with = "secret::expose_on_wire")]
    token: Secret,
    /// How long it is good for, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<Life>,
    /// What is fulfilled once it is the current one.
    #[serde(default)]
    fulfilled: Fulfilled,
    /// Id of the rotation that gave it.
    rotation: String,
    /// Digest of identity and credential it was fetched with.
    follows: String,
}

/// What a rotation brought.
#[derive(Clone)]
pub struct Fetched {
    /// The credential.
    pub token: Secret,
    /// How long it is good for, if that was told.
    pub life: Option<Life>,
    /// A fresh id of this rotation.
    pub rotation: String,
}

impl Held {
    /// One credential, from wherever.
    pub fn new(cluster: ClusterId, token: Secret, life: Option<Life>) -> Self {
        let (fulfilled, past) = (Fulfilled::default(), Past::default());
        Self { cluster, token, life, fulfilled, rotation: None, next: None, past }
    }

    /// With the next one that is stored beside it, unless that was fetched with another credential, or for another
    /// identity: whoever wrote the current one since meant it to count.
    #[must_use]
    pub fn beside(self, next: Option<Next>) -> Self {
        let follows = self.digest();
        Self { next: next.filter(|next| next.follows == follows), ..self }
    }

    /// With what is remembered beside it, unless that is bound to something else. `target` names the control plane: its
    /// URL and CA.
    #[must_use]
    pub fn after(self, history: Option<History>, target: &str) -> Self {
        let follows = self.binding(target);
        let past = history.filter(|history| history.follows == follows).map(|history| history.past);
        let mut past = past.unwrap_or_default();
        past.former.truncate(MOST_FORMER);
        Self { past, ..self }
    }

    /// What is to be stored of the past, if there is anything.
    pub fn history(&self, target: &str) -> Option<History> {
        let past = self.past.clone();
        (past != Past::default()).then(|| History { follows: self.binding(target), past })
    }

    /// For another control plane, or another way to it: nothing that was remembered counts there.
    #[must_use]
    pub fn moved(self) -> Self {
        Self { past: Past::default(), ..self }
    }

    /// After a rotation, as it is to be stored before anything is done with the new credential.
    #[must_use]
    pub fn fetched(&self, fetched: Fetched, cause: &Cause) -> Self {
        let Fetched { token, life, rotation } = fetched;
        if planted(Bug::ReplaceCredential) {
            let (fulfilled, rotation) = (self.fulfilled.by(cause), Some(rotation));
            return Self { token, life, fulfilled, rotation, next: None, ..self.clone() };
        }
        let next =
            Next { token, life, fulfilled: self.fulfilled.by(cause), rotation, follows: self.digest() };
        let past = Past { lost: None, ..self.past.clone() };
        Self { next: Some(next), past, ..self.clone() }
    }

    /// The next one, if there is one: a rotation is under way, and no other begins.
    pub fn next(&self) -> Option<&Next> {
        self.next.as_ref()
    }

    /// Whether a rotation follows at once: the current credential had been replaced before.
    pub fn came_back(&self) -> bool {
        self.past.came_back
    }

    /// Whether the control plane is known to echo the session.
    pub fn echoes(&self) -> bool {
        self.past.echoes && !planted(Bug::ForgetEcho)
    }

    /// As it is to be stored once that is known, or known no more.
    #[must_use]
    pub fn with_echo(self, echoes: bool) -> Self {
        Self { past: Past { echoes, ..self.past }, ..self }
    }

    /// The rotation whose answer may have been lost.
    pub fn lost_rotation(&self) -> Option<LostRotation> {
        self.past.lost
    }

    /// As it is to be stored before a rotation is asked for: its answer may be lost, and the old credential may be dead by
    /// then. `None` if an earlier request is marked still.
    pub fn asking_for_rotation(&self) -> Option<Self> {
        let is_asked = self.past.lost == Some(LostRotation::Asked);
        (!is_asked).then(|| self.with_lost_rotation(LostRotation::Asked))
    }

    /// As it is to be stored after the cluster has registered again: with the credential it was given, or with the mark
    /// that keeps it from doing so twice. `None` if the answer decides nothing and the exchange is to be repeated.
    pub fn registered_again(&self, answer: Result<(ClusterId, Fetched), Failure>) -> Option<Self> {
        match answer {
            Ok((cluster, fetched)) if cluster == self.cluster => {
                Some(self.fetched(fetched, &Cause::RegisteredAgain))
            }
            // One on an empty database, or one that forbids everything for a while, says nothing about the token.
            Err(failure) if !failure.is_final() => None,
            Ok(_) | Err(_) => Some(self.with_lost_rotation(LostRotation::RegisteredAgain)),
        }
    }

    fn with_lost_rotation(&self, lost: LostRotation) -> Self {
        let lost = Some(lost).filter(|_| !planted(Bug::ForgetLostRotation));
        Self { past: Past { lost, ..self.past.clone() }, ..self.clone() }
    }

    /// Whether this is another identity than `earlier`, or holds a credential that was not held then. What the operator
    /// writes down about the credentials it holds (marks, their order, one that is dropped) makes no difference.
    pub fn is_news(&self, earlier: &Self) -> bool {
        let is_new = |token| !earlier.tokens().any(|earlier| earlier == token);
        self.cluster != earlier.cluster || self.tokens().any(is_new)
    }

    /// All there are, in the order in which they are to be tried where no answer was given yet.
    pub fn tokens(&self) -> impl Iterator<Item = &Secret> {
        let former = self.past.former.iter().map(|former| &former.token);
        self.next.iter().map(Next::token).chain([&self.token]).chain(former)
    }

    /// Which one is presented: the newest that was not refused, or the newest where all were.
    pub fn presented(&self, verdicts: &Verdicts) -> &Secret {
        let newest = self.next.as_ref().map_or(&self.token, |next| &next.token);
        self.tokens().find(|token| !verdicts.is_refused(token)).unwrap_or(newest)
    }

    /// Whether every credential held was refused.
    pub fn is_refused(&self, verdicts: &Verdicts) -> bool {
        self.tokens().all(|token| verdicts.is_refused(token))
    }

    /// What is to be stored, now that these answers were given; absent: nothing has been decided.
    pub fn settled(&self, verdicts: &Verdicts, now: Timestamp) -> Option<Settled> {
        let accepted = verdicts.accepted.as_ref()?;
        if let Some(next) = self.next.as_ref().filter(|next| next.token == *accepted) {
            let Next { token, life, fulfilled, rotation, follows: _ } = next.clone();
            let former = [self.as_former(now)].into_iter().chain(self.past.former.iter().cloned());
            let past = Past { former: former.collect(), came_back: false, lost: None, ..self.past.clone() };
            let (cluster, rotation, past) = (self.cluster.clone(), Some(rotation), past.bounded(now));
            return Some(Settled::Promoted(Self {
                cluster,
                token,
                life,
                fulfilled,
                rotation,
                next: None,
                past,
            }));
        }
        if self.token == *accepted {
            let next = self.next.as_ref().filter(|next| verdicts.is_refused(&next.token));
            return next.map(|_| Settled::Dropped(Self { next: None, ..self.clone() }));
        }
        // An answer to a call that was made before it was replaced is no return.
        let are_newer_refused =
            self.tokens().take_while(|token| *token != accepted).all(|token| verdicts.is_refused(token));
        let former = self.past.former.iter().find(|former| former.token == *accepted);
        let former = former.filter(|_| are_newer_refused)?;
        Some(Settled::CameBack(self.back_to(former, now)))
    }

    /// With a former credential as the current one. The newer ones are kept: they may be good for the control plane
    /// that is put back in the place of this one.
    fn back_to(&self, accepted: &Former, now: Timestamp) -> Self {
        let next = self.next.as_ref().map(|next| former(&next.token, next.life, now));
        let others = self.past.former.iter().filter(|former| former.token != accepted.token).cloned();
        let former = next.into_iter().chain([self.as_former(now)]).chain(others).collect();
        let came_back = !planted(Bug::StayWithFormerCredential);
        let past = Past { former, came_back, lost: None, ..self.past.clone() }.bounded(now);
        let token = accepted.token.clone();
        Self { token, life: None, rotation: None, next: None, past, ..self.clone() }
    }

    fn as_former(&self, now: Timestamp) -> Former {
        former(&self.token, self.life, now)
    }

    fn digest(&self) -> String {
        // Neither holds a zero byte: no two pairs are one text.
        sha256_hex(format!("{}\0{}", self.cluster, self.token.expose()).as_bytes())
    }

    fn binding(&self, target: &str) -> String {
        sha256_hex(format!("{}\0{target}", self.digest()).as_bytes())
    }
}

fn former(token: &Secret, life: Option<Life>, now: Timestamp) -> Former {
    let unknown = || now.saturating_add(FORMER_LIFE).unwrap_or(Timestamp::MAX);
    Former { token: token.clone(), expires_at: life.map_or_else(unknown, |life| life.expires_at) }
}

impl Past {
    fn bounded(mut self, now: Timestamp) -> Self {
        self.former.retain(|former| former.expires_at > now);
        self.former.truncate(if planted(Bug::ForgetFormerCredentials) { 0 } else { MOST_FORMER });
        self
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Next {
    /// The credential.
    pub fn token(&self) -> &Secret {
        &self.token
    }
}

/// How a rotation ended, or a return to a former credential. Each holds what is to be stored.
#[derive(Clone, PartialEq, Eq)]
pub enum Settled {
    /// The next credential works: it is the current one from here on.
    Promoted(Held),
    /// The next credential does not work and the current one does: as if there had been no rotation. Whatever asked for
    /// it does so still.
    Dropped(Held),
    /// A former credential works and no newer one does: the control plane was restored from a backup.
    CameBack(Held),
}

impl Settled {
    /// What is to be stored.
    pub fn held(&self) -> &Held {
        match self {
            Self::Promoted(held) | Self::Dropped(held) | Self::CameBack(held) => held,
        }
    }
}

/// What the control plane said to credentials of this process, each the last one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    accepted: Option<Secret>,
    /// Of those held when they were refused, so no more than [`MOST_FORMER`] and two.
    refused: Vec<Secret>,
}

impl Verdicts {
    /// A call with this credential got a good answer.
    pub fn handle_accepted(&mut self, token: &Secret) {
        if self.accepted.as_ref() != Some(token) {
            self.accepted = Some(token.clone());
        }
        self.refused.retain(|refused| refused != token);
    }

    /// What is held, or the way to the control plane, has changed, or all are tried again: what was refused is worth
    /// another try.
    pub fn handle_change(&mut self) {
        self.refused.clear();
    }

    /// A call with this credential was refused with 401 or 403. What was accepted before says nothing from here on, and
    /// where it was this one, the control plane is another: what was refused before is worth another try.
    pub fn handle_refused(&mut self, token: &Secret, held: &Held) {
        if !held.tokens().any(|other| other == token) {
            return;
        }
        if self.accepts(token) {
            self.refused.clear();
        }
        self.accepted = None;
        self.refused.retain(|refused| held.tokens().any(|other| other == refused));
        if !self.is_refused(token) {
            self.refused.push(token.clone());
        }
    }

    /// Whether the last good answer was to this credential, and none was refused since.
    pub fn accepts(&self, token: &Secret) -> bool {
        self.accepted.as_ref() == Some(token)
    }

    fn is_refused(&self, token: &Secret) -> bool {
        self.refused.contains(token)
    }
}

#[cfg(test)]
mod tests;
