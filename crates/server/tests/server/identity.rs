//! Two agents under one identity: which one is served, what the other hears, and how a person decides.

use crate::{
    at_a_time::{Run, TimedServer},
    support::{eventually, manifest},
};
use serde_json::{Value, json};
use vworkspace_protocol::ClusterId;
use vworkspace_server::background::flush_sightings;

/// The agent that was there first, and its copy.
async fn two_runs<'s>(server: &'s TimedServer) -> (Run<'s>, Run<'s>) {
    let credential = server.register().await;
    let first = Run::new(server, "first", &credential, "192.0.2.1");
    let copy = Run::new(server, "copy", &credential, "192.0.2.2");
    (first, copy)
}

async fn make_conflict(first: &Run<'_>, copy: &Run<'_>) {
    for run in [first, copy, first, copy] {
        assert_eq!(run.poll(0).await.status, 200, "{}", run.session);
    }
    first.server.pass(5);
    for run in [copy, first] {
        assert_eq!(run.poll(0).await.status, 200, "{}", run.session);
    }
}

fn heartbeat() -> Value {
    let resource = json!({ "apiVersion": "operator.vworkspace.io/v1alpha1", "kind": "Cluster", "name": "c" });
    json!({ "events": [{ "eventKey": "", "kind": "ClusterHeartbeat", "resourceRef": resource,
                         "operatorVersion": "6.6.6", "conditions": [] }] })
}

#[tokio::test]
async fn former_session_keeps_the_jobs_in_a_conflict() {
    let server = TimedServer::new().await;
    let (first, copy) = two_runs(&server).await;
    make_conflict(&first, &copy).await;
    let jobs = [server.enqueue(manifest("a", 1)).await, server.enqueue(manifest("b", 1)).await];
    let refused = copy.poll(0).await.refused(409, "identity_conflict");
    assert_eq!(
        (&refused.headers["retry-after"], refused.text.contains("vwctl cluster keep")),
        (&"30".parse().unwrap(), true)
    );
    assert_eq!(first.jobs().await, jobs);
    for job in &jobs {
        assert_eq!(first.post(&format!("jobs/{job}/ack"), json!({})).await.status, 204);
    }
    for _ in 0..20 {
        server.pass(30);
        copy.poll(0).await.refused(409, "identity_conflict");
        assert!(first.jobs().await.is_empty());
    }
    for job in &jobs {
        let leases = server.read(&format!("/api/v1/jobs/{job}")).await["timeline"].clone();
        let leases = leases.as_array().unwrap().iter().filter(|entry| entry["state"] == "leased").count();
        assert_eq!(leases, 1);
    }
}

#[tokio::test]
async fn refusal_in_a_conflict_names_the_whole_command() {
    let server = TimedServer::new().await;
    let (first, copy) = two_runs(&server).await;
    make_conflict(&first, &copy).await;
    let command =
        |session: &str| format!("`vwctl cluster keep --cluster {} --session {session}`", server.cluster);
    for refused in [copy.poll(0).await, copy.post("events", heartbeat()).await] {
        let refused = refused.refused(409, "identity_conflict");
        assert!(refused.text.contains(&command(copy.session)), "{}", refused.text);
    }
    let refused = copy.post("credentials/rotate", json!({})).await.refused(409, "identity_conflict");
    assert!(refused.text.contains(&command("SESSION")), "{}", refused.text);
}

#[tokio::test]
async fn later_session_finishes_its_jobs_and_changes_no_record() {
    let server = TimedServer::new().await;
    let (first, copy) = two_runs(&server).await;
    assert!(first.jobs().await.is_empty());
    let job = server.enqueue(manifest("web", 1)).await;
    assert_eq!(copy.jobs().await, std::slice::from_ref(&job), "a new session is served at once");
    make_conflict(&first, &copy).await;
    copy.post("events", heartbeat()).await.refused(409, "identity_conflict");
    copy.post("cluster/decommission", json!({})).await.refused(409, "identity_conflict");
    assert_ne!(server.record().await["operatorVersion"], "6.6.6");
    assert_eq!(first.post("events", heartbeat()).await.status, 204);
    assert_eq!(server.record().await["operatorVersion"], "6.6.6");
    let path = |verb: &str| format!("jobs/{job}/{verb}");
    assert_eq!(copy.post(&path("ack"), json!({})).await.status, 204);
    assert_eq!(copy.post(&path("status"), json!({ "phase": "Applying" })).await.status, 204);
    assert!(first.jobs().await.is_empty(), "one that has a job goes on with it");
    assert_eq!(copy.post(&path("result"), json!({ "outcome": "succeeded" })).await.status, 204);
    assert_eq!(server.read(&format!("/api/v1/jobs/{job}")).await["outcome"], "succeeded");
}

#[tokio::test]
async fn neither_session_rotates_or_registers_again_in_conflict() {
    let server = TimedServer::new().await;
    let (first, copy) = two_runs(&server).await;
    make_conflict(&first, &copy).await;
    for run in [&first, &copy] {
        run.post("credentials/rotate", json!({})).await.refused(409, "identity_conflict");
    }
    flush_sightings(server.app.clone()).await;
    let again = json!({ "registrationToken": server.registration_token, "registrationId": "r" });
    copy.post("register", again).await.refused(409, "identity_conflict");
    let new = json!({ "registrationToken": server.new_token().await, "registrationId": "n" });
    assert_eq!(copy.post("register", new).await.status, 200, "an admin's new token decides");
    assert_eq!(server.record().await.get("identityConflict"), None);
}

#[tokio::test]
async fn conflict_is_shown_with_both_sessions_and_addresses() {
    let server = TimedServer::new().await;
    let (first, copy) = two_runs(&server).await;
    make_conflict(&first, &copy).await;
    let record = server.record().await;
    let conflict = &record["identityConflict"];
    assert_eq!(
        (&conflict["served"]["session"], &conflict["served"]["address"]),
        (&json!("first"), &json!("192.0.2.1"))
    );
    assert_eq!(conflict["refused"][0]["session"], "copy");
    assert_eq!(conflict["refused"][0]["address"], "192.0.2.2");
    assert_eq!(conflict["since"], record["asOf"]);
    let conditions = record["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|condition| condition["type"] == "IdentityConflict").unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("TwoSessions")));
    flush_sightings(server.app.clone()).await;
    flush_sightings(server.app.clone()).await;
    let events =
        server.read(&format!("/api/v1/clusters/{}/events?kind=IdentityConflict", server.cluster)).await;
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "written once: {events}");
    let message = events["items"][0]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("first from 192.0.2.1") && message.contains("copy from 192.0.2.2"), "{message}");
    let metrics = server.app.metrics_text().unwrap();
    let line = format!(
        "vworkspace_server_identity_conflict_since_seconds{{cluster=\"{}\",served_session=\"first\",\
         served_address=\"192.0.2.1\",refused_session=\"copy\",refused_address=\"192.0.2.2\"}} 1800000005",
        server.cluster
    );
    assert!(metrics.contains(&line), "{line} in\n{metrics}");
}

#[tokio::test]
async fn restart_and_late_calls_are_no_conflict() {
    let server = TimedServer::new().await;
    let (first, next) = two_runs(&server).await;
    first.poll(0).await.expect(200);
    next.poll(0).await.expect(200);
    // A leader that was paused: its calls under way, a poll among them, and then what it had queued.
    assert_eq!(first.poll(0).await.status, 200);
    for _ in 0..10 {
        server.pass(10);
        assert_eq!(first.post("events", heartbeat()).await.status, 204);
        assert_eq!(next.poll(0).await.status, 200);
    }
    assert_eq!(server.record().await.get("identityConflict"), None);
    assert_eq!(next.post("credentials/rotate", json!({})).await.status, 200);
}

#[tokio::test]
async fn late_poll_of_an_operator_that_ended_is_no_conflict() {
    let server = TimedServer::new().await;
    let (living, ended) = two_runs(&server).await;
    for run in [&living, &ended, &living, &ended] {
        run.poll(0).await.expect(200);
    }
    for _ in 0..10 {
        server.pass(10);
        assert_eq!(living.poll(0).await.status, 200);
    }
    assert_eq!(server.record().await.get("identityConflict"), None);
    assert_eq!(living.post("credentials/rotate", json!({})).await.status, 200);
}

#[tokio::test]
async fn open_poll_of_the_later_session_ends_at_the_proof() {
    let server = TimedServer::new().await;
    let (first, copy) = two_runs(&server).await;
    for run in [&first, &copy, &first, &copy] {
        run.poll(0).await.expect(200);
    }
    server.pass(5);
    let mut open = Box::pin(copy.poll(300));
    let cluster = ClusterId::new(server.cluster.as_str());
    tokio::select! {
        answer = &mut open => panic!("nothing to answer yet: {answer:?}"),
        () = eventually(async || server.app.polls.is_waiting(&cluster).then_some(())) => {}
    }
    first.poll(0).await.expect(200);
    let job = server.enqueue(manifest("web", 1)).await;
    open.await.refused(409, "identity_conflict");
    assert_eq!(first.jobs().await, [job]);
    // The next one is held, so that it does not spin.
    let mut held = Box::pin(copy.poll(20));
    assert!(futures::poll!(&mut held).is_pending());
    server.pass(19);
    assert!(futures::poll!(&mut held).is_pending());
    server.pass(1);
    held.await.refused(409, "identity_conflict");
}

#[tokio::test]
async fn kept_session_alone_goes_on_and_gets_a_new_credential() {
    let server = TimedServer::new().await;
    let (first, mut copy) = two_runs(&server).await;
    make_conflict(&first, &copy).await;
    copy.poll(0).await.refused(409, "identity_conflict");
    let unused = server.new_token().await;
    let path = format!("/api/v1/clusters/{}/keep-session", server.cluster);
    server.admin(&path, json!({ "session": "nobody" })).await.refused(400, "invalid_request");
    // The copy is the right one: the first was restored from a backup of it.
    let kept = server.admin(&path, json!({ "session": "copy" })).await.expect(200);
    assert_eq!((kept.get("identityConflict"), &kept["keptSession"]["session"]), (None, &json!("copy")));
    first.poll(0).await.refused(401, "unauthenticated");
    first.post("credentials/rotate", json!({})).await.refused(401, "unauthenticated");
    assert_eq!(server.record().await["keptSession"]["refused"]["session"], "first");
    for (token, id) in [(&server.registration_token, "r"), (&unused, "n")] {
        let body = json!({ "registrationToken": token, "registrationId": id });
        first.post("register", body).await.refused(401, "token_consumed");
    }
    let answer = copy.poll(0).await.expect(200);
    assert_eq!(answer["jobs"][0]["payload"]["intent"], "rotate-operator-credentials");
    let rotated = copy.post("credentials/rotate", json!({})).await.expect(200);
    first.poll(0).await.refused(401, "unauthenticated");
    assert_eq!(copy.poll(0).await.status, 200, "the old one works for it until the new one is used");
    copy.credential = rotated["token"].as_str().unwrap().to_owned();
    assert_eq!(copy.poll(0).await.status, 200);
    assert_eq!(server.record().await.get("keptSession"), None);
    first.poll(0).await.refused(401, "unauthenticated");
    let restarted = Run::new(&server, "restarted", &copy.credential, "192.0.2.2");
    assert_eq!(restarted.poll(0).await.status, 200);
}

#[tokio::test]
async fn conflict_ends_when_one_session_is_left() {
    let server = TimedServer::new().await;
    let (first, copy) = two_runs(&server).await;
    make_conflict(&first, &copy).await;
    for _ in 0..20 {
        server.pass(30);
        first.poll(0).await.expect(200);
    }
    assert_eq!(server.record().await.get("identityConflict"), None);
    assert_eq!(first.post("credentials/rotate", json!({})).await.status, 200);
    flush_sightings(server.app.clone()).await;
    let events =
        server.read(&format!("/api/v1/clusters/{}/events?kind=IdentityConflict", server.cluster)).await;
    assert_eq!(events["items"][0]["conditions"][0]["status"], "False");
    let metrics = server.app.metrics_text().unwrap();
    assert!(!metrics.contains("served_session=") && metrics.contains("identity_conflicts_begun_total 1"));
}
