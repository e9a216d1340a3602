use crate::support::{Agent, TestServer, manifest};
use serde_json::json;

#[tokio::test]
async fn a_token_is_good_once() {
    let server = TestServer::start().await;
    let tenant = server.organization("org-a").await;
    let cluster = tenant.cluster("one").await;
    let token = tenant.registration_token(&cluster).await;
    let caller = server.client(Some(&token));
    caller.post("/api/agent/register", json!({})).await.expect(200);
    caller.post("/api/agent/register", json!({})).await.refused(401, "token_consumed");
}

#[tokio::test]
async fn a_repeated_exchange_with_the_same_id_gives_a_fresh_credential() {
    let server = TestServer::start().await;
    let tenant = server.organization("org-a").await;
    let cluster = tenant.cluster("one").await;
    let token = tenant.registration_token(&cluster).await;
    let caller = server.client(Some(&token));
    let exchange =
        json!({ "registrationToken": token, "registrationId": "7b0e6e0e-8e5c-4b6c-9f6e-0d7c7f0c0a01" });
    let first = caller.post("/api/agent/register", exchange.clone()).await.expect(200);
    let second = caller.post("/api/agent/register", exchange).await.expect(200);
    assert_eq!(first["clusterId"], second["clusterId"]);
    let poll = format!("/api/agent/jobs?cluster={cluster}&wait=0");
    server.client(second["token"].as_str()).get(&poll).await.expect(200);
    server.client(first["token"].as_str()).get(&poll).await.refused(401, "unauthenticated");
    let other = json!({ "registrationId": "7b0e6e0e-8e5c-4b6c-9f6e-0d7c7f0c0a02" });
    caller.post("/api/agent/register", other).await.refused(401, "token_consumed");
}

#[tokio::test]
async fn an_expired_token_is_refused_as_such() {
    let server = TestServer::start().await;
    let tenant = server.organization("org-a").await;
    let cluster = tenant.cluster("one").await;
    let path = format!("/api/v1/clusters/{cluster}/registration-tokens");
    let token = tenant.client.post(&path, json!({ "ttlSeconds": 1 })).await.expect(201);
    let expires: jiff::Timestamp = token["expiresAt"].as_str().unwrap().parse().unwrap();
    crate::support::eventually(async || (jiff::Timestamp::now() > expires).then_some(())).await;
    let caller = server.client(token["token"].as_str());
    caller.post("/api/agent/register", json!({})).await.refused(401, "token_expired");
}

#[tokio::test]
async fn a_token_nobody_issued_is_refused() {
    let server = TestServer::start().await;
    let caller = server.client(Some("vwksp-reg-0000"));
    caller.post("/api/agent/register", json!({})).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn rotation_overlaps_until_the_new_credential_is_used() {
    let server = TestServer::start().await;
    let (_tenant, agent) = server.tenant_and_agent().await;
    let rotate = "/api/agent/credentials/rotate";
    let unused = agent.client.post(rotate, json!({})).await.expect(200);
    let rotated = agent.client.post(rotate, json!({})).await.expect(200);
    agent.client.get(&agent.poll_path(0)).await.expect(200);
    server.client(rotated["token"].as_str()).get(&agent.poll_path(0)).await.expect(200);
    server.client(unused["token"].as_str()).get(&agent.poll_path(0)).await.refused(401, "unauthenticated");
    agent.client.get(&agent.poll_path(0)).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_cluster_shows_who_its_agent_is() {
    let server = TestServer::start().await;
    let tenant = server.organization("org-a").await;
    let cluster = tenant.cluster("one").await;
    let path = format!("/api/v1/clusters/{cluster}");
    assert_eq!(tenant.client.get(&path).await.expect(200)["presence"], "Unregistered");
    let agent = server.agent(&tenant, "two").await;
    agent.poll(0).await;
    let shown = tenant.client.get(&format!("/api/v1/clusters/{}", agent.cluster)).await.expect(200);
    assert_eq!(shown["presence"], "Connected");
    assert!(shown["lastSeen"].is_string() && shown["registeredAt"].is_string() && shown["asOf"].is_string());
}

#[tokio::test]
async fn a_silent_cluster_is_shown_as_disconnected() {
    let server = TestServer::with(&["--disconnect-after", "50ms"]).await;
    let (tenant, agent) = server.tenant_and_agent().await;
    agent.poll(0).await;
    let path = format!("/api/v1/clusters/{}", agent.cluster);
    crate::support::eventually(async || {
        (tenant.client.get(&path).await.expect(200)["presence"] == "Disconnected").then_some(())
    })
    .await;
}

const DECOMMISSION: &str = "/api/agent/cluster/decommission";

#[tokio::test]
async fn a_cluster_that_leaves_is_nobody_and_joins_again_with_a_new_token_only() {
    let server = TestServer::start().await;
    let tenant = server.organization("org-a").await;
    let cluster = tenant.cluster("one").await;
    let used = tenant.registration_token(&cluster).await;
    let exchange = json!({ "registrationId": "r" });
    let answer = server.client(Some(&used)).post("/api/agent/register", exchange.clone()).await.expect(200);
    let agent = server.client(answer["token"].as_str());
    let unused = agent.post("/api/agent/credentials/rotate", json!({})).await.expect(200);

    let left = agent.post(DECOMMISSION, json!({})).await;
    assert_eq!((left.status.as_u16(), left.text.as_str()), (204, ""));
    for bearer in [&answer["token"], &unused["token"]] {
        let dead = server.client(bearer.as_str());
        dead.post(DECOMMISSION, json!({})).await.refused(401, "unauthenticated");
        dead.post("/api/agent/events", json!({ "events": [] })).await.refused(401, "unauthenticated");
    }
    // Not even the very registration that made the identity brings it back.
    server.client(Some(&used)).post("/api/agent/register", exchange).await.refused(401, "token_consumed");
    let shown = tenant.client.get(&format!("/api/v1/clusters/{cluster}")).await.expect(200);
    assert_eq!((&shown["presence"], &shown["registeredAt"]), (&json!("Unregistered"), &json!(null)));

    let fresh = tenant.registration_token(&cluster).await;
    let again = server.client(Some(&fresh)).post("/api/agent/register", json!({})).await.expect(200);
    assert_eq!(again["clusterId"], cluster.as_str());
}

#[tokio::test]
async fn jobs_of_a_cluster_that_left_wait_for_the_agent_that_registers_next() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let first = agent.client.in_session("s-1");
    let acked = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    first.get(&agent.poll_path(0)).await.expect(200);
    let ack = format!("/api/agent/jobs/{acked}/ack");
    assert_eq!(first.post(&ack, json!({})).await.status, 204);
    let queued = tenant.enqueue(&agent.cluster, manifest("api", 1)).await;
    assert_eq!(first.post(DECOMMISSION, json!({})).await.status, 204);

    let explained = tenant.client.get(&format!("/api/v1/jobs/{queued}/explain")).await.expect(200);
    assert!(explained["next"][0]["what"].as_str().unwrap().contains("has registered"), "{explained}");
    assert_eq!(tenant.job(&acked).await["state"], "acked");
    let token = tenant.registration_token(&agent.cluster).await;
    let answer = server.client(Some(&token)).post("/api/agent/register", json!({})).await.expect(200);
    let next = server.client(answer["token"].as_str()).in_session("s-2");
    let offered = next.get(&agent.poll_path(0)).await.expect(200);
    let ids: Vec<_> = offered["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect();
    assert_eq!(ids, [json!(acked)], "what was acked is offered first");
    let next = Agent { cluster: agent.cluster, client: next };
    assert_eq!(next.ack(&acked).await.status, 204);
    assert_eq!(next.poll(0).await, [queued]);
}

#[tokio::test]
async fn an_open_poll_of_a_cluster_that_leaves_ends_at_once() {
    let server = TestServer::start().await;
    let (_tenant, agent) = server.tenant_and_agent().await;
    let (client, path) = (agent.client.clone(), agent.poll_path(60));
    let polling = tokio::spawn(async move { client.get(&path).await });
    server.until_metric("vworkspace_server_long_polls_open 1").await;
    assert_eq!(agent.client.post(DECOMMISSION, json!({})).await.status, 204);
    let ended = tokio::time::timeout(crate::support::PATIENCE, polling).await.unwrap().unwrap();
    assert_eq!(ended.expect(200)["jobs"], json!([]));
}
