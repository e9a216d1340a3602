//! Kubernetes Events on condition transitions: what `kubectl describe` shows.

use crate::cause::cause;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use vworkspace_protocol::{condition::types, limits::clip};
use vworkspace_rules::redact;

/// Longest note the API server takes (`events.k8s.io/v1`).
const NOTE_BYTES: usize = 1_024;

/// Publishes Kubernetes Events for one controller; cheap to clone, meant to live as long as the controller, because
/// it folds repeated events into series.
#[derive(Clone)]
pub struct Announcer {
    recorder: Recorder,
}

impl Announcer {
    /// An announcer that signs as `controller`, for example `vworkspace-operator/cluster`.
    pub fn new(client: Client, controller: &str) -> Self {
        let reporter =
            Reporter { controller: controller.to_owned(), instance: std::env::var("POD_NAME").ok() };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes one event for each condition whose status or reason differs. A failure is logged, never returned:
    /// no reconcile fails for the sake of an event.
    pub async fn transitions(&self, object: &ObjectReference, before: &[Condition], after: &[Condition]) {
        for condition in after.iter().filter(|condition| is_news(before, condition)) {
            self.publish(object, &event_of(condition)).await;
        }
    }

    /// Publishes one event that is not tied to a condition.
    pub async fn tell(&self, object: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        let note = clip(&redact(note), NOTE_BYTES).to_owned();
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        self.publish(object, &event).await;
    }

    async fn publish(&self, object: &ObjectReference, event: &Event) {
        if let Err(error) = self.recorder.publish(event, object).await {
            let error = cause(&error);
            tracing::warn!(error, reason = event.reason, "a Kubernetes Event could not be published");
        }
    }
}

/// Status or reason differ. That something bad never was is no news.
fn is_news(before: &[Condition], condition: &Condition) -> bool {
    match before.iter().find(|b| b.type_ == condition.type_) {
        Some(before) => before.status != condition.status || before.reason != condition.reason,
        None => condition.status != "False" || is_bad(condition),
    }
}

fn event_of(condition: &Condition) -> Event {
    let mut note = format!("{}={}", condition.type_, condition.status);
    if !condition.message.is_empty() {
        note = format!("{note}: {}", condition.message);
    }
    Event {
        type_: if is_bad(condition) { EventType::Warning } else { EventType::Normal },
        reason: condition.reason.clone(),
        note: Some(clip(&note, NOTE_BYTES).to_owned()),
        action: condition.type_.clone(),
        secondary: None,
    }
}

/// Whether a person should look: a good thing that is not, or a bad thing that is.
fn is_bad(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        types::READY | types::CONNECTED | types::AUTHENTICATED | types::SOURCE_REACHABLE => {
            condition.status == "False"
        }
        types::DEGRADED
        | types::BLOCKED
        | types::DISCONNECTED
        | types::BUFFER_OVERFLOW
        | types::DRIFTED
        | types::INSECURE => condition.status == "True",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use vworkspace_protocol::ConditionStatus;

    #[test]
    fn only_changed_status_or_reason_is_news() {
        let mut before = Vec::new();
        let now = Timestamp::UNIX_EPOCH;
        crate::conditions::set(&mut before, types::READY, ConditionStatus::False, "A", "one", 1, now);
        let mut after = before.clone();
        crate::conditions::set(&mut after, types::READY, ConditionStatus::False, "A", "two", 1, now);
        assert!(!is_news(&before, &after[0]));
        crate::conditions::set(&mut after, types::READY, ConditionStatus::False, "B", "two", 1, now);
        assert!(is_news(&before, &after[0]));
        assert_eq!(event_of(&after[0]).type_, EventType::Warning);
    }
}
