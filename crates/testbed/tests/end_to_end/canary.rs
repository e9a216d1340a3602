//! A secret in every spelling on every failing path: it is nowhere afterwards but where its user put it, and in the words of
//! the programs that said it first.

use crate::{
    support::{World, world},
    vwctl::{deploy, told, vwctl},
};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::json;
use std::{fs, path::Path};

/// The secret, the same in base64 of `user:secret`, and percent-encoded.
const SECRET: &str = "c4nary-s3cret";
const PAIR: &str = "dXNlcjpjNG5hcnktczNjcmV0";
const ENCODED: &str = "%634nary%2Ds3cret";

/// How a program may quote it. That of a path is not among them: nothing tells it from another path.
const SPELLINGS: [(&str, &str); 6] = [
    ("userinfo", "https://user:c4nary-s3cret@db.example/x"),
    ("percent-encoded", "https://user:%634nary%2Ds3cret@db.example/x"),
    ("query", "https://db.example/x?private_token=c4nary-s3cret"),
    ("fragment", "https://db.example/x#access_token=c4nary-s3cret"),
    ("header", "with Authorization: Bearer c4nary-s3cret"),
    ("base64", "with Authorization: Basic dXNlcjpjNG5hcnktczNjcmV0"),
];

/// Holds no spelling of it.
fn is_clean(bytes: &[u8]) -> bool {
    [SECRET, PAIR, ENCODED]
        .iter()
        .all(|secret| !bytes.windows(secret.len()).any(|part| part == secret.as_bytes()))
}

fn assert_clean(place: &str, bytes: &[u8]) {
    assert!(is_clean(bytes), "{place} holds the secret: {}", String::from_utf8_lossy(bytes));
}

#[tokio::test]
async fn secret_that_a_failure_quotes_stays_where_its_user_put_it() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut jobs = Vec::new();
    for (spelling, url) in SPELLINGS {
        jobs.extend(values_fail(&world, &namespace, spelling, url).await);
        if url.starts_with("https://") && spelling != "fragment" {
            address_is_refused(&world, &namespace, url).await;
        }
    }
    objects_are_clean(&world, &namespace).await;
    let place = ["-c", &world.stack.cluster_name];
    for arguments in
        [&["app", "list"][..], &["events", "--limit", "1000"], &["job", "list", "--limit", "200"]]
    {
        let printed = vwctl(&world, &[arguments, &place, &["-o", "json"]].concat()).await;
        assert!(printed.status.success(), "{}", told(&printed));
        assert_clean("vwctl", &printed.stdout);
    }
    for id in jobs {
        let printed = vwctl(&world, &["job", "get", &id, "-o", "json"]).await;
        assert_clean("vwctl job get", &printed.stdout);
    }
    files_are_clean(&world.stack.server.data());
    assert_clean("the operator's log", world.stack.operator.whole_log().unwrap().as_bytes());
    assert_clean("the server's log", world.stack.server.whole_log().unwrap().as_bytes());
}

/// A chart that quotes a value when it fails; the value comes from the user's Secret. Answers the job's id.
async fn values_fail(world: &World, namespace: &str, name: &str, url: &str) -> Option<String> {
    let secrets: Api<Secret> = Api::namespaced(world.testbed.admin(), namespace);
    let secret =
        json!({"metadata": {"name": name}, "stringData": {"values.yaml": json!({"url": url}).to_string()}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let values = format!("{name}/values.yaml");
    let mut command = deploy(world, namespace, name, "1.0.0");
    // The chart's name.
    let chart = command.iter().position(|argument| *argument == "hello").unwrap();
    command[chart] = "leaky";
    let failed =
        vwctl(world, &[&command[..], &["--values-secret", &values, "--deadline", "80s"]].concat()).await;
    assert_eq!(failed.status.code(), Some(3), "{}", told(&failed));
    assert!(told(&failed).contains("cannot reach"), "{name}: {}", told(&failed));
    assert_clean(name, &failed.stderr);
    assert_clean(name, &failed.stdout);
    let text = told(&failed);
    text.lines()
        .find_map(|line| line.strip_prefix("Following job ")?.split_once(';'))
        .map(|(id, _)| id.to_owned())
}

/// The address of a chart: refused by the command line, and by the control plane where another client sends it.
async fn address_is_refused(world: &World, namespace: &str, url: &str) {
    let mut command = deploy(world, namespace, "web", "1.0.0");
    let place = command.iter().position(|argument| *argument == world.testbed.charts_url()).unwrap();
    command[place] = url;
    let refused = vwctl(world, &command).await;
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert_clean("the refusal of the command line", &refused.stderr);
    let mut instance = world.hello(namespace, "web", "1.0.0");
    instance["spec"]["chart"]["url"] = json!(url);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.json");
    fs::write(&file, json!({"kind": "apply", "payload": instance}).to_string()).unwrap();
    let job = ["job", "create", "-c", &world.stack.cluster_name, "--file", file.to_str().unwrap()];
    let refused = vwctl(world, &job).await;
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert_clean("the refusal of the control plane", &refused.stderr);
}

/// What we write in the cluster: instances, Events, and our Secrets. Flux's own objects say what Helm said.
async fn objects_are_clean(world: &World, namespace: &str) {
    let kind = GroupVersionKind::gvk("apps.vworkspace.io", "v1alpha1", "ApplicationInstance");
    let instances: Api<DynamicObject> =
        Api::namespaced_with(world.testbed.admin(), namespace, &ApiResource::from_gvk(&kind));
    let instances = instances.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(instances.len(), SPELLINGS.len());
    assert_clean("an instance", &serde_json::to_vec(&instances).unwrap());
    let events: Api<Event> = Api::namespaced(world.testbed.admin(), namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let ours: Vec<&Event> = events
        .iter()
        .filter(|event| event.involved_object.kind.as_deref() == Some("ApplicationInstance"))
        .collect();
    assert!(!ours.is_empty());
    assert_clean("an Event", &serde_json::to_vec(&ours).unwrap());
    let own: Api<Secret> = Api::namespaced(world.testbed.admin(), "vworkspace-system");
    for secret in own.list(&ListParams::default()).await.unwrap().items {
        for (key, bytes) in secret.data.unwrap_or_default() {
            assert_clean(&key, &bytes.0);
        }
    }
}

/// The database, with what is not written back yet.
fn files_are_clean(folder: &Path) {
    let mut looked_at = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert_clean(&path.display().to_string(), &fs::read(&path).unwrap());
            looked_at += 1;
        }
    }
    assert!(looked_at > 0);
}
