//! What wakes the reconciler, apart from its own timer.
//!
//! ```text
//!   ApplicationInstance, cluster-wide ───────────────► store ──┐
//!   per open namespace: HelmRelease, HelmChart,                ├──► queue of references ──► reconcile
//!   HelmRepository, OCIRepository (metadata only) ─────────────┤
//!   Secrets and ConfigMaps that specs name (same) ────────────┘
//! ```
//!
//! None of the Flux objects is cached: an event only says which instance to look at, and the reconciler reads afresh.

use super::{
    build::source_name, dereference::helm_chart_name, own_writes::OwnWrites, retry::Failures,
    status::object_ref, values::ValuesWatches,
};
use crate::{
    flux::written::FluxKind,
    guarded::{Guarded, Unreadable},
    steady_watch::steady,
};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    core::{DynamicObject, PartialObjectMeta},
    runtime::{
        Predicate as _, WatchStreamExt as _, predicates,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::mpsc;
use vworkspace_crds::{ApplicationInstance, key};

/// A reference to an instance to look at.
pub(super) type Wake = ObjectRef<ApplicationInstance>;

/// Most references that wait for the reconciler; when it is full, the watches wait. References to one instance fold
/// into one reconcile behind it.
pub(super) const WAKES: usize = 1_024;

/// References to our own objects, as they change; keeps the store filled.
///
/// An object that cannot be understood is told and skipped: it does not stall the others. Our own status writes do
/// not come back as changes.
pub(super) fn instances(
    client: Client,
    writer: Writer<ApplicationInstance>,
    reporter: crate::report::Reporter,
    kept: Kept,
) -> impl Stream<Item = Wake> + Send {
    let api = Api::<Guarded<ApplicationInstance>>::all(client);
    let changed = predicates::generation
        .combine(predicates::labels)
        .combine(predicates::annotations)
        .combine(predicates::finalizers);
    steady("ApplicationInstances", watcher(api, watcher::Config::default()))
        .try_filter_map(|event| future::ready(Ok(understood(event))))
        .reflect(writer)
        .inspect_ok(move |event| handle_end(event, &reporter, &kept))
        .touched_objects()
        .predicate_filter(changed, Default::default())
        .filter_map(|instance| future::ready(instance.ok()))
        .map(|instance| ObjectRef::from_obj(&instance))
}

fn understood(event: Event<Guarded<ApplicationInstance>>) -> Option<Event<ApplicationInstance>> {
    let event = match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(unguarded(object)?),
        Event::InitApply(object) => Event::InitApply(unguarded(object)?),
        Event::Delete(object) => Event::Delete(unguarded(object)?),
    };
    Some(event.modify(|instance| instance.managed_fields_mut().clear()))
}

fn unguarded(object: Guarded<ApplicationInstance>) -> Option<ApplicationInstance> {
    object
        .0
        .inspect_err(|Unreadable { metadata, error }| {
            let (namespace, name) = (&metadata.namespace, &metadata.name);
            tracing::error!(?namespace, ?name, error, "an ApplicationInstance cannot be understood");
        })
        .ok()
}

/// What is kept of each instance; cheap to clone.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) own_writes: Arc<OwnWrites>,
    pub(super) failures: Arc<Failures>,
    pub(super) values: Arc<ValuesWatches>,
}

/// An instance that never had our finalizer goes without a last reconcile.
fn handle_end(event: &Event<ApplicationInstance>, reporter: &crate::report::Reporter, kept: &Kept) {
    let Event::Delete(instance) = event else { return };
    let Kept { own_writes, failures, values } = kept;
    own_writes.forget(instance);
    failures.forget(&instance.namespace().unwrap_or_default(), &instance.name_any());
    values.keep(&ObjectRef::from_obj(instance), Vec::new());
    if instance.metadata.deletion_timestamp.is_none() {
        reporter.deleted(object_ref(instance));
    }
}

/// The instances that a Flux object matters to: the one it names by label or owner, and those that want its name. An
/// object of others may stand in the way of an instance.
pub(super) fn instances_of(
    kind: FluxKind,
    object: &PartialObjectMeta<DynamicObject>,
    instances: &Store<ApplicationInstance>,
) -> HashSet<Wake> {
    let Some(namespace) = object.namespace() else {
        return HashSet::new();
    };
    let label = object.labels().get(key::APPLICATION_INSTANCE).cloned();
    let ours = |owner: &&OwnerReference| owner.kind == ApplicationInstance::kind(&());
    let owner = object.owner_references().iter().find(ours).map(|owner| owner.name.clone());
    let name = object.name_any();
    let by_name = instances.state_filter(|instance| {
        let release = instance.spec.release.as_ref();
        instance.metadata.namespace.as_deref() == Some(&*namespace)
            && release.is_some_and(|release| name_of(kind, &namespace, &release.name) == name)
    });
    let by_name = by_name.iter().map(|instance| instance.name_any());
    let names = label.into_iter().chain(owner).chain(by_name);
    names.map(|name| ObjectRef::new(&name).within(&namespace)).collect()
}

/// Name of the object of this kind that belongs to a release.
fn name_of(kind: FluxKind, namespace: &str, release: &str) -> String {
    match kind {
        FluxKind::HelmRelease => release.to_owned(),
        FluxKind::HelmChart => helm_chart_name(namespace, release),
        FluxKind::HelmRepository | FluxKind::OciRepository => source_name(release),
    }
}

/// Wakes every instance of a namespace.
pub(super) async fn wake_all(
    instances: &Store<ApplicationInstance>,
    namespace: &str,
    wakes: &mpsc::Sender<Wake>,
) {
    let there = instances.state_filter(|instance| instance.metadata.namespace.as_deref() == Some(namespace));
    for instance in there {
        send(wakes, ObjectRef::from_obj(&*instance)).await;
    }
}

/// Waits while the queue is full; a closed queue means that the controller ends.
pub(super) async fn send(wakes: &mpsc::Sender<Wake>, wake: Wake) {
    let _ended = wakes.send(wake).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::application_instance::dereference::{ValuesKind, ValuesObject};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;
    use tower::BoxError;

    fn guarded(spec: &Value) -> Guarded<ApplicationInstance> {
        let metadata = json!({"name": "shop", "namespace": "team"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_malformed_instance_is_skipped_and_stalls_nobody() {
        let good = json!({"appRef": {"catalogId": "hello"}, "mode": "placeholder"});
        assert!(understood(Event::Apply(guarded(&json!({"appRef": 7})))).is_none());
        assert!(matches!(understood(Event::Apply(guarded(&good))), Some(Event::Apply(_))));
    }

    #[tokio::test]
    async fn nothing_is_kept_of_an_instance_that_went_without_a_last_reconcile() {
        let spec = json!({"appRef": {"catalogId": "hello"}, "mode": "placeholder"});
        let version = |version: &str| {
            let mut instance = guarded(&spec).0.unwrap();
            instance.metadata.resource_version = Some(version.to_owned());
            Arc::new(instance)
        };
        let never = tower::service_fn(|_| future::pending::<Result<http::Response<Body>, BoxError>>());
        let (wakes, _woken) = mpsc::channel(1);
        let values = ValuesWatches::new(Client::new(never, "n"), wakes, CancellationToken::new());
        let kept = Kept { own_writes: Arc::default(), failures: Arc::default(), values: Arc::new(values) };
        let (read, written) = (version("1"), version("2"));
        kept.own_writes.record(&read, written.clone());
        let first = kept.failures.count("team", "shop");
        let object = ValuesObject {
            kind: ValuesKind::Secret,
            name: "values".to_owned(),
            key: "values.yaml".to_owned(),
        };
        kept.values.keep(&ObjectRef::from_obj(&*read), vec![object]);
        let end = Event::Delete(Arc::unwrap_or_clone(written));
        handle_end(&end, &crate::report::Reporter::off(), &kept);
        assert!(Arc::ptr_eq(&kept.own_writes.newest(read.clone()), &read));
        assert_eq!((kept.failures.count("team", "shop"), kept.values.len()), (first, 0));
    }

    #[test]
    fn flux_objects_lead_to_their_instance() {
        let object = |metadata: Value| -> PartialObjectMeta<DynamicObject> {
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let (instances, mut writer) = kube::runtime::reflector::store();
        let mut instance = guarded(&json!({
            "appRef": {"catalogId": "hello"},
            "release": {"name": "web", "namespace": "team"},
        }))
        .0
        .unwrap();
        instance.metadata.name = Some("shop".to_owned());
        writer.apply_watcher_event(&Event::Apply(instance));
        let owner = json!([{"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "name": "shop", "uid": "u"}]);
        let label = json!({"app.vworkspace.io/application-instance": "shop"});
        for (kind, metadata) in [
            (FluxKind::HelmRelease, json!({"name": "web", "namespace": "team", "labels": label})),
            (
                FluxKind::OciRepository,
                json!({"name": "web-source", "namespace": "team", "ownerReferences": owner}),
            ),
            (FluxKind::HelmChart, json!({"name": "team-web", "namespace": "team"})),
        ] {
            let wakes = instances_of(kind, &object(metadata), &instances);
            assert_eq!(wakes, HashSet::from([ObjectRef::new("shop").within("team")]), "{kind:?}");
        }
        let foreign = object(json!({"name": "team-other", "namespace": "team"}));
        assert!(instances_of(FluxKind::HelmChart, &foreign, &instances).is_empty());
        let in_the_way = object(json!({"name": "web", "namespace": "team"}));
        assert_eq!(instances_of(FluxKind::HelmRelease, &in_the_way, &instances).len(), 1);
    }
}
