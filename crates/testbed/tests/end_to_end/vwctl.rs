//! The command line against the real control plane: data on stdout, talk on stderr, an exit code for scripts.

use crate::support::{World, world};
use serde_json::Value;
use std::{net::TcpListener, os::unix::fs::PermissionsExt as _, process::Output};
use vworkspace_protocol::{
    ConditionStatus,
    condition::types::{INSECURE, READY},
};

/// Runs `vwctl` without holding up the runtime.
pub async fn vwctl(world: &World, arguments: &[&str]) -> Output {
    let mut command = world.stack.vwctl.command();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What a command that went well printed with `-o json`.
async fn json(world: &World, arguments: &[&str]) -> Value {
    let output = vwctl(world, &[arguments, &["-o", "json"]].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn deploy<'a>(world: &'a World, namespace: &'a str, name: &'a str, version: &'a str) -> Vec<&'a str> {
    let chart =
        ["--chart-url", world.testbed.charts_url(), "--chart-name", "hello", "--chart-version", version];
    let place = ["-c", &world.stack.cluster_name, "-n", namespace, "--timeout", "10s", "--wait"];
    [&["app", "deploy", name][..], &chart, &place].concat()
}

#[tokio::test]
async fn an_application_is_deployed_looked_at_and_deleted() {
    let world = world().await;
    let (namespace, cluster) = (world.namespace().await, world.stack.cluster_name.as_str());
    let place = ["-c", cluster, "-n", &namespace];

    let deployed =
        vwctl(&world, &[&deploy(&world, &namespace, "web", "1.0.0")[..], &["-o", "json"]].concat()).await;
    assert_eq!(deployed.status.code(), Some(0), "{}", told(&deployed));
    let job: Value = serde_json::from_slice(&deployed.stdout).unwrap();
    assert_eq!((job["state"].as_str(), job["outcome"].as_str()), (Some("closed"), Some("succeeded")));
    for state in ["queued", "leased", "acked", "closed"] {
        assert!(told(&deployed).contains(state), "{}", told(&deployed));
    }

    world.until(&namespace, "web", READY, |ready| ready.status == ConditionStatus::True).await;
    let listed = json(&world, &[&["app", "list"][..], &place].concat()).await;
    assert_eq!(listed["items"][0]["resourceRef"]["name"], "web", "{listed}");
    let table = vwctl(&world, &[&["app", "get", "web"][..], &place].concat()).await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("HelmReleaseReady"), "{}", told(&table));
    let id = job["id"].as_str().unwrap();
    assert_eq!(json(&world, &["job", "get", id]).await["id"], id);
    let values = vwctl(&world, &[&["app", "values", "web"][..], &place].concat()).await;
    let values = String::from_utf8_lossy(&values.stdout).into_owned();
    assert!(
        values.contains("asked: hello 1.0.0, by job") && values.contains("runs: what was asked"),
        "{values}"
    );
    let again = [&["app", "sync", "web", "--wait"][..], &place].concat();
    assert_eq!(vwctl(&world, &again).await.status.code(), Some(0));
    let values = vwctl(&world, &[&["app", "values", "web"][..], &place].concat()).await;
    assert!(
        String::from_utf8_lossy(&values.stdout).contains("asked: hello 1.0.0, by job"),
        "a sync asks for nothing new"
    );
    assert_eq!(json(&world, &["whoami"]).await["role"], "admin");
    let events = json(&world, &["events", "-c", cluster, "--kind", "ConditionTransition"]).await;
    let is_of_web = |event: &&Value| event["resourceRef"]["namespace"] == *namespace;
    assert!(events["items"].as_array().unwrap().iter().filter(is_of_web).count() > 0, "{events}");
    let jobs = json(&world, &["job", "list", "-c", cluster]).await;
    assert!(jobs["items"].as_array().unwrap().iter().any(|listed| listed["id"] == id));

    let deleted = vwctl(&world, &[&["app", "delete", "web", "--wait"][..], &place].concat()).await;
    assert_eq!(deleted.status.code(), Some(0), "{}", told(&deleted));
    assert!(world.releases(&namespace).get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn a_job_that_was_waited_for_and_failed_exits_with_3_and_says_why() {
    let world = world().await;
    let namespace = world.namespace().await;
    let failed = vwctl(&world, &deploy(&world, &namespace, "stuck", "2.0.0")).await;
    assert_eq!(failed.status.code(), Some(3), "{}", told(&failed));
    assert!(told(&failed).contains("HelmReleaseFailed"), "{}", told(&failed));
}

#[tokio::test]
async fn what_the_cluster_would_refuse_is_refused_before_it_travels() {
    let world = world().await;
    let namespace = world.namespace().await;
    for (name, flags, words) in [
        ("My-App", &[][..], "metadata.name is \"My-App\""),
        ("web", &["--set", "db.password=hunter2"][..], "values.texts[0].db.password looks like a secret"),
        ("web", &["--chart-url", "https://u:hunter2@c.example"][..], "--chart-secret web-chart"),
    ] {
        let url = world.testbed.charts_url();
        let url = if flags.contains(&"--chart-url") { &[][..] } else { &["--chart-url", url][..] };
        let rest = ["--chart-name", "hello", "--chart-version", "1.0.0", "-n", &namespace];
        let place = ["-c", &world.stack.cluster_name];
        let refused =
            vwctl(&world, &[&["app", "deploy", name][..], url, &rest, &place, flags].concat()).await;
        let told = told(&refused);
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains(words) && !told.contains("hunter2"), "{words}: {told}");
    }
    // Whoever knows better sends it all the same; the application carries a warning then.
    let mut trusted = deploy(&world, &namespace, "web", "1.0.0");
    trusted.extend(["--set", "db.password=hunter2", "--no-validate"]);
    let trusted = vwctl(&world, &trusted).await;
    assert_eq!(trusted.status.code(), Some(0), "{}", told(&trusted));
    world.until(&namespace, "web", INSECURE, |insecure| insecure.status == ConditionStatus::True).await;
}

#[tokio::test]
async fn a_cluster_is_made_and_what_its_admin_applies_is_printed() {
    let world = world().await;
    let made = json(&world, &["cluster", "create", "clinic-2", "--org", "acme"]).await;
    let listed = json(&world, &["cluster", "list"]).await;
    assert!(listed["items"].as_array().unwrap().iter().any(|cluster| cluster["id"] == made["id"]));
    let manifest = vwctl(&world, &["cluster", "token", "clinic-2", "--manifest"]).await;
    let text = String::from_utf8_lossy(&manifest.stdout).into_owned();
    for part in ["kind: Cluster", "registrationToken", "vwksp-reg-", "BEGIN CERTIFICATE"] {
        assert!(text.contains(part), "{part} is not in it; {}", told(&manifest));
    }
    assert!(!told(&manifest).contains("vwksp-reg-"), "a token is data, not talk");
}

#[tokio::test]
async fn what_was_handed_out_is_taken_back() {
    let world = world().await;
    let done = async |arguments: &[&str]| {
        let output = vwctl(&world, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    };
    let ids = |page: Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    done(&["org", "create", "leaving"]).await;
    let made = json(&world, &["token", "create", "ci", "--org", "leaving"]).await;
    let token = made["id"].as_str().unwrap();
    assert_eq!(ids(json(&world, &["token", "list", "--org", "leaving"]).await), [token]);
    let last = vwctl(&world, &["token", "revoke", token, "--org", "leaving"]).await;
    assert_eq!(last.status.code(), Some(1));
    assert!(told(&last).contains("--force"), "{}", told(&last));
    done(&["token", "revoke", token, "--org", "leaving", "--force"]).await;
    assert!(ids(json(&world, &["token", "list", "--org", "leaving"]).await).is_empty());

    let cluster = json(&world, &["cluster", "create", "old", "--org", "leaving"]).await;
    let cluster = cluster["id"].as_str().unwrap();
    let open = json(&world, &["cluster", "token", cluster]).await;
    let open = open["id"].as_str().unwrap();
    assert_eq!(ids(json(&world, &["cluster", "tokens", cluster]).await), [open]);
    done(&["cluster", "revoke-token", cluster, open]).await;
    let again = vwctl(&world, &["cluster", "revoke-token", cluster, open]).await;
    assert!(told(&again).contains("no open registration token"), "{}", told(&again));
    assert_eq!(json(&world, &["cluster", "revoke", cluster]).await["presence"], "Unregistered");
    assert!(json(&world, &["cluster", "archive", cluster]).await["archivedAt"].is_string());
    assert!(ids(json(&world, &["cluster", "list", "--org", "leaving"]).await).is_empty());
    assert_eq!(ids(json(&world, &["cluster", "list", "--org", "leaving", "--archived"]).await), [cluster]);

    assert!(json(&world, &["org", "archive", "leaving"]).await["archivedAt"].is_string());
    done(&["org", "create", "leaving"]).await;
}

#[tokio::test]
async fn what_is_not_there_exits_with_1_and_a_control_plane_that_is_away_with_4() {
    let world = world().await;
    let unknown = vwctl(&world, &["cluster", "get", "nowhere"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{}", told(&unknown));
    assert!(told(&unknown).contains("hint"), "{}", told(&unknown));

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = world.stack.vwctl.command();
    command.env("VWCTL_TOKEN", "vwksp-adm-any").args([
        "--server",
        &format!("https://{free}"),
        "cluster",
        "list",
    ]);
    let away = command.output().unwrap();
    assert_eq!(away.status.code(), Some(4), "{}", told(&away));
}

#[tokio::test]
async fn a_stored_token_goes_to_no_other_server() {
    let world = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("https://{}", listener.local_addr().unwrap());
    let refused = vwctl(&world, &["--server", &other, "cluster", "list"]).await;
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "the other server was called");
}

#[tokio::test]
async fn the_login_is_readable_by_its_owner_only() {
    let world = world().await;
    let mode = std::fs::metadata(&world.stack.vwctl.config).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
