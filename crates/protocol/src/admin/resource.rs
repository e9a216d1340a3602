use crate::{ClusterId, Condition, ObjectRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The current conditions of one object in a cluster, as last reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Where it is.
    pub cluster_id: ClusterId,
    /// What it is.
    pub resource_ref: ObjectRef,
    /// As last reported.
    pub conditions: Vec<Condition>,
    /// When the newest of them was received.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub as_of: Timestamp,
}

/// A page of resources, ordered by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourcePage {
    /// Ordered by kind, namespace and name.
    pub items: Vec<Resource>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Last good request of the cluster's agent: older than the disconnect window means the items may be stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub as_of: Option<Timestamp>,
}
