//! The credentials that a cluster holds, two of them during a rotation (contract, section 4): which is presented, and
//! what is stored after an answer.
//!
//! ```text
//!            rotation                    a good answer to next
//!   current ──────────► current + next ───────────────────────► next, as the current one
//!      ▲                      │
//!      └──────────────────────┘
//!        401 to next, and a good answer to current after that
//! ```
//!
//! The next one is presented first. Its first use ends the current one at the control plane, and the answer may be
//! lost: until an answer says which of the two works both are kept, so at every instant one that is held works,
//! wherever the process dies. Each arrow is one write.

use super::rotation::{Cause, Fulfilled, Life};
use crate::{
    canonical::sha256_hex,
    planted::{Bug, planted},
};
use serde::{Deserialize, Serialize};
use vworkspace_protocol::{ClusterId, Secret, secret};

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
        Self { cluster, token, life, fulfilled: Fulfilled::default(), rotation: None, next: None }
    }

    /// With the next one that is stored beside it, unless that was fetched with another credential, or for another
    /// identity: whoever wrote the current one since meant it to count.
    #[must_use]
    pub fn beside(self, next: Option<Next>) -> Self {
        let follows = self.digest();
        Self { next: next.filter(|next| next.follows == follows), ..self }
    }

    /// After a rotation, as it is to be stored before anything is done with the new credential.
    #[must_use]
    pub fn fetched(&self, fetched: Fetched, cause: &Cause) -> Self {
        let Fetched { token, life, rotation } = fetched;
        if planted(Bug::ReplaceCredential) {
            let (fulfilled, rotation) = (self.fulfilled.by(cause), Some(rotation));
            return Self { cluster: self.cluster.clone(), token, life, fulfilled, rotation, next: None };
        }
        let next =
            Next { token, life, fulfilled: self.fulfilled.by(cause), rotation, follows: self.digest() };
        Self { next: Some(next), ..self.clone() }
    }

    /// The next one, if there is one: a rotation is under way, and no other begins.
    pub fn next(&self) -> Option<&Next> {
        self.next.as_ref()
    }

    /// All there are, in the order in which they are to be tried where no answer was given yet.
    pub fn tokens(&self) -> impl Iterator<Item = &Secret> {
        self.next.iter().map(Next::token).chain([&self.token])
    }

    /// Which one is presented: the next one, unless it was refused.
    pub fn presented(&self, verdicts: &Verdicts) -> &Secret {
        let next = self.next.as_ref().map(|next| &next.token);
        next.filter(|next| verdicts.refused.as_ref() != Some(*next)).unwrap_or(&self.token)
    }

    /// What is to be stored, now that these answers were given; absent: nothing has been decided.
    pub fn settled(&self, verdicts: &Verdicts) -> Option<Settled> {
        let next = self.next.as_ref()?;
        let (accepted, refused) = (verdicts.accepted.as_ref(), verdicts.refused.as_ref());
        if accepted == Some(&next.token) {
            let Next { token, life, fulfilled, rotation, follows: _ } = next.clone();
            let cluster = self.cluster.clone();
            let rotation = Some(rotation);
            return Some(Settled::Promoted(Self { cluster, token, life, fulfilled, rotation, next: None }));
        }
        let dropped = refused == Some(&next.token) && accepted == Some(&self.token);
        dropped.then(|| Settled::Dropped(Self { next: None, ..self.clone() }))
    }

    fn digest(&self) -> String {
        // Neither holds a zero byte: no two pairs are one text.
        sha256_hex(format!("{}\0{}", self.cluster, self.token.expose()).as_bytes())
    }
}

impl Next {
    /// The credential.
    pub fn token(&self) -> &Secret {
        &self.token
    }
}

/// How a rotation ended. Each holds what is to be stored.
#[derive(Clone, PartialEq, Eq)]
pub enum Settled {
    /// The next credential works: it is the current one from here on.
    Promoted(Held),
    /// The next credential does not work and the current one does: as if there had been no rotation. Whatever asked for
    /// it does so still.
    Dropped(Held),
}

/// What the control plane said to credentials of this process, each the last one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    accepted: Option<Secret>,
    refused: Option<Secret>,
}

impl Verdicts {
    /// A call with this credential got a good answer.
    pub fn handle_accepted(&mut self, token: &Secret) {
        if self.accepted.as_ref() != Some(token) {
            self.accepted = Some(token.clone());
        }
        if self.refused.as_ref() == Some(token) {
            self.refused = None;
        }
    }

    /// What is held, or the way to the control plane, has changed: what was refused is worth another try.
    pub fn handle_change(&mut self) {
        self.refused = None;
    }

    /// A call with this credential was refused with 401. Noted of a next one alone: beside it there is the current one to
    /// try. What a refused current one means is the session's to say.
    pub fn handle_refused(&mut self, token: &Secret, held: &Held) {
        if held.next.as_ref().is_some_and(|next| next.token == *token) {
            *self = Self { accepted: None, refused: Some(token.clone()) };
        }
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

    #[test]
    fn the_next_credential_is_used_first_and_becomes_the_current_one_when_it_was_answered() {
        let mut verdicts = Verdicts::default();
        assert!(held().presented(&verdicts) == &secret("old") && held().settled(&verdicts).is_none());
        verdicts.handle_accepted(&secret("old"));
        let rotating = rotating();
        assert!(rotating.presented(&verdicts) == &secret("new") && rotating.settled(&verdicts).is_none());
        verdicts.handle_accepted(&secret("new"));
        let Some(Settled::Promoted(now)) = rotating.settled(&verdicts) else { panic!("not promoted") };
        assert!(
            now.token == secret("new") && now.next().is_none() && now.presented(&verdicts) == &secret("new")
        );
        assert_eq!((now.life, now.rotation.as_deref()), (life(60), Some("r")));
        assert_eq!(now.fulfilled.job, Some(JobId::new("j")));
    }

    #[test]
    fn a_refused_next_credential_is_dropped_once_the_current_one_works_and_its_wish_is_due_again() {
        let (mut verdicts, rotating) = (Verdicts::default(), rotating());
        verdicts.handle_accepted(&secret("old"));
        verdicts.handle_refused(&secret("new"), &rotating);
        assert!(rotating.presented(&verdicts) == &secret("old"));
        assert!(rotating.settled(&verdicts).is_none(), "what was answered before says nothing");
        verdicts.handle_accepted(&secret("old"));
        assert!(rotating.settled(&verdicts) == Some(Settled::Dropped(held())));
        assert_eq!(held().fulfilled, Fulfilled::default());
    }

    /// Something on the way may answer 401 to everything: the next one may be the one that works.
    #[test]
    fn while_both_are_refused_both_are_kept() {
        let (mut verdicts, rotating) = (Verdicts::default(), rotating());
        verdicts.handle_refused(&secret("new"), &rotating);
        verdicts.handle_refused(&secret("old"), &rotating);
        assert!(rotating.presented(&verdicts) == &secret("old") && rotating.settled(&verdicts).is_none());
        let restarted = Verdicts::default();
        assert!(rotating.presented(&restarted) == &secret("new"));
        verdicts.handle_change();
        assert!(rotating.presented(&verdicts) == &secret("new"), "the way has changed");
    }

    #[test]
    fn a_refusal_ends_with_a_good_answer_and_counts_for_that_credential_alone() {
        let (mut verdicts, rotating) = (Verdicts::default(), rotating());
        verdicts.handle_refused(&secret("new"), &rotating);
        let fetched = Fetched { token: secret("newer"), life: None, rotation: "s".to_owned() };
        let again = held().fetched(fetched, &Cause::Age);
        assert!(again.presented(&verdicts) == &secret("newer"));
        verdicts.handle_accepted(&secret("new"));
        assert!(rotating.presented(&verdicts) == &secret("new"));
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
