//! The conditions of all owned objects, kept by one watch per kind.
//!
//! Specs are not kept: what is needed here is who is there, and what its status says. Jobs that wait, snapshots and
//! heartbeats all read this table; nobody polls the API server.

use crate::{
    conditions,
    controllers::application_instance::failing,
    guarded::labelled_metadata,
    marks::marks,
    report::{Reporter, version_of},
    steady_watch::steady,
};
use futures::TryStreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as KubeCondition, ObjectMeta};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{ApiResource, DynamicResourceScope},
    runtime::watcher,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use vworkspace_core::agent::{ObjectKey, job_run::Observed};
use vworkspace_crds::{ApplicationInstance, Cluster, Operation, application_instance::FailingRelease};
use vworkspace_protocol::ObjectRef;

/// The part of an object that is read, whatever the rest is like.
#[derive(Clone, Debug, Deserialize)]
struct Partial {
    #[serde(deserialize_with = "labelled_metadata")]
    metadata: ObjectMeta,
    /// Read by itself: who is there is known also where this says nothing.
    #[serde(default)]
    status: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialStatus {
    observed_generation: Option<i64>,
    conditions: Vec<KubeCondition>,
    handled_request: Option<String>,
    failing: Option<FailingRelease>,
}

/// One object as last seen.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Who it is, with uid and generation.
    pub object: ObjectRef,
    /// As of when it was seen, as [`version_of`] gives it.
    pub version: u64,
    /// What its status says.
    pub observed: Observed,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Creation time as seconds since 1970: what decides among several Clusters.
    pub created: i64,
    /// Of a Cluster, a digest of its labels and annotations; else empty.
    pub marks: String,
}

/// The table; cheap to clone.
#[derive(Clone, Default)]
pub struct Follow(Arc<Inner>);

#[derive(Default)]
struct Inner {
    table: Mutex<Table>,
    cluster: watch::Sender<Option<Arc<Followed>>>,
    /// Kinds whose first list is complete.
    synced: watch::Sender<BTreeSet<String>>,
}

#[derive(Default)]
struct Table {
    objects: BTreeMap<ObjectKey, Arc<Followed>>,
    followers: BTreeMap<ObjectKey, watch::Sender<Option<Arc<Followed>>>>,
}

/// How many kinds are watched.
const KINDS: usize = 3;

impl Follow {
    /// Watches until dropped. Deletions are told to `reporter`.
    pub async fn run(&self, client: Client, reporter: Reporter) {
        let (client, reporter) = (&client, &reporter);
        let instances = self.watch(client, ApiResource::erase::<ApplicationInstance>(&()), reporter);
        let operations = self.watch(client, ApiResource::erase::<Operation>(&()), reporter);
        let clusters = self.watch(client, ApiResource::erase::<Cluster>(&()), reporter);
        futures::join!(instances, operations, clusters);
    }

    /// Waits until every kind was listed once.
    pub async fn synced(&self) {
        // The sender lives in `self`: waiting cannot fail.
        let mut synced = self.0.synced.subscribe();
        let _never_fails = synced.wait_for(|kinds| kinds.len() >= KINDS).await;
    }

    /// The object now and at every change; `None` while it is not there.
    pub fn follow(&self, key: &ObjectKey) -> watch::Receiver<Option<Arc<Followed>>> {
        let mut table = self.table();
        table.followers.retain(|_, sender| sender.receiver_count() > 0);
        let now = table.objects.get(key).cloned();
        table.followers.entry(key.clone()).or_insert_with(|| watch::Sender::new(now)).subscribe()
    }

    /// Everything that is there.
    pub fn objects(&self) -> Vec<Arc<Followed>> {
        self.table().objects.values().cloned().collect()
    }

    /// The Cluster in charge: the oldest, by name where that is not enough.
    pub fn cluster(&self) -> watch::Receiver<Option<Arc<Followed>>> {
        self.0.cluster.subscribe()
    }

    #[cfg(test)]
    pub(super) fn show_cluster(&self, generation: i64, marks: &str) {
        let marks = marks.to_owned();
        let object = ObjectRef { uid: "u".to_owned(), generation, ..ObjectRef::default() };
        let followed = Followed {
            object,
            version: 0,
            observed: Observed::default(),
            deleting: false,
            created: 0,
            marks,
        };
        self.0.cluster.send_replace(Some(Arc::new(followed)));
    }

    async fn watch(&self, client: &Client, resource: ApiResource, reporter: &Reporter) {
        let api = Api::<Partial>::all_with(client.clone(), &resource);
        let name = format!("{} for the agent", resource.plural);
        let mut events = pin!(steady(&name, watcher::watcher(api, watcher::Config::default())));
        let mut listed = BTreeSet::new();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => self.handle(&resource, event, &mut listed, reporter),
                Ok(None) => return,
                // Logged where it is retried.
                Err(_) => {}
            }
        }
    }

    fn handle(
        &self,
        resource: &ApiResource,
        event: watcher::Event<Partial>,
        listed: &mut BTreeSet<ObjectKey>,
        reporter: &Reporter,
    ) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => {
                let followed = self.followed(resource, &object);
                listed.insert(ObjectKey::from(&followed.object));
                self.put(followed, reporter);
            }
            watcher::Event::InitDone => {
                let kept = std::mem::take(listed);
                let of_kind = |key: &ObjectKey| key.kind == resource.kind;
                let gone: Vec<_> = self
                    .table()
                    .objects
                    .keys()
                    .filter(|k| of_kind(k) && !kept.contains(*k))
                    .cloned()
                    .collect();
                gone.iter().for_each(|key| self.take(key, reporter));
                self.0.synced.send_if_modified(|kinds| kinds.insert(resource.kind.clone()));
            }
            watcher::Event::Apply(object) => self.put(self.followed(resource, &object), reporter),
            watcher::Event::Delete(object) => {
                self.take(&ObjectKey::from(&self.followed(resource, &object).object), reporter);
            }
        }
        if resource.kind == "Cluster" {
            self.choose_cluster();
        }
    }

    fn put(&self, followed: Followed, reporter: &Reporter) {
        let (key, followed) = (ObjectKey::from(&followed.object), Arc::new(followed));
        let mut table = self.table();
        if let Some(follower) = table.followers.get(&key) {
            follower.send_replace(Some(followed.clone()));
        }
        let former = table.objects.insert(key, followed.clone());
        drop(table);
        let Some(former) = former else {
            // What is there at the start is told by the snapshot. A watch that was made again shows an object that came
            // meanwhile as it is by now.
            let is_synced = self.0.synced.borrow().contains(&followed.object.kind);
            if is_synced && !followed.observed.conditions.is_empty() {
                reporter.seen(
                    followed.object.clone(),
                    followed.version,
                    followed.observed.conditions.clone(),
                );
            }
            return;
        };
        if former.object.uid != followed.object.uid {
            // A relist may show a new life of a name without having shown the end of the old one.
            reporter.deleted(former.object.clone());
        } else if former.observed.conditions != followed.observed.conditions {
            let conditions = followed.observed.conditions.clone();
            reporter.seen(followed.object.clone(), followed.version, conditions);
        }
    }

    /// The object as it is now. What its status said stands while the status cannot be read.
    fn followed(&self, resource: &ApiResource, object: &Partial) -> Followed {
        let status = status_of(resource, object);
        let is_readable = status.is_some();
        let now = followed(resource, object, &status.unwrap_or_default());
        if is_readable {
            return now;
        }
        let table = self.table();
        let former = table.objects.get(&ObjectKey::from(&now.object));
        let former = former.filter(|former| former.object.uid == now.object.uid);
        Followed { observed: former.map_or(now.observed, |former| former.observed.clone()), ..now }
    }

    fn take(&self, key: &ObjectKey, reporter: &Reporter) {
        let mut table = self.table();
        if let Some(follower) = table.followers.get(key) {
            follower.send_replace(None);
        }
        let former = table.objects.remove(key);
        drop(table);
        if let Some(former) = former {
            reporter.deleted(former.object.clone());
        }
    }

    fn choose_cluster(&self) {
        let table = self.table();
        let clusters = table.objects.values().filter(|followed| followed.object.kind == "Cluster");
        let chosen =
            clusters.min_by_key(|followed| (followed.created, followed.object.name.clone())).cloned();
        drop(table);
        self.0.cluster.send_replace(chosen);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole at every await and every panic: nothing is half written.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resource for Partial {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What the status says; absent if it cannot be read.
fn status_of(resource: &ApiResource, object: &Partial) -> Option<PartialStatus> {
    let Some(status) = &object.status else { return Some(PartialStatus::default()) };
    let read = serde_json::from_str(status.get());
    read.inspect_err(|error| {
        let (namespace, name) = (object.namespace(), object.name_any());
        tracing::warn!(%error, kind = resource.kind, namespace, name, "a status cannot be read");
    })
    .ok()
}

fn followed(resource: &ApiResource, object: &Partial, status: &PartialStatus) -> Followed {
    Followed {
        object: ObjectRef {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
        },
        version: version_of(object),
        observed: Observed {
            uid: object.uid().unwrap_or_default(),
            observed_generation: status.observed_generation.unwrap_or_default(),
            conditions: conditions::to_wire(&status.conditions),
            handled_request: status.handled_request.clone(),
            failing: status.failing.clone().map(failing::read),
        },
        deleting: object.metadata.deletion_timestamp.is_some(),
        created: object.creation_timestamp().map(|time| time.0.as_second()).unwrap_or_default(),
        marks: if resource.kind == "Cluster" { marks(&object.metadata) } else { String::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guarded::odd;
    use futures::FutureExt as _;
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    fn instance(uid: &str, ready: &str) -> Partial {
        let condition = json!({"type": "Ready", "status": ready, "reason": "r", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "web", "namespace": "n", "uid": uid, "generation": 2},
            "spec": {"chart": {"name": "not kept"}},
            "status": {"observedGeneration": 2, "conditions": [condition], "endpoints": []},
        }))
        .unwrap()
    }

    fn key() -> ObjectKey {
        ObjectKey { kind: "ApplicationInstance".into(), namespace: "n".into(), name: "web".into() }
    }

    #[test]
    fn followers_see_changes_and_the_end() {
        let (follow, resource) = (Follow::default(), ApiResource::erase::<ApplicationInstance>(&()));
        let (reporter, mut reports) = Reporter::channel();
        let mut seen = Vec::new();
        let follower = follow.follow(&key());
        for event in [
            watcher::Event::Apply(instance("u1", "False")),
            watcher::Event::Apply(instance("u1", "True")),
            watcher::Event::Delete(instance("u1", "True")),
        ] {
            follow.handle(&resource, event, &mut BTreeSet::new(), &reporter);
            let now = follower.borrow().clone();
            seen.push(now.map(|f| f.observed.conditions[0].status.as_str()));
        }
        assert_eq!(seen, [Some("False"), Some("True"), None]);
        let changed = reports.try_recv();
        assert!(
            matches!(changed, Ok(crate::report::Observation::Seen { conditions, .. }) if conditions[0].reason == "r")
        );
        assert!(
            matches!(reports.try_recv(), Ok(crate::report::Observation::Deleted { object }) if object.uid == "u1")
        );
    }

    #[test]
    fn whatever_an_object_holds_it_is_there_and_its_status_is_read() {
        let resource = ApiResource::erase::<ApplicationInstance>(&());
        let list: ObjectList<Partial> = serde_json::from_str(&odd::list()).unwrap();
        let told = odd::events().into_iter().map(|event| match serde_json::from_str(&event).unwrap() {
            WatchEvent::Added(object) => object,
            other => panic!("{other:?}"),
        });
        let (follow, reporter) = (Follow::default(), Reporter::off());
        for object in list.items.into_iter().chain(told) {
            let name = object.name_any();
            let first = follow.followed(&resource, &object);
            assert_eq!(first.observed.conditions.len(), 1, "{name}");
            follow.put(first.clone(), &reporter);
            let late = object.status.unwrap().get().replace("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
            let object = Partial { status: RawValue::from_string(late).ok(), ..object };
            let unreadable = follow.followed(&resource, &object);
            assert_eq!(unreadable.object.name, name);
            assert_eq!(unreadable.observed, first.observed, "what it said stands: {name}");
        }
    }

    #[test]
    fn object_that_came_while_the_watch_was_broken_is_told() {
        let (reporter, mut reports) = Reporter::channel();
        let (follow, mut listed) = (Follow::default(), BTreeSet::new());
        let resource = ApiResource::erase::<ApplicationInstance>(&());
        let mut listed_with = |objects: Vec<Partial>| {
            let objects = objects.into_iter().map(watcher::Event::InitApply);
            for event in [watcher::Event::Init].into_iter().chain(objects).chain([watcher::Event::InitDone]) {
                follow.handle(&resource, event, &mut listed, &reporter);
            }
        };
        let mut other = instance("u2", "True");
        other.metadata.name = Some("other".to_owned());
        listed_with(vec![instance("u1", "True")]);
        assert!(reports.try_recv().is_err(), "the snapshot tells what is there at the start");
        listed_with(vec![instance("u1", "True"), other]);
        let told = reports.try_recv();
        assert!(
            matches!(told, Ok(crate::report::Observation::Seen { object, .. }) if object.name == "other")
        );
        assert!(reports.try_recv().is_err());
    }

    #[test]
    fn a_kind_that_is_listed_again_stands_for_no_other() {
        let (follow, reporter, mut listed) = (Follow::default(), Reporter::off(), BTreeSet::new());
        let mut list = |resource: &ApiResource| {
            for event in [watcher::Event::Init, watcher::Event::InitDone] {
                follow.handle(resource, event, &mut listed, &reporter);
            }
            follow.synced().now_or_never().is_some()
        };
        let instances = ApiResource::erase::<ApplicationInstance>(&());
        assert_eq!([(); KINDS].map(|()| list(&instances)), [false; KINDS]);
        assert!(!list(&ApiResource::erase::<Operation>(&())));
        assert!(list(&ApiResource::erase::<Cluster>(&())));
    }

    #[test]
    fn a_relist_tells_what_vanished_meanwhile() {
        let (follow, resource) = (Follow::default(), ApiResource::erase::<ApplicationInstance>(&()));
        let (reporter, mut reports) = Reporter::channel();
        let mut listed = BTreeSet::new();
        follow.handle(&resource, watcher::Event::Apply(instance("u1", "True")), &mut listed, &reporter);
        for event in [watcher::Event::Init, watcher::Event::InitDone] {
            follow.handle(&resource, event, &mut listed, &reporter);
        }
        assert!(follow.objects().is_empty() && reports.try_recv().is_ok());
    }
}
