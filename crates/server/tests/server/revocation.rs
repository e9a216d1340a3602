//! What was given is taken back, with effect on requests that wait.

use crate::support::{Answer, Client, PATIENCE, Tenant, TestServer, manifest};
use futures::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};

impl TestServer {
    /// Opens a request that waits; answers once the server holds it.
    async fn waiting(&self, client: &Client, path: &str) -> tokio::task::JoinHandle<Answer> {
        let (client, path) = (client.clone(), path.to_owned());
        let waiting = tokio::spawn(async move { client.get(&path).await });
        self.until_metric("vworkspace_server_long_polls_open 1").await;
        waiting
    }
}

/// The answer to a request that waited; it was asked to wait for longer than this test is patient.
async fn ended(waiting: tokio::task::JoinHandle<Answer>) -> Answer {
    tokio::time::timeout(PATIENCE, waiting).await.expect("nothing woke the request that waits").unwrap()
}

async fn delete(client: &Client, path: &str) -> Answer {
    client.send(Method::DELETE, path, None).await
}

fn tokens_of(tenant: &Tenant) -> String {
    format!("/api/v1/organizations/{}/api-tokens", tenant.id)
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn api_tokens_are_listed_without_secrets_and_revoked() {
    let server = TestServer::start().await;
    let tenant = server.organization("org-a").await;
    let made = tenant.client.post(&tokens_of(&tenant), json!({ "description": "ci" })).await.expect(201);
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let ci = server.client(Some(token));
    ci.get("/api/v1/whoami").await.expect(200);

    let listed = tenant.client.get(&tokens_of(&tenant)).await;
    let secret = &token[token.find(id).unwrap() + id.len()..];
    assert!(secret.len() >= 64 && !listed.text.contains(secret), "{}", listed.text);
    let listed = listed.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let shown = listed["items"].as_array().unwrap().iter().find(|item| item["id"] == id).unwrap();
    assert_eq!(shown["description"], "ci");

    let path = format!("{}/{id}", tokens_of(&tenant));
    assert_eq!(delete(&tenant.client, &path).await.status, 204);
    ci.get("/api/v1/whoami").await.refused(401, "unauthenticated");
    delete(&tenant.client, &path).await.refused(404, "not_found");
    tenant.client.get("/api/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn watch_by_a_revoked_api_token_is_told_nothing_more() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    let made = tenant.client.post(&tokens_of(&tenant), json!({ "description": "leaked" })).await.expect(201);
    let leaked = server.client(made["token"].as_str());
    let waiting = server.waiting(&leaked, &format!("/api/v1/jobs/{job}?after=1&wait=60")).await;
    let path = format!("{}/{}", tokens_of(&tenant), made["id"].as_str().unwrap());
    assert_eq!(delete(&tenant.client, &path).await.status, 204);
    ended(waiting).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn last_api_token_is_revoked_only_with_force() {
    let server = TestServer::start().await;
    let tenant = server.organization("org-a").await;
    let admins = "/api/v1/api-tokens".to_owned();
    for (client, list) in [(&tenant.client, tokens_of(&tenant)), (&server.admin, admins)] {
        let page = client.get(&list).await.expect(200);
        let [last] = ids(&page)[..] else { panic!("{page}") };
        let refused = delete(client, &format!("{list}/{last}")).await.refused(409, "last_token");
        assert!(refused.text.contains("force"), "{}", refused.text);
        client.get("/api/v1/whoami").await.expect(200);
        assert_eq!(delete(client, &format!("{list}/{last}?force=true")).await.status, 204);
        client.get("/api/v1/whoami").await.refused(401, "unauthenticated");
    }
}

#[tokio::test]
async fn administrators_tokens_are_made_and_revoked_by_admins() {
    let server = TestServer::start().await;
    let made = server.admin.post("/api/v1/api-tokens", json!({ "description": "second" })).await.expect(201);
    assert_eq!(made.get("organizationId"), None);
    let second = server.client(made["token"].as_str());
    assert_eq!(second.get("/api/v1/whoami").await.expect(200)["role"], "admin");
    let page = second.get("/api/v1/api-tokens").await.expect(200);
    let first = ids(&page).into_iter().find(|id| *id != made["id"]).unwrap();
    assert_eq!(delete(&second, &format!("/api/v1/api-tokens/{first}")).await.status, 204);
    server.admin.get("/api/v1/whoami").await.refused(401, "unauthenticated");
    second.get("/api/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn revoked_cluster_loses_its_open_poll_and_comes_back_by_token() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let open = tenant.registration_token(&agent.cluster).await;
    let waiting = server.waiting(&agent.client, &agent.poll_path(300)).await;
    let path = format!("/api/v1/clusters/{}", agent.cluster);
    let revoked = tenant.client.post(&format!("{path}/revoke"), json!({})).await.expect(200);
    assert_eq!((&revoked["presence"], &revoked["registeredAt"]), (&json!("Unregistered"), &json!(null)));
    assert_eq!(ended(waiting).await.expect(200)["jobs"], json!([]));
    agent.client.get(&agent.poll_path(0)).await.refused(401, "unauthenticated");
    let by_open = server.client(Some(&open)).post("/api/agent/register", json!({})).await;
    by_open.refused(401, "unauthenticated");

    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    let token = tenant.registration_token(&agent.cluster).await;
    let back = server.client(Some(&token)).post("/api/agent/register", json!({})).await.expect(200);
    assert_eq!(back["clusterId"], agent.cluster.as_str());
    let polled = server.client(back["token"].as_str()).get(&agent.poll_path(0)).await.expect(200);
    assert_eq!(polled["jobs"][0]["id"], job.as_str());
}

#[tokio::test]
async fn revoking_one_cluster_leaves_anothers_open_poll_alone() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let other = server.agent(&tenant, "cluster-b").await;
    let mut waiting = server.waiting(&other.client, &other.poll_path(300)).await;
    tenant.client.post(&format!("/api/v1/clusters/{}/revoke", agent.cluster), json!({})).await.expect(200);
    agent.client.get(&agent.poll_path(0)).await.refused(401, "unauthenticated");
    assert!((&mut waiting).now_or_never().is_none());
    let job = tenant.enqueue(&other.cluster, manifest("web", 1)).await;
    assert_eq!(ended(waiting).await.expect(200)["jobs"][0]["id"], job.as_str());
}

#[tokio::test]
async fn open_registration_tokens_are_listed_and_revoked() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let path = format!("/api/v1/clusters/{}/registration-tokens", agent.cluster);
    let made = tenant.client.post(&path, json!({})).await.expect(201);
    let listed = tenant.client.get(&path).await;
    assert!(!listed.text.contains(made["token"].as_str().unwrap()));
    let listed = listed.expect(200);
    assert_eq!(ids(&listed), [made["id"].as_str().unwrap()], "the one that was used is not open");
    assert_eq!(listed["items"][0]["expiresAt"], made["expiresAt"]);
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    assert_eq!(delete(&tenant.client, &one).await.status, 204);
    let registering = server.client(made["token"].as_str()).post("/api/agent/register", json!({})).await;
    registering.refused(401, "unauthenticated");
    assert!(ids(&tenant.client.get(&path).await.expect(200)).is_empty());
    agent.poll(0).await;
}

#[tokio::test]
async fn archived_cluster_loses_its_open_poll_and_its_jobs() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    agent.poll(0).await;
    assert_eq!(agent.ack(&job).await.status, 204);
    let waiting = server.waiting(&agent.client, &agent.poll_path(300)).await;
    let path = format!("/api/v1/clusters/{}", agent.cluster);
    let archived = tenant.client.post(&format!("{path}/archive"), json!({})).await.expect(200);
    assert!(archived["archivedAt"].is_string(), "{archived}");
    assert_eq!(ended(waiting).await.expect(200)["jobs"], json!([]), "nothing is sent to the cluster");
    agent.client.get(&agent.poll_path(0)).await.refused(401, "unauthenticated");

    let shown = tenant.job(&job).await;
    assert_eq!(shown["state"], "cancelled");
    let cause = &shown["timeline"].as_array().unwrap().last().unwrap()["cause"];
    assert!(cause.as_str().unwrap().contains("archived"), "{cause}");
    let list = async |query: &str| {
        ids(&tenant.client.get(&format!("/api/v1/clusters{query}")).await.expect(200)).len()
    };
    assert_eq!((list("").await, list("?archived=true").await), (0, 1));
    tenant.client.post(&format!("{path}/jobs"), manifest("web", 2)).await.refused(409, "archived");
    tenant.client.post(&format!("{path}/registration-tokens"), json!({})).await.refused(409, "archived");
    assert!(tenant.cluster("cluster-a").await != agent.cluster, "its name may be used again");
}

#[tokio::test]
async fn archived_organization_ends_tokens_polls_and_watches() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let waiting = server.waiting(&agent.client, &agent.poll_path(300)).await;
    let path = format!("/api/v1/organizations/{}", tenant.id);
    tenant.client.post(&format!("{path}/archive"), json!({})).await.refused(403, "forbidden");
    agent.client.get("/api/v1/whoami").await.refused(403, "forbidden");
    let archived = server.admin.post(&format!("{path}/archive"), json!({})).await.expect(200);
    assert!(archived["archivedAt"].is_string(), "{archived}");
    assert_eq!(ended(waiting).await.expect(200)["jobs"], json!([]));
    agent.client.get(&agent.poll_path(0)).await.refused(401, "unauthenticated");
    tenant.client.get("/api/v1/whoami").await.refused(401, "unauthenticated");
    let list = async |query: &str| {
        ids(&server.admin.get(&format!("/api/v1/organizations{query}")).await.expect(200)).len()
    };
    assert_eq!((list("").await, list("?archived=true").await), (0, 1));
    server.admin.post(&tokens_of(&tenant), json!({ "description": "ci" })).await.refused(409, "archived");
    server.organization("org-a").await;
}

#[tokio::test]
async fn one_more_than_the_bound_is_409_and_says_the_bound() {
    let flags = [
        "--max-clusters-per-organization",
        "2",
        "--max-registration-tokens-per-organization",
        "3",
        "--max-api-tokens-per-organization",
        "2",
    ];
    let server = TestServer::with(&flags).await;
    let (tenant, other) = (server.organization("org-a").await, server.organization("org-b").await);
    let (one, two) = (tenant.cluster("one").await, tenant.cluster("two").await);
    let of_one = format!("/api/v1/clusters/{one}/registration-tokens");
    tenant.registration_token(&one).await;
    let registers = tenant.registration_token(&two).await;
    tenant.registration_token(&two).await;
    tenant.client.post(&tokens_of(&tenant), json!({ "description": "ci" })).await.expect(201);

    let more = [
        ("/api/v1/clusters", json!({ "name": "three" }), "2 clusters"),
        (of_one.as_str(), json!({}), "3 open registration tokens"),
        (&tokens_of(&tenant), json!({ "description": "more" }), "2 API tokens"),
    ];
    for (path, body, bound) in more {
        let refused = tenant.client.post(path, body).await.refused(409, "limit_reached");
        assert!(refused.text.contains(bound), "{}", refused.text);
    }
    // A token that is used is not open any more, and another tenant has bounds of its own.
    server.client(Some(&registers)).post("/api/agent/register", json!({})).await.expect(200);
    tenant.registration_token(&one).await;
    other.registration_token(&other.cluster("one").await).await;
}

#[tokio::test]
async fn cursors_and_records_show_no_number_of_other_tenants() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let busy = server.agent(&server.organization("org-b").await, "busy").await;
    let base = format!("/api/v1/clusters/{}", agent.cluster);
    let event = |n: u32| json!({ "kind": "ConditionTransition", "eventKey": format!("k#{n:04}") });
    let mut cursors = Vec::new();
    for n in 0..12 {
        tenant.enqueue(&agent.cluster, manifest(&format!("web{n}"), 1)).await;
        let events = json!({ "events": [event(n)] });
        assert_eq!(agent.client.post("/api/agent/events", events).await.status, 204);
        let others: Vec<_> = (0..9).map(|k| event(n * 9 + k)).collect();
        assert_eq!(busy.client.post("/api/agent/events", json!({ "events": others })).await.status, 204);
        for list in ["jobs", "events"] {
            let page = tenant.client.get(&format!("{base}/{list}?limit=1")).await.expect(200);
            assert_eq!(page["items"][0].get("seq"), None, "{page}");
            cursors.extend(page["nextCursor"].as_str().map(str::to_owned));
        }
    }
    assert_eq!(cursors.len(), 22, "each page but the first of each list leads on");
    for cursor in &cursors {
        assert_eq!(cursor.len(), cursors[0].len(), "its length says how large its number is: {cursor}");
        let bytes =
            (0..cursor.len()).step_by(2).map(|at| u8::from_str_radix(&cursor[at..at + 2], 16).unwrap());
        let bytes: Vec<_> = bytes.collect();
        assert!(!bytes.is_ascii(), "it can be read: {cursor}");
    }
}

#[tokio::test]
async fn cursor_that_the_server_did_not_make_for_this_list_is_400() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let other = server.organization("org-b").await;
    for name in ["one", "two"] {
        other.cluster(name).await;
        tenant.enqueue(&agent.cluster, manifest(name, 1)).await;
    }
    let jobs = format!("/api/v1/clusters/{}/jobs?limit=1", agent.cluster);
    let page = tenant.client.get(&jobs).await.expect(200);
    let of_jobs = page["nextCursor"].as_str().unwrap();
    let page = other.client.get("/api/v1/clusters?limit=1").await.expect(200);
    let of_another = page["nextCursor"].as_str().unwrap();
    // The number 1 as JSON in hex, as cursors once were.
    for cursor in ["31", of_jobs, of_another, &format!("{of_jobs}00")] {
        let path = format!("/api/v1/clusters?cursor={cursor}");
        tenant.client.get(&path).await.refused(400, "invalid_request");
    }
    tenant.client.get(&format!("{jobs}&cursor={of_another}")).await.refused(400, "invalid_request");
    tenant.client.get(&format!("{jobs}&cursor={of_jobs}")).await.expect(200);
    other.client.get(&format!("/api/v1/clusters?cursor={of_another}")).await.expect(200);
}
