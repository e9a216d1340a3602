//! Both ends in one process: a link that calls the control plane's port directly.
//!
//! For simulations and conformance tests; what travels is the same values, and the refusals are the same.

use crate::{
    control::{AgentCall, ControlPort, Refusal},
    link::{AgentLink, LinkError},
};
use std::time::Duration;
use vworkspace_protocol::{
    ClusterId, Job, JobId, Problem,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::EventsRequest,
    outcome::{JobResult, StatusUpdate},
};

/// One agent's way to a control plane in the same process.
#[derive(Clone)]
pub struct MemoryLink<P> {
    port: P,
    /// Who every call is made as.
    caller: AgentCall,
}

impl<P: ControlPort> MemoryLink<P> {
    /// A link to `port` whose every call is made as `caller`.
    pub fn new(port: P, caller: AgentCall) -> Self {
        Self { port, caller }
    }

    fn caller(&self) -> AgentCall {
        self.caller.clone()
    }
}

impl<P: ControlPort> AgentLink for MemoryLink<P> {
    async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, LinkError> {
        let caller = AgentCall { bearer: Some(request.registration_token.clone()), ..self.caller() };
        Ok(self.port.register(caller, request.clone()).await?)
    }

    async fn jobs(&self, cluster: &ClusterId, wait: Duration) -> Result<Vec<Job>, LinkError> {
        Ok(self.port.jobs(self.caller(), cluster.clone(), wait).await?)
    }

    async fn ack(&self, job: &JobId) -> Result<(), LinkError> {
        Ok(self.port.ack(self.caller(), job.clone()).await?)
    }

    async fn status(&self, job: &JobId, update: &StatusUpdate) -> Result<(), LinkError> {
        Ok(self.port.status(self.caller(), job.clone(), update.clone()).await?)
    }

    async fn result(&self, job: &JobId, result: &JobResult) -> Result<(), LinkError> {
        Ok(self.port.result(self.caller(), job.clone(), result.clone()).await?)
    }

    async fn events(&self, batch: &EventsRequest) -> Result<(), LinkError> {
        Ok(self.port.events(self.caller(), batch.clone()).await?)
    }

    async fn rotate(&self) -> Result<RotateResponse, LinkError> {
        Ok(self.port.rotate(self.caller()).await?)
    }

    async fn decommission(&self) -> Result<(), LinkError> {
        Ok(self.port.decommission(self.caller()).await?)
    }
}

impl From<Refusal> for LinkError {
    /// What the caller would read off the wire.
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, code, message, retry_after } = refusal;
        let problem = Problem { error: code.to_owned(), message, request_id: String::new() };
        Self::Refused { status, problem, retry_after }
    }
}
