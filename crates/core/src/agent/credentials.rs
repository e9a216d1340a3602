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

use super::rotation::{Cause, Fulfilled, Life};
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
    /// It was asked for. Left when its answer is stored.
    Asked,
    /// The cluster has registered again because of it, and was refused. It does so once.
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

    /// As it is to be stored before a rotation is asked for, and after its loss was acted upon.
    #[must_use]
    pub fn with_lost_rotation(&self, lost: LostRotation) -> Self {
        let lost = Some(lost).filter(|_| !planted(Bug::ForgetLostRotation));
        Self { past: Past { lost, ..self.past.clone() }, ..self.clone() }
    }

    /// As it is to be stored once the control plane has refused to rotate: nothing was lost.
    #[must_use]
    pub fn without_lost_rotation(&self) -> Self {
        Self { past: Past { lost: None, ..self.past.clone() }, ..self.clone() }
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

    /// A call with this credential was refused with 401 or 403. What was accepted before says nothing from here on.
    pub fn handle_refused(&mut self, token: &Secret, held: &Held) {
        if !held.tokens().any(|other| other == token) {
            return;
        }
        self.accepted = None;
        self.refused.retain(|refused| held.tokens().any(|other| other == refused));
        if !self.is_refused(token) {
            self.refused.push(token.clone());
        }
    }

    fn is_refused(&self, token: &Secret) -> bool {
        self.refused.contains(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use vworkspace_protocol::JobId;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    fn life(second: i64) -> Option<Life> {
        let at = |second| Timestamp::from_second(second).unwrap();
        Some(Life { issued_at: at(second), expires_at: at(second + 90) })
    }

    fn held() -> Held {
        Held::new(ClusterId::new("c"), secret("old"), life(0))
    }

    fn rotating() -> Held {
        let fetched = Fetched { token: secret("new"), life: life(60), rotation: "r".to_owned() };
        held().fetched(fetched, &Cause::Job(JobId::new("j")))
    }

    /// What is read again of what is stored beside `current`.
    fn stored(next: &Next, current: Held) -> Held {
        let text = serde_json::to_string(next).unwrap();
        current.beside(Some(serde_json::from_str(&text).unwrap()))
    }

    fn now() -> Timestamp {
        Timestamp::from_second(70).unwrap()
    }

    /// Three rotations later: `new` is the current one.
    fn rotated() -> Held {
        let mut held = Held::new(ClusterId::new("c"), secret("first"), None);
        for token in ["second", "third", "new"] {
            held = promoted(&held, token);
        }
        held
    }

    fn promoted(held: &Held, token: &str) -> Held {
        let fetched = Fetched { token: secret(token), life: None, rotation: "r".to_owned() };
        let mut verdicts = Verdicts::default();
        verdicts.handle_accepted(&secret(token));
        match held.fetched(fetched, &Cause::Age).settled(&verdicts, now()) {
            Some(Settled::Promoted(held)) => held,
            _ => panic!("not promoted"),
        }
    }

    fn tokens(held: &Held) -> Vec<&str> {
        held.tokens().map(Secret::expose).collect()
    }

    fn refuse(held: &Held, tokens: &[&str]) -> Verdicts {
        let mut verdicts = Verdicts::default();
        tokens.iter().for_each(|token| verdicts.handle_refused(&secret(token), held));
        verdicts
    }

    #[test]
    fn next_credential_is_used_first_and_replaces_the_current_one() {
        let mut verdicts = Verdicts::default();
        assert!(held().presented(&verdicts) == &secret("old") && held().settled(&verdicts, now()).is_none());
        verdicts.handle_accepted(&secret("old"));
        let rotating = rotating();
        assert!(rotating.presented(&verdicts) == &secret("new"));
        assert!(rotating.settled(&verdicts, now()).is_none());
        verdicts.handle_accepted(&secret("new"));
        let Some(Settled::Promoted(after)) = rotating.settled(&verdicts, now()) else {
            panic!("not promoted")
        };
        assert_eq!(tokens(&after), ["new", "old"]);
        assert!(after.next().is_none() && after.presented(&verdicts) == &secret("new"));
        assert_eq!((after.life, after.rotation.as_deref()), (life(60), Some("r")));
        assert_eq!(after.fulfilled.job, Some(JobId::new("j")));
    }

    #[test]
    fn refused_next_credential_is_dropped_once_the_current_one_works() {
        let (mut verdicts, rotating) = (Verdicts::default(), rotating());
        verdicts.handle_accepted(&secret("old"));
        verdicts.handle_refused(&secret("new"), &rotating);
        assert!(rotating.presented(&verdicts) == &secret("old"));
        assert!(rotating.settled(&verdicts, now()).is_none(), "what was answered before says nothing");
        verdicts.handle_accepted(&secret("old"));
        assert!(rotating.settled(&verdicts, now()) == Some(Settled::Dropped(held())));
        assert_eq!(held().fulfilled, Fulfilled::default());
    }

    /// An empty control plane may answer 401 to everything: the newest may be the one that works afterwards.
    #[test]
    fn all_credentials_are_kept_while_all_are_refused() {
        let rotating = rotating();
        let mut verdicts = refuse(&rotating, &["new", "old"]);
        assert!(rotating.is_refused(&verdicts) && rotating.settled(&verdicts, now()).is_none());
        assert!(rotating.presented(&verdicts) == &secret("new"));
        verdicts.handle_change();
        assert!(!rotating.is_refused(&verdicts));
    }

    #[test]
    fn refusal_counts_for_that_credential_until_a_good_answer() {
        let rotating = rotating();
        let mut verdicts = refuse(&rotating, &["new"]);
        let fetched = Fetched { token: secret("newer"), life: None, rotation: "s".to_owned() };
        let again = held().fetched(fetched, &Cause::Age);
        assert!(again.presented(&verdicts) == &secret("newer"));
        verdicts.handle_accepted(&secret("new"));
        assert!(rotating.presented(&verdicts) == &secret("new"));
    }

    #[test]
    fn former_credentials_are_tried_newest_first() {
        let held = rotated();
        assert_eq!(tokens(&held), ["new", "third", "second", "first"]);
        assert!(held.presented(&refuse(&held, &["new"])) == &secret("third"));
        assert!(held.presented(&refuse(&held, &["new", "third", "second"])) == &secret("first"));
    }

    #[test]
    fn four_former_credentials_are_kept_until_they_expire() {
        let held = promoted(&promoted(&rotated(), "newer"), "newest");
        assert_eq!(tokens(&held), ["newest", "newer", "new", "third", "second"]);
        let mut short = rotated();
        short.past.former[1].expires_at = now();
        assert_eq!(tokens(&promoted(&short, "newer")), ["newer", "new", "third", "first"]);
    }

    #[test]
    fn accepted_former_credential_comes_back_and_is_rotated_at_once() {
        let held = rotated();
        let mut verdicts = refuse(&held, &["new", "third"]);
        verdicts.handle_accepted(&secret("second"));
        let Some(Settled::CameBack(back)) = held.settled(&verdicts, now()) else { panic!("not back") };
        assert_eq!(tokens(&back), ["second", "new", "third", "first"]);
        assert!(back.came_back() && back.life.is_none());
        let after = promoted(&back, "newer");
        assert!(!after.came_back());
        assert_eq!(tokens(&after), ["newer", "second", "new", "third", "first"]);
    }

    #[test]
    fn unused_next_credential_is_kept_when_a_former_one_comes_back() {
        let fetched = Fetched { token: secret("newer"), life: None, rotation: "r".to_owned() };
        let held = rotated().fetched(fetched, &Cause::Age);
        let mut verdicts = refuse(&held, &["newer", "new"]);
        verdicts.handle_accepted(&secret("third"));
        let Some(Settled::CameBack(back)) = held.settled(&verdicts, now()) else { panic!("not back") };
        assert_eq!(tokens(&back), ["third", "newer", "new", "second", "first"]);
    }

    #[test]
    fn late_answer_to_a_replaced_credential_is_no_return() {
        let held = rotated();
        let mut verdicts = Verdicts::default();
        verdicts.handle_accepted(&secret("third"));
        assert!(held.settled(&verdicts, now()).is_none());
    }

    #[test]
    fn history_is_bound_to_target_identity_and_current_credential() {
        let held = rotated().with_echo(true);
        let stored = || {
            let text = serde_json::to_string(&held.history("https://x ca").unwrap()).unwrap();
            Some(serde_json::from_str::<History>(&text).unwrap())
        };
        let current = || Held::new(ClusterId::new("c"), secret("new"), None);
        let again = current().after(stored(), "https://x ca");
        assert!(again.echoes() && tokens(&again) == tokens(&held));
        let by_hand = Held { token: secret("by hand"), ..current() };
        let other_identity = Held { cluster: ClusterId::new("d"), ..current() };
        for (other, target) in
            [(current(), "https://y ca"), (by_hand, "https://x ca"), (other_identity, "https://x ca")]
        {
            assert!(other.clone().after(stored(), target) == other);
        }
        assert!(current().history("https://x ca").is_none(), "nothing to remember, nothing to store");
        assert!(held.moved().history("https://x ca").is_none());
    }

    #[test]
    fn lost_rotation_is_marked_until_an_answer_is_stored() {
        let asked = held().with_lost_rotation(LostRotation::Asked);
        assert_eq!(asked.lost_rotation(), Some(LostRotation::Asked));
        let fetched = Fetched { token: secret("new"), life: None, rotation: "r".to_owned() };
        assert_eq!(asked.fetched(fetched, &Cause::Age).lost_rotation(), None);
    }

    #[test]
    fn a_next_credential_is_read_again_beside_the_one_it_follows_and_no_other() {
        let rotating = rotating();
        let next = rotating.next().unwrap();
        assert!(stored(next, held()) == rotating);
        let by_hand = Held { token: secret("by hand"), ..held() };
        let other_identity = Held { cluster: ClusterId::new("d"), ..held() };
        for current in [by_hand, other_identity] {
            assert!(stored(next, current.clone()) == current);
        }
    }

    #[test]
    fn what_is_stored_of_a_next_credential_does_not_tell_the_one_it_follows() {
        let text = serde_json::to_string(rotating().next().unwrap()).unwrap();
        assert!(text.contains("\"token\":\"new\"") && !text.contains("old"), "{text}");
    }
}
