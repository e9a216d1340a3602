//! The server side's port: what a transport asks of the control plane.

use std::{future::Future, time::Duration};
use vworkspace_protocol::{
    ClusterId, Job, JobId, Secret,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::EventsRequest,
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
/// Every method MUST authenticate `call.bearer` first and MUST act only on the cluster that bearer belongs to.
/// A method MUST return `Ok` only after its effect is durable. A future may be dropped at any await: then the
/// effect either happened whole or not at all, and asking again is safe.
pub trait ControlPort: Clone + Send + Sync + 'static {
    /// Exchanges a registration token for an identity and its credential.
    fn register(
        &self,
        call: AgentCall,
        request: RegisterRequest,
    ) -> impl Future<Output = Result<RegisterResponse, Refusal>> + Send;

    /// Leases jobs in enqueue order; waits at most `wait` for the first. MUST wake at once on enqueue.
    fn jobs(
        &self,
        call: AgentCall,
        cluster: ClusterId,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Job>, Refusal>> + Send;

    /// Records that the agent holds the job durably.
    fn ack(&self, call: AgentCall, job: JobId) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Records progress.
    fn status(
        &self,
        call: AgentCall,
        job: JobId,
        update: StatusUpdate,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Closes the job. A second result changes nothing and is refused with 409.
    fn result(
        &self,
        call: AgentCall,
        job: JobId,
        result: JobResult,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Stores a batch of events, each once.
    fn events(
        &self,
        call: AgentCall,
        batch: EventsRequest,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Issues a new credential beside the current one.
    fn rotate(&self, call: AgentCall) -> impl Future<Output = Result<RotateResponse, Refusal>> + Send;

    /// The cluster leaves: every credential of it ends. A repeat is refused with 401, like any dead credential.
    fn decommission(&self, call: AgentCall) -> impl Future<Output = Result<(), Refusal>> + Send;
}
