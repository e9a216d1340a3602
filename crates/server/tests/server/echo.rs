//! The session id comes back on every answer of the agent API: an agent tells its control plane from a stranger by it.

use crate::support::{Agent, Answer, TestServer, manifest};
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use tower::ServiceExt as _;
use vworkspace_server::{api, app::App, clock::Clock};
use vworkspace_store::{Memory, Settings, Store};

const SESSION: &str = "2d9b1c9e-0000-4000-8000-000000000001";

#[track_caller]
fn assert_echo(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text);
    let echoed = answer.headers.get_all("x-vworkspace-session").iter().collect::<Vec<_>>();
    assert_eq!(echoed, [SESSION], "{status} {}", answer.text);
}

/// A registered agent that names its session.
async fn agent_in_session(server: &TestServer) -> (crate::support::Tenant, Agent) {
    let (tenant, agent) = server.tenant_and_agent().await;
    let client = agent.client.in_session(SESSION);
    (tenant, Agent { client, ..agent })
}

#[tokio::test]
async fn good_answers_of_every_agent_route_echo_the_session() {
    let server = TestServer::start().await;
    let (tenant, agent) = agent_in_session(&server).await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    assert_echo(&agent.client.get(&agent.poll_path(0)).await, 200);
    assert_echo(&agent.ack(&job).await, 204);
    let status = format!("/api/agent/jobs/{job}/status");
    assert_echo(&agent.client.post(&status, json!({ "phase": "Ready" })).await, 204);
    assert_echo(&agent.result(&job, json!({ "outcome": "succeeded" })).await, 204);
    assert_echo(&agent.client.post("/api/agent/events", json!({})).await, 204);
    assert_echo(&agent.client.send(Method::POST, "/api/agent/credentials/rotate", None).await, 200);
    assert_echo(&agent.client.post("/api/agent/cluster/decommission", json!({})).await, 204);
    let token = tenant.registration_token(&agent.cluster).await;
    let anybody = server.client(Some(&token)).in_session(SESSION);
    assert_echo(&anybody.post("/api/agent/register", json!({})).await, 200);
}

#[tokio::test]
async fn refusals_of_every_agent_route_echo_the_session() {
    let server = TestServer::start().await;
    let (tenant, agent) = agent_in_session(&server).await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    agent.result(&job, json!({ "outcome": "succeeded" })).await;
    assert_echo(&agent.ack(&job).await, 409);
    assert_echo(&agent.result(&job, json!({ "outcome": "succeeded" })).await, 409);
    assert_echo(&agent.ack("none").await, 404);
    assert_echo(&agent.result("none", json!({ "outcome": "noop" })).await, 404);
    assert_echo(&agent.client.get("/api/agent/jobs?cluster=another").await, 403);
    let large = json!({ "pad": "x".repeat(3 * 1024 * 1024) });
    assert_echo(&agent.client.post("/api/agent/events", large).await, 413);
    assert_echo(&agent.client.get("/api/agent/register").await, 405);
    assert_echo(&agent.client.get("/api/agent/nothing").await, 404);
    let stranger = server.client(Some("vwksp-agt-nobody")).in_session(SESSION);
    let nobody = server.client(None).in_session(SESSION);
    for (method, path) in [
        (Method::POST, "/api/agent/register"),
        (Method::GET, "/api/agent/jobs?cluster=a"),
        (Method::POST, "/api/agent/jobs/j/ack"),
        (Method::POST, "/api/agent/jobs/j/status"),
        (Method::POST, "/api/agent/jobs/j/result"),
        (Method::POST, "/api/agent/events"),
        (Method::POST, "/api/agent/credentials/rotate"),
        (Method::POST, "/api/agent/cluster/decommission"),
    ] {
        for client in [&stranger, &nobody] {
            let body = json!({ "outcome": "noop", "phase": "Ready" });
            let body = (method == Method::POST).then(|| body.to_string());
            assert_echo(&client.send(method.clone(), path, body).await, 401);
        }
    }
}

#[tokio::test]
async fn refusal_for_want_of_room_echoes_the_session() {
    let server = TestServer::with(&["--max-requests", "1"]).await;
    let (_tenant, agent) = agent_in_session(&server).await;
    let mut poll = Box::pin(agent.poll(300));
    tokio::select! {
        answer = &mut poll => panic!("nothing to answer yet: {answer:?}"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    assert_echo(&agent.client.post("/api/agent/events", json!({})).await, 503);
}

/// Panics when it is read, as a defect anywhere below a handler does.
struct BrokenClock;

impl Clock for BrokenClock {
    fn now(&self) -> jiff::Timestamp {
        panic!("no time")
    }

    fn sleep(&self, _: std::time::Duration) -> futures::future::BoxFuture<'static, ()> {
        panic!("no time")
    }
}

#[tokio::test]
async fn answer_after_a_panic_echoes_the_session() {
    let (store, _committer) = Store::open_in(&Memory::new().unwrap(), &Settings::default()).unwrap();
    let router = api::router(Arc::new(App::over(store, Arc::new(BrokenClock), 10)));
    let request = axum::http::Request::post("/api/agent/credentials/rotate")
        .header("authorization", "Bearer vwksp-agt-any")
        .header("x-vworkspace-session", SESSION)
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-vworkspace-session"]),
        (500, &SESSION.parse().unwrap())
    );
}

#[tokio::test]
async fn admin_api_echoes_no_session() {
    let server = TestServer::start().await;
    let answer = server.admin.in_session(SESSION).get("/api/v1/whoami").await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("x-vworkspace-session")), (200, None));
}
