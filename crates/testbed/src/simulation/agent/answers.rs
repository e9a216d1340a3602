//! Whose word an answer is, and what it means to the agent.

use super::Agent;
use crate::simulation::wire::Reply;
use jiff::Timestamp;
use std::time::Duration;
use vworkspace_core::agent::session::Failure;
use vworkspace_protocol::{
    Job,
    credential::{RegisterResponse, RotateResponse},
    job::JobsResponse,
};
use vworkspace_server::app::AgentPort;
use vworkspace_transport::{AgentCall, LinkError, MemoryLink};

/// A good answer as it is read off a body.
pub(super) trait Body: Sized {
    fn read(body: &[u8]) -> Option<Self>;
}

impl Body for () {
    fn read(_: &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Body for Vec<Job> {
    fn read(body: &[u8]) -> Option<Self> {
        if body.is_empty() {
            return Some(Vec::new());
        }
        Some(serde_json::from_slice::<JobsResponse>(body).ok()?.jobs)
    }
}

impl Body for RegisterResponse {
    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Body for RotateResponse {
    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Agent {
    /// Makes a call and judges the answer.
    pub(super) async fn ask<T, F, C>(
        &self,
        caller: &AgentCall,
        patience: Duration,
        call: C,
    ) -> Result<T, Failure>
    where
        T: Body + 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        let unavailable = Failure::Unavailable { retry_after: None };
        let reply = self.site.wire.call(caller, patience, call).await.ok_or(unavailable)?;
        if let Reply::Stranger(_) = &reply {
            return Err(unavailable);
        }
        let now = self.site.wire.now();
        match reply {
            Reply::Control(told, clock) => {
                self.site.clock.hear(clock, now);
                self.site.clock.believe(clock, now);
                told.map_err(|error| failure_of(&error))
            }
            Reply::Stranger(answer) if (200..300).contains(&answer.status) => {
                T::read(answer.body).ok_or(unavailable)
            }
            Reply::Stranger(answer) => Err(Failure::of_status(answer.status, answer.retry_after)),
        }
    }
}

impl Agent {
    /// The control plane's clock, as far as this agent knows it.
    pub(super) fn control_now(&self) -> Timestamp {
        self.site.clock.now(self.site.wire.now(), self.now())
    }
}

/// What a failed call means to the agent.
fn failure_of(error: &LinkError) -> Failure {
    match error {
        LinkError::Refused { status, retry_after, .. } => Failure::of_status(*status, *retry_after),
        LinkError::Unreachable { .. } | LinkError::Malformed { .. } => {
            Failure::Unavailable { retry_after: None }
        }
    }
}
