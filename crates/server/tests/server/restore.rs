//! A control plane that was restored from a backup: open jobs wait for a person, unknown results are kept.

use crate::support::{Agent, Client, Tenant, manifest, settings};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vworkspace_server::serve::Running;

/// One data folder with a server that is stopped and started again.
struct Restored {
    folder: TempDir,
    running: Running,
    admin_token: String,
    tenant_token: String,
    tenant: String,
    cluster: String,
    credential: String,
}

impl Restored {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::start(settings(&folder, &[])).await.unwrap();
        let admin_token = running.first_admin_token.clone().unwrap().expose().to_owned();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let admin = Client::plain(&running.url, Some(&admin_token));
        let made = admin.post("/api/v1/organizations", json!({ "name": "org-a" })).await.expect(201);
        let tenant = text(&made["id"]);
        let path = format!("/api/v1/organizations/{tenant}/api-tokens");
        let tenant_token = text(&admin.post(&path, json!({ "description": "t" })).await.expect(201)["token"]);
        let client = Client::plain(&running.url, Some(&tenant_token));
        let owner = Tenant { id: tenant.clone(), client };
        let cluster = owner.cluster("cluster-a").await;
        let token = owner.registration_token(&cluster).await;
        let agent = Client::plain(&running.url, Some(&token));
        let credential = text(&agent.post("/api/agent/register", json!({})).await.expect(200)["token"]);
        Self { folder, running, admin_token, tenant_token, tenant, cluster, credential }
    }

    async fn started_again(self, flags: &[&str]) -> Self {
        self.running.stop().await.unwrap();
        let running = Running::start(settings(&self.folder, flags)).await.unwrap();
        Self { running, ..self }
    }

    fn tenant(&self) -> Tenant {
        let client = Client::plain(&self.running.url, Some(&self.tenant_token));
        Tenant { id: self.tenant.clone(), client }
    }

    fn agent(&self) -> Agent {
        let client = Client::plain(&self.running.url, Some(&self.credential)).in_session("s");
        Agent { cluster: self.cluster.clone(), client }
    }

    async fn release_all(&self) -> Value {
        let path = format!("/api/v1/clusters/{}/release-jobs", self.cluster);
        self.tenant().client.post(&path, json!({})).await.expect(200)
    }
}

#[tokio::test]
async fn restored_server_holds_open_jobs_until_their_release() {
    let server = Restored::new().await;
    let (tenant, agent) = (server.tenant(), server.agent());
    let acked = tenant.enqueue(&agent.cluster, manifest("acked", 1)).await;
    assert_eq!(agent.poll(0).await, std::slice::from_ref(&acked));
    assert_eq!(agent.ack(&acked).await.status, 204);
    let queued = tenant.enqueue(&agent.cluster, manifest("queued", 1)).await;
    let other = tenant.enqueue(&agent.cluster, manifest("other", 1)).await;

    let server = server.started_again(&["--restored"]).await;
    assert!(server.agent().poll(0).await.is_empty());
    let new = server.tenant().enqueue(&server.cluster, manifest("new", 1)).await;
    assert_eq!(
        server.agent().poll(0).await,
        std::slice::from_ref(&new),
        "what was enqueued since is delivered"
    );
    // Without the flag they stay held, and the new one is not.
    let server = server.started_again(&[]).await;
    let (tenant, agent) = (server.tenant(), server.agent());
    assert!(agent.poll(0).await.is_empty());
    for (job, is_held) in [(&acked, true), (&queued, true), (&other, true), (&new, false)] {
        assert_eq!(tenant.job(job).await.get("heldSince").is_some(), is_held);
    }
    let record = tenant.client.get(&format!("/api/v1/clusters/{}", server.cluster)).await.expect(200);
    assert_eq!(record["heldJobs"], 3);
    let explained = tenant.client.get(&format!("/api/v1/jobs/{queued}/explain")).await.expect(200);
    assert_eq!(explained["holder"], "controlPlane");
    assert!(explained["next"][0]["what"].as_str().unwrap().contains("vwctl job release"), "{explained}");

    let released = tenant.client.post(&format!("/api/v1/jobs/{queued}/release"), json!({})).await.expect(200);
    assert_eq!((released.get("heldSince"), &released["state"]), (None, &json!("queued")));
    assert_eq!(agent.poll(0).await, [queued]);
    assert_eq!(tenant.client.post(&format!("/api/v1/jobs/{other}/cancel"), json!({})).await.status, 200);
    assert_eq!(server.release_all().await, json!({ "released": 1, "superseded": 0 }));
    assert_eq!(agent.poll(0).await, [acked], "who holds it is not known any more");
    assert_eq!(server.release_all().await, json!({ "released": 0, "superseded": 0 }));
}

#[tokio::test]
async fn agent_that_has_a_held_job_still_reports_its_result() {
    let server = Restored::new().await;
    let (tenant, agent) = (server.tenant(), server.agent());
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    assert_eq!(agent.poll(0).await, std::slice::from_ref(&job));
    let server = server.started_again(&["--restored"]).await;
    let (tenant, agent) = (server.tenant(), server.agent());
    assert_eq!(agent.ack(&job).await.status, 204);
    assert!(agent.poll(0).await.is_empty());
    assert_eq!(agent.result(&job, json!({ "outcome": "succeeded" })).await.status, 204);
    let seen = tenant.job(&job).await;
    assert_eq!((&seen["state"], seen.get("heldSince")), (&json!("closed"), None));
}

#[tokio::test]
async fn held_job_does_not_undo_what_was_enqueued_since() {
    let server = Restored::new().await;
    let delete = json!({ "kind": "delete", "payload": { "apiVersion": "apps.vworkspace.io/v1alpha1",
                         "kind": "ApplicationInstance", "namespace": "apps", "name": "web" } });
    let deletion = server.tenant().enqueue(&server.cluster, delete).await;
    let server = server.started_again(&["--restored"]).await;
    let (tenant, agent) = (server.tenant(), server.agent());
    let newer = tenant.enqueue(&server.cluster, manifest("web", 2)).await;
    assert_eq!(agent.poll(0).await, std::slice::from_ref(&newer), "a held job does not hold its lane");
    let path = format!("/api/v1/organizations/{}/release-jobs", server.tenant);
    let done = tenant.client.post(&path, json!({})).await.expect(200);
    assert_eq!(done, json!({ "released": 0, "superseded": 1 }));
    let seen = tenant.job(&deletion).await;
    assert_eq!(seen["state"], "superseded");
    assert!(seen["timeline"].as_array().unwrap().last().unwrap()["cause"].as_str().unwrap().contains(&newer));
}

#[tokio::test]
async fn held_job_is_superseded_within_its_api_group_alone() {
    let server = Restored::new().await;
    let in_group = |group: &str| {
        json!({ "kind": "apply", "payload": { "apiVersion": format!("{group}/v1"), "kind": "Site",
                "metadata": { "name": "web", "namespace": "apps" } } })
    };
    let held = server.tenant().enqueue(&server.cluster, in_group("one.example")).await;
    let server = server.started_again(&["--restored"]).await;
    server.tenant().enqueue(&server.cluster, in_group("two.example")).await;
    assert_eq!(server.release_all().await, json!({ "released": 1, "superseded": 0 }));
    assert_eq!(server.tenant().job(&held).await["state"], "queued");
}

#[tokio::test]
async fn result_of_an_unknown_job_is_refused_and_kept() {
    let server = Restored::new().await;
    let (tenant, agent) = (server.tenant(), server.agent());
    let admin = Client::plain(&server.running.url, Some(&server.admin_token));
    let made = admin.post("/api/v1/organizations", json!({ "name": "org-b" })).await.expect(201);
    let wanted = json!({ "name": "c", "organizationId": made["id"] });
    let foreign = admin.post("/api/v1/clusters", wanted).await.expect(201);
    let foreign = foreign["id"].as_str().unwrap();
    let job = admin.post(&format!("/api/v1/clusters/{foreign}/jobs"), manifest("x", 1)).await.expect(201);
    let anothers = job["id"].as_str().unwrap();
    let unknown = "0190a0a0-0000-7000-8000-000000000000";
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "generation": 1 });
    let result = json!({ "outcome": "failed", "error": "no", "appliedRef": object });
    let answers = [agent.result(unknown, result.clone()).await, agent.result(anothers, result.clone()).await];
    assert_eq!(answers[0].without_request_id(), answers[1].without_request_id());
    for answer in answers {
        answer.refused(404, "not_found");
    }
    // A repeat, and an id that is none of ours, add nothing.
    agent.result(unknown, json!({ "outcome": "succeeded" })).await.refused(404, "not_found");
    agent.result("nonsense", result).await.refused(404, "not_found");
    let path = format!("/api/v1/clusters/{}/unknown-results", server.cluster);
    let kept = tenant.client.get(&path).await.expect(200);
    let ids: Vec<_> = kept["items"].as_array().unwrap().iter().map(|item| item["jobId"].clone()).collect();
    assert_eq!(ids, [anothers, unknown]);
    assert_eq!((&kept["items"][1]["outcome"], &kept["items"][1]["error"]), (&json!("failed"), &json!("no")));
    assert_eq!(kept["items"][1]["appliedRef"]["kind"], "ConfigMap");
    let record = tenant.client.get(&format!("/api/v1/clusters/{}", server.cluster)).await.expect(200);
    assert_eq!(record["unknownResults"], 2);
    let of_others = format!("/api/v1/clusters/{foreign}/unknown-results");
    assert_eq!(admin.get(&of_others).await.expect(200)["items"], json!([]));
    assert_eq!(
        admin.send(Method::GET, &format!("/api/v1/jobs/{anothers}"), None).await.expect(200)["state"],
        "queued"
    );
}

#[tokio::test]
async fn trusted_proxies_tell_where_an_agent_calls_from() {
    let server = Restored::new().await.started_again(&["--trusted-proxy", "127.0.0.0/8"]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let poll = async |session: &str, from: &str| {
        let path = server.agent().poll_path(0);
        let request = http.get(format!("{}{path}", server.running.url)).bearer_auth(&server.credential);
        let request = request.header("x-vworkspace-session", session).header("x-forwarded-for", from);
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    poll("one", "203.0.113.1").await;
    let path = format!("/api/v1/clusters/{}/keep-session", server.cluster);
    server.tenant().client.post(&path, json!({ "session": "one" })).await.expect(200);
    let refused = server.agent().client.in_session("two");
    let poll = server.agent().poll_path(0);
    assert_eq!(refused.get(&poll).await.status, 401);
    let record =
        server.tenant().client.get(&format!("/api/v1/clusters/{}", server.cluster)).await.expect(200);
    assert_eq!(
        record["keptSession"]["refused"]["address"], "127.0.0.1",
        "nothing forwarded: the peer itself"
    );
    let forwarded = http.get(format!("{}{poll}", server.running.url)).bearer_auth(&server.credential);
    let forwarded =
        forwarded.header("x-vworkspace-session", "two").header("x-forwarded-for", "6.6.6.6, 203.0.113.2");
    assert_eq!(forwarded.send().await.unwrap().status(), 401);
    let record =
        server.tenant().client.get(&format!("/api/v1/clusters/{}", server.cluster)).await.expect(200);
    assert_eq!(record["keptSession"]["refused"]["address"], "203.0.113.2");
}
