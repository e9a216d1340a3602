//! The agent side's port: what the operator asks of a transport.

use std::{future::Future, time::Duration};
use thiserror::Error;
use vworkspace_protocol::{
    ClusterId, Job, JobId, Problem,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::EventsRequest,
    outcome::{JobResult, StatusUpdate},
};

/// One agent's way to its control plane.
///
/// # Obligations
/// A method MUST return within its call's own bound (the wait of a poll plus a margin) and MUST NOT retry: the
/// agent's session decides when to try again. A dropped future abandons the call, whose effect is then unknown.
pub trait AgentLink: Send + Sync + 'static {
    /// Exchanges a registration token; the token is the bearer of this one call.
    fn register(
        &self,
        request: &RegisterRequest,
    ) -> impl Future<Output = Result<RegisterResponse, LinkError>> + Send;

    /// Asks for jobs of `cluster`, waiting at most `wait` for the first.
    fn jobs(
        &self,
        cluster: &ClusterId,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Job>, LinkError>> + Send;

    /// Tells that the job is durable in the cluster.
    fn ack(&self, job: &JobId) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Tells progress.
    fn status(
        &self,
        job: &JobId,
        update: &StatusUpdate,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Tells the terminal result.
    fn result(&self, job: &JobId, result: &JobResult) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Delivers a batch of events.
    fn events(&self, batch: &EventsRequest) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Asks for a new credential.
    fn rotate(&self) -> impl Future<Output = Result<RotateResponse, LinkError>> + Send;

    /// Ends the identity: the credential is dead afterwards, and a repeat is refused with 401.
    fn decommission(&self) -> impl Future<Output = Result<(), LinkError>> + Send;
}

/// Why a call did not succeed, as data: nobody matches on texts.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The control plane answered with a status other than 2xx.
    #[error("control plane answered {status}: {problem}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The error body, or one made from the status line.
        problem: Problem,
        /// `Retry-After`, if told.
        retry_after: Option<Duration>,
    },
    /// No answer: connection, TLS, time-out.
    #[error("control plane not reached: {detail}")]
    Unreachable {
        /// What failed, without secrets.
        detail: String,
    },
    /// A 2xx answer whose body is not what the protocol says.
    #[error("control plane's answer cannot be read: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}
