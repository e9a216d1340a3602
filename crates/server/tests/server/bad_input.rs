use crate::support::{Client, TestServer, manifest};
use reqwest::Method;
use serde_json::{Value, json};

/// `(method, path, body, status, code)`; `{job}` and `{cluster}` are filled in.
type Row = (&'static str, &'static str, &'static str, u16, &'static str);

const AGENT: &[Row] = &[
    ("POST", "/api/agent/jobs/{job}/result", r#"{"outcome":"#, 400, "malformed_body"),
    ("POST", "/api/agent/jobs/{job}/result", r#"{"outcome":"maybe"}"#, 400, "invalid_request"),
    ("POST", "/api/agent/jobs/{job}/result", r#"{}"#, 400, "malformed_body"),
    ("POST", "/api/agent/jobs/{job}/result", "", 400, "malformed_body"),
    ("POST", "/api/agent/jobs/{job}/status", r#"{"phase":7}"#, 400, "malformed_body"),
    ("POST", "/api/agent/jobs/{job}/status", r#"[]"#, 400, "malformed_body"),
    ("POST", "/api/agent/events", r#"{"events":[{"kind":1}]}"#, 400, "malformed_body"),
    ("POST", "/api/agent/jobs/%FF/ack", "", 404, "not_found"),
    ("POST", "/api/agent/jobs/none/ack", "", 404, "not_found"),
    ("GET", "/api/agent/jobs", "", 400, "invalid_request"),
    ("GET", "/api/agent/jobs?cluster=a&cluster=b", "", 400, "invalid_request"),
    ("GET", "/api/agent/jobs?cluster=somebody-else", "", 403, "wrong_cluster"),
    ("DELETE", "/api/agent/jobs", "", 405, "method_not_allowed"),
    ("GET", "/api/agent/nothing", "", 404, "not_found"),
];

const TENANT: &[Row] = &[
    ("POST", "/api/v1/clusters/{cluster}/jobs", "not json", 400, "malformed_body"),
    ("POST", "/api/v1/clusters/{cluster}/jobs", r#"{"kind":"apply"}"#, 400, "malformed_body"),
    ("POST", "/api/v1/clusters/{cluster}/jobs", r#"{"kind":"dance","payload":{}}"#, 400, "invalid_request"),
    (
        "POST",
        "/api/v1/clusters/{cluster}/jobs",
        r#"{"kind":"apply","payload":{},"x":1}"#,
        400,
        "malformed_body",
    ),
    (
        "POST",
        "/api/v1/clusters/{cluster}/jobs",
        r#"{"kind":"apply","payload":{"kind":"A"}}"#,
        400,
        "invalid_request",
    ),
    ("POST", "/api/v1/clusters", r#"{"name":"Not A Label"}"#, 400, "invalid_request"),
    ("POST", "/api/v1/clusters", r#"{"name":"cluster-a"}"#, 409, "already_exists"),
    ("GET", "/api/v1/clusters?limit=0", "", 400, "invalid_request"),
    ("GET", "/api/v1/clusters?limit=many", "", 400, "invalid_request"),
    ("GET", "/api/v1/clusters?cursor=%7Bforged", "", 400, "invalid_request"),
    ("GET", "/api/v1/clusters/{cluster}/jobs?state=dancing", "", 400, "invalid_request"),
    ("POST", "/api/v1/clusters/{cluster}/registration-tokens", r#"{"ttlSeconds":0}"#, 400, "invalid_request"),
    (
        "POST",
        "/api/v1/clusters/{cluster}/registration-tokens",
        r#"{"ttlSeconds":86401}"#,
        400,
        "invalid_request",
    ),
    ("POST", "/api/v1/organizations", r#"{"name":"mine"}"#, 403, "forbidden"),
    ("DELETE", "/api/v1/clusters/{cluster}", "", 405, "method_not_allowed"),
    ("GET", "/api/v1/nothing", "", 404, "not_found"),
    ("GET", "/", "", 404, "not_found"),
];

#[tokio::test]
async fn bad_input_gets_its_code_and_disturbs_nobody() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    agent.poll(0).await;
    for (client, rows) in [(&agent.client, AGENT), (&tenant.client, TENANT)] {
        for (method, path, body, status, code) in rows {
            let path = path.replace("{job}", &job).replace("{cluster}", &agent.cluster);
            let body = (!body.is_empty()).then(|| (*body).to_owned());
            let answer = client.send(method.parse::<Method>().unwrap(), &path, body).await;
            println!("{method} {path}: {}", answer.text);
            answer.refused(*status, code);
        }
    }
    assert_eq!(agent.ack(&job).await.status, 204);
    assert_eq!(agent.result(&job, json!({ "outcome": "succeeded" })).await.status, 204);
}

#[tokio::test]
async fn too_large_is_413_with_the_bound_in_words() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let path = format!("/api/v1/clusters/{}/jobs", agent.cluster);
    for bytes in [600 * 1024, 3 * 1024 * 1024] {
        let mut job = manifest("web", 1);
        job["payload"]["spec"]["blob"] = Value::String("x".repeat(bytes));
        let answer = tenant.client.post(&path, job).await.refused(413, "payload_too_large");
        assert!(answer.text.contains("bytes") || answer.text.contains("KiB"), "{}", answer.text);
    }
    let huge = json!({ "events": [], "pad": "x".repeat(3 * 1024 * 1024) });
    agent.client.post("/api/agent/events", huge).await.refused(413, "payload_too_large");
    let mut long_key = manifest("web", 1);
    long_key["idempotencyKey"] = Value::String("k".repeat(513));
    tenant.client.post(&path, long_key).await.refused(413, "payload_too_large");
    assert!(agent.poll(0).await.is_empty());
}

#[tokio::test]
async fn more_events_than_the_bound_are_refused_and_a_sloppy_batch_is_taken() {
    let server = TestServer::start().await;
    let (_tenant, agent) = server.tenant_and_agent().await;
    let batch = |count: usize| json!({ "events": vec![json!({ "kind": "ClusterHeartbeat" }); count] });
    agent.client.post("/api/agent/events", batch(1001)).await.refused(400, "invalid_request");
    assert_eq!(agent.client.post("/api/agent/events", batch(101)).await.status, 204);
    assert_eq!(
        agent.client.post("/api/agent/events", json!({ "events": null, "later": 1 })).await.status,
        204
    );
}

/// A proxy in front may judge by the one header and this server by the other.
#[tokio::test]
async fn two_authorization_headers_are_400_on_every_api() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let open = server.client(Some(&tenant.registration_token(&agent.cluster).await));
    for second in ["Bearer other", "Basic b3RoZXI6", ""] {
        let twice = |client: &Client| client.and_authorization(second);
        twice(&tenant.client).get("/api/v1/whoami").await.refused(400, "invalid_request");
        twice(&server.admin).get("/api/v1/clusters").await.refused(400, "invalid_request");
        twice(&agent.client).get(&agent.poll_path(0)).await.refused(400, "invalid_request");
        let register = twice(&open).post("/api/agent/register", json!({})).await;
        register.refused(400, "invalid_request");
    }
    open.post("/api/agent/register", json!({})).await.expect(200);
}
