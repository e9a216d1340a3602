//! Cluster: this cluster's link to its control plane. One per cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to reach the control plane (reference contract, section 6.3; additions in contract, section 8).
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ops.vworkspace.io",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    singular = "cluster",
    shortname = "cluster",
    status = "ClusterStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Connected","type":"string","jsonPath":".status.conditions[?(@.type==\"Connected\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// The identity; filled in by the operator after the first registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub cluster_id: Option<String>,
    /// Base URL of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://"))]
    pub control_plane_endpoint: Option<String>,
    /// Deprecated name of `controlPlaneEndpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://"))]
    pub control_plane_base_url: Option<String>,
    /// PEM certificates that sign the control plane's, in a Secret of the operator's namespace.
    #[serde(rename = "controlPlaneCASecretRef", default, skip_serializing_if = "Option::is_none")]
    pub control_plane_ca_secret_ref: Option<SecretKeyRef>,
    /// The single-use token, in a Secret of the operator's namespace; `key` defaults to `registrationToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_token_secret_ref: Option<SecretKeyRef>,
    /// Deprecated: the token in clear; cleared after use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub registration_token: Option<String>,
    /// Reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Set to `true` to exchange the credential; the operator sets it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_credentials: Option<bool>,
}

/// A key of a Secret in the operator's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
}

/// Reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capabilities {
    /// Flux is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux: Option<bool>,
    /// Velero is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub velero: Option<bool>,
}

/// How the link is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Absent until first looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterPhase>,
    /// Connected, Disconnected, Authenticated, BufferOverflow.
    #[serde(default)]
    #[schemars(schema_with = "crate::conditions")]
    pub conditions: Vec<Condition>,
    /// Last heartbeat the control plane took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat: Option<Time>,
    /// Where the credential is and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_status: Option<CredentialStatus>,
    /// The credentials Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<CredentialsSecretRef>,
    /// First 16 hex digits of SHA-256 of the registration token last exchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_token: Option<String>,
}

/// Phases of the link (reference contract, section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// Waiting for a token or a credential.
    Pending,
    /// The exchange succeeded, no round trip yet.
    Registering,
    /// Round trips are good.
    Connected,
    /// No good round trip within the disconnect window.
    Disconnected,
    /// Something a person must look at.
    Error,
    /// The object is being deleted.
    Terminating,
}

/// State of the stored credential.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_namespace: Option<String>,
    /// When the exchange succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<Time>,
    /// Whether a registration token was exchanged.
    #[serde(default)]
    pub registration_token_consumed: bool,
}

/// Name of the credentials Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialsSecretRef {
    /// Name.
    pub name: String,
    /// Namespace; absent means the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
