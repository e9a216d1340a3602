//! The server side's port: what a transport asks of the control plane.

use std::{future::Future, net::IpAddr, time::Duration};
use vworkspace_protocol::{
    ClusterId, Job, JobId, Secret,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::{EventsAnswer, EventsRequest},
    id::SessionId,
    outcome::{JobResult, StatusUpdate},
};

/// Who calls, as the transport read it off the message. Nothing in it is believed yet.
#[derive(Clone)]
pub struct AgentCall {
    /// The bearer value, if there was one.
    pub bearer: Option<Secret>,
    /// `X-Vworkspace-Session`; plain v1 agents send none.
    pub session: Option<SessionId>,
    /// `X-Vworkspace-Capabilities`, split at commas.
    pub capabilities: Vec<String>,
    /// `User-Agent`.
    pub user_agent: String,
    /// Where it comes from, if the transport knows.
    pub address: Option<IpAddr>,
}

/// Why the control plane does not do as asked, in the words of the caller's contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status; other transports map it.
    pub status: u16,
    /// One of [`vworkspace_protocol::problem::code`].
    pub code: &'static str,
    /// Text for the caller: never another tenant's data, never an internal cause.
    pub message: String,
    /// When to come back, with 429 and 503.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal that says nothing about when to come back.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }
}

/// What the control plane does for an agent.
///
/// # Obligations
/// Of every method:
///
/// - **Identity.** It MUST authenticate `call.bearer` first and MUST act only on the cluster that bearer belongs to;
///   another cluster's job is refused like one that never existed. No bearer is 401.
/// - **Durability.** It MUST answer `Ok` only after its effect is durable.
/// - **Cancellation.** A future may be dropped at any await: then the effect either happened whole or not at all, and
///   asking again is safe. Nothing of a dropped call MUST be left waiting.
/// - **Concurrency.** Calls of one agent come side by side and MUST NOT wait for its poll.
/// - **Bounds.** An answer MUST be at most [`ANSWER_BYTES`](crate::link::ANSWER_BYTES) as JSON. Whatever a caller sends
///   is refused or cut, never kept without bound.
/// - **Refusals.** 503 and 429 SHOULD say when to come back. A text MUST NOT tell an internal cause, another tenant's
///   data, or a secret.
pub trait ControlPort: Clone + Send + Sync + 'static {
    /// Exchanges a registration token for an identity and its credential.
    ///
    /// A token is good for one identity: repeated with the same `registrationId` it MUST answer the same identity with
    /// a fresh credential, and what it answered before ends when that is first used, not sooner: who registers holds one
    /// answer, and nobody knows which. With any other id it MUST be refused with 401 `token_consumed`.
    fn register(
        &self,
        call: AgentCall,
        request: RegisterRequest,
    ) -> impl Future<Output = Result<RegisterResponse, Refusal>> + Send;

    /// Leases jobs of `cluster` in enqueue order; waits at most `wait` for the first.
    ///
    /// It MUST wake at once on enqueue and MUST answer an empty list when the wait is over. Of one object a later job
    /// MUST NOT overtake one that may be lost. A leased job that nobody acks MUST be offered again, with the same id.
    /// Another cluster than the bearer's MUST be refused with 403 `wrong_cluster`.
    fn jobs(
        &self,
        call: AgentCall,
        cluster: ClusterId,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Job>, Refusal>> + Send;

    /// Records that the agent holds the job durably. A repetition MUST be good and change nothing; a job that ended
    /// MUST be refused with 409.
    fn ack(&self, call: AgentCall, job: JobId) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Records progress; the newest counts. A job that ended MUST be refused with 409.
    fn status(
        &self,
        call: AgentCall,
        job: JobId,
        update: StatusUpdate,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Closes the job, acked or not. A second result MUST change nothing and MUST be refused with 409.
    fn result(
        &self,
        call: AgentCall,
        job: JobId,
        result: JobResult,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Stores a batch of events, each once, in their order. A batch that breaks a rule MUST be refused whole with 400.
    ///
    /// It SHOULD answer the digest of the current conditions that it holds of the cluster's objects. One that it answers
    /// MUST count every batch that it took before, and this one: the agent reports everything once more where it differs.
    fn events(
        &self,
        call: AgentCall,
        batch: EventsRequest,
    ) -> impl Future<Output = Result<EventsAnswer, Refusal>> + Send;

    /// Issues a new credential beside the current one, which MUST work until the new one is first used and MUST end then.
    /// One that is not used within 24 hours is dropped, and a repetition takes the place of one that was not used: either
    /// way the current one stays, so the caller MUST hold both until an answer tells it which works. A new one that was
    /// refused once MUST NOT work later.
    fn rotate(&self, call: AgentCall) -> impl Future<Output = Result<RotateResponse, Refusal>> + Send;

    /// The cluster leaves: every credential of it ends. A repeat is refused with 401, like any dead credential.
    fn decommission(&self, call: AgentCall) -> impl Future<Output = Result<(), Refusal>> + Send;
}
