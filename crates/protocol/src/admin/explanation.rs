use super::Job;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a job stands where it stands: who has it now, and what happens next and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The job with its timeline.
    pub job: Job,
    /// Who has it.
    pub holder: Holder,
    /// What can happen next, the likeliest first; empty once the job is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<NextStep>,
}

/// Who has a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum Holder {
    /// It waits in the control plane's queue.
    ControlPlane,
    /// It was handed out, and the agent has not said that it holds it.
    OnTheWay,
    /// It is durable in the cluster.
    Agent,
    /// It is over.
    Nobody,
}

/// One thing that can happen to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NextStep {
    /// When, by the server's clock, where a time decides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub at: Option<Timestamp>,
    /// What, for people.
    pub what: String,
}
