//! Registration and rotation of a cluster's identity.

use crate::{ClusterId, Secret, secret, time};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Prefix of a single-use registration token.
pub const REGISTRATION_PREFIX: &str = "vwksp-reg-";
/// Prefix of a cluster's bearer credential.
pub const AGENT_PREFIX: &str = "vwksp-agt-";
/// Prefix of an admin API token.
pub const ADMIN_PREFIX: &str = "vwksp-adm-";

/// Body of `POST /api/agent/register`. The registration token is also the bearer value of the request.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterRequest {
    /// The single-use token; empty means: the bearer value.
    #[serde(default = "no_secret", serialize_with = "secret::expose_on_wire")]
    pub registration_token: Secret,
    /// The identity the agent believes to have, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    /// Name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// Additive: uuid the operator stores before the first try, so that a repeated exchange is safe.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registration_id: String,
}

/// Answer to a registration.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterResponse {
    /// The identity the control plane keeps for this cluster.
    pub cluster_id: ClusterId,
    /// The bearer credential.
    #[serde(serialize_with = "secret::expose_on_wire")]
    pub token: Secret,
    /// When the credential ends unless rotated.
    #[serde(default, deserialize_with = "time::optional", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Answer to `POST /api/agent/credentials/rotate`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotateResponse {
    /// The new bearer credential; the old one ends when this one is first used.
    #[serde(serialize_with = "secret::expose_on_wire")]
    pub token: Secret,
    /// When the credential ends unless rotated.
    #[serde(default, deserialize_with = "time::optional", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

fn no_secret() -> Secret {
    Secret::new("")
}
