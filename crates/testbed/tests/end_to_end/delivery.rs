//! Applications travel from the control plane into the cluster, and the truth travels back.

use crate::support::{deployed, world};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api,
    api::{ListParams, ObjectMeta, PostParams},
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use vworkspace_protocol::{ConditionStatus, Outcome, admin::JobState, condition::types::READY};

const DEADLINE: Duration = Duration::from_secs(80);

#[tokio::test]
async fn a_job_succeeds_only_after_its_release_is_ready_and_its_timeline_tells_the_way() {
    let world = world().await;
    let namespace = world.namespace().await;
    let job = world.deploy(world.hello(&namespace, "web", "1.0.0"), DEADLINE).await;
    let job = world.end_of(&job).await;

    assert_eq!((job.state, job.outcome), (JobState::Closed, Some(Outcome::Succeeded)), "{}", job.error);
    let states: Vec<JobState> = job.timeline.iter().map(|entry| entry.state).collect();
    let mut distinct = states.clone();
    distinct.dedup();
    assert_eq!(
        distinct,
        [JobState::Queued, JobState::Leased, JobState::Acked, JobState::Closed],
        "{states:?}"
    );

    let release = world.releases(&namespace).get("web").await.unwrap();
    let closed = job.timeline.last().unwrap().at;
    assert!(
        deployed(&release, "1.0.0").unwrap() <= closed,
        "closed at {closed}: {:?}",
        release.data["status"]
    );

    let reference = job.applied_ref.unwrap();
    assert_eq!((reference.kind.as_str(), reference.name.as_str()), ("ApplicationInstance", "web"));
    assert!(!reference.uid.is_empty() && reference.generation >= 1);

    let pods: Api<Pod> = Api::namespaced(world.testbed.admin(), &namespace);
    let pods = pods.list(&ListParams::default()).await.unwrap().items;
    let running =
        pods.iter().filter(|p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"));
    assert!(running.count() >= 1);

    let ready = world.until(&namespace, "web", READY, |c| c.status == ConditionStatus::True).await;
    assert_eq!(ready.reason, "HelmReleaseReady");
}

#[tokio::test]
async fn an_application_from_an_oci_registry_becomes_ready_and_is_deleted_again() {
    let world = world().await;
    let namespace = world.namespace().await;
    let mut instance = world.hello(&namespace, "api", "1.0.0");
    instance["spec"]["chart"] = json!({
        "sourceType": "oci", "url": format!("oci://{}/charts", world.testbed.registry()),
        "name": "hello", "version": "1.0.0", "insecure": true,
    });
    let job = world.deploy(instance, DEADLINE).await;
    assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));

    let payload = json!({ "intent": "delete-application-instance", "name": "api", "namespace": namespace });
    let job = world.enqueue("intent", payload, DEADLINE).await;
    let job = world.end_of(&job).await;
    assert_eq!(job.outcome, Some(Outcome::Succeeded), "{}", job.error);
    assert!(
        world.releases(&namespace).get_opt("api").await.unwrap().is_none(),
        "told as gone while it was there"
    );
}

#[tokio::test]
async fn an_upgrade_succeeds_with_the_new_version_and_not_with_the_old_ones_ready() {
    let world = world().await;
    let namespace = world.namespace().await;
    let first = world.deploy(world.hello(&namespace, "web", "1.0.0"), DEADLINE).await;
    assert_eq!(world.end_of(&first).await.outcome, Some(Outcome::Succeeded));

    let second = world.deploy(world.hello(&namespace, "web", "1.1.0"), DEADLINE).await;
    let second = world.end_of(&second).await;
    assert_eq!(second.outcome, Some(Outcome::Succeeded), "{}", second.error);
    let release = world.releases(&namespace).get("web").await.unwrap();
    assert!(deployed(&release, "1.1.0").unwrap() <= second.timeline.last().unwrap().at);
}

#[tokio::test]
async fn values_come_from_a_secret_that_is_referenced_and_never_copied() {
    let world = world().await;
    let namespace = world.namespace().await;
    let secrets: Api<Secret> = Api::namespaced(world.testbed.admin(), &namespace);
    let secret = Secret {
        metadata: ObjectMeta { name: Some("web-values".into()), ..ObjectMeta::default() },
        string_data: Some(BTreeMap::from([("values.yaml".into(), "replicas: 2\n".into())])),
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let mut instance = world.hello(&namespace, "web", "1.0.0");
    instance["spec"]["values"] =
        json!({ "source": "secretRef", "secretRef": { "name": "web-values", "key": "values.yaml" } });

    let job = world.deploy(instance, DEADLINE).await;
    let job = world.end_of(&job).await;
    assert_eq!(job.outcome, Some(Outcome::Succeeded), "{}", job.error);
    let release = world.releases(&namespace).get("web").await.unwrap();
    assert_eq!(release.data["spec"]["valuesFrom"][0]["name"], "web-values");
    assert!(release.data["spec"]["values"].is_null());
}

#[tokio::test]
async fn an_instance_made_by_hand_in_an_open_namespace_is_reconciled_and_reported_too() {
    let world = world().await;
    let namespace = world.namespace().await;
    let instances: Api<vworkspace_crds::ApplicationInstance> =
        Api::namespaced(world.testbed.admin(), &namespace);
    let instance = serde_json::from_value(world.hello(&namespace, "manual", "1.0.0")).unwrap();
    instances.create(&PostParams::default(), &instance).await.unwrap();
    world.until(&namespace, "manual", READY, |c| c.status == ConditionStatus::True).await;

    instances.delete("manual", &Default::default()).await.unwrap();
    world.until_forgotten(&namespace, "manual").await;
    assert!(
        world.releases(&namespace).get_opt("manual").await.unwrap().is_none(),
        "told as gone while it was there"
    );
}
