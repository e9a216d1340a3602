//! What makes the loop look again: Clusters (but not their status), Secrets of the own namespace, the link.

use crate::agent::conversation::LinkState;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use std::collections::BTreeMap;
use tokio::sync::watch;
use vworkspace_crds::Cluster;

pub(super) struct Wakes(BoxStream<'static, ()>);

impl Wakes {
    pub(super) fn new(client: Client, namespace: &str, link: watch::Receiver<LinkState>) -> Self {
        let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), namespace);
        let secrets = watcher(secrets, watcher::Config::default()).default_backoff();
        let link =
            stream::unfold(link, |mut link| async move { link.changed().await.ok().map(|()| ((), link)) });
        let all = [clusters(client), secrets.map(drop).boxed(), link.boxed()];
        Self(stream::select_all(all).boxed())
    }

    /// Waits for the next change, and swallows those that came with it.
    pub(super) async fn next(&mut self) {
        if self.0.next().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Some(Some(())) = futures::FutureExt::now_or_never(self.0.next()) {}
    }
}

/// Changes of anything but the status: generation, annotations, deletion.
fn clusters(client: Client) -> BoxStream<'static, ()> {
    let mut seen = BTreeMap::new();
    let events = watcher(Api::<Cluster>::all(client), watcher::Config::default()).default_backoff();
    events
        .filter_map(move |event| {
            let news = match event {
                Ok(Event::Apply(cluster) | Event::InitApply(cluster)) => {
                    let now = shape_of(&cluster);
                    seen.insert(cluster.uid(), now.clone()) != Some(now)
                }
                Ok(Event::Delete(cluster)) => {
                    seen.remove(&cluster.uid());
                    true
                }
                Ok(Event::Init | Event::InitDone) => false,
                Err(error) => {
                    tracing::warn!(%error, "the watch of Clusters broke and is being made again");
                    false
                }
            };
            std::future::ready(news.then_some(()))
        })
        .boxed()
}

type Shape = (Option<i64>, BTreeMap<String, String>, bool);

fn shape_of(cluster: &Cluster) -> Shape {
    let metadata = &cluster.metadata;
    (metadata.generation, cluster.annotations().clone(), metadata.deletion_timestamp.is_some())
}
