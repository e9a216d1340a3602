//! Events: batched reports that are not tied to one job.

use crate::{Condition, ConditionStatus, ObjectRef, time};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// Body of `POST /api/agent/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsRequest {
    /// At most [`EVENTS_PER_BATCH`](crate::limits::EVENTS_PER_BATCH), oldest first.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub events: Vec<Event>,
}

/// One report. Replay is safe: the server de-duplicates on `event_key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Stable identity of the report; empty (heartbeats) is never de-duplicated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event_key: String,
    /// Open set; ours are the constants in [`kind`].
    pub kind: String,
    /// What the report is about.
    #[serde(default)]
    pub resource_ref: ObjectRef,
    /// A transition carries exactly one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Additive, on heartbeats: semantic version of the operator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operator_version: String,
    /// Additive, on heartbeats: version of the API server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kubernetes_version: String,
    /// Additive: rises with every transition this agent tells, also across its restarts, so that a report that arrives
    /// late is not taken for news. 0: not told; then the order of arrival counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sequence: u64,
    /// When the report was queued, by the agent's clock.
    #[serde(default, deserialize_with = "time::optional", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// What the control plane answers to a batch of events that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsAnswer {
    /// Additive: digest of the current conditions that the control plane holds of this cluster's objects, this batch
    /// included. Over HTTP in [`REPORT_DIGEST`](crate::headers::REPORT_DIGEST). `None`: it computes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_digest: Option<String>,
}

/// Values of [`Event::kind`] (reference contract, section 4.1, and ours).
pub mod kind {
    /// A condition was added, or its status, reason or message changed.
    pub const CONDITION_TRANSITION: &str = "ConditionTransition";
    /// Periodic sign of life with the Cluster's conditions and versions.
    pub const CLUSTER_HEARTBEAT: &str = "ClusterHeartbeat";
    /// The bearer credential was exchanged for a new one.
    pub const CREDENTIAL_ROTATED: &str = "CredentialRotated";
    /// Additive: Flux replaced the content of an application with no change of its spec, for example because a tag
    /// was moved. Carries one condition of this type, whose message names both contents.
    pub const APPLICATION_CHANGED: &str = "ApplicationChanged";
    /// Of the control plane itself: a second agent uses the cluster's identity, or does so no more.
    pub const IDENTITY_CONFLICT: &str = "IdentityConflict";
    /// Additive: the object is gone; no conditions. Its uid tells which life of the name ended.
    pub const OBJECT_DELETED: &str = "ObjectDeleted";

    /// Returns `true` if the conditions of such an event record what was done, not how the object is now.
    pub fn is_audit(kind: &str) -> bool {
        matches!(kind, CREDENTIAL_ROTATED | APPLICATION_CHANGED)
    }
}

/// The documented key of a condition transition (reference contract, section 4.2):
/// `condition/{apiVersion}/{kind}/{namespace or _}/{name}/{uid or _}/{type}/{status}@{generation}`.
pub fn condition_key(object: &ObjectRef, condition_type: &str, status: ConditionStatus) -> String {
    let or_blank = |text: &str| if text.is_empty() { "_".to_owned() } else { text.to_owned() };
    format!(
        "condition/{}/{}/{}/{}/{}/{condition_type}/{status}@{}",
        object.api_version,
        object.kind,
        or_blank(&object.namespace),
        object.name,
        or_blank(&object.uid),
        object.generation,
    )
}

/// The key of the report that an object is gone.
pub fn deletion_key(uid: &str) -> String {
    format!("{}/{uid}", kind::OBJECT_DELETED)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn null_as_empty<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Event>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_transition_is_the_documented_one() {
        let mut object = ObjectRef {
            api_version: "apps.vworkspace.io/v1alpha1".into(),
            kind: "ApplicationInstance".into(),
            namespace: "org-a".into(),
            name: "web".into(),
            uid: "u1".into(),
            generation: 3,
        };
        assert_eq!(
            condition_key(&object, "Ready", ConditionStatus::True),
            "condition/apps.vworkspace.io/v1alpha1/ApplicationInstance/org-a/web/u1/Ready/True@3"
        );
        (object.namespace, object.uid) = (String::new(), String::new());
        assert!(condition_key(&object, "Ready", ConditionStatus::False).contains("/_/web/_/Ready/False@3"));
    }

    #[test]
    fn a_reference_agents_event_reads_with_a_null_transition_time() {
        let body = r#"{"events":[{"eventKey":"k","kind":"CredentialRotated","resourceRef":{"apiVersion":"a","kind":"Cluster",
            "namespace":"","name":"c"},"conditions":[{"type":"Authenticated","status":"True","lastTransitionTime":null,
            "reason":"CredentialRotated","message":""}],"timestamp":"2026-01-01T00:00:00Z"}]}"#;
        let events = serde_json::from_str::<EventsRequest>(body).unwrap().events;
        assert_eq!(events[0].conditions[0].last_transition_time, None);
    }
}
