//! Whose word an answer is, and what it means to the agent: by the rules of the HTTP link (`crates/transport/src/http`),
//! and as the operator reads what that gives (`crates/operator/src/agent/{links,jobs/effects}.rs`).

use super::Agent;
use crate::simulation::{stranger::RawAnswer, wire::Reply};
use jiff::Timestamp;
use std::time::Duration;
use vworkspace_core::{
    agent::{bare_answers::Message, session::Failure},
    planted::{Bug, planted},
};
use vworkspace_protocol::{
    Job, JobId,
    credential::{RegisterResponse, RotateResponse},
    event::EventsAnswer,
    job::JobsResponse,
};
use vworkspace_server::app::AgentPort;
use vworkspace_transport::{
    AgentCall, Evidence, LinkError, MemoryLink,
    http::form::{self, Expected},
};

/// A good answer as it is read off a body.
pub(super) trait Body: Sized {
    /// The form that it has.
    const EXPECTED: Expected;

    fn read(body: &[u8]) -> Option<Self>;
}

impl Body for () {
    const EXPECTED: Expected = Expected::Nothing;

    fn read(_: &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Body for EventsAnswer {
    const EXPECTED: Expected = Expected::Nothing;

    fn read(_: &[u8]) -> Option<Self> {
        Some(Self::default())
    }
}

impl Body for Vec<Job> {
    const EXPECTED: Expected = Expected::Jobs;

    fn read(body: &[u8]) -> Option<Self> {
        if body.is_empty() {
            return Some(Self::new());
        }
        Some(serde_json::from_slice::<JobsResponse>(body).ok()?.jobs)
    }
}

impl Body for RegisterResponse {
    const EXPECTED: Expected = Expected::Object;

    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Body for RotateResponse {
    const EXPECTED: Expected = Expected::Object;

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
        self.answer_to(caller, patience, call).await.map_err(|error| failure_of(&error))
    }

    /// The same of a message about a job: a plain v1 control plane need not answer it in form.
    pub(super) async fn ask_about<F, C>(
        &self,
        caller: &AgentCall,
        (job, message): (&JobId, Message),
        call: C,
    ) -> Result<(), Failure>
    where
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<(), LinkError>> + 'static,
    {
        let told = self.answer_to(caller, super::CALL, call).await;
        let proves_itself = self.mark.get().is_set();
        let mut bare = self.bare.borrow_mut();
        match told {
            Err(LinkError::Unexpected { status, retry_after, .. }) if !proves_itself => {
                let believed = bare.handle_bare(job, message, status, self.now());
                Err(believed.unwrap_or_else(|| Failure::of_foreign(status, retry_after)))
            }
            told => {
                bare.handle_other(job, message);
                told.map_err(|error| failure_of(&error))
            }
        }
    }

    pub(super) async fn answer_to<T, F, C>(
        &self,
        caller: &AgentCall,
        patience: Duration,
        call: C,
    ) -> Result<T, LinkError>
    where
        T: Body + 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        let Some(reply) = self.site.wire.call(caller, patience, call).await else {
            self.note_silence(T::EXPECTED);
            return Err(LinkError::Unreachable { detail: "no answer".to_owned() });
        };
        let now = self.site.wire.now();
        let answer = match reply {
            Reply::Control(told, clock) => {
                self.site.clock.hear(clock, now);
                Answer { told, clock, in_form: true, echoed: caller.session.is_some(), raw: None }
            }
            Reply::Stranger(raw) => Answer::of_stranger(raw, now),
        };
        let is_believed = self.judge(&answer);
        if is_believed || planted(Bug::BelieveAnyDate) {
            self.site.clock.believe(answer.clock, now);
        }
        match answer.raw {
            Some(raw) if !is_believed => Err(unexpected(&raw)),
            _ => answer.told,
        }
    }

    /// Whether the answer is the control plane's word.
    fn judge<T: Body>(&self, answer: &Answer<T>) -> bool {
        let mut mark = self.mark.get();
        let evidence =
            Evidence { echoed: answer.echoed, in_form: answer.in_form, is_poll: T::EXPECTED.is_poll() };
        let is_believed = mark.handle_answer(evidence, self.site.wire.now());
        self.mark.set(mark);
        is_believed || answer.in_form && planted(Bug::BelieveFormAlone)
    }

    fn note_silence(&self, expected: Expected) {
        let mut mark = self.mark.get();
        if expected.is_poll() {
            mark.handle_unanswered_poll();
        }
        self.mark.set(mark);
    }

    /// The control plane's clock, as far as this agent knows it.
    pub(super) fn control_now(&self) -> Timestamp {
        self.site.clock.now(self.site.wire.now(), self.now())
    }
}

/// An answer that was read, whoever gave it.
struct Answer<T> {
    told: Result<T, LinkError>,
    /// Its `Date`.
    clock: Timestamp,
    in_form: bool,
    echoed: bool,
    /// As it came, of a stranger's.
    raw: Option<RawAnswer>,
}

impl<T: Body> Answer<T> {
    fn of_stranger(raw: RawAnswer, now: Duration) -> Self {
        let RawAnswer { status, content_type, body, retry_after, .. } = raw;
        let is_success = (200..300).contains(&status);
        let problem = if is_success { None } else { form::problem(content_type, body, &[]) };
        let is_good = is_success
            && (planted(Bug::BelieveAnySuccess) || form::is_success(status, content_type, body, T::EXPECTED));
        let malformed = || LinkError::Malformed { detail: "not what was asked for".to_owned() };
        Self {
            in_form: is_good || problem.is_some(),
            echoed: false,
            clock: raw.date(now),
            told: match problem {
                Some(problem) => Err(LinkError::Refused { status, problem, retry_after }),
                None => T::read(body).ok_or_else(malformed),
            },
            raw: Some(raw),
        }
    }
}

/// What a failed call means to the agent.
pub(super) fn failure_of(error: &LinkError) -> Failure {
    match error {
        LinkError::Refused { status, problem, retry_after } => {
            Failure::of_refusal(*status, &problem.error, *retry_after)
        }
        LinkError::Unexpected { status, retry_after, .. } => Failure::of_foreign(*status, *retry_after),
        LinkError::Unreachable { .. } | LinkError::Malformed { .. } => {
            Failure::Unavailable { retry_after: None }
        }
    }
}

fn unexpected(raw: &RawAnswer) -> LinkError {
    LinkError::Unexpected {
        status: raw.status,
        content_type: raw.content_type.to_owned(),
        excerpt: form::excerpt(raw.body, &[]),
        retry_after: raw.retry_after,
    }
}
