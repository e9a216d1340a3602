//! Setting conditions by the Kubernetes API conventions: `lastTransitionTime` moves only with `status`. Messages quote
//! Flux, Helm and the API server: here each loses the credentials that it quotes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as KubeCondition, Time};
use vworkspace_protocol::{Condition, ConditionStatus, limits::clip, time::whole_seconds};
use vworkspace_rules::redact;

/// Longest message kept; the API server refuses longer ones (`metav1.Condition`).
const MESSAGE_BYTES: usize = 32_768;

/// Sets one condition in place; the time is kept where the status did not change.
pub fn set(
    conditions: &mut Vec<KubeCondition>,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let found = conditions.iter().position(|c| c.type_ == type_);
    let kept_time = found
        .and_then(|i| conditions.get(i))
        .filter(|c| c.status == status.as_str())
        .map(|c| c.last_transition_time.clone());
    let condition = KubeCondition {
        type_: type_.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: clip(&redact(message), MESSAGE_BYTES).to_owned(),
        observed_generation: Some(generation),
        last_transition_time: kept_time.unwrap_or_else(|| Time(whole_seconds(now))),
    };
    match found.and_then(|i| conditions.get_mut(i)) {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

/// Takes a condition away, where it no longer says anything.
pub fn remove(conditions: &mut Vec<KubeCondition>, type_: &str) {
    conditions.retain(|c| c.type_ != type_);
}

/// The same conditions in the words of the wire.
pub fn to_wire(conditions: &[KubeCondition]) -> Vec<Condition> {
    conditions.iter().map(condition_to_wire).collect()
}

fn condition_to_wire(condition: &KubeCondition) -> Condition {
    Condition {
        type_: condition.type_.clone(),
        status: match condition.status.as_str() {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        },
        observed_generation: condition.observed_generation.unwrap_or_default(),
        last_transition_time: Some(condition.last_transition_time.0),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn message_loses_the_credentials_that_it_quotes() {
        let mut conditions = Vec::new();
        let message = "failed to fetch https://user:hunter2@c.example/index.yaml : 401";
        set(&mut conditions, "Ready", ConditionStatus::False, "Failed", message, 1, at(10));
        assert_eq!(conditions[0].message, "failed to fetch https://***@c.example/index.yaml : 401");
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        set(&mut conditions, "Ready", ConditionStatus::False, "A", "a", 1, at(10));
        set(&mut conditions, "Ready", ConditionStatus::False, "B", "b", 2, at(20));
        assert_eq!(conditions[0].last_transition_time.0, at(10));
        assert_eq!(conditions[0].reason, "B");
        set(&mut conditions, "Ready", ConditionStatus::True, "C", "", 2, at(30));
        assert_eq!(conditions[0].last_transition_time.0, at(30));
        assert_eq!(conditions.len(), 1);
    }
}
