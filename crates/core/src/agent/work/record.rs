//! What outlives the process.

use super::Ticket;
use crate::agent::{ObjectKey, job_run::Taken};
use serde::{Deserialize, Serialize};
use vworkspace_protocol::{Job, outcome::JobResult};

/// One open job as the journal keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its place: lower is earlier.
    pub ticket: Ticket,
    /// As received.
    pub job: Job,
    /// It is handed to the API server from here on, so it no longer expires: a crash leaves open whether it was. Kept
    /// of jobs that may expire, no others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
    /// Its result is that of a former run, as the ledger tells it: it did nothing itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// What the API server took; absent: perhaps nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,
}

/// What a job is about, read off its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its lane.
    pub lane: ObjectKey,
    /// What is done with the object; why nothing can be.
    pub action: Result<JobAction, String>,
}

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobAction {
    /// It is applied, or done in one step. Its lane goes on once that was taken.
    Apply,
    /// It is deleted. Its lane goes on once it is gone.
    Delete,
}
