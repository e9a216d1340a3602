use crate::support::{Answer, TestServer, eventually, manifest};
use reqwest::Method;
use serde_json::{Value, json};

fn states(job: &Value) -> Vec<&str> {
    job["timeline"].as_array().unwrap().iter().map(|entry| entry["state"].as_str().unwrap()).collect()
}

#[track_caller]
fn no_content(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
}

#[tokio::test]
async fn a_job_travels_from_queue_to_result() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;

    let polled = agent.client.get(&agent.poll_path(0)).await;
    assert_eq!(polled.headers["content-type"], "application/vnd.vworkspace.agent.v1+json");
    let polled = polled.expect(200);
    assert_eq!(polled["jobs"][0]["id"], job.as_str());
    assert_eq!(polled["jobs"][0]["kind"], "apply");
    assert_eq!(polled["jobs"][0]["payload"], manifest("web", 1)["payload"]);
    assert!(!polled["jobs"][0]["idempotencyKey"].as_str().unwrap().is_empty());

    no_content(&agent.ack(&job).await);
    let path = format!("/api/agent/jobs/{job}/status");
    no_content(&agent.client.post(&path, json!({ "phase": "Reconciling", "later": [] })).await);
    assert_eq!(tenant.job(&job).await["phase"], "Reconciling");
    no_content(&agent.result(&job, json!({ "outcome": "succeeded", "later": 1 })).await);

    let job = tenant.job(&job).await;
    assert_eq!((&job["state"], &job["outcome"]), (&json!("closed"), &json!("succeeded")));
    assert_eq!(states(&job), ["queued", "leased", "acked", "acked", "closed"]);
    let seqs: Vec<_> =
        job["timeline"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    assert_eq!(job["target"], json!({ "kind": "ApplicationInstance", "namespace": "apps", "name": "web" }));
}

#[tokio::test]
async fn a_second_result_changes_nothing() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    agent.poll(0).await;
    no_content(&agent.ack(&job).await);
    no_content(&agent.result(&job, json!({ "outcome": "failed", "error": "first" })).await);
    agent.result(&job, json!({ "outcome": "succeeded" })).await.refused(409, "result_recorded");
    agent.ack(&job).await.refused(409, "job_closed");
    let job = tenant.job(&job).await;
    assert_eq!((&job["outcome"], &job["error"]), (&json!("failed"), &json!("first")));
}

#[tokio::test]
async fn an_unacked_job_is_delivered_again_with_the_same_id() {
    let server = TestServer::with(&["--job-lease", "100ms"]).await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    assert_eq!(agent.poll(30).await, std::slice::from_ref(&job));
    assert_eq!(agent.poll(30).await, std::slice::from_ref(&job));
    assert_eq!(tenant.job(&job).await["deliveries"], 2);
}

#[tokio::test]
async fn an_acked_job_is_delivered_again_to_a_new_session_only() {
    let server = TestServer::start().await;
    let (tenant, mut agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    let before = agent.client.clone();
    agent.client = before.in_session("run-1");
    assert_eq!(agent.poll(0).await, std::slice::from_ref(&job));
    no_content(&agent.ack(&job).await);
    assert!(agent.poll(0).await.is_empty());
    agent.client = before.in_session("run-2");
    assert_eq!(agent.poll(0).await, [job]);
}

#[tokio::test]
async fn the_same_key_is_the_same_job_or_a_conflict() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let path = format!("/api/v1/clusters/{}/jobs", agent.cluster);
    let with_key = |version| {
        let mut job = manifest("web", version);
        job["idempotencyKey"] = json!("release-7");
        job
    };
    let first = tenant.client.post(&path, with_key(1)).await.expect(201);
    let again = tenant.client.post(&path, with_key(1)).await.expect(200);
    assert_eq!(first["id"], again["id"]);
    tenant.client.post(&path, with_key(2)).await.refused(409, "already_exists");
    assert_eq!(agent.poll(0).await.len(), 1);
}

fn job_text(key: &str, spec: &str) -> String {
    format!(
        r#"{{"kind": "apply", "idempotencyKey": "{key}", "payload": {{ "apiVersion": "apps.vworkspace.io/v1alpha1",
            "kind": "ApplicationInstance", "metadata": {{"namespace": "org-a", "name": "web"}}, "spec": {spec}}}}}"#
    )
}

#[tokio::test]
async fn numbers_are_delivered_and_compared_as_they_are_written() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let path = format!("/api/v1/clusters/{}/jobs", agent.cluster);
    let post = async |spec: &str| tenant.client.send(Method::POST, &path, Some(job_text("k", spec))).await;
    let job = post(r#"{"a": 1.0,  "b": 9007199254740993}"#).await.expect(201)["id"].clone();
    post(r#"{"b": 9007199254740993, "a": 1.0}"#).await.expect(200);
    post(r#"{"a": 1.0, "b": 9007199254740992}"#).await.refused(409, "already_exists");
    for digit in [1, 2] {
        let refused = post(&format!(r#"{{"n": [12345678901234567890{digit}]}}"#)).await;
        let refused = refused.refused(400, "invalid_request");
        assert!(refused.text.contains("spec.n[0] is 12345678901234567890"), "{}", refused.text);
    }
    let polled = agent.client.get(&agent.poll_path(0)).await;
    assert!(polled.text.contains(r#""spec": {"a": 1.0,  "b": 9007199254740993}"#), "{}", polled.text);
    assert_eq!(polled.expect(200)["jobs"][0]["id"], job);
}

#[tokio::test]
async fn member_that_stands_twice_is_refused_by_path() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let path = format!("/api/v1/clusters/{}/jobs", agent.cluster);
    let job = job_text("k", r#"{"a": {"x": 1, "x": 2}}"#);
    let refused = tenant.client.send(Method::POST, &path, Some(job)).await.refused(400, "invalid_request");
    assert!(refused.text.contains("spec.a.x stands twice"), "{}", refused.text);
}

#[tokio::test]
async fn a_newer_job_for_the_object_supersedes_one_that_was_never_leased() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let older = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    let other = tenant.enqueue(&agent.cluster, manifest("db", 1)).await;
    let newer = tenant.enqueue(&agent.cluster, manifest("web", 2)).await;
    assert_eq!(tenant.job(&older).await["state"], "superseded");
    assert_eq!(agent.poll(0).await, [other, newer]);
}

#[tokio::test]
async fn older_intent_ends_superseded_before_it_is_leased() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let ensure = |version| {
        let instance = manifest("web", version)["payload"].clone();
        json!({ "kind": "intent", "payload":
            { "intent": "ensure-application-instance", "applicationInstance": instance } })
    };
    let older = tenant.enqueue(&agent.cluster, ensure(1)).await;
    let newer = tenant.enqueue(&agent.cluster, ensure(2)).await;
    assert_eq!(tenant.job(&older).await["state"], "superseded");
    assert_eq!(agent.poll(0).await, [newer]);
}

#[tokio::test]
async fn a_cancelled_job_is_not_delivered() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    let cancel = format!("/api/v1/jobs/{job}/cancel");
    let cancelled = tenant.client.send(Method::POST, &cancel, None).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert!(agent.poll(0).await.is_empty());
    // Asking twice is no mistake; there is nothing to withdraw once it ended otherwise.
    let again = tenant.client.send(Method::POST, &cancel, None).await.expect(200);
    assert_eq!(again["timeline"], cancelled["timeline"]);
    let done = tenant.enqueue(&agent.cluster, manifest("web", 2)).await;
    agent.poll(0).await;
    no_content(&agent.result(&done, json!({ "outcome": "succeeded" })).await);
    tenant
        .client
        .send(Method::POST, &format!("/api/v1/jobs/{done}/cancel"), None)
        .await
        .refused(409, "job_closed");
}

#[tokio::test]
async fn a_job_past_its_time_expires_by_itself() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let mut body = manifest("web", 1);
    body["expiresAt"] = json!((jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2)).to_string());
    let job = tenant.enqueue(&agent.cluster, body).await;
    // The watch ends with the entry the sweep writes, not with its wait.
    let watched = tenant.client.get(&format!("/api/v1/jobs/{job}?after=1&wait=60")).await.expect(200);
    assert_eq!(watched["state"], "expired");
    assert!(agent.poll(0).await.is_empty());
}

#[tokio::test]
async fn jobs_are_listed_in_pages_newest_first() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let mut jobs = Vec::new();
    for name in ["a", "b", "c"] {
        jobs.insert(0, tenant.enqueue(&agent.cluster, manifest(name, 1)).await);
    }
    let base = format!("/api/v1/clusters/{}/jobs", agent.cluster);
    let first = tenant.client.get(&format!("{base}?limit=2&state=queued")).await.expect(200);
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = tenant.client.get(&format!("{base}?limit=2&state=queued&cursor={cursor}")).await.expect(200);
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!([ids(&first), ids(&second)].concat(), jobs);
    assert_eq!(second.get("nextCursor"), None);
    assert!(ids(&tenant.client.get(&format!("{base}?state=closed")).await.expect(200)).is_empty());
}

#[tokio::test]
async fn payload_of_a_job_is_shown_byte_by_byte_and_only_where_it_is_asked_for() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let payload = r#"{"apiVersion": "v1", "kind": "ConfigMap", "data": {"z": "only here", "a": 1.0},
        "metadata": {"namespace": "demo", "name": "web"}}"#;
    let body = format!(r#"{{"kind": "apply", "payload": {payload}}}"#);
    let path = format!("/api/v1/clusters/{}/jobs", agent.cluster);
    let job = tenant.client.send(Method::POST, &path, Some(body)).await.expect(201);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    assert!(!tenant.client.get(&path).await.text.contains("only here"));
    assert_eq!(tenant.client.get(&format!("{path}/payload")).await.text, payload);
}

#[tokio::test]
async fn a_job_is_explained_at_every_step_by_who_has_it_and_what_comes_next() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let (job, later) = {
        let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
        agent.poll(0).await;
        (job, tenant.enqueue(&agent.cluster, manifest("web", 2)).await)
    };
    let explain = async |job: &str| {
        let explained = tenant.client.get(&format!("/api/v1/jobs/{job}/explain")).await.expect(200);
        assert_eq!(explained["job"]["id"], job);
        explained
    };

    let leased = explain(&job).await;
    assert_eq!(leased["holder"], "onTheWay");
    assert!(leased["next"][1]["at"].is_string(), "the end of the lease is known: {leased}");
    let queued = explain(&later).await;
    assert_eq!(queued["holder"], "controlPlane");
    assert!(
        queued["next"][0]["what"].as_str().unwrap().contains(&job),
        "it waits for the earlier one: {queued}"
    );

    no_content(&agent.ack(&job).await);
    assert_eq!(explain(&job).await["holder"], "agent");
    let free = explain(&later).await;
    assert_eq!(free["next"][0]["what"], "it is delivered at the agent's next poll");
    agent.poll(0).await;
    no_content(&agent.ack(&later).await);
    let second = explain(&later).await;
    let first_step = second["next"][0]["what"].as_str().unwrap();
    assert!(first_step.contains(&job), "the agent holds an earlier one: {second}");
    let progress = format!("/api/agent/jobs/{job}/status");
    no_content(&agent.client.post(&progress, json!({ "phase": "Reconciling" })).await);
    let first = explain(&later).await;
    assert_eq!(first["next"][0]["what"], "the agent reports progress and finally the result");
    no_content(&agent.result(&job, json!({ "outcome": "succeeded" })).await);
    let over = explain(&job).await;
    assert_eq!((&over["holder"], over.get("next")), (&json!("nobody"), None));
    assert_eq!(states(&over["job"]), ["queued", "leased", "acked", "acked", "closed"]);
}

#[tokio::test]
async fn an_agent_whose_poll_is_open_is_there_also_in_an_explanation() {
    let server = TestServer::with(&["--disconnect-after", "1ms"]).await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    agent.poll(0).await;
    no_content(&agent.ack(&job).await);
    let path = format!("/api/v1/jobs/{job}/explain");
    let next = async || {
        let explained = tenant.client.get(&path).await.expect(200);
        explained["next"][0]["what"].as_str().unwrap().to_owned()
    };
    eventually(async || next().await.contains("once it is back").then_some(())).await;
    let mut poll = Box::pin(agent.poll(300));
    tokio::select! {
        jobs = &mut poll => panic!("nothing to answer: {jobs:?}"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    let cluster = tenant.client.get(&format!("/api/v1/clusters/{}", agent.cluster)).await.expect(200);
    assert_eq!(cluster["presence"], "Connected");
    assert_eq!(next().await, "the agent reports progress and finally the result");
}

#[tokio::test]
async fn each_state_that_a_job_enters_is_counted_once() {
    let server = TestServer::with(&["--job-lease", "1ms"]).await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let acked = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    agent.poll(30).await;
    no_content(&agent.ack(&acked).await);
    no_content(&agent.ack(&acked).await);
    let cancel = format!("/api/v1/jobs/{acked}/cancel");
    for _ in 0..2 {
        tenant.client.send(Method::POST, &cancel, None).await.expect(200);
    }
    let lost = tenant.enqueue(&agent.cluster, manifest("db", 1)).await;
    eventually(async || {
        agent.poll(1).await;
        (tenant.job(&lost).await["state"] == "undeliverable").then_some(())
    })
    .await;
    let text = server.metrics().await;
    for (state, count) in
        [("queued", 2), ("leased", 11), ("acked", 1), ("cancelled", 1), ("undeliverable", 1)]
    {
        let line = format!("vworkspace_server_job_transitions_total{{state=\"{state}\"}} {count}");
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}
