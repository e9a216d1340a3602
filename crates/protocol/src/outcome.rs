//! What an agent tells about a job: progress and the terminal result.

use crate::{Condition, ObjectRef, time};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The closed set of terminal outcomes; a server answers 400 to anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The object reached its goal.
    Succeeded,
    /// It did not, and will not by this job.
    Failed,
    /// Nothing was done: a replay, or expired.
    Noop,
    /// Another field manager owns a field the job wants to set.
    Conflict,
}

impl Outcome {
    /// The outcome as written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Noop => "noop",
            Self::Conflict => "conflict",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Body of `POST /api/agent/jobs/{id}/result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobResult {
    /// How the job ended.
    pub outcome: Outcome,
    /// Why, for anything but `succeeded`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The object the job was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_ref: Option<ObjectRef>,
    /// Additive: the fields others own, with outcome `conflict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<FieldConflict>,
    /// When the agent decided, by its own clock.
    #[serde(default, deserialize_with = "time::optional", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// An outcome that needs no more words.
impl From<Outcome> for JobResult {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, error: String::new(), applied_ref: None, conflicts: Vec::new(), timestamp: None }
    }
}

/// One field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FieldConflict {
    /// Field manager that owns the field.
    pub manager: String,
    /// Path of the field, for example `.spec.chart.version`.
    pub field_path: String,
}

/// Body of `POST /api/agent/jobs/{id}/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusUpdate {
    /// Where the job stands. Open set for readers; ours are the constants in [`phase`].
    pub phase: String,
    /// The object's conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Text for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When, by the agent's clock.
    #[serde(default, deserialize_with = "time::optional", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// Values of [`StatusUpdate::phase`] (contract, section 8).
pub mod phase {
    /// The object is being handed to the API server.
    pub const APPLYING: &str = "Applying";
    /// Accepted; its controllers are at work.
    pub const RECONCILING: &str = "Reconciling";
    /// The goal is reached.
    pub const READY: &str = "Ready";
    /// Waiting for the object to be gone.
    pub const DELETING: &str = "Deleting";
    /// A rule stands in the way.
    pub const BLOCKED: &str = "Blocked";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_refused() {
        assert!(serde_json::from_str::<JobResult>(r#"{"outcome":"maybe"}"#).is_err());
    }

    #[test]
    fn an_empty_result_is_as_small_as_v1_writes_it() {
        let result: JobResult = serde_json::from_str(r#"{"outcome":"noop","later":1}"#).unwrap();
        assert_eq!(serde_json::to_string(&result).unwrap(), r#"{"outcome":"noop"}"#);
    }
}
