use crate::id::SessionId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Two agents use one cluster's identity: a copied Secret, a cloned machine (contract, section 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct IdentityConflict {
    /// When the control plane had proof of it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// The session that is given jobs: the one that was there first.
    pub served: AgentSession,
    /// The sessions that are given none.
    pub refused: Vec<AgentSession>,
}

/// One run of an agent, as the control plane heard it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentSession {
    /// `X-Vworkspace-Session`: a new one at every start of the process.
    pub session: SessionId,
    /// Where it calls from: the TCP peer, or what a trusted proxy forwarded. Empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// First request.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub first_seen: Timestamp,
    /// Latest request.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_seen: Timestamp,
}

/// Body of `POST /api/v1/clusters/{id}/keep-session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeepSession {
    /// The session that keeps the identity; all others lose it.
    pub session: SessionId,
}

/// The session that keeps a cluster's identity, until it uses its new credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeptSession {
    /// The session for which alone the old credential still works.
    pub session: SessionId,
    /// When somebody decided so.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// The session that was refused last. If it is the right one after all (its process was restarted), keep it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<AgentSession>,
}
