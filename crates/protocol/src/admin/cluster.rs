use super::{IdentityConflict, KeptSession};
use crate::{ClusterId, Condition, id::OrganizationId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The control plane's record of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Assigned by the server.
    pub id: ClusterId,
    /// The tenant it belongs to.
    pub organization_id: OrganizationId,
    /// Unique among the clusters of its organization that are not archived, a DNS label.
    pub name: String,
    /// Whether its agent is there.
    pub presence: Presence,
    /// Last good request of its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_seen: Option<Timestamp>,
    /// When a registration token was exchanged; absent before, after the cluster has left, and after its credentials
    /// were revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub registered_at: Option<Timestamp>,
    /// `User-Agent` of its agent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// What its agent announced in `X-Vworkspace-Capabilities`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// From the last heartbeat.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operator_version: String,
    /// From the last heartbeat.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kubernetes_version: String,
    /// The Cluster object's conditions, from the last heartbeat; and the control plane's own `IdentityConflict`, last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Set while two agents use this identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_conflict: Option<IdentityConflict>,
    /// Set from the decision which session keeps the identity until that session uses its new credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_session: Option<KeptSession>,
    /// Open jobs that are held since the control plane was restored from a backup.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_jobs: u32,
    /// Results kept for jobs that this control plane does not know.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown_results: u32,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was archived; absent for one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub archived_at: Option<Timestamp>,
    /// The moment this answer speaks about.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub as_of: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The control plane's view of a cluster's agent (contract, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Presence {
    /// No agent is registered: none has been yet, the cluster has left, or its credentials were revoked.
    Unregistered,
    /// Seen within the disconnect window.
    Connected,
    /// Not seen for longer than the disconnect window.
    Disconnected,
}

/// Body of `POST /api/v1/clusters`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateCluster {
    /// The tenant; may be left out by an organization's own token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
    /// Unique in the organization, a DNS label (RFC 1123, at most 63 characters).
    pub name: String,
}

/// A page of clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ClusterPage {
    /// In order of making.
    pub items: Vec<Cluster>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
