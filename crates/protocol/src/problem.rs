//! The error body, the same on every route.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `{"error": "<machine code>", "message": "<human text>", "requestId": "<opaque>"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Problem {
    /// Stable code, lower snake case; one of [`code`] when our server wrote it.
    pub error: String,
    /// Text for people: what was wrong and what would be right.
    pub message: String,
    /// Finds the log line of this request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.message)
    }
}

/// Stable codes of our server (contract, section 6).
pub mod code {
    /// 400: the body is not JSON of the expected shape.
    pub const MALFORMED_BODY: &str = "malformed_body";
    /// 400: plain HTTP was spoken to a port that speaks TLS.
    pub const HTTPS_REQUIRED: &str = "https_required";
    /// 400: a member or parameter breaks a rule the message names.
    pub const INVALID_REQUEST: &str = "invalid_request";
    /// 401: no bearer, or one nobody issued.
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// 401: the registration token was used before.
    pub const TOKEN_CONSUMED: &str = "token_consumed";
    /// 401: the token's life is over.
    pub const TOKEN_EXPIRED: &str = "token_expired";
    /// 403: the bearer is good, but not for this cluster.
    pub const WRONG_CLUSTER: &str = "wrong_cluster";
    /// 403: the bearer may not do this.
    pub const FORBIDDEN: &str = "forbidden";
    /// 404: there is no such thing, or it is not yours: the answers are equal.
    pub const NOT_FOUND: &str = "not_found";
    /// 405: the path exists, the method does not.
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    /// 409: a terminal result is recorded already.
    pub const RESULT_RECORDED: &str = "result_recorded";
    /// 409: the job is closed.
    pub const JOB_CLOSED: &str = "job_closed";
    /// 409: two agents use one identity, and this one came later: it gets no jobs and may not rotate.
    pub const IDENTITY_CONFLICT: &str = "identity_conflict";
    /// 409: something of this name or key exists.
    pub const ALREADY_EXISTS: &str = "already_exists";
    /// 409: the cluster or organization is archived; nothing new can be made in it.
    pub const ARCHIVED: &str = "archived";
    /// 409: the organization has as many of these as the server allows.
    pub const LIMIT_REACHED: &str = "limit_reached";
    /// 409: nobody could use the API for it after this one token; repeat with `force=true`.
    pub const LAST_TOKEN: &str = "last_token";
    /// 413: the payload is over the bound the message names.
    pub const PAYLOAD_TOO_LARGE: &str = "payload_too_large";
    /// 429: come back after `Retry-After` seconds.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// 500: our fault; the request id finds the log line.
    pub const INTERNAL: &str = "internal";
    /// 503: the server is stopping or overloaded.
    pub const UNAVAILABLE: &str = "unavailable";
}
