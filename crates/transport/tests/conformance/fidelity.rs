//! What is sent arrives, once, in order, with who sent it.

use crate::{
    adapter::{Adapter, BEARER, SESSION, USER_AGENT, capabilities, connected},
    port::{Told, Verb},
    sample,
};
use serde_json::{json, to_value};
use std::time::Duration;
use vworkspace_protocol::{
    ClusterId, JobId,
    event::{EventsAnswer, EventsRequest},
    job::JobsResponse,
    limits::REPORT_DIGEST_BYTES,
};
use vworkspace_transport::{AgentLink as _, LinkError};

pub async fn every_call_tells_who_calls<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for verb in Verb::ALL {
        let (answer, asked) = calls.answer(Ok(sample::told(verb)), sample::ask(&link, verb)).await;
        answer.unwrap();
        assert_eq!(asked.verb, verb);
        let bearer = asked.who.bearer.unwrap();
        assert_eq!(bearer.expose(), if verb == Verb::Register { sample::TOKEN } else { BEARER }, "{verb:?}");
        assert_eq!(asked.who.session.unwrap().as_str(), SESSION, "{verb:?}");
        assert_eq!((asked.who.capabilities, asked.who.user_agent.as_str()), (capabilities(), USER_AGENT));
    }
}

pub async fn every_member_arrives_unchanged<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let job = sample::job_id();
    let expected = [
        (Verb::Register, json!({"body": to_value(sample::registration()).unwrap()})),
        (Verb::Jobs, json!({"cluster": sample::cluster(), "waitMs": 30_000})),
        (Verb::Ack, json!({"job": job, "body": null})),
        (Verb::Status, json!({"job": job, "body": to_value(sample::status()).unwrap()})),
        (Verb::Result, json!({"job": job, "body": to_value(sample::result()).unwrap()})),
        (Verb::Events, json!({"body": {"events": [to_value(sample::event("k")).unwrap()]}})),
        (Verb::Rotate, json!({})),
        (Verb::Decommission, json!({})),
    ];
    for (verb, what) in expected {
        let (answer, asked) = calls.answer(Ok(sample::told(verb)), sample::ask(&link, verb)).await;
        answer.unwrap();
        assert_eq!(asked.what, what, "{verb:?}");
    }
}

pub async fn every_member_of_an_answer_comes_back_unchanged<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let sent = || {
        vec![
            sample::job("full"),
            sample::bare_job("bare", "dance", "null"),
            sample::bare_job("", "intent", "7"),
        ]
    };
    let asking = sample::poll(&link);
    let (jobs, _) = calls.answer(Ok(Told::Jobs(sent())), asking).await;
    let text = |jobs| serde_json::to_string(&JobsResponse { jobs }).unwrap();
    assert_eq!(text(jobs.unwrap()), text(sent()));

    let registration = sample::registration();
    let asking = link.register(&registration);
    let (registered, _) = calls.answer(Ok(sample::told(Verb::Register)), asking).await;
    assert_eq!(to_value(registered.ok().unwrap()).unwrap(), to_value(sample::registered()).unwrap());
    let (rotated, _) = calls.answer(Ok(sample::told(Verb::Rotate)), link.rotate()).await;
    assert_eq!(to_value(rotated.ok().unwrap()).unwrap(), to_value(sample::rotated()).unwrap());
}

pub async fn any_job_id_and_any_cluster_arrive_as_they_are<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for id in ["a/b", "../x", "a b+c&d=e", "%2F", "Größe?#;", "…", "a\tb\r\nc", "\n", ".\t."] {
        let (answer, asked) = calls.answer(Ok(Told::Done), link.ack(&JobId::new(id))).await;
        answer.unwrap();
        assert_eq!(asked.what["job"], id);
        let cluster = ClusterId::new(id);
        let asking = link.jobs(&cluster, Duration::ZERO);
        let (answer, asked) = calls.answer(Ok(Told::Jobs(Vec::new())), asking).await;
        answer.unwrap();
        assert_eq!(asked.what["cluster"], id);
    }
}

pub async fn a_job_id_that_cannot_be_told_is_not_found_and_reaches_nothing_else<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for id in ["", ".", "..", "../jobs"] {
        let job = JobId::new(id);
        for verb in [Verb::Ack, Verb::Status, Verb::Result] {
            tokio::select! {
                call = calls.next() => assert_eq!((call.asked.verb, &call.asked.what["job"]), (verb, &json!(id))),
                answer = sample::ask_about(&link, verb, &job) => {
                    assert!(matches!(answer, Err(LinkError::Refused { status: 404, .. })), "{verb:?} {id:?}");
                }
            }
        }
    }
}

pub async fn events_answer_brings_the_report_digest_back<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let (longest, too_long) = ("d".repeat(REPORT_DIGEST_BYTES), "d".repeat(REPORT_DIGEST_BYTES + 1));
    let visible: String = ('!'..='~').collect();
    let comes_back = [None, Some("v1-00ff"), Some(&visible), Some(&longest)].map(|text| (text, text));
    let not = ["", "two words", "Größe", "a\nb", &too_long].map(|text| (Some(text), None));
    for (sent, read) in comes_back.into_iter().chain(not) {
        let told = EventsAnswer { report_digest: sent.map(str::to_owned) };
        let batch = EventsRequest::default();
        let (answer, _) = calls.answer(Ok(Told::Events(told)), link.events(&batch)).await;
        assert_eq!(answer.unwrap().report_digest.as_deref(), read, "{sent:?}");
    }
}

pub async fn lists_keep_their_order<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let names: Vec<_> = (0..50).rev().map(|n| format!("n{n}")).collect();
    let jobs = names.iter().map(|name| sample::bare_job(name, "apply", "{}")).collect();
    let asking = sample::poll(&link);
    let (jobs, _) = calls.answer(Ok(Told::Jobs(jobs)), asking).await;
    assert!(jobs.unwrap().iter().map(|job| job.id.as_str()).eq(&names));
    let batch = EventsRequest { events: names.iter().map(|name| sample::event(name)).collect() };
    let (_, asked) = calls.answer(Ok(Told::Done), link.events(&batch)).await;
    let events = asked.what["body"]["events"].as_array().unwrap();
    assert!(events.iter().map(|event| event["eventKey"].as_str().unwrap()).eq(&names));
}

pub async fn calls_arrive_in_the_order_they_were_answered_in<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let asking = async {
        for n in 0..20 {
            link.ack(&JobId::new(format!("{n}"))).await.unwrap();
        }
    };
    let control = async {
        for n in 0..20 {
            assert_eq!(calls.next().await.answer(Ok(Told::Done)).what["job"], format!("{n}"));
        }
    };
    tokio::join!(asking, control);
}

pub async fn a_repeated_call_arrives_again<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for verb in Verb::ALL {
        for _ in 0..2 {
            let (answer, asked) = calls.answer(Ok(sample::told(verb)), sample::ask(&link, verb)).await;
            answer.unwrap();
            assert_eq!(asked.verb, verb);
        }
    }
    assert!(calls.is_empty());
}
