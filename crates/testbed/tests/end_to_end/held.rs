//! What was asked is what is held: what other field managers do about it shows in the job.

use crate::support::world;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use std::time::Duration;
use vworkspace_crds::ApplicationInstance;
use vworkspace_protocol::{ConditionStatus, Outcome, outcome::FieldConflict};

const SOON: Duration = Duration::from_secs(60);
/// Enough to see that a job does not succeed.
const SHORT: Duration = Duration::from_secs(8);

fn with_values(mut instance: Value, values: &Value) -> Value {
    instance["spec"]["values"] = json!({"source": "inline", "inline": values});
    instance
}

fn kubectl() -> PatchParams {
    PatchParams { field_manager: Some("kubectl-patch".to_owned()), ..PatchParams::default() }
}

#[tokio::test]
async fn same_deploy_does_not_succeed_while_a_foreign_value_runs() {
    let world = world().await;
    let namespace = world.namespace().await;
    let asked = with_values(world.hello(&namespace, "web", "1.0.0"), &json!({"replicas": 1}));
    let job = world.deploy(asked.clone(), SOON).await;
    assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));

    let patch = |color: Value| Patch::Merge(json!({"spec": {"values": {"color": color}}}));
    let releases = world.releases(&namespace);
    releases.patch("web", &kubectl(), &patch(json!("red"))).await.unwrap();
    let is_true = |condition: &vworkspace_protocol::Condition| condition.status == ConditionStatus::True;
    world.until(&namespace, "web", "Drifted", is_true).await;
    let job = world.end_of(&world.deploy(asked.clone(), SHORT).await).await;
    assert_eq!(job.outcome, Some(Outcome::Failed));
    let named =
        [".spec.values.color", "kubectl-patch", "Drifted"].iter().all(|word| job.error.contains(word));
    assert!(named, "{}", job.error);
    let kept = releases.get("web").await.unwrap();
    assert_eq!(kept.data["spec"]["values"], json!({"replicas": 1, "color": "red"}));

    releases.patch("web", &kubectl(), &patch(Value::Null)).await.unwrap();
    let job = world.end_of(&world.deploy(asked, SOON).await).await;
    assert_eq!(job.outcome, Some(Outcome::Succeeded), "{}", job.error);
}

#[tokio::test]
async fn job_conflicts_with_a_value_that_somebody_added_to_the_instance() {
    let world = world().await;
    let namespace = world.namespace().await;
    let asked = |values: &Value| with_values(world.hello(&namespace, "web", "1.0.0"), values);
    let job = world.deploy(asked(&json!({"env": "a"})), SOON).await;
    assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));
    let instances: Api<ApplicationInstance> = Api::namespaced(world.testbed.admin(), &namespace);
    let added = Patch::Merge(json!({"spec": {"values": {"inline": {"replicas": 1}}}}));
    instances.patch("web", &kubectl(), &added).await.unwrap();

    let job = world.end_of(&world.deploy(asked(&json!({"env": "b"})), SOON).await).await;
    assert_eq!(job.outcome, Some(Outcome::Conflict), "{}", job.error);
    let is_named = |conflict: &FieldConflict| {
        conflict.manager == "kubectl-patch" && conflict.field_path.starts_with(".spec.values.inline")
    };
    assert!(job.conflicts.iter().any(is_named), "{:?}", job.conflicts);
    let kept = instances.get("web").await.unwrap().spec.values.and_then(|values| values.inline);
    assert_eq!(kept.map(Value::from), Some(json!({"env": "a", "replicas": 1})));
}

#[tokio::test]
async fn metadata_that_no_job_may_set_fails_by_path_and_makes_nothing() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut held = world.hello(&namespace, "web", "1.0.0");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let job = world.end_of(&world.deploy(held, SOON).await).await;
    assert_eq!(job.outcome, Some(Outcome::Failed));
    assert!(job.error.starts_with("metadata.finalizers[0] cannot be set by a job"), "{}", job.error);
    let instances: Api<ApplicationInstance> = Api::namespaced(world.testbed.admin(), &namespace);
    assert!(instances.get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn job_that_takes_values_from_a_secret_names_who_holds_inline_ones() {
    let world = world().await;
    let namespace = world.namespace().await;
    let inline = with_values(world.hello(&namespace, "web", "1.0.0"), &json!({"env": "a"}));
    let job = world.deploy(inline, SOON).await;
    assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));
    let instances: Api<ApplicationInstance> = Api::namespaced(world.testbed.admin(), &namespace);
    let added = Patch::Merge(json!({"spec": {"values": {"inline": {"color": "red"}}}}));
    instances.patch("web", &kubectl(), &added).await.unwrap();

    let mut asked = world.hello(&namespace, "web", "1.0.0");
    asked["spec"]["values"] =
        json!({"source": "secretRef", "secretRef": {"name": "own", "key": "values.yaml"}});
    let job = world.end_of(&world.deploy(asked, SOON).await).await;
    assert_eq!(job.outcome, Some(Outcome::Conflict), "{}", job.error);
    let is_named = |conflict: &FieldConflict| {
        conflict.manager == "kubectl-patch" && conflict.field_path.starts_with(".spec.values.inline")
    };
    assert!(job.conflicts.iter().any(is_named), "{:?}", job.conflicts);
}
