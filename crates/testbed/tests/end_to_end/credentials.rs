//! A canary: one secret, given in every way in which people give it. It is found nowhere but in the Secret they made.

use crate::{
    support::{World, world},
    vwctl::{told, vwctl},
};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};
use vworkspace_protocol::{Outcome, admin::EnqueueJob};
use vworkspace_testbed::PrivateCharts;

const CANARY: &str = "kanarie-4711-Zx";
/// `reader:kanarie-4711-Zx`, as a header has it.
const ENCODED: &str = "cmVhZGVyOmthbmFyaWUtNDcxMS1aeA";

/// Ways to write it into an address.
fn addresses() -> [String; 5] {
    [
        format!("https://reader:{CANARY}@charts.example/stable"),
        format!("https://reader%3A{CANARY}%40charts.example/stable"),
        format!("https://charts.example/stable?private_token={CANARY}"),
        format!("https://charts.example/stable#access_token={CANARY}"),
        format!("https://{ENCODED}@charts.example/stable"),
    ]
}

/// Everything that anybody may read, but the Secret itself.
async fn seen(world: &World, namespace: &str) -> Vec<(String, Vec<u8>)> {
    let mut seen = vec![("the operator's log".to_owned(), world.stack.operator.log().into_bytes())];
    for folder in [world.stack.server.data(), world.stack.server.data().parent().unwrap().to_owned()] {
        seen.extend(files(&folder));
    }
    let jobs = vwctl(world, &["job", "list", "-c", &world.stack.cluster_name, "-o", "json"]).await;
    seen.push(("vwctl".to_owned(), jobs.stdout));
    let kinds = [
        ("apps.vworkspace.io", "v1alpha1", "ApplicationInstance"),
        ("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
        ("source.toolkit.fluxcd.io", "v1", "HelmRepository"),
        ("source.toolkit.fluxcd.io", "v1", "HelmChart"),
    ];
    for (group, version, kind) in kinds {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(world.testbed.admin(), namespace, &resource);
        let objects = api.list(&ListParams::default()).await.unwrap();
        seen.push((kind.to_owned(), serde_json::to_vec(&objects.items).unwrap()));
    }
    let events: Api<Event> = Api::namespaced(world.testbed.admin(), namespace);
    let events = events.list(&ListParams::default()).await.unwrap();
    seen.push(("Events".to_owned(), serde_json::to_vec(&events.items).unwrap()));
    seen
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = entries.filter(|path| path.is_file());
    read.filter_map(|path| Some((path.display().to_string(), fs::read(&path).ok()?))).collect()
}

fn holds(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}

#[tokio::test]
async fn password_is_found_nowhere_but_in_the_secret_that_holds_it() {
    let world = world().await;
    let namespace = world.namespace().await;
    let private = world.testbed.private_charts().unwrap();
    let chart = |url: &str, secret: bool| {
        let mut instance = world.hello(&namespace, "web", "1.0.0");
        instance["spec"]["chart"]["url"] = json!(url);
        if secret {
            instance["spec"]["chart"]["secretRef"] = json!({ "name": "source" });
        }
        instance
    };
    let intent = |instance: Value| {
        let payload = json!({ "intent": "ensure-application-instance", "applicationInstance": instance });
        EnqueueJob::new("intent", payload)
    };

    // As it should be given, and wrong.
    let data = json!({ "username": PrivateCharts::USER, "password": CANARY, "ca.crt": private.ca });
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "source" }, "stringData": data })).unwrap();
    let secrets: Api<Secret> = Api::namespaced(world.testbed.admin(), &namespace);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let url = format!("https://{}/stable", private.address);
    let job = world.deploy(chart(&url, true), Duration::from_secs(6)).await;
    let job = world.end_of(&job).await;
    assert_eq!(job.outcome, Some(Outcome::Failed));
    assert!(job.error.contains("401 Unauthorized"), "{}", job.error);

    // As people give it all the same.
    for url in addresses() {
        let refused = world.client.enqueue_job(&world.stack.cluster, &intent(chart(&url, false))).await;
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("spec.chart.url") && !words.contains(CANARY), "{words}");
        let flags = ["--chart-url", &url, "--chart-name", "hello", "--chart-version", "1.0.0"];
        let place = ["-c", &world.stack.cluster_name, "-n", &namespace, "--no-validate"];
        let refused = vwctl(&world, &[&["app", "deploy", "web"][..], &flags, &place].concat()).await;
        let words = told(&refused);
        assert_eq!(refused.status.code(), Some(2), "{words}");
        assert!(!words.contains(CANARY) && !words.contains(ENCODED), "{words}");
    }
    for (place, bytes) in seen(&world, &namespace).await {
        for spelling in [CANARY, ENCODED] {
            assert!(!holds(&bytes, spelling), "{spelling} stands in {place}");
        }
    }
}
