//! The agent side's port: what the operator asks of a transport.

use std::{future::Future, time::Duration};
use thiserror::Error;
use vworkspace_http::proxy::Way;
use vworkspace_protocol::{
    ClusterId, Job, JobId, Problem,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::{EventsAnswer, EventsRequest},
    outcome::{JobResult, StatusUpdate},
};

/// One agent's way to its control plane.
///
/// # Obligations
/// Of every method of every transport; `tests/conformance` holds a case for each.
///
/// - **Fidelity.** What [`ControlPort`](crate::ControlPort) receives MUST equal what was sent, member by member and a
///   job's payload byte by byte, and so the answer on its way back. Every call MUST tell the link's bearer, session,
///   capabilities and user agent.
/// - **At most once.** A call reaches the port at most once: a transport MUST NOT retry (the agent's session decides
///   when to try again) and MUST NOT take one call for a repetition of another (that is the control plane's affair).
/// - **Order.** A call made after another one was answered MUST arrive after it. Lists keep their order.
/// - **Independence.** Calls of one link that are under way together MUST NOT wait for one another.
/// - **Refusals are data.** What the port refuses MUST arrive as [`LinkError::Refused`] with the same status, code and
///   message (a message beyond 1 KiB or a code beyond 128 bytes MAY be cut), and with a `retry_after` that is not sooner and less than a second later; beyond an hour it MAY be cut
///   to an hour.
/// - **Bounds.** A request of up to [`REQUEST_BODY_BYTES`](vworkspace_protocol::limits::REQUEST_BODY_BYTES) as JSON
///   MUST pass, a larger one MUST be refused with 413 `payload_too_large` without reaching the port. An answer of up
///   to [`ANSWER_BYTES`] MUST pass, a larger one MUST be [`LinkError::Malformed`].
/// - **Time.** A transport that can lose an answer MUST give up after the wait of a poll plus a margin, any other call
///   after a bound of its own, with [`LinkError::Unreachable`].
/// - **Cancellation.** A dropped future abandons the call, whose effect is then unknown; the port's future MUST be
///   dropped, too, soon and without another call being needed for it.
/// - **Provenance.** Only the control plane's word MUST be returned as success, as [`LinkError::Refused`] or as
///   [`LinkError::Malformed`]. What something on the way answered in its place MUST be [`LinkError::Unexpected`], and
///   MUST NOT set a clock ([`provenance`](crate::provenance) decides).
/// - **Secrecy.** No error shows a bearer or a registration token, not even one that quotes the answer.
pub trait AgentLink: Send + Sync + 'static {
    /// Exchanges a registration token. The token MUST be the bearer of this one call, whatever the link's own is. An
    /// answer without identity or credential MUST be [`LinkError::Malformed`]: it would overwrite good ones.
    ///
    /// Repeating it is safe where the request names a `registrationId`.
    fn register(
        &self,
        request: &RegisterRequest,
    ) -> impl Future<Output = Result<RegisterResponse, LinkError>> + Send;

    /// Asks for jobs of `cluster`, waiting at most `wait` for the first.
    ///
    /// How long an empty answer takes is the port's decision: a transport MUST hold the call until the port answers.
    /// It MUST hand on the wait, cut to [`MAX_WAIT`](vworkspace_protocol::limits::MAX_WAIT) and never longer than
    /// asked for; it MAY cut it to whole seconds. No job is an empty list, not an error. Repeating it is safe: a job
    /// whose answer was lost is offered again when its lease ends.
    fn jobs(
        &self,
        cluster: &ClusterId,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Job>, LinkError>> + Send;

    /// Tells that the job is durable in the cluster. Repeating it is safe.
    ///
    /// Any job id MUST arrive as it is, here and below. One that a transport cannot tell (an empty one, `.` and `..` in
    /// a path) MUST be refused with 404 and MUST NOT reach anything else.
    fn ack(&self, job: &JobId) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Tells progress. Repeating it is safe; the newest counts.
    fn status(
        &self,
        job: &JobId,
        update: &StatusUpdate,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Tells the terminal result. A repetition is refused with 409, which tells that the first one counts.
    fn result(&self, job: &JobId, result: &JobResult) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Delivers a batch of events; up to [`EVENTS_PER_BATCH`](vworkspace_protocol::limits::EVENTS_PER_BATCH) of them
    /// MUST pass, none at all included. Repeating it is safe: events carry their identity.
    ///
    /// The answer's report digest MUST come back as it is if it is visible ASCII without spaces, of at most
    /// [`REPORT_DIGEST_BYTES`](vworkspace_protocol::limits::REPORT_DIGEST_BYTES), and is `None` otherwise.
    fn events(&self, batch: &EventsRequest) -> impl Future<Output = Result<EventsAnswer, LinkError>> + Send;

    /// Asks for a new credential. An answer without one MUST be [`LinkError::Malformed`]. Repeating it is safe:
    /// whichever answer arrives, its credential works.
    fn rotate(&self) -> impl Future<Output = Result<RotateResponse, LinkError>> + Send;

    /// Ends the identity: the credential is dead afterwards, and a repeat is refused with 401.
    fn decommission(&self) -> impl Future<Output = Result<(), LinkError>> + Send;
}

/// Largest answer that a link takes: a poll holds 4 MiB of payloads at most, escaping may double them.
pub const ANSWER_BYTES: usize = 8 * 1024 * 1024;

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
    /// Something between this cluster and the control plane answered in its place: a proxy, a firewall, a captive
    /// portal. Nothing is learned from it.
    #[error("not the control plane's answer: status {status}, {}, {excerpt:?}", shown_type(.content_type))]
    Unexpected {
        /// HTTP status.
        status: u16,
        /// `Content-Type`; empty if there is none.
        content_type: String,
        /// The beginning of the body, printable and without credentials.
        excerpt: String,
        /// `Retry-After`, if told.
        retry_after: Option<Duration>,
    },
    /// No answer: connection, TLS, time-out.
    #[error("control plane not reached: {detail}")]
    Unreachable {
        /// What failed, without secrets.
        detail: String,
    },
    /// An answer that is not what the protocol says, or beyond [`ANSWER_BYTES`].
    #[error("control plane's answer cannot be read: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

impl LinkError {
    /// What the control plane's log calls the request, if it told. No part of the error's text: that is also shown in
    /// conditions, which must not change with every try.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => Some(problem.request_id.as_str()).filter(|id| !id.is_empty()),
            Self::Unexpected { .. } | Self::Unreachable { .. } | Self::Malformed { .. } => None,
        }
    }

    /// The same, saying which proxy was in between: it may be the one that is not reached.
    pub(crate) fn by(self, way: &Way) -> Self {
        match (self, way) {
            (Self::Unreachable { detail }, Way::Through(_)) => {
                Self::Unreachable { detail: format!("{way}: {detail}") }
            }
            (error, _) => error,
        }
    }

    pub(crate) fn too_large() -> Self {
        Self::Malformed { detail: format!("the answer is over {ANSWER_BYTES} bytes") }
    }
}

fn shown_type(content_type: &str) -> &str {
    if content_type.is_empty() { "without a content type" } else { content_type }
}

/// A registration that names an identity and a credential.
pub(crate) fn whole_registration(answer: RegisterResponse) -> Result<RegisterResponse, LinkError> {
    if answer.token.is_empty() || answer.cluster_id.as_str().trim().is_empty() {
        return Err(LinkError::Malformed { detail: "clusterId or token is empty".to_owned() });
    }
    Ok(answer)
}

/// A rotation that names a credential.
pub(crate) fn whole_rotation(answer: RotateResponse) -> Result<RotateResponse, LinkError> {
    if answer.token.is_empty() {
        return Err(LinkError::Malformed { detail: "token is empty".to_owned() });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_that_may_be_dead_is_named() {
        let through = Way::Through("http://user:hunter2@proxy.example:3128".parse().unwrap());
        let unreachable = || LinkError::Unreachable { detail: "request failed".to_owned() };
        assert_eq!(
            unreachable().by(&through).to_string(),
            "control plane not reached: through the proxy http://proxy.example:3128: request failed"
        );
        assert_eq!(unreachable().by(&Way::Direct).to_string(), "control plane not reached: request failed");
    }
}
