//! Tokens as the admin API makes, lists and revokes them. A list never shows a secret.

use crate::{
    ClusterId, Secret,
    id::{OrganizationId, TokenId},
    secret,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/api-tokens` and of `POST /api/v1/organizations/{id}/api-tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateApiToken {
    /// What it is for, shown in audit records (at most 128 bytes).
    pub description: String,
}

/// A new API token: this answer is the only place it is ever shown.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedApiToken {
    /// The token itself.
    #[serde(serialize_with = "secret::expose_on_wire")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: Secret,
    /// Its name in lists and revocations.
    pub id: TokenId,
    /// The organization it is good for; absent for an administrator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
}

/// An API token that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// The 16 characters after the token's prefix `vwksp-adm-`: a token that was found somewhere is recognised by them.
    pub id: TokenId,
    /// What it is for.
    pub description: String,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
}

/// A page of API tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenPage {
    /// Oldest first.
    pub items: Vec<ApiToken>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /api/v1/clusters/{id}/registration-tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateRegistrationToken {
    /// How long it may wait to be used; default and most 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
}

/// A new registration token: this answer is the only place it is ever shown.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedRegistrationToken {
    /// The token itself.
    #[serde(serialize_with = "secret::expose_on_wire")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: Secret,
    /// Its name in lists and revocations.
    pub id: TokenId,
    /// The cluster it registers.
    pub cluster_id: ClusterId,
    /// When it ends unused.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}

/// An open registration token: nobody has used it, and its time has not passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RegistrationToken {
    /// The 16 characters after the token's prefix `vwksp-reg-`.
    pub id: TokenId,
    /// The cluster it registers.
    pub cluster_id: ClusterId,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it ends unused.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}

/// A page of open registration tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RegistrationTokenPage {
    /// Oldest first.
    pub items: Vec<RegistrationToken>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
