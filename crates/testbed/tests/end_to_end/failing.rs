//! No success too early, and failures that name their cause.

use crate::support::{World, world};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, api::PostParams};
use serde_json::json;
use std::time::Duration;
use vworkspace_protocol::{
    ConditionStatus, Outcome,
    condition::types::{READY, SUSPENDED},
};

#[tokio::test]
async fn missing_chart_fails_the_job_at_once_in_its_sources_words() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut instance = world.hello(&namespace, "typo", "1.0.0");
    instance["spec"]["chart"]["name"] = json!("helo");
    let job = world.deploy(instance, Duration::from_secs(600)).await;

    world.until(&namespace, "typo", READY, |c| c.reason == "InvalidChartReference").await;
    let release = world.releases(&namespace).get("typo").await.unwrap();
    assert!(
        !release.data["status"].to_string().contains("invalid chart reference"),
        "Flux's release named it first"
    );

    let job = world.end_of(&job).await;
    assert_eq!(job.outcome, Some(Outcome::Failed));
    assert!(job.error.starts_with("InvalidChartReference: invalid chart reference: "), "{}", job.error);
}

/// The API server answers a typo with a status 500: it must not look like a server in trouble, nor hold up the correction.
#[tokio::test]
async fn a_field_that_the_kind_does_not_have_fails_the_job_at_once_and_names_it() {
    let world = world().await;
    let namespace = world.namespace().await;
    // Of an ApplicationInstance the control plane would refuse it.
    let operation = json!({
        "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Operation",
        "metadata": { "name": "shop", "namespace": namespace }, "spec": { "tpye": "Backup" },
    });
    let job = world.enqueue("apply", operation, Duration::from_secs(600)).await;
    let job = world.end_of(&job).await;
    assert_eq!(job.outcome, Some(Outcome::Failed));
    assert!(job.error.contains(".spec.tpye"), "{}", job.error);
}

#[tokio::test]
async fn pods_that_never_start_fail_the_job_when_the_release_stalls_not_at_its_deadline() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut instance = world.hello(&namespace, "stuck", "2.0.0");
    instance["spec"]["release"]["timeout"] = json!("5s");
    let job = world.deploy(instance, Duration::from_secs(600)).await;
    let job = world.end_of(&job).await;
    assert_eq!(job.outcome, Some(Outcome::Failed));
    assert!(job.error.contains("HelmReleaseFailed"), "{}", job.error);
}

#[tokio::test]
async fn a_suspended_release_is_never_told_as_succeeded() {
    let world = world().await;
    let namespace = world.namespace().await;
    let first = world.deploy(world.hello(&namespace, "web", "1.0.0"), Duration::from_secs(80)).await;
    assert_eq!(world.end_of(&first).await.outcome, Some(Outcome::Succeeded));

    world.patch_release(&namespace, "web", &json!({ "spec": { "suspend": true } })).await;
    world.until(&namespace, "web", SUSPENDED, |c| c.status == ConditionStatus::True).await;
    let upgrade = world.deploy(world.hello(&namespace, "web", "1.1.0"), Duration::from_secs(10)).await;
    let upgrade = world.end_of(&upgrade).await;
    assert_eq!(upgrade.outcome, Some(Outcome::Failed));
    assert!(upgrade.error.contains("Suspended"), "{}", upgrade.error);

    world.patch_release(&namespace, "web", &json!({ "spec": { "suspend": false } })).await;
    world.until(&namespace, "web", READY, |c| c.status == ConditionStatus::True).await;
}

#[tokio::test]
async fn a_later_job_for_the_same_object_overtakes_one_that_waits() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut wrong = world.hello(&namespace, "web", "1.0.0");
    // Nobody listens there: Flux tries for ever.
    wrong["spec"]["chart"]["url"] = json!("http://127.0.0.1:1");
    let waiting = world.deploy(wrong, Duration::from_secs(600)).await;
    world.until(&namespace, "web", READY, |c| c.status == ConditionStatus::False).await;

    let correction = world.deploy(world.hello(&namespace, "web", "1.0.0"), Duration::from_secs(80)).await;
    let waiting = world.end_of(&waiting).await;
    assert_eq!(waiting.outcome, Some(Outcome::Failed));
    assert_eq!(waiting.error, format!("Superseded: by job {correction}"));
    assert_eq!(world.end_of(&correction).await.outcome, Some(Outcome::Succeeded));
}

/// A policy service that is down: the API server answers every write that it is to be asked about with a status 500.
async fn take_down_policy_for_held_objects(world: &World, namespace: &str) {
    let policies: Api<ValidatingWebhookConfiguration> = Api::all(world.testbed.admin());
    let policy = serde_json::from_value(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": format!("down-{namespace}")},
        "webhooks": [{
            "name": "down.test.example",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{
                "apiGroups": ["apps.vworkspace.io"], "apiVersions": ["*"],
                "resources": ["applicationinstances"], "operations": ["CREATE", "UPDATE"],
            }],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "objectSelector": {"matchLabels": {"test.example/policy": "down"}},
            "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 1,
            "admissionReviewVersions": ["v1"],
        }],
    }));
    policies.create(&PostParams::default(), &policy.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_correction_goes_past_a_job_that_the_api_server_does_not_take() {
    let world = world().await;
    let namespace = world.namespace().await;
    take_down_policy_for_held_objects(&world, &namespace).await;
    let mut held = world.hello(&namespace, "web", "1.0.0");
    held["metadata"]["labels"] = json!({"test.example/policy": "down"});
    let held = world.deploy(held, Duration::from_secs(600)).await;
    world.until_job(&held, |job| job.phase == "Applying").await;

    let correction = world.deploy(world.hello(&namespace, "web", "1.0.0"), Duration::from_secs(80)).await;
    let held = world.end_of(&held).await;
    assert_eq!((held.outcome, held.applied_ref), (Some(Outcome::Failed), None));
    let superseded = format!("Superseded: by job {correction}; ");
    assert!(
        held.error.starts_with(&superseded) && held.error.contains("down.test.example"),
        "{}",
        held.error
    );
    assert_eq!(world.end_of(&correction).await.outcome, Some(Outcome::Succeeded));
}
