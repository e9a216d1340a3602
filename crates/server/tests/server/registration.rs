use crate::support::TestServer;
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
