//! Both ends in one process: a link that calls the control plane's port directly.
//!
//! For simulations and conformance tests; what travels is the same values, and the refusals and bounds are the same.
//! Nothing is ever lost here, so that the port alone decides how long a call takes.

use crate::{
    control::{AgentCall, ControlPort, Refusal},
    link::{ANSWER_BYTES, AgentLink, LinkError, whole_registration, whole_rotation},
};
use serde::Serialize;
use std::{io, time::Duration};
use vworkspace_protocol::{
    ClusterId, Job, JobId, Problem,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::{EventsAnswer, EventsRequest},
    job::JobsResponse,
    limits::{MAX_WAIT, REPORT_DIGEST_BYTES, REQUEST_BODY_BYTES},
    outcome::{JobResult, StatusUpdate},
    problem::code,
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
        whole_registration(self.port.register(caller, sent(request)?).await?)
    }

    async fn jobs(&self, cluster: &ClusterId, wait: Duration) -> Result<Vec<Job>, LinkError> {
        let jobs = self.port.jobs(self.caller(), cluster.clone(), wait.min(MAX_WAIT)).await?;
        let answer = JobsResponse { jobs };
        if fits(&answer, ANSWER_BYTES) { Ok(answer.jobs) } else { Err(LinkError::too_large()) }
    }

    async fn ack(&self, job: &JobId) -> Result<(), LinkError> {
        Ok(self.port.ack(self.caller(), job.clone()).await?)
    }

    async fn status(&self, job: &JobId, update: &StatusUpdate) -> Result<(), LinkError> {
        Ok(self.port.status(self.caller(), job.clone(), sent(update)?).await?)
    }

    async fn result(&self, job: &JobId, result: &JobResult) -> Result<(), LinkError> {
        Ok(self.port.result(self.caller(), job.clone(), sent(result)?).await?)
    }

    async fn events(&self, batch: &EventsRequest) -> Result<EventsAnswer, LinkError> {
        let answer = self.port.events(self.caller(), sent(batch)?).await?;
        Ok(EventsAnswer { report_digest: answer.report_digest.filter(|digest| can_travel(digest)) })
    }

    async fn rotate(&self) -> Result<RotateResponse, LinkError> {
        whole_rotation(self.port.rotate(self.caller()).await?)
    }

    async fn decommission(&self) -> Result<(), LinkError> {
        Ok(self.port.decommission(self.caller()).await?)
    }
}

/// Whether every transport brings this digest back.
fn can_travel(digest: &str) -> bool {
    !digest.is_empty()
        && digest.len() <= REPORT_DIGEST_BYTES
        && digest.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The body as the port gets it, refused where it would be too large to travel.
fn sent<T: Serialize + Clone>(body: &T) -> Result<T, Refusal> {
    if fits(body, REQUEST_BODY_BYTES) {
        Ok(body.clone())
    } else {
        let message = format!("the body is over {REQUEST_BODY_BYTES} bytes");
        Err(Refusal::new(413, code::PAYLOAD_TOO_LARGE, message))
    }
}

/// Whether the value takes at most `most` bytes as JSON.
fn fits<T: Serialize>(value: &T, most: usize) -> bool {
    serde_json::to_writer(Room(most), value).is_ok()
}

/// Takes that many bytes and keeps none.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
