use crate::{JobId, ObjectRef, Outcome};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the release of all held jobs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReleasedJobs {
    /// Jobs that are delivered from now on.
    pub released: u32,
    /// Jobs that ended instead: a job for the same object was enqueued after the restore.
    pub superseded: u32,
}

/// A result for a job that this control plane does not know, as after a restore from a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnknownResult {
    /// Id of the job, as the agent gave it.
    pub job_id: JobId,
    /// How the job ended.
    pub outcome: Outcome,
    /// Why it ended so, cut to 2 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The object as the agent reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_ref: Option<ObjectRef>,
    /// When the control plane received it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub received_at: Timestamp,
}

/// A page of such results, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnknownResultPage {
    /// Newest first.
    pub items: Vec<UnknownResult>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
