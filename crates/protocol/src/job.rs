//! Jobs: what a poll returns.

use crate::{JobId, time};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Answer to `GET /api/agent/jobs`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct JobsResponse {
    /// Jobs in enqueue order. `null` and absent are read as empty.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub jobs: Vec<Job>,
}

/// One unit of intent for one cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Opaque; the same on every delivery.
    pub id: JobId,
    /// Decides the payload's shape.
    pub kind: JobKind,
    /// As enqueued, byte for byte. Absent is read as `null`.
    #[serde(default = "null_payload")]
    pub payload: Box<RawValue>,
    /// Same key, same effect once. Empty means: compute one (contract, section 2).
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub idempotency_key: String,
    /// When the control plane accepted the job.
    #[serde(default, deserialize_with = "time::optional", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// After this (control plane's clock) the job must not start.
    #[serde(default, deserialize_with = "time::optional", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Additive: what `succeeded` means for this job. Absent: decided by kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for: Option<WaitFor>,
    /// Additive: how long the job may wait for its goal once applied. Absent: 1800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u32>,
    /// Additive: how long a failure that may pass is waited out before the job fails; 0: until the deadline. Absent: decided
    /// by the failure (contract, section 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_seconds: Option<u32>,
    /// Additive: upgrade the application even if nothing changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Which shape a payload has and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum JobKind {
    /// The payload is a full manifest, applied server-side.
    Apply,
    /// The payload names an object to delete.
    Delete,
    /// The payload is an [`Intent`](crate::intent::Intent).
    Intent,
    /// A kind this build does not know; such a job fails with a clear error.
    Other(String),
}

impl JobKind {
    /// The kind as written on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Intent => "intent",
            Self::Other(kind) => kind,
        }
    }
}

impl From<String> for JobKind {
    fn from(kind: String) -> Self {
        match kind.as_str() {
            "apply" => Self::Apply,
            "delete" => Self::Delete,
            "intent" => Self::Intent,
            _ => Self::Other(kind),
        }
    }
}

impl From<JobKind> for String {
    fn from(kind: JobKind) -> Self {
        kind.as_str().to_owned()
    }
}

/// Additive member `waitFor`: when a job counts as succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum WaitFor {
    /// Once the API server accepted the object.
    Accepted,
    /// Once the object reached its goal.
    Ready,
}

/// Payload of a [`JobKind::Delete`] job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteTarget {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(default)]
    pub namespace: String,
}

fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

fn null_payload() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> JobsResponse {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn null_and_absent_jobs_are_an_empty_list() {
        assert!(read(r#"{"jobs": null}"#).jobs.is_empty());
        assert!(read("{}").jobs.is_empty());
    }

    #[test]
    fn a_plain_v1_job_reads_with_nothing_set() {
        let jobs = read(
            r#"{"jobs":[{"id":"a","kind":"apply","payload":{"x":1},"idempotencyKey":"",
                "createdAt":"0001-01-01T00:00:00Z","expiresAt":"","signature":"s","later":{}}]}"#,
        )
        .jobs;
        let job = &jobs[0];
        assert_eq!(job.kind, JobKind::Apply);
        assert_eq!(job.payload.get(), r#"{"x":1}"#);
        assert_eq!((job.created_at, job.expires_at, job.wait_for), (None, None, None));
        assert_eq!(job.idempotency_key, "");
    }

    #[test]
    fn an_unknown_kind_is_kept_by_name() {
        let jobs = read(r#"{"jobs":[{"id":"a","kind":"dance"}]}"#).jobs;
        assert_eq!(jobs[0].kind, JobKind::Other("dance".into()));
        assert_eq!(jobs[0].payload.get(), "null");
    }
}
