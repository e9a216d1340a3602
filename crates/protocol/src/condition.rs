//! Conditions as Kubernetes writes them (`metav1.Condition`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One aspect of an object's observed state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// A CamelCase adjective, for example `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether the aspect holds.
    pub status: ConditionStatus,
    /// The generation this condition speaks about; 0 means it does not say.
    #[serde(default, skip_serializing_if = "crate::object::is_zero")]
    pub observed_generation: i64,
    /// When `status` last changed; whole seconds.
    #[serde(default, deserialize_with = "crate::time::optional")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_transition_time: Option<Timestamp>,
    /// Machine-readable CamelCase cause.
    #[serde(default)]
    pub reason: String,
    /// Text for people.
    #[serde(default)]
    pub message: String,
}

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell yet.
    Unknown,
}

impl ConditionStatus {
    /// The value as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl fmt::Display for Condition {
    /// `Ready=False/HelmReleaseFailed: message`, the form used in job errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}/{}", self.type_, self.status, self.reason)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// Condition types.
pub mod types {
    /// The object reached its goal.
    pub const READY: &str = "Ready";
    /// Work is going on.
    pub const RECONCILING: &str = "Reconciling";
    /// Something older runs than what was asked for.
    pub const DEGRADED: &str = "Degraded";
    /// Reconciling is switched off.
    pub const SUSPENDED: &str = "Suspended";
    /// A rule or a missing dependency stands in the way.
    pub const BLOCKED: &str = "Blocked";
    /// The object is going away.
    pub const DELETING: &str = "Deleting";
    /// The live objects differ from the desired ones.
    pub const DRIFTED: &str = "Drifted";
    /// ApplicationInstance: the source of a running application can be reached. Set once it could not be, cleared to
    /// `True` afterwards; absent before.
    pub const SOURCE_REACHABLE: &str = "SourceReachable";
    /// ApplicationInstance: something in the spec is readable that should be secret. What runs goes on. Absent before.
    pub const INSECURE: &str = "Insecure";
    /// ApplicationInstance, in events only: Flux replaced the content that runs, with no change of the spec.
    pub const APPLICATION_CHANGED: &str = "ApplicationChanged";
    /// Cluster: round trips to the control plane succeed.
    pub const CONNECTED: &str = "Connected";
    /// Cluster: no good round trip within the disconnect window.
    pub const DISCONNECTED: &str = "Disconnected";
    /// Cluster: the control plane accepts the credential.
    pub const AUTHENTICATED: &str = "Authenticated";
    /// Cluster: events were dropped because the outbox was full.
    pub const BUFFER_OVERFLOW: &str = "BufferOverflow";
    /// Of a Cluster: the control plane holds something else than was reported to it.
    pub const REPORT_DIVERGED: &str = "ReportDiverged";
    /// Cluster, at the control plane: two agents use the identity.
    pub const IDENTITY_CONFLICT: &str = "IdentityConflict";
    /// Operation: admitted.
    pub const ACCEPTED: &str = "Accepted";
}

/// Reasons (contract, section 7; reference contract, sections 5 and 7).
pub mod reasons {
    /// ApplicationInstance: the release is what was asked for.
    pub const HELM_RELEASE_READY: &str = "HelmReleaseReady";
    /// ApplicationInstance: Helm failed; the message is Flux's.
    pub const HELM_RELEASE_FAILED: &str = "HelmReleaseFailed";
    /// ApplicationInstance: an older release runs.
    pub const HELM_RELEASE_DEGRADED: &str = "HelmReleaseDegraded";
    /// Work has begun and says nothing yet.
    pub const PROGRESSING: &str = "Progressing";
    /// Nothing is going on.
    pub const STABLE: &str = "Stable";
    /// No longer degraded.
    pub const RECOVERED: &str = "Recovered";
    /// No longer blocked.
    pub const UNBLOCKED: &str = "Unblocked";
    /// Reconciling is switched off.
    pub const SUSPENDED: &str = "Suspended";
    /// Reconciling is switched on again.
    pub const RESUMED: &str = "Resumed";
    /// Flux found live objects that differ.
    pub const DRIFT_DETECTED: &str = "DriftDetected";
    /// Flux found no difference any more.
    pub const DRIFT_CORRECTED: &str = "DriftCorrected";
    /// ApplicationInstance: the source of the running application can be reached again.
    pub const SOURCE_READY: &str = "SourceReady";
    /// ApplicationInstance, in events only: Flux replaced the content that runs, with no change of the spec.
    pub const APPLICATION_CHANGED: &str = "ApplicationChanged";
    /// Our rules refuse the object.
    pub const VALIDATION_FAILED: &str = "ValidationFailed";
    /// A source of the chart cannot be fetched, where Flux's own reason is no more than `Failed`.
    pub const SOURCE_FAILED: &str = "SourceFailed";
    /// Blocked: a source of the chart has an address, chart or version that Flux has given up on. Ready names Flux's reason.
    pub const SOURCE_STALLED: &str = "SourceStalled";
    /// ApplicationInstance: the Secret of `chart.secretRef` is missing, or does not hold what the source needs.
    pub const CHART_SECRET_INCOMPLETE: &str = "ChartSecretIncomplete";
    /// ApplicationInstance: referenced values are missing. Flux's reason too.
    pub const VALUES_ERROR: &str = "ValuesError";
    /// The values hold what looks like secrets, and the cluster's owner has that refused.
    pub const INLINE_SECRET_MATERIAL_REJECTED: &str = "InlineSecretMaterialRejected";
    /// Insecure: `chart.url` holds credentials, from the time before that was refused.
    pub const CREDENTIALS_IN_URL: &str = "CredentialsInURL";
    /// Insecure: the values hold what looks like secrets.
    pub const SECRETS_IN_VALUES: &str = "SecretsInValues";
    /// No longer insecure.
    pub const SECURED: &str = "Secured";
    /// The namespace is not opened by its admin.
    pub const NAMESPACE_NOT_GATED: &str = "NamespaceNotGated";
    /// Flux is absent or too old.
    pub const DEPENDENCY_MISSING: &str = "DependencyMissing";
    /// The operator lacks rights in the namespace: its admin has not bound the role there.
    pub const ACCESS_DENIED: &str = "AccessDenied";
    /// The operator has no rights in the namespace, as two access reviews said: its RoleBinding is missing.
    pub const NAMESPACE_NOT_AUTHORIZED: &str = "NamespaceNotAuthorized";
    /// The namespace does not exist. In errors of jobs only.
    pub const NAMESPACE_NOT_FOUND: &str = "NamespaceNotFound";
    /// Another field manager owns a field that the operator has to set.
    pub const FIELD_CONFLICT: &str = "FieldConflict";
    /// The object is going away.
    pub const DELETING: &str = "Deleting";
    /// The release is being uninstalled.
    pub const UNINSTALLING: &str = "Uninstalling";
    /// A placeholder has nothing to install.
    pub const PLACEHOLDER: &str = "Placeholder";
    /// Cluster: the last round trip was good.
    pub const ROUND_TRIP_OK: &str = "RoundTripOK";
    /// Cluster: the counterpart of `NoRecentRoundTrip`.
    pub const CONNECTED: &str = "Connected";
    /// Cluster: round trips fail.
    pub const CONTROL_PLANE_UNREACHABLE: &str = "ControlPlaneUnreachable";
    /// Cluster: something between cluster and control plane answers in the control plane's place.
    pub const UNEXPECTED_RESPONSE: &str = "UnexpectedResponse";
    /// Cluster: connected, though something on the way removes headers, so that answers prove nothing.
    pub const HEADERS_STRIPPED: &str = "HeadersStripped";
    /// Cluster: another agent uses the same identity and goes first.
    pub const IDENTITY_CONFLICT: &str = "IdentityConflict";
    /// Cluster: registration just reached the control plane.
    pub const CONTROL_PLANE_REACHABLE: &str = "ControlPlaneReachable";
    /// Cluster: no good round trip within the disconnect window.
    pub const NO_RECENT_ROUND_TRIP: &str = "NoRecentRoundTrip";
    /// Cluster: the credential works.
    pub const CREDENTIAL_ACCEPTED: &str = "CredentialAccepted";
    /// Cluster: 401 with the current credential.
    pub const CREDENTIAL_REJECTED: &str = "CredentialRejected";
    /// Cluster: 403, the identity may not do this.
    pub const IDENTITY_FORBIDDEN: &str = "IdentityForbidden";
    /// Cluster: there is no credential.
    pub const CREDENTIAL_MISSING: &str = "CredentialMissing";
    /// Cluster, at the control plane: an earlier session of the agent went on polling beside a newer one.
    pub const TWO_SESSIONS: &str = "TwoSessions";
    /// Cluster, at the control plane: no more than one session of the agent is left.
    pub const ONE_SESSION: &str = "OneSession";
    /// In the audit event of a rotation only.
    pub const CREDENTIAL_ROTATED: &str = "CredentialRotated";
    /// Cluster: the registration token's Secret or key is missing.
    pub const TOKEN_SECRET_MISSING: &str = "TokenSecretMissing";
    /// Cluster: the control plane's certificates cannot be read from the Secret or key that is named.
    pub const CA_SECRET_INVALID: &str = "CASecretInvalid";
    /// Cluster: not registered yet.
    pub const REGISTRATION_PENDING: &str = "RegistrationPending";
    /// Cluster: the exchange failed and will be tried again.
    pub const REGISTRATION_FAILED: &str = "RegistrationFailed";
    /// Cluster: the control plane refused the registration token for good.
    pub const REGISTRATION_TOKEN_INVALID: &str = "RegistrationTokenInvalid";
    /// Cluster: the exchange succeeded.
    pub const REGISTRATION_COMPLETE: &str = "RegistrationComplete";
    /// Cluster: another Cluster object is the one in charge.
    pub const NOT_SINGLETON: &str = "NotSingleton";
    /// Any object, in events only: the condition was taken away (its status is told as `Unknown`).
    pub const CONDITION_REMOVED: &str = "ConditionRemoved";
    /// Cluster: events were dropped.
    pub const EVENT_BUFFER_FULL: &str = "EventBufferFull";
    /// Cluster: the outbox is empty again.
    pub const BUFFER_DRAINED: &str = "BufferDrained";
    /// Cluster: the control plane holds something else than was reported to it.
    pub const REPORT_DIFFERS: &str = "ReportDiffers";
    /// Cluster: the control plane holds what was reported to it again.
    pub const REPORT_AGREES: &str = "ReportAgrees";
}
