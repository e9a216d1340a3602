use crate::support::{Client, TestServer};
use serde_json::{Value, json};

fn transition(key: &str, status: &str, at: &str) -> Value {
    json!({
        "eventKey": key, "kind": "ConditionTransition",
        "resourceRef": { "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "namespace": "apps", "name": "web", "uid": "u1", "generation": 1 },
        "conditions": [{ "type": "Ready", "status": status, "reason": "Because", "message": "",
            "lastTransitionTime": at }],
        "timestamp": at })
}

#[tokio::test]
async fn events_are_stored_once_and_become_the_current_conditions() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let down = transition("k#0001", "False", "2026-01-01T00:00:00Z");
    let up = transition("k#0002", "True", "2026-01-01T00:00:05Z");
    for batch in [json!([down]), json!([down, up]), json!([up])] {
        assert_eq!(agent.client.post("/api/agent/events", json!({ "events": batch })).await.status, 204);
    }
    let base = format!("/api/v1/clusters/{}", agent.cluster);
    let events = tenant.client.get(&format!("{base}/events?kind=ConditionTransition")).await.expect(200);
    let keys: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| &event["eventKey"]).collect();
    assert_eq!(keys, ["k#0002", "k#0001"]);

    let path = format!("{base}/resources?kind=ApplicationInstance&namespace=apps&name=web");
    let resources = tenant.client.get(&path).await.expect(200);
    assert_eq!(resources["items"][0]["conditions"][0]["status"], "True");
    assert!(resources["items"][0]["asOf"].is_string() && resources["asOf"].is_string());
    let none = tenant.client.get(&format!("{base}/resources?name=other")).await.expect(200);
    assert_eq!(none["items"], json!([]));
    server.until_metric(r#"vworkspace_server_events_total{outcome="deduplicated"} 2"#).await;
}

#[tokio::test]
async fn a_heartbeat_tells_the_clusters_versions_and_conditions() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let beat = json!({ "kind": "ClusterHeartbeat", "operatorVersion": "1.2.3", "kubernetesVersion": "v1.33.0",
        "resourceRef": { "apiVersion": "cluster.vworkspace.io/v1alpha1", "kind": "Cluster", "namespace": "", "name": "this" },
        "conditions": [{ "type": "Connected", "status": "True", "reason": "RoundTripOK", "message": "",
            "lastTransitionTime": null }] });
    assert_eq!(agent.client.post("/api/agent/events", json!({ "events": [beat] })).await.status, 204);
    let cluster = tenant.client.get(&format!("/api/v1/clusters/{}", agent.cluster)).await.expect(200);
    assert_eq!(cluster["operatorVersion"], "1.2.3");
    assert_eq!(cluster["kubernetesVersion"], "v1.33.0");
    assert_eq!(cluster["conditions"][0]["type"], "Connected");
}

#[tokio::test]
async fn what_the_server_counts_can_be_scraped() {
    let server = TestServer::start().await;
    server.client(None).get("/nothing/here").await;
    server.until_metric(r#"vworkspace_server_requests_total{route="(none)",status="404"} 1"#).await;
    let anonymous = server.client(None);
    assert_eq!(anonymous.get("/livez").await.text, "ok\n");
    assert_eq!(anonymous.get("/readyz").await.text, "running: ok\ndatabase-read: ok\ndatabase-write: ok\n");
}

#[tokio::test]
async fn metrics_are_served_by_their_own_listener_alone() {
    let server = TestServer::start().await;
    let metrics = server.metrics().await;
    assert!(metrics.contains("vworkspace_server_database_degraded 0"), "{metrics}");
    for client in [server.client(None), server.admin.clone()] {
        client.get("/metrics").await.refused(404, "not_found");
    }
    let listener = server.running.metrics_url.as_deref().unwrap().strip_suffix("/metrics").unwrap();
    Client::plain(listener, None).get("/api/v1/whoami").await.refused(404, "not_found");
}
