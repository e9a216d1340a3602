use crate::{Condition, ObjectRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One event an agent reported, kept once whatever was replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// Names this record among the cluster's; opaque, and the same in every answer.
    #[serde(default)]
    pub id: String,
    /// Identity, empty for reports without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event_key: String,
    /// For example `ConditionTransition`.
    pub kind: String,
    /// What it is about.
    pub resource_ref: ObjectRef,
    /// What it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When the agent queued it, by its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub timestamp: Option<Timestamp>,
    /// When the server stored it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub received_at: Timestamp,
}

/// A page of events, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// Newest first.
    pub items: Vec<EventRecord>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
