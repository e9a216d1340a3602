//! HTTP long-poll over a socket of the loopback, and what only HTTP can be asked: what comes from other programs than
//! ours, and answers that never come.

use crate::{
    adapter::{Adapter, BEARER, SESSION, USER_AGENT, connected},
    port::{Calls, ScriptedPort, Told, Verb},
    sample,
};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use vworkspace_protocol::{Secret, headers, id::SessionId, limits};
use vworkspace_transport::{
    AgentLink, LinkError, Refusal,
    http::{
        client::{HttpLink, LinkSettings},
        server::{self, Around, Identify},
    },
};

pub struct Http;

impl Adapter for Http {
    type Link = HttpLink;

    async fn connect(port: ScriptedPort, bearer: Option<Secret>) -> HttpLink {
        let settings = LinkSettings {
            base_url: format!("http://{}", serve(port).await),
            ca_pem: None,
            bearer,
            session: SessionId::new(SESSION),
            user_agent: USER_AGENT.to_owned(),
            capabilities: headers::AGENT_CAPABILITIES.to_owned(),
            allow_insecure_http: false,
            witness: Arc::default(),
        };
        HttpLink::new(&settings).unwrap()
    }
}

/// Serves the port until the test's runtime ends.
async fn serve(port: ScriptedPort) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, server::routes(port).layer(Around(Identify))).await });
    address
}

/// Asks as a plain v1 agent does: no session, no capabilities, its own words beside the protocol's.
async fn ask_as_v1(
    calls: &mut Calls,
    address: SocketAddr,
    path: &str,
    body: &str,
) -> (u16, serde_json::Value) {
    let request = reqwest::Client::new()
        .post(format!("http://{address}/api/agent/{path}"))
        .header("authorization", format!("bearer {BEARER}"))
        .body(body.to_owned());
    let (answer, asked) = calls.answer(Ok(Told::Done), request.send()).await;
    assert_eq!(
        (asked.who.session, asked.who.capabilities, asked.who.user_agent),
        (None, vec![], String::new())
    );
    (answer.unwrap().status().as_u16(), asked.what["body"].clone())
}

#[tokio::test]
async fn unknown_members_and_absent_headers_are_no_matter() {
    let (port, mut calls) = ScriptedPort::new();
    let address = serve(port).await;
    let read = ask_as_v1(&mut calls, address, "jobs/j/status", r#"{"phase":"Ready","later":[1]}"#).await;
    assert_eq!(read, (204, json!({"phase": "Ready"})));
    let read = ask_as_v1(&mut calls, address, "jobs/j/result", r#"{"outcome":"noop","later":{"x":1}}"#).await;
    assert_eq!(read, (204, json!({"outcome": "noop"})));
    for none in [r#"{"later":1}"#, r#"{"events":null}"#, r#"{"events":[]}"#] {
        let read = ask_as_v1(&mut calls, address, "events", none).await;
        assert_eq!(read, (204, json!({"events": []})), "{none}");
    }
}

#[tokio::test]
async fn a_port_that_never_answers_is_given_up_after_a_bound() {
    for verb in Verb::ALL {
        let (link, mut calls) = connected::<Http>().await;
        let asking = tokio::spawn(async move { sample::ask(&link, verb).await });
        let mut held = calls.next().await;
        // From here on nothing comes over the socket: time jumps to what the link waits for.
        tokio::time::pause();
        let error = asking.await.unwrap().unwrap_err();
        assert!(matches!(error, LinkError::Unreachable { .. }), "{verb:?}: {error}");
        tokio::time::resume();
        held.abandoned().await;
    }
}

#[tokio::test]
async fn a_poll_is_not_given_up_before_its_wait_is_over() {
    let (link, mut calls) = connected::<Http>().await;
    let wait = Duration::from_secs(300);
    let asking = async { link.jobs(&sample::cluster(), wait).await };
    let control = async {
        let held = calls.next().await;
        tokio::time::pause();
        tokio::time::sleep(wait).await;
        tokio::time::resume();
        held.answer(Ok(Told::Jobs(Vec::new())));
    };
    let (told, ()) = tokio::join!(asking, control);
    assert!(told.unwrap().is_empty());
}

/// One request of each verb as any HTTP client writes it: method, path below `/api/agent/`, body.
const REQUESTS: [(Verb, &str, &str, &str); 8] = [
    (Verb::Register, "POST", "register", r#"{"registrationToken":"t"}"#),
    (Verb::Jobs, "GET", "jobs?cluster=c", ""),
    (Verb::Ack, "POST", "jobs/j/ack", ""),
    (Verb::Status, "POST", "jobs/j/status", r#"{"phase":"Ready"}"#),
    (Verb::Result, "POST", "jobs/j/result", r#"{"outcome":"noop"}"#),
    (Verb::Events, "POST", "events", "{}"),
    (Verb::Rotate, "POST", "credentials/rotate", ""),
    (Verb::Decommission, "POST", "cluster/decommission", ""),
];

/// A request with a session id that is no uuid: whatever came must come back.
fn in_session(method: &str, address: SocketAddr, path: &str, body: &str) -> reqwest::RequestBuilder {
    reqwest::Client::new()
        .request(method.parse().unwrap(), format!("http://{address}/api/agent/{path}"))
        .header("authorization", format!("Bearer {BEARER}"))
        .header(headers::SESSION, "Any Text, 7")
        .body(body.to_owned())
}

#[track_caller]
fn assert_echo(answer: &reqwest::Response, status: u16, what: &str) {
    assert_eq!(answer.status(), status, "{what}");
    let echoed = answer.headers().get_all(headers::SESSION).iter().collect::<Vec<_>>();
    assert_eq!(echoed, ["Any Text, 7"], "{what}");
}

#[tokio::test]
async fn every_answer_of_every_call_echoes_the_session() {
    crate::within_a_minute(async {
        let (port, mut calls) = ScriptedPort::new();
        let address = serve(port).await;
        for (verb, method, path, body) in REQUESTS {
            let asking = in_session(method, address, path, body).send();
            let (answer, asked) = calls.answer(Ok(sample::told(verb)), asking).await;
            assert_eq!(asked.verb, verb);
            let good = if matches!(verb, Verb::Register | Verb::Jobs | Verb::Rotate) { 200 } else { 204 };
            assert_echo(&answer.unwrap(), good, path);
            for status in [400, 401, 403, 404, 409, 413, 429, 500, 503] {
                let refusal = Refusal::new(status, "any", "no");
                let asking = in_session(method, address, path, body).send();
                let (answer, _) = calls.answer(Err(refusal), asking).await;
                assert_echo(&answer.unwrap(), status, path);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn answers_that_reach_no_port_echo_the_session() {
    let (port, calls) = ScriptedPort::new();
    let address = serve(port).await;
    let large = "x".repeat(limits::REQUEST_BODY_BYTES + 1);
    for (method, path, body, status) in [
        ("GET", "nothing", "", 404),
        ("GET", "", "", 404),
        ("DELETE", "jobs", "", 405),
        ("GET", "jobs", "", 400),
        ("POST", "events", "{", 400),
        ("POST", "events", large.as_str(), 413),
        ("POST", "jobs/%FF/ack", "", 404),
    ] {
        let answer = in_session(method, address, path, body).send().await.unwrap();
        assert_echo(&answer, status, path);
    }
    assert!(calls.is_empty());
}

#[tokio::test]
async fn request_without_a_session_gets_no_echo() {
    let (port, _calls) = ScriptedPort::new();
    let address = serve(port).await;
    let answer = reqwest::get(format!("http://{address}/api/agent/nothing")).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get(headers::SESSION)), (404, None));
}
