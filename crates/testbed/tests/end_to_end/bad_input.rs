//! Jobs that cannot be carried out: each ends with its own clear error and disturbs nobody else.

use crate::support::world;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use std::time::Duration;
use vworkspace_protocol::{
    Outcome,
    admin::{EnqueueJob, JobState},
};

const SOON: Duration = Duration::from_secs(60);

/// Runs a job to its end and returns how it ended.
async fn end(kind: &str, payload: Value) -> (Option<Outcome>, String) {
    let world = world().await;
    let id = world.enqueue(kind, payload, SOON).await;
    let job = world.end_of(&id).await;
    assert_eq!(job.state, JobState::Closed);
    (job.outcome, job.error)
}

#[tokio::test]
async fn a_manifest_the_api_server_refuses_fails_with_its_words_and_the_next_job_is_not_held_up() {
    let world = world().await;
    let namespace = world.namespace().await;
    let (outcome, error) = end("apply", world.hello(&namespace, "web", "1.0.0")).await;
    assert_eq!(outcome, Some(Outcome::Succeeded), "{error}");
    let mut refused = world.hello(&namespace, "web", "1.0.0");
    // Only the API server knows what the release was.
    refused["spec"]["release"]["name"] = json!("other");
    let (outcome, error) = end("apply", refused).await;
    assert_eq!(outcome, Some(Outcome::Failed));
    assert!(error.contains("cannot change"), "{error}");

    let job = world.deploy(world.hello(&namespace, "web", "1.0.0"), SOON).await;
    assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));
}

#[tokio::test]
async fn what_the_cluster_would_refuse_is_refused_at_enqueue_by_path() {
    let world = world().await;
    let namespace = world.namespace().await;
    let refused = async |change: fn(&mut Value)| {
        let mut instance = world.hello(&namespace, "web", "1.0.0");
        change(&mut instance["spec"]);
        let payload = json!({ "intent": "ensure-application-instance", "applicationInstance": instance });
        let job = EnqueueJob::new("intent", payload);
        world.client.enqueue_job(&world.stack.cluster, &job).await.unwrap_err().to_string()
    };
    for (change, words) in [
        (
            (|spec| spec["vaules"] = json!({})) as fn(&mut Value),
            "spec.vaules is not a known member; did you mean values?",
        ),
        (|spec| spec["chart"]["version"] = json!(1.1), "spec.chart.version is 1.1 and must be a text"),
        (|spec| spec["release"]["name"] = json!("my.app"), "spec.release.name is \"my.app\""),
        (
            |spec| spec["chart"]["url"] = json!("https://u:hunter2@c.example"),
            "spec.chart.url: chart.url holds credentials",
        ),
    ] {
        let told = refused(change).await;
        assert!(told.contains(words) && !told.contains("hunter2"), "{words}: {told}");
    }
}

#[tokio::test]
async fn a_namespace_its_admin_did_not_open_is_not_touched() {
    let world = world().await;
    let namespace = world.testbed.namespace("closed").await;
    let (outcome, error) = end("apply", world.hello(&namespace, "web", "1.0.0")).await;
    assert_eq!(outcome, Some(Outcome::Failed));
    assert!(error.contains("NamespaceNotGated") && error.contains(&namespace), "{error}");
    assert!(world.releases(&namespace).get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_not_created() {
    let world = world().await;
    let (outcome, error) = end("apply", world.hello("nobody-made-this", "web", "1.0.0")).await;
    assert_eq!(outcome, Some(Outcome::Failed));
    assert!(error.contains("NamespaceNotGated"), "{error}");
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(world.testbed.admin());
    assert!(namespaces.get_opt("nobody-made-this").await.unwrap().is_none());
}

#[tokio::test]
async fn kinds_that_are_not_ours_are_not_applied() {
    let world = world().await;
    let namespace = world.namespace().await;
    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "smuggled", "namespace": namespace }, "data": { "a": "b" },
    });
    let (outcome, error) = end("apply", manifest).await;
    assert_eq!(outcome, Some(Outcome::Failed));
    assert!(error.contains("KindNotAllowed") && error.contains("ConfigMap"), "{error}");
    let maps: Api<ConfigMap> = Api::namespaced(world.testbed.admin(), &namespace);
    assert!(maps.get_opt("smuggled").await.unwrap().is_none());
}

#[tokio::test]
async fn a_field_that_someone_else_owns_is_reported_as_a_conflict_with_manager_and_path() {
    let world = world().await;
    let namespace = world.namespace().await;
    let instances: Api<vworkspace_crds::ApplicationInstance> =
        Api::namespaced(world.testbed.admin(), &namespace);
    let by_hand = world.hello(&namespace, "web", "1.1.0");
    let params = PatchParams::apply("a-person");
    instances.patch("web", &params, &Patch::Apply(&by_hand)).await.unwrap();

    let id = world.deploy(world.hello(&namespace, "web", "1.0.0"), SOON).await;
    let job = world.end_of(&id).await;
    assert_eq!(job.outcome, Some(Outcome::Conflict), "{}", job.error);
    let conflict = job.conflicts.iter().find(|c| c.field_path.contains("version"));
    let conflict = conflict.unwrap_or_else(|| panic!("{:?}", job.conflicts));
    assert_eq!(conflict.manager, "a-person");
    let kept = instances.get("web").await.unwrap();
    assert_eq!(kept.spec.chart.unwrap().version, "1.1.0", "the field was taken by force");
}
