//! From a batch of reports to events that can be stored once each.
//!
//! Our own agents end every key with `#` and a digest of the transition. A plain v1 agent repeats its key when a
//! condition flaps within one generation, so for keys without `#` the condition itself is part of the identity
//! (contract, section 3).

use crate::{
    canonical::sha256,
    planted::{Bug, planted},
};
use thiserror::Error;
use vworkspace_protocol::{
    Condition,
    event::{Event, EventsRequest, deletion_key, kind},
    limits::{EVENTS_PER_BATCH, MESSAGE_BYTES, clip},
    problem::code,
};

/// Longest key, name or reason read off an event.
const TEXT_BYTES: usize = 1024;
/// Most conditions in one event.
const MOST_CONDITIONS: usize = 32;

/// Identity of an event within its cluster; `None` (no key) is never a repeat.
pub type Identity = Option<[u8; 16]>;

/// Reports of one request, in order.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    /// To be stored once each, with their identities.
    pub events: Vec<(Identity, Event)>,
    /// The last sign of life among them; not stored as an event.
    pub heartbeat: Option<Event>,
}

/// Why a batch is refused whole; the agent bisects it (contract, section 3).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// Over 100.
    #[error("the batch holds {0} events; at most {EVENTS_PER_BATCH} are accepted")]
    TooMany(usize),
    /// A text is over its bound, or missing.
    #[error("event {index}: {rule}")]
    Event {
        /// Position in the batch, from 0.
        index: usize,
        /// What would be right.
        rule: &'static str,
    },
}

impl Refused {
    /// The stable code of this refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooMany(_) | Self::Event { .. } => code::INVALID_REQUEST,
        }
    }
}

/// Admits a batch; messages are cut to their bound.
///
/// # Errors
/// The first event that breaks a rule.
pub fn admit(request: EventsRequest) -> Result<EventBatch, Refused> {
    if request.events.len() > EVENTS_PER_BATCH {
        return Err(Refused::TooMany(request.events.len()));
    }
    let mut batch = EventBatch::default();
    for (index, mut event) in request.events.into_iter().enumerate() {
        if let Some(rule) = broken_rule(&event) {
            return Err(Refused::Event { index, rule });
        }
        for condition in &mut event.conditions {
            condition.message.truncate(clip(&condition.message, MESSAGE_BYTES).len());
        }
        if event.kind == kind::CLUSTER_HEARTBEAT {
            batch.heartbeat = Some(event);
        } else {
            let identity = identity(&event).filter(|_| !planted(Bug::StoreEventsTwice));
            batch.events.push((identity, event));
        }
    }
    Ok(batch)
}

fn broken_rule(event: &Event) -> Option<&'static str> {
    let object = &event.resource_ref;
    let texts = [
        &event.event_key,
        &event.kind,
        &event.operator_version,
        &event.kubernetes_version,
        &object.api_version,
        &object.kind,
        &object.namespace,
        &object.name,
        &object.uid,
    ];
    let conditions = || event.conditions.iter();
    if event.kind.is_empty() {
        Some("kind must not be empty")
    } else if texts.into_iter().any(|text| text.len() > TEXT_BYTES) {
        Some("keys, kinds, names and versions have at most 1024 bytes")
    } else if event.conditions.len() > MOST_CONDITIONS {
        Some("at most 32 conditions are accepted")
    } else if conditions().any(|condition| condition.type_.is_empty()) {
        Some("a condition needs a type")
    } else if conditions().any(|condition| condition.type_.len().max(condition.reason.len()) > TEXT_BYTES) {
        Some("a condition's type and reason have at most 1024 bytes")
    } else {
        None
    }
}

/// The identity of the report that the object with this uid is gone.
pub fn identity_of_end(uid: &str) -> [u8; 16] {
    digest(&deletion_key(uid))
}

fn identity(event: &Event) -> Identity {
    if event.event_key.is_empty() {
        return None;
    }
    let mut text = event.event_key.clone();
    if !text.contains('#') {
        event.conditions.iter().for_each(|condition| push_transition(&mut text, condition));
    }
    Some(digest(&text))
}

fn digest(text: &str) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&sha256(text.as_bytes())[..16]);
    digest
}

fn push_transition(text: &mut String, condition: &Condition) {
    let time = condition.last_transition_time.map_or(i64::MIN, |time| time.as_second());
    for part in [condition.status.as_str(), &condition.reason, &condition.message, &time.to_string()] {
        text.push('\0');
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_protocol::ConditionStatus;

    fn transition(key: &str, reason: &str, second: i64) -> Event {
        Event {
            event_key: key.into(),
            kind: kind::CONDITION_TRANSITION.into(),
            resource_ref: Default::default(),
            conditions: vec![Condition {
                type_: "Ready".into(),
                status: ConditionStatus::True,
                observed_generation: 0,
                last_transition_time: Some(jiff::Timestamp::from_second(second).unwrap()),
                reason: reason.into(),
                message: String::new(),
            }],
            operator_version: String::new(),
            kubernetes_version: String::new(),
            sequence: 0,
            timestamp: None,
        }
    }

    fn identity_of(event: Event) -> Identity {
        admit(EventsRequest { events: vec![event] }).unwrap().events[0].0
    }

    #[test]
    fn a_plain_v1_agents_flap_is_another_event_and_its_replay_is_not() {
        let first = identity_of(transition("k@1", "R", 1));
        assert_eq!(identity_of(transition("k@1", "R", 1)), first);
        assert_ne!(identity_of(transition("k@1", "R", 2)), first);
        assert_ne!(identity_of(transition("k@1", "S", 1)), first);
    }

    #[test]
    fn our_own_key_says_it_all() {
        let first = identity_of(transition("k@1#aa", "R", 1));
        assert_eq!(identity_of(transition("k@1#aa", "S", 2)), first);
        assert_ne!(identity_of(transition("k@1#ab", "R", 1)), first);
    }

    #[test]
    fn an_event_without_a_key_has_no_identity() {
        assert_eq!(identity_of(transition("", "R", 1)), None);
    }

    #[test]
    fn only_the_last_heartbeat_counts_and_it_is_no_event() {
        let beat = |version: &str| Event {
            kind: kind::CLUSTER_HEARTBEAT.into(),
            operator_version: version.into(),
            ..transition("", "R", 1)
        };
        let batch =
            admit(EventsRequest { events: vec![beat("1"), transition("k#1", "R", 1), beat("2")] }).unwrap();
        assert_eq!(batch.events.len(), 1);
        assert_eq!(batch.heartbeat.unwrap().operator_version, "2");
    }

    #[test]
    fn a_broken_event_is_named_by_its_place() {
        let events = vec![transition("a#1", "R", 1), transition(&"x".repeat(2000), "R", 1)];
        let error = admit(EventsRequest { events }).unwrap_err();
        assert!(matches!(error, Refused::Event { index: 1, .. }));
        let many = (0..101).map(|n| transition(&format!("k#{n}"), "R", 1)).collect();
        assert_eq!(admit(EventsRequest { events: many }).unwrap_err(), Refused::TooMany(101));
    }
}
