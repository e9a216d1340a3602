//! Every write that the API server took in one namespace, and who made it.
//!
//! Each kind is watched from a known resourceVersion on, so that no write is missed. The test knows the versions that its
//! own writes were answered with; all others are the operator's.

use crate::world::PATIENCE;
use anyhow::{Context as _, bail};
use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{ListParams, WatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, WatchEvent},
};
use std::collections::BTreeSet;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::flux::written::FluxKind;

/// Writes of the operator, by what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// ApplicationInstances, their status included.
    pub instances: Vec<String>,
    /// HelmReleases, HelmCharts and sources.
    pub flux: Vec<String>,
    /// Reasons of Kubernetes Events.
    pub events: Vec<String>,
}

/// One version of an object that a watch showed.
#[derive(Clone, Debug)]
struct Seen {
    kind: String,
    name: String,
    version: String,
    /// Reason of an Event.
    reason: Option<String>,
}

/// The watches; they end with this value.
pub struct Tape {
    seen: watch::Receiver<Vec<Seen>>,
    _watches: JoinSet<anyhow::Result<()>>,
}

/// The kinds that are watched, beside Events.
pub fn kinds() -> Vec<ApiResource> {
    let flux = FluxKind::ALL.map(FluxKind::resource);
    flux.into_iter().chain([ApiResource::erase::<ApplicationInstance>(&())]).collect()
}

/// Kubernetes Events.
pub fn events() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"))
}

impl Tape {
    /// Everything that is written in the namespace from now on.
    pub async fn start(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        let (sender, seen) = watch::channel(Vec::new());
        let mut watches = JoinSet::new();
        for resource in kinds().into_iter().chain([events()]) {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            let list = api.list(&ListParams::default()).await?;
            let since = list.metadata.resource_version.context("a list without a version")?;
            watches.spawn(follow(api, resource.kind, since, sender.clone()));
        }
        Ok(Self { seen, _watches: watches })
    }

    /// The writes that are not the test's `own`, once the last of these has been seen for each kind.
    pub async fn writes(&mut self, own: &BTreeSet<String>, last: &[String]) -> anyhow::Result<Writes> {
        let has_all =
            |seen: &Vec<Seen>| last.iter().all(|last| seen.iter().any(|seen| seen.version == *last));
        let seen =
            timeout(PATIENCE, self.seen.wait_for(has_all)).await.context("a write was never seen")??;
        let mut writes = Writes::default();
        for Seen { kind, name, version, reason } in seen.iter().filter(|seen| !own.contains(&seen.version)) {
            match (kind.as_str(), reason) {
                ("ApplicationInstance", _) => writes.instances.push(format!("{name}@{version}")),
                ("Event", reason) => writes.events.push(reason.clone().unwrap_or_default()),
                _ => writes.flux.push(format!("{kind} {name}@{version}")),
            }
        }
        Ok(writes)
    }
}

async fn follow(
    api: Api<DynamicObject>,
    kind: String,
    since: String,
    tape: watch::Sender<Vec<Seen>>,
) -> anyhow::Result<()> {
    let events = api.watch(&WatchParams::default(), &since).await?;
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                let about = object.data["regarding"]["kind"].as_str();
                // The test's own fences, and what others say of objects of theirs.
                if kind == "Event" && about.is_some_and(|kind| kind != ApplicationInstance::kind(&())) {
                    continue;
                }
                let reason = object.data["reason"].as_str().map(str::to_owned);
                let (name, version) = (object.name_any(), object.resource_version().unwrap_or_default());
                tape.send_modify(|seen| seen.push(Seen { kind: kind.clone(), name, version, reason }));
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(error) => bail!("the watch of {kind} broke: {error:?}"),
        }
    }
    bail!("the watch of {kind} ended")
}
