//! As large as may be, and one byte more.

use crate::{
    adapter::{Adapter, connected},
    port::{Told, Verb},
    sample,
};
use vworkspace_protocol::{
    Job,
    credential::RegisterRequest,
    event::EventsRequest,
    job::JobsResponse,
    limits::{BYTES_PER_POLL, EVENTS_PER_BATCH, JOB_PAYLOAD_BYTES, MESSAGE_BYTES, REQUEST_BODY_BYTES},
    outcome::{JobResult, StatusUpdate},
    problem::code,
};
use vworkspace_transport::{AgentLink as _, LinkError, link::ANSWER_BYTES};

/// A job whose payload has this many bytes.
fn job_of(bytes: usize) -> Job {
    sample::bare_job("j", "apply", &format!("\"{}\"", "x".repeat(bytes - 2)))
}

/// A status update that takes this many bytes as JSON.
fn update_of(bytes: usize) -> StatusUpdate {
    let phase = "Ready".to_owned();
    let mut update = StatusUpdate { phase, conditions: Vec::new(), message: "x".to_owned(), timestamp: None };
    let besides = serde_json::to_vec(&update).unwrap().len() - 1;
    update.message = "x".repeat(bytes - besides);
    update
}

pub async fn the_largest_legal_poll_passes<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let many: Vec<_> = (0..BYTES_PER_POLL / JOB_PAYLOAD_BYTES).map(|_| job_of(JOB_PAYLOAD_BYTES)).collect();
    let besides = serde_json::to_vec(&JobsResponse { jobs: vec![job_of(2)] }).unwrap().len() - 2;
    for sent in [many, vec![job_of(ANSWER_BYTES - besides)]] {
        let sizes: Vec<_> = sent.iter().map(|job| job.payload.get().len()).collect();
        let asking = sample::poll(&link);
        let read = calls.answer(Ok(Told::Jobs(sent)), asking).await.0.unwrap();
        assert!(read.iter().map(|job| job.payload.get().len()).eq(sizes));
    }
}

pub async fn an_answer_over_the_bound_is_malformed<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let asking = sample::poll(&link);
    let (answer, _) = calls.answer(Ok(Told::Jobs(vec![job_of(ANSWER_BYTES)])), asking).await;
    assert!(matches!(answer, Err(LinkError::Malformed { .. })));
    calls.answer(Ok(Told::Done), sample::ask(&link, Verb::Ack)).await.0.unwrap();
}

pub async fn the_largest_legal_request_passes<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let mut event = sample::event("k");
    event.conditions[0].message = "x".repeat(MESSAGE_BYTES);
    let batch = EventsRequest { events: vec![event; EVENTS_PER_BATCH] };
    let (answer, asked) = calls.answer(Ok(Told::Done), link.events(&batch)).await;
    answer.unwrap();
    assert_eq!(asked.what["body"], serde_json::to_value(&batch).unwrap());

    let update = update_of(REQUEST_BODY_BYTES);
    let (answer, asked) = calls.answer(Ok(Told::Done), link.status(&sample::job_id(), &update)).await;
    answer.unwrap();
    assert_eq!(asked.what["body"]["message"], update.message);
}

pub async fn a_request_over_the_bound_is_refused_and_does_not_reach_the_port<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let (job, text) = (sample::job_id(), "x".repeat(REQUEST_BODY_BYTES));
    let batch = EventsRequest { events: vec![sample::event(&text)] };
    let registration = RegisterRequest { display_name: text.clone(), ..sample::registration() };
    let refused = [
        link.status(&job, &update_of(REQUEST_BODY_BYTES + 1)).await,
        link.result(&job, &JobResult { error: text, ..sample::result() }).await,
        link.events(&batch).await.map(drop),
        link.register(&registration).await.map(drop),
    ];
    for answer in refused {
        let error = answer.unwrap_err();
        let LinkError::Refused { status, problem, .. } = error else { panic!("{error}") };
        assert_eq!((status, problem.error.as_str()), (413, code::PAYLOAD_TOO_LARGE));
    }
    assert!(calls.is_empty());
    calls.answer(Ok(Told::Done), sample::ask(&link, Verb::Ack)).await.0.unwrap();
}

pub async fn an_empty_batch_passes<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let (answer, asked) = calls.answer(Ok(Told::Done), link.events(&EventsRequest::default())).await;
    answer.unwrap();
    assert_eq!(asked.what["body"]["events"], serde_json::json!([]));
}
