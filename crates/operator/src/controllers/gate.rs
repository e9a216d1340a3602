//! Which namespaces their admins have opened to the operator (contract, section 5).
//!
//! The label is the whole truth: the operator reads it and never sets it. One watch serves the applier and every
//! reconciler.

use crate::steady_watch::steady;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use std::{collections::BTreeSet, pin::pin, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vworkspace_crds::key::{NAMESPACE_GATE, NAMESPACE_GATE_OPEN};

/// Names of the open namespaces.
pub type OpenNamespaces = Arc<BTreeSet<String>>;

/// The gates as last seen; cheap to clone.
///
/// While the API server is away the last known state stands: nothing in the cluster stops because a watch broke.
#[derive(Clone, Debug)]
pub struct Gates(watch::Receiver<Option<OpenNamespaces>>);

impl Gates {
    /// Starts watching; the watch ends with `shutdown`.
    pub fn watch(client: Client, shutdown: CancellationToken) -> Self {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(shutdown.run_until_cancelled_owned(follow(client, sender)));
        Self(receiver)
    }

    /// Gates that never change.
    pub fn fixed<'a>(open: impl IntoIterator<Item = &'a str>) -> Self {
        Self(watch::channel(Some(Arc::new(open.into_iter().map(str::to_owned).collect()))).1)
    }

    /// Whether the namespace is open. Nothing is before the first list: see [`Self::ready`].
    pub fn is_open(&self, namespace: &str) -> bool {
        self.0.borrow().as_ref().is_some_and(|open| open.contains(namespace))
    }

    /// Waits for the first list, or for the end of the watch.
    pub async fn ready(&self) {
        let mut receiver = self.0.clone();
        // The error means that the watch has ended: nobody opens anything any more.
        let _ended = receiver.wait_for(Option::is_some).await;
    }

    /// Waits until the set differs from `seen` and returns it; `None` once the watch has ended.
    pub async fn changed_from(&self, seen: &OpenNamespaces) -> Option<OpenNamespaces> {
        let mut receiver = self.0.clone();
        let now = receiver.wait_for(|open| open.as_ref().is_some_and(|open| open != seen)).await.ok()?;
        now.clone()
    }
}

/// Feeds the set from a metadata-only watch of the labelled namespaces; losing the label arrives as a deletion.
async fn follow(client: Client, sender: watch::Sender<Option<OpenNamespaces>>) {
    let label = format!("{NAMESPACE_GATE}={NAMESPACE_GATE_OPEN}");
    let config = watcher::Config::default().labels(&label);
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client);
    // While it fails, the gates stay as last seen.
    let mut events = pin!(steady("namespaces", watcher(namespaces, config)));
    let mut relisted = BTreeSet::new();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => apply(event, &mut relisted, &sender),
            Ok(None) => return,
            // Logged where it is retried.
            Err(_) => {}
        }
    }
}

fn apply(
    event: Event<PartialObjectMeta<Namespace>>,
    relisted: &mut BTreeSet<String>,
    sender: &watch::Sender<Option<OpenNamespaces>>,
) {
    match event {
        Event::Init => relisted.clear(),
        Event::InitApply(namespace) => _ = relisted.insert(namespace.name_any()),
        Event::InitDone => _ = sender.send_replace(Some(Arc::new(std::mem::take(relisted)))),
        Event::Apply(namespace) => edit(sender, |open| open.insert(namespace.name_any())),
        Event::Delete(namespace) => edit(sender, |open| open.remove(&namespace.name_any())),
    }
}

fn edit(sender: &watch::Sender<Option<OpenNamespaces>>, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
    sender.send_if_modified(|open| change(Arc::make_mut(open.get_or_insert_default())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
        let mut meta = PartialObjectMeta::<Namespace>::default();
        meta.metadata.name = Some(name.to_owned());
        meta
    }

    #[tokio::test]
    async fn a_relist_replaces_the_set_at_once() {
        let (sender, receiver) = watch::channel(None);
        let (gates, mut relisted) = (Gates(receiver), BTreeSet::new());
        for event in [Event::Init, Event::InitApply(namespace("a")), Event::InitDone] {
            assert!(!gates.is_open("a"));
            apply(event, &mut relisted, &sender);
        }
        gates.ready().await;
        assert!(gates.is_open("a"));
        apply(Event::Apply(namespace("b")), &mut relisted, &sender);
        apply(Event::Init, &mut relisted, &sender);
        assert!(gates.is_open("a") && gates.is_open("b"));
        apply(Event::InitDone, &mut relisted, &sender);
        assert!(!gates.is_open("a") && !gates.is_open("b"));
    }

    #[tokio::test]
    async fn losing_the_label_closes_and_wakes() {
        let (sender, receiver) = watch::channel(Some(Arc::new(BTreeSet::from(["a".to_owned()]))));
        let gates = Gates(receiver);
        let seen = Arc::new(BTreeSet::from(["a".to_owned()]));
        apply(Event::Delete(namespace("a")), &mut BTreeSet::new(), &sender);
        assert_eq!(gates.changed_from(&seen).await, Some(Arc::default()));
    }
}
