//! A job is a request that Flux must have handled: nothing is reported from memory (contract, section 7).

use crate::{
    support::{World, world},
    vwctl::{told, vwctl},
};
use k8s_openapi::{
    api::core::v1::{ResourceQuota, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tokio::task::JoinSet;
use vworkspace_protocol::{
    ConditionStatus, Outcome,
    admin::Job,
    condition::types::{READY, SOURCE_REACHABLE},
};

const DEADLINE: Duration = Duration::from_secs(600);

/// Deploys, waits for the end and gives the job.
async fn deployed(world: &World, instance: Value) -> Job {
    let id = world.deploy(instance, DEADLINE).await;
    world.end_of(&id).await
}

/// The release's annotation for Flux, what Flux handled, and Helm's revision.
async fn looked_at(world: &World, namespace: &str) -> (Option<String>, Option<String>, i64) {
    let release = world.releases(namespace).get("web").await.unwrap();
    let annotations = release.metadata.annotations.unwrap_or_default();
    let status = &release.data["status"];
    (
        annotations.get("reconcile.fluxcd.io/requestedAt").cloned(),
        status["lastHandledReconcileAt"].as_str().map(str::to_owned),
        status["history"][0]["version"].as_i64().unwrap_or_default(),
    )
}

fn services(world: &World, namespace: &str) -> Api<Service> {
    Api::namespaced(world.testbed.admin(), namespace)
}

async fn helm_uninstall(world: &World, namespace: &str) {
    let mut helm = tokio::process::Command::new(world.testbed.helm_path());
    helm.env("KUBECONFIG", world.testbed.kubeconfig()).args(["uninstall", "web", "-n", namespace]);
    let output = helm.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn healthy_release_is_looked_at_once_and_not_upgraded() {
    let world = world().await;
    let namespace = world.namespace().await;
    let instance = world.hello(&namespace, "web", "1.0.0");
    look_again(&world, &namespace, instance).await;
}

#[tokio::test]
async fn healthy_release_from_a_registry_is_looked_at_once_and_not_upgraded() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut instance = world.hello(&namespace, "web", "1.0.0");
    let chart = instance["spec"]["chart"].as_object_mut().unwrap();
    let url = format!("oci://{}/charts", world.testbed.registry());
    chart.extend(
        [("sourceType", json!("oci")), ("url", json!(url)), ("insecure", json!(true))]
            .map(|(k, v)| (k.to_owned(), v)),
    );
    look_again(&world, &namespace, instance).await;
}

async fn look_again(world: &World, namespace: &str, instance: Value) {
    assert_eq!(deployed(world, instance.clone()).await.outcome, Some(Outcome::Succeeded));
    let again = deployed(world, instance).await;
    assert_eq!(again.outcome, Some(Outcome::Succeeded));
    let id = Some(again.id.to_string());
    assert_eq!(looked_at(world, namespace).await, (id.clone(), id, 1));
}

#[tokio::test]
async fn same_deploy_after_helm_uninstall_succeeds_once_flux_has_brought_it_back() {
    let world = world().await;
    let namespace = world.namespace().await;
    let instance = world.hello(&namespace, "web", "1.0.0");
    assert_eq!(deployed(&world, instance.clone()).await.outcome, Some(Outcome::Succeeded));
    helm_uninstall(&world, &namespace).await;
    assert!(services(&world, &namespace).get_opt("web-hello").await.unwrap().is_none());
    assert_eq!(deployed(&world, instance).await.outcome, Some(Outcome::Succeeded));
    services(&world, &namespace).get("web-hello").await.unwrap();
}

/// Packages chart hello in this version into a repository's folder, and writes its index anew.
async fn publish(world: &World, folder: &Path, version: &str) {
    let (chart, folder) = (concat!(env!("CARGO_MANIFEST_DIR"), "/charts/hello"), folder.to_str().unwrap());
    for arguments in
        [&["package", chart, "--version", version, "--destination", folder][..], &["repo", "index", folder]]
    {
        let output =
            tokio::process::Command::new(world.testbed.helm_path()).args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A repository of its own; it ends with the set.
async fn serve(folder: &Path) -> (String, JoinSet<std::io::Result<()>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = axum::Router::new().fallback_service(tower_http::services::ServeDir::new(folder));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await });
    (url, server)
}

/// What was asked for runs, and Flux has looked.
#[tokio::test]
async fn running_application_is_answered_though_its_repository_is_away() {
    let world = world().await;
    let namespace = world.namespace().await;
    let folder = tempfile::tempdir().unwrap();
    publish(&world, folder.path(), "1.0.0").await;
    let (url, server) = serve(folder.path()).await;
    let mut instance = world.hello(&namespace, "web", "1.0.0");
    instance["spec"]["chart"]["url"] = json!(url);
    assert_eq!(deployed(&world, instance.clone()).await.outcome, Some(Outcome::Succeeded));
    drop(server);
    let job = deployed(&world, instance).await;
    assert_eq!(job.outcome, Some(Outcome::Succeeded), "{}", job.error);
    world.until(&namespace, "web", SOURCE_REACHABLE, |reach| reach.status == ConditionStatus::False).await;
}

/// Flux would read the index again within a minute.
#[tokio::test]
async fn version_that_was_published_a_moment_ago_is_found() {
    let world = world().await;
    let namespace = world.namespace().await;
    let folder = tempfile::tempdir().unwrap();
    publish(&world, folder.path(), "1.0.0").await;
    let (url, _server) = serve(folder.path()).await;
    let mut instance = world.hello(&namespace, "web", "1.0.0");
    instance["spec"]["chart"]["url"] = json!(url);
    assert_eq!(deployed(&world, instance.clone()).await.outcome, Some(Outcome::Succeeded));
    publish(&world, folder.path(), "1.0.9").await;
    instance["spec"]["chart"]["version"] = json!("1.0.9");
    let job = deployed(&world, instance.clone()).await;
    assert_eq!(job.outcome, Some(Outcome::Succeeded), "{}", job.error);
    instance["spec"]["chart"]["version"] = json!("9.9.9");
    let job = deployed(&world, instance).await;
    assert!(job.error.starts_with("InvalidChartReference: "), "{}", job.error);
}

/// A quota that forbids the chart's Service.
async fn forbid_services(world: &World, namespace: &str) -> Api<ResourceQuota> {
    let quotas: Api<ResourceQuota> = Api::namespaced(world.testbed.admin(), namespace);
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/services": "0"}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    // The API server enforces a quota once its controller has filled in the status.
    let is_enforced =
        |quota: &ResourceQuota| quota.status.as_ref().is_some_and(|status| status.used.is_some());
    while !is_enforced(&quotas.get("none").await.unwrap()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    quotas
}

#[tokio::test]
async fn same_deploy_after_a_failure_whose_cause_is_gone_is_a_new_try() {
    let world = world().await;
    let namespace = world.namespace().await;
    let quotas = forbid_services(&world, &namespace).await;
    let instance = world.hello(&namespace, "web", "1.0.0");
    for _ in 0..2 {
        let failed = deployed(&world, instance.clone()).await;
        assert_eq!(failed.outcome, Some(Outcome::Failed));
        assert!(failed.error.contains("exceeded quota: none"), "{}", failed.error);
    }
    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    assert_eq!(deployed(&world, instance).await.outcome, Some(Outcome::Succeeded));
    services(&world, &namespace).get("web-hello").await.unwrap();
}

#[tokio::test]
async fn missing_value_fails_the_job_in_helms_words_and_a_correction_heals_it() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut instance = world.hello(&namespace, "web", "1.0.0");
    instance["spec"]["chart"]["name"] = json!("needs");
    let failed = deployed(&world, instance.clone()).await;
    assert_eq!(failed.outcome, Some(Outcome::Failed));
    assert!(failed.error.contains("host is required (the same failure 2 times"), "{}", failed.error);
    instance["spec"]["values"] = json!({"source": "inline", "inline": {"host": "a.example"}});
    assert_eq!(deployed(&world, instance).await.outcome, Some(Outcome::Succeeded));
}

#[tokio::test]
async fn unknown_kind_is_waited_out_for_as_long_as_the_caller_says_and_its_recovery_is_reported() {
    let world = world().await;
    let namespace = world.namespace().await;
    let chart =
        ["--chart-url", world.testbed.charts_url(), "--chart-name", "kindless", "--chart-version", "1.0.0"];
    let place = ["-c", &world.stack.cluster_name, "-n", &namespace, "--wait", "--retry-for", "5s"];
    let failed = vwctl(&world, &[&["app", "deploy", "web"][..], &chart, &place].concat()).await;
    assert_eq!(failed.status.code(), Some(3), "{}", told(&failed));
    // Helm's words come while Flux still tries, and once more at the end.
    assert_eq!(told(&failed).matches("no matches for kind \"Foo\"").count(), 2, "{}", told(&failed));

    // The job is over, Flux tries on.
    let kinds: Api<CustomResourceDefinition> = Api::all(world.testbed.admin());
    let kind = json!({
        "metadata": {"name": "foos.example.org"},
        "spec": {
            "group": "example.org", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    kinds.create(&PostParams::default(), &serde_json::from_value(kind).unwrap()).await.unwrap();
    world.until(&namespace, "web", READY, |ready| ready.status == ConditionStatus::True).await;
    kinds.delete("foos.example.org", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn sync_looks_and_retry_tries_again_without_the_manifest() {
    let world = world().await;
    let namespace = world.namespace().await;
    let target = ["-c", &world.stack.cluster_name, "-n", &namespace, "--wait"];
    let run = async |words: &[&str]| {
        let output = vwctl(&world, &[words, &target].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    };
    assert_eq!(
        deployed(&world, world.hello(&namespace, "web", "1.0.0")).await.outcome,
        Some(Outcome::Succeeded)
    );
    run(&["app", "sync", "web"]).await;
    assert_eq!(looked_at(&world, &namespace).await.2, 1);
    services(&world, &namespace).delete("web-hello", &DeleteParams::default()).await.unwrap();
    run(&["app", "sync", "web", "--force"]).await;
    assert_eq!(looked_at(&world, &namespace).await.2, 2);
    services(&world, &namespace).get("web-hello").await.unwrap();

    let quotas = forbid_services(&world, &namespace).await;
    helm_uninstall(&world, &namespace).await;
    let failed = vwctl(&world, &[&["app", "retry", "web"][..], &target].concat()).await;
    assert!(told(&failed).contains("exceeded quota"), "{}", told(&failed));
    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    run(&["app", "retry", "web"]).await;
    services(&world, &namespace).get("web-hello").await.unwrap();

    let unknown = vwctl(&world, &[&["app", "sync", "nobody"][..], &target].concat()).await;
    assert!(told(&unknown).contains("NotFound: there is no ApplicationInstance"), "{}", told(&unknown));
}

#[tokio::test]
async fn repetition_of_a_key_says_that_it_is_answered_from_the_record() {
    let world = world().await;
    let namespace = world.namespace().await;
    let key = format!("deploy-{namespace}");
    let chart =
        ["--chart-url", world.testbed.charts_url(), "--chart-name", "hello", "--chart-version", "1.0.0"];
    let place = ["-c", &world.stack.cluster_name, "-n", &namespace, "--wait", "--idempotency-key", &key];
    let words = [&["app", "deploy", "web"][..], &chart, &place].concat();
    let first = vwctl(&world, &words).await;
    assert_eq!(first.status.code(), Some(0), "{}", told(&first));
    assert!(!told(&first).contains("record"), "{}", told(&first));
    let second = vwctl(&world, &words).await;
    assert_eq!(second.status.code(), Some(0), "{}", told(&second));
    assert!(told(&second).contains("This key was used before: job "), "{}", told(&second));
}
