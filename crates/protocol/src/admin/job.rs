use crate::{ClusterId, Condition, JobId, ObjectRef, Outcome, WaitFor, outcome::FieldConflict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::fmt;

/// Body of `POST /api/v1/clusters/{id}/jobs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnqueueJob {
    /// `apply`, `delete` or `intent`.
    pub kind: String,
    /// At most 512 KiB of JSON, delivered as it comes; the shape is the kind's. No member may stand twice, and every
    /// number must be one that a Kubernetes API server holds exactly.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload: Box<RawValue>,
    /// At most 512 bytes. Absent: the server makes a unique one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// After this the job must not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// What success means; absent: decided by kind (contract, section 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for: Option<WaitFor>,
    /// 1 to 604,800; absent: 1,800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u32>,
    /// How long a failure that may pass is waited out before the job fails, at most 604,800; 0: until the deadline.
    /// Absent: decided by the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_seconds: Option<u32>,
    /// Upgrade the application even if nothing changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl EnqueueJob {
    /// A job of this kind, everything else left to the server.
    pub fn new(kind: &str, payload: impl Into<Value>) -> Self {
        // A `Value` is JSON, however it is printed.
        let payload =
            RawValue::from_string(payload.into().to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self {
            kind: kind.to_owned(),
            payload,
            idempotency_key: None,
            expires_at: None,
            wait_for: None,
            deadline_seconds: None,
            retry_seconds: None,
            force: false,
        }
    }
}

/// A job as the control plane sees it. The payload is not shown: it may hold values of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", schema(as = AdminJob))]
pub struct Job {
    /// Assigned by the server.
    pub id: JobId,
    /// The cluster it is for.
    pub cluster_id: ClusterId,
    /// `apply`, `delete` or `intent`.
    pub kind: String,
    /// The object it is about, read off the payload.
    pub target: JobTarget,
    /// Where it stands.
    pub state: JobState,
    /// Set once closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it ended as it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Fields others own, with outcome `conflict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<FieldConflict>,
    /// The object as the agent reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_ref: Option<ObjectRef>,
    /// The key that makes a replay a no-op.
    pub idempotency_key: String,
    /// How often it was handed to an agent since it was last acked.
    pub deliveries: u32,
    /// Last progress phase that the agent reported, for example `Reconciling`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Conditions of the object as last reported with the job's progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Since when it is held: the control plane was restored from a backup. It is not delivered before somebody releases it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub held_since: Option<Timestamp>,
    /// When it was enqueued.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it must have started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// Every transition with time and cause, oldest first. Empty in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
    /// The moment this answer speaks about.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub as_of: Timestamp,
}

/// The object a job is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobTarget {
    /// Kind, for example `ApplicationInstance`.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Where a job stands (contract, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waiting for the agent to ask.
    Queued,
    /// Handed out, not acked.
    Leased,
    /// Durable in the cluster.
    Acked,
    /// Ended by the agent's result.
    Closed,
    /// Its time passed.
    Expired,
    /// Withdrawn by a person or program.
    Cancelled,
    /// A newer job for the same object took its place.
    Superseded,
    /// Handed out ten times and never acked.
    Undeliverable,
}

impl JobState {
    /// Whether nothing more will happen.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Leased | Self::Acked)
    }

    /// The state as written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Acked => "acked",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Undeliverable => "undeliverable",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a job's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// 1, 2, 3 … within the job.
    pub seq: u32,
    /// When, by the server's clock.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// State after the entry.
    pub state: JobState,
    /// What caused it, for people, for example `leased to session 8f2…` or `progress: Reconciling`.
    pub cause: String,
}

/// A page of jobs, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobPage {
    /// Newest first, without timelines.
    pub items: Vec<Job>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
