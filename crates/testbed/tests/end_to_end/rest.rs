//! A healthy application over two of Flux's intervals: Flux looks at it again, and we write and report nothing.

use crate::support::{World, world};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::json;
use std::time::Duration;
use vworkspace_protocol::Outcome;

/// Two intervals of a release (five minutes each), and Flux's jitter.
const TWO_INTERVALS: Duration = Duration::from_secs(660);
/// Events of the control plane to look at; there are fewer.
const MOST_EVENTS: usize = 1_000;

/// Everything that we write or report about an application.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    /// Changes with every write to the instance, whoever writes.
    instance: String,
    /// Our own fields of the release, with the time of the last write.
    release: Vec<String>,
    /// Kubernetes Events about the instance, repetitions counted.
    kubernetes_events: i64,
    /// Events that the control plane has of it.
    reported: usize,
}

async fn written(world: &World, namespace: &str, name: &str) -> Written {
    let kind = GroupVersionKind::gvk("apps.vworkspace.io", "v1alpha1", "ApplicationInstance");
    let instances: Api<DynamicObject> =
        Api::namespaced_with(world.testbed.admin(), namespace, &ApiResource::from_gvk(&kind));
    let release = world.releases(namespace).get(name).await.unwrap();
    let ours = |manager: &str| manager.starts_with("vworkspace");
    let managed = release.metadata.managed_fields.unwrap_or_default().into_iter();
    let release = managed.filter(|entry| entry.manager.as_deref().is_some_and(ours));
    let events: Api<Event> = Api::namespaced(world.testbed.admin(), namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let about = events.iter().filter(|event| {
        event.involved_object.kind.as_deref() == Some("ApplicationInstance")
            && event.involved_object.name.as_deref() == Some(name)
    });
    let reported = world.client.events(&world.stack.cluster, "", MOST_EVENTS).await.unwrap().items;
    let reported = reported
        .iter()
        .filter(|event| event.resource_ref.namespace == namespace && event.resource_ref.name == name);
    Written {
        instance: instances.get(name).await.unwrap().metadata.resource_version.unwrap(),
        release: release.map(|entry| format!("{entry:?}")).collect(),
        kubernetes_events: about
            .map(|event| i64::from(event.series.as_ref().and_then(|series| series.count).unwrap_or(1)))
            .sum(),
        reported: reported.count(),
    }
}

#[tokio::test]
#[ignore = "takes eleven minutes; `cargo xtask test --full` runs it"]
async fn healthy_applications_cause_no_write_and_no_report_over_two_intervals() {
    let world = world().await;
    let namespace = world.namespace().await;
    let from_repository = world.hello(&namespace, "web", "1.0.0");
    let mut from_registry = world.hello(&namespace, "api", "1.0.0");
    from_registry["spec"]["chart"] = json!({
        "sourceType": "oci", "url": format!("oci://{}/charts", world.testbed.registry()),
        "name": "hello", "version": "1.0.0", "insecure": true,
    });
    for instance in [from_repository, from_registry] {
        let job = world.deploy(instance, Duration::from_secs(80)).await;
        let job = world.end_of(&job).await;
        assert_eq!(job.outcome, Some(Outcome::Succeeded), "{}", job.error);
    }
    // What was under way when the jobs ended is over by then.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let release = async |name: &str| world.releases(&namespace).get(name).await.unwrap();
    let mut before = Vec::new();
    for name in ["web", "api"] {
        before.push((name, written(&world, &namespace, name).await, release(name).await.metadata));
    }
    tokio::time::sleep(TWO_INTERVALS).await;
    for (name, before, looked_at) in before {
        assert_eq!(written(&world, &namespace, name).await, before, "{name}");
        let now = release(name).await.metadata;
        assert_ne!(now.resource_version, looked_at.resource_version, "Flux never looked at {name}");
        assert_eq!(now.generation, looked_at.generation, "{name}");
    }
}
