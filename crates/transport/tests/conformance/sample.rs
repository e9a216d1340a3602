//! One call of each verb with every member set, and a good answer to it.

use crate::port::{Told, Verb};
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::time::Duration;
use vworkspace_protocol::{
    ClusterId, Condition, ConditionStatus, Job, JobId, ObjectRef, Outcome, Secret, WaitFor,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::{Event, EventsRequest},
    job::JobKind,
    outcome::{FieldConflict, JobResult, StatusUpdate},
};
use vworkspace_transport::{AgentLink, LinkError};

/// The registration token of [`registration`].
pub const TOKEN: &str = "vwksp-reg-of-the-call";
/// Text that a careless transport would change.
pub const TEXT: &str = "  „Größe“ \"1\" \\ <&> \u{1F680}\n\tnext line\u{0} ";

/// Makes the verb's sample call.
pub async fn ask<L: AgentLink>(link: &L, verb: Verb) -> Result<(), LinkError> {
    match verb {
        Verb::Register => link.register(&registration()).await.map(drop),
        Verb::Jobs => link.jobs(&cluster(), Duration::from_secs(30)).await.map(drop),
        Verb::Ack | Verb::Status | Verb::Result => ask_about(link, verb, &job_id()).await,
        Verb::Events => link.events(&EventsRequest { events: vec![event("k")] }).await.map(drop),
        Verb::Rotate => link.rotate().await.map(drop),
        Verb::Decommission => link.decommission().await,
    }
}

/// Makes the verb's sample call about that job.
pub async fn ask_about<L: AgentLink>(link: &L, verb: Verb, job: &JobId) -> Result<(), LinkError> {
    match verb {
        Verb::Ack => link.ack(job).await,
        Verb::Status => link.status(job, &status()).await,
        Verb::Result => link.result(job, &result()).await,
        Verb::Register | Verb::Jobs | Verb::Events | Verb::Rotate | Verb::Decommission => {
            panic!("{verb:?} is about no job")
        }
    }
}

/// Asks for jobs without waiting.
pub async fn poll<L: AgentLink>(link: &L) -> Result<Vec<Job>, LinkError> {
    link.jobs(&cluster(), Duration::ZERO).await
}

/// A good answer to the verb.
pub fn told(verb: Verb) -> Told {
    match verb {
        Verb::Register => Told::Registered(registered()),
        Verb::Jobs => Told::Jobs(vec![job("j")]),
        Verb::Ack | Verb::Status | Verb::Result | Verb::Events | Verb::Decommission => Told::Done,
        Verb::Rotate => Told::Rotated(rotated()),
    }
}

pub fn cluster() -> ClusterId {
    ClusterId::new("cluster-1")
}

pub fn job_id() -> JobId {
    JobId::new("job-1")
}

pub fn registration() -> RegisterRequest {
    RegisterRequest {
        registration_token: Secret::new(TOKEN),
        cluster_id: Some(cluster()),
        display_name: TEXT.to_owned(),
        registration_id: "r-1".to_owned(),
    }
}

pub fn registered() -> RegisterResponse {
    RegisterResponse {
        cluster_id: cluster(),
        token: Secret::new("vwksp-agt-new"),
        expires_at: Some(moment()),
    }
}

pub fn rotated() -> RotateResponse {
    RotateResponse { token: Secret::new("vwksp-agt-newer"), expires_at: Some(moment()) }
}

pub fn job(id: &str) -> Job {
    Job {
        id: JobId::new(id),
        kind: JobKind::Apply,
        payload: payload(r#"{"b": 1.0,  "a":[1e3, "\u00fc"]}"#),
        idempotency_key: TEXT.to_owned(),
        created_at: Some(moment()),
        expires_at: Some(moment()),
        wait_for: Some(WaitFor::Accepted),
        deadline_seconds: Some(60),
        retry_seconds: Some(0),
        force: true,
    }
}

/// A job with nothing set.
pub fn bare_job(id: &str, kind: &str, payload_text: &str) -> Job {
    Job {
        id: JobId::new(id),
        kind: JobKind::from(kind.to_owned()),
        payload: payload(payload_text),
        idempotency_key: String::new(),
        created_at: None,
        expires_at: None,
        wait_for: None,
        deadline_seconds: None,
        retry_seconds: None,
        force: false,
    }
}

pub fn status() -> StatusUpdate {
    StatusUpdate {
        phase: "Reconciling".to_owned(),
        conditions: vec![condition()],
        message: TEXT.to_owned(),
        timestamp: Some(moment()),
    }
}

pub fn result() -> JobResult {
    JobResult {
        outcome: Outcome::Conflict,
        error: TEXT.to_owned(),
        applied_ref: Some(object()),
        conflicts: vec![FieldConflict { manager: TEXT.to_owned(), field_path: ".spec[\"a.b\"]".to_owned() }],
        timestamp: Some(moment()),
    }
}

pub fn event(key: &str) -> Event {
    Event {
        event_key: key.to_owned(),
        kind: "ConditionTransition".to_owned(),
        resource_ref: object(),
        conditions: vec![condition()],
        operator_version: "1.2.3".to_owned(),
        kubernetes_version: "v1.33.0".to_owned(),
        sequence: 0,
        timestamp: Some(moment()),
    }
}

fn condition() -> Condition {
    Condition {
        type_: "Ready".to_owned(),
        status: ConditionStatus::False,
        observed_generation: 7,
        last_transition_time: Some(moment()),
        reason: "HelmReleaseFailed".to_owned(),
        message: TEXT.to_owned(),
    }
}

fn object() -> ObjectRef {
    ObjectRef {
        api_version: "apps.vworkspace.io/v1alpha1".to_owned(),
        kind: "ApplicationInstance".to_owned(),
        namespace: "org-a".to_owned(),
        name: "web".to_owned(),
        uid: "u-1".to_owned(),
        generation: 7,
    }
}

fn moment() -> Timestamp {
    Timestamp::from_microsecond(1_800_000_000_123_456).unwrap()
}

fn payload(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}
