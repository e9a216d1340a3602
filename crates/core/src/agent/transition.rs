//! From observed conditions to events with keys that tell flaps apart (contract, section 3).
//!
//! A condition's time has whole seconds and moves with its status only, so the documented key alone would repeat
//! when a condition flaps or changes its reason. The suffix `#` + 16 hex digits is a digest over status, reason,
//! message, transition time and `n`: how many different contents this condition had since that transition time.
//! A snapshot of an unchanged condition repeats the key it had; counting anew per transition time lets a process
//! that was restarted find the same key again.

use crate::{agent::ObjectKey, canonical};
use jiff::Timestamp;
use std::collections::BTreeMap;
use vworkspace_protocol::{
    Condition, ConditionStatus, ObjectRef,
    condition::reasons,
    event::{Event, condition_key, kind},
};

/// Most conditions remembered. Beyond it the first by object is forgotten: at worst a snapshot repeats it under
/// another key, which the control plane records as one more transition.
pub const MAX_REMEMBERED: usize = 50_000;

/// One condition of one object: what events are counted and coalesced by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The object's uid, or its name where the uid is unknown.
    object: String,
    /// The condition's type; empty for events about the whole object.
    condition_type: String,
}

impl Slot {
    /// The slot of one condition of an object.
    pub fn new(object: &ObjectRef, condition_type: &str) -> Self {
        let identity =
            if object.uid.is_empty() { ObjectKey::from(object).to_string() } else { object.uid.clone() };
        Self { object: identity, condition_type: condition_type.to_owned() }
    }
}

/// What was last told about one condition.
#[derive(Clone, Debug)]
struct Told {
    transition_time: Option<Timestamp>,
    n: u32,
    content: [u8; 32],
    suffix: String,
}

/// Remembers what was last told about each condition, and makes events of what is new.
#[derive(Debug, Default)]
pub struct TransitionLog {
    told: BTreeMap<Slot, Told>,
}

impl TransitionLog {
    /// Events for what a status write changed: one per condition added, changed or taken away.
    pub fn handle_transition(
        &mut self,
        object: &ObjectRef,
        before: &[Condition],
        after: &[Condition],
        now: Timestamp,
    ) -> Vec<(Slot, Event)> {
        let changed = after.iter().filter(|condition| !before.iter().any(|b| same_content(b, condition)));
        let mut events: Vec<_> = changed.map(|condition| self.told(object, condition.clone(), now)).collect();
        let removed = before.iter().filter(|b| !after.iter().any(|a| a.type_ == b.type_));
        events.extend(removed.map(|condition| self.told(object, as_removed(condition, now), now)));
        events
    }

    /// Events for everything that is, whether told before or not: the first thing after a reconnect.
    pub fn handle_snapshot(
        &mut self,
        object: &ObjectRef,
        conditions: &[Condition],
        now: Timestamp,
    ) -> Vec<(Slot, Event)> {
        conditions.iter().map(|condition| self.told(object, condition.clone(), now)).collect()
    }

    /// The event for an object that is gone; its conditions are forgotten. Absent where nothing was ever told about
    /// the object, or its end was told already.
    pub fn handle_deleted(&mut self, object: &ObjectRef, now: Timestamp) -> Option<(Slot, Event)> {
        let (slot, before) = (Slot::new(object, ""), self.told.len());
        self.told.retain(|told, _| told.object != slot.object);
        if self.told.len() == before {
            return None;
        }
        let event = Event {
            event_key: format!("{}/{}", kind::OBJECT_DELETED, slot.object),
            kind: kind::OBJECT_DELETED.to_owned(),
            resource_ref: object.clone(),
            conditions: Vec::new(),
            operator_version: String::new(),
            kubernetes_version: String::new(),
            timestamp: Some(now),
        };
        Some((slot, event))
    }

    fn told(&mut self, object: &ObjectRef, condition: Condition, now: Timestamp) -> (Slot, Event) {
        let slot = Slot::new(object, &condition.type_);
        let suffix = self.suffix(&slot, &condition);
        let key = condition_key(&as_spoken_of(object, &condition), &condition.type_, condition.status);
        let event = Event {
            event_key: format!("{key}#{suffix}"),
            kind: kind::CONDITION_TRANSITION.to_owned(),
            resource_ref: object.clone(),
            conditions: vec![condition],
            operator_version: String::new(),
            kubernetes_version: String::new(),
            timestamp: Some(now),
        };
        (slot, event)
    }

    fn suffix(&mut self, slot: &Slot, condition: &Condition) -> String {
        let content = content_digest(condition);
        let last = self.told.get(slot);
        if let Some(told) = last.filter(|told| told.content == content) {
            return told.suffix.clone();
        }
        let same_time = last.filter(|told| told.transition_time == condition.last_transition_time);
        let n = same_time.map_or(0, |told| told.n.saturating_add(1));
        let suffix = suffix_of(&content, n);
        let told =
            Told { transition_time: condition.last_transition_time, n, content, suffix: suffix.clone() };
        self.told.insert(slot.clone(), told);
        if self.told.len() > MAX_REMEMBERED {
            self.told.pop_first();
        }
        suffix
    }
}

/// The object at the generation that the condition speaks about. A snapshot may find the wish changed and the condition
/// not yet: under the new generation's key it would be told now, and what replaces it would count as a repeat.
fn as_spoken_of(object: &ObjectRef, condition: &Condition) -> ObjectRef {
    let spoken_of = Some(condition.observed_generation).filter(|generation| *generation > 0);
    ObjectRef { generation: spoken_of.unwrap_or(object.generation), ..object.clone() }
}

/// A condition that speaks about a newer generation is news too: the documented key names the generation, and the
/// next snapshot must find it told.
fn same_content(a: &Condition, b: &Condition) -> bool {
    a.type_ == b.type_
        && a.observed_generation == b.observed_generation
        && content_digest(a) == content_digest(b)
}

/// A condition that was taken away has no status any more.
fn as_removed(condition: &Condition, now: Timestamp) -> Condition {
    Condition {
        status: ConditionStatus::Unknown,
        reason: reasons::CONDITION_REMOVED.to_owned(),
        message: String::new(),
        last_transition_time: Some(vworkspace_protocol::time::whole_seconds(now)),
        ..condition.clone()
    }
}

fn content_digest(condition: &Condition) -> [u8; 32] {
    let time = condition.last_transition_time.map_or(0, Timestamp::as_second).to_be_bytes();
    sha256(&[
        condition.status.as_str().as_bytes(),
        condition.reason.as_bytes(),
        condition.message.as_bytes(),
        &time,
    ])
}

fn suffix_of(content: &[u8; 32], n: u32) -> String {
    let digest = sha256(&[content, &n.to_be_bytes()]);
    hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8]))
}

/// SHA-256 over parts that cannot run into each other: each is preceded by its length.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    canonical::sha256(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn object() -> ObjectRef {
        ObjectRef {
            api_version: "apps.vworkspace.io/v1alpha1".into(),
            kind: "ApplicationInstance".into(),
            namespace: "n".into(),
            name: "web".into(),
            uid: "u".into(),
            generation: 1,
        }
    }

    fn ready(status: bool, reason: &str, second: i64) -> Condition {
        Condition {
            type_: "Ready".into(),
            status: status.into(),
            observed_generation: 1,
            last_transition_time: Timestamp::from_second(second).ok(),
            reason: reason.into(),
            message: String::new(),
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(100).unwrap()
    }

    proptest! {
        /// However a condition moves within one second, no two successive contents share a key.
        #[test]
        fn flaps_within_one_second_never_repeat_a_key(steps in proptest::collection::vec((any::<bool>(), 0..3u8), 1..40)) {
            let mut log = TransitionLog::default();
            let (mut keys, mut last, mut told) = (BTreeSet::new(), Vec::new(), 0);
            for (status, reason) in steps {
                let next = vec![ready(status, &reason.to_string(), 5)];
                for (_, event) in log.handle_transition(&object(), &last, &next, now()) {
                    told += 1;
                    keys.insert(event.event_key);
                }
                last = next;
            }
            prop_assert_eq!(keys.len(), told);
        }
    }

    #[test]
    fn a_snapshot_repeats_the_stored_key_also_after_a_restart() {
        let mut log = TransitionLog::default();
        let (first, second) = (vec![ready(false, "A", 5)], vec![ready(true, "B", 9)]);
        log.handle_transition(&object(), &[], &first, now());
        let told = log.handle_transition(&object(), &first, &second, now());
        assert_eq!(log.handle_snapshot(&object(), &second, now())[0].1.event_key, told[0].1.event_key);
        let restarted = TransitionLog::default().handle_snapshot(&object(), &second, now());
        assert_eq!(restarted[0].1.event_key, told[0].1.event_key);
    }

    /// Found by the walkthrough: a condition was shown with the generation before, for ever.
    #[test]
    fn a_snapshot_between_a_new_wish_and_its_condition_does_not_use_up_the_key_of_what_follows() {
        let mut log = TransitionLog::default();
        let before = vec![ready(true, "A", 5)];
        let first = log.handle_transition(&object(), &[], &before, now());
        let wished = ObjectRef { generation: 2, ..object() };
        let between = log.handle_snapshot(&wished, &before, now());
        assert_eq!(between[0].1.event_key, first[0].1.event_key, "nothing is new about the condition");
        let after = vec![Condition { observed_generation: 2, ..ready(true, "A", 5) }];
        let told = log.handle_transition(&wished, &before, &after, now());
        assert_ne!(told[0].1.event_key, between[0].1.event_key);
        assert_eq!(log.handle_snapshot(&wished, &after, now())[0].1.event_key, told[0].1.event_key);
    }

    #[test]
    fn the_documented_key_is_the_prefix() {
        let events = TransitionLog::default().handle_snapshot(&object(), &[ready(true, "R", 1)], now());
        let (prefix, suffix) = events[0].1.event_key.split_once('#').unwrap();
        assert_eq!(prefix, "condition/apps.vworkspace.io/v1alpha1/ApplicationInstance/n/web/u/Ready/True@1");
        assert_eq!(suffix.len(), 16);
    }

    #[test]
    fn removal_and_deletion_are_told() {
        let mut log = TransitionLog::default();
        let before = vec![ready(true, "R", 1)];
        let events = log.handle_transition(&object(), &before, &[], now());
        assert_eq!(events[0].1.conditions[0].reason, reasons::CONDITION_REMOVED);
        assert_eq!(log.handle_deleted(&object(), now()).unwrap().1.kind, kind::OBJECT_DELETED);
        assert!(log.handle_deleted(&object(), now()).is_none());
    }

    #[test]
    fn unchanged_conditions_make_no_event() {
        let same = vec![ready(true, "R", 1)];
        assert!(TransitionLog::default().handle_transition(&object(), &same, &same, now()).is_empty());
    }
}
