//! What makes the loop look again: Clusters (but not their status), Secrets of the own namespace (but not the journal), the
//! link.

use crate::{agent::conversation::LinkState, marks::marks, steady_watch::steady};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use std::collections::BTreeMap;
use tokio::sync::watch;
use vworkspace_crds::{Cluster, key::JOURNAL};

pub(super) struct Wakes(BoxStream<'static, ()>);

impl Wakes {
    pub(super) fn new(client: Client, namespace: &str, link: watch::Receiver<LinkState>) -> Self {
        let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), namespace);
        // The agent writes its journal all the time, and nothing of it is about a Cluster.
        let config = watcher::Config::default().labels(&format!("!{JOURNAL}"));
        let secrets = steady("Secrets of the own namespace", watcher(secrets, config));
        // Neither a failed list nor its next start says anything about a Secret.
        let secrets = secrets.filter(|event| {
            std::future::ready(matches!(
                event,
                Ok(Event::InitDone | Event::InitApply(_) | Event::Apply(_) | Event::Delete(_))
            ))
        });
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

fn clusters(client: Client) -> BoxStream<'static, ()> {
    let mut seen = BTreeMap::new();
    let events = steady("Clusters", watcher(Api::<Cluster>::all(client), watcher::Config::default()));
    events.filter_map(move |event| std::future::ready(is_news(&mut seen, event).then_some(()))).boxed()
}

/// Whether it is anything but a change of the status: of generation, labels, annotations, deletion. A list that is made again is:
/// who vanished meanwhile is told by nothing else.
fn is_news(seen: &mut BTreeMap<Option<String>, Shape>, event: watcher::Result<Event<Cluster>>) -> bool {
    match event {
        Ok(Event::Apply(cluster) | Event::InitApply(cluster)) => {
            let now = shape_of(&cluster);
            seen.insert(cluster.uid(), now.clone()) != Some(now)
        }
        Ok(Event::Delete(cluster)) => {
            seen.remove(&cluster.uid());
            true
        }
        Ok(Event::Init) => {
            seen.clear();
            false
        }
        Ok(Event::InitDone) => true,
        // Logged where it is retried.
        Err(_) => false,
    }
}

/// Generation, labels and annotations, deletion.
type Shape = (Option<i64>, String, bool);

fn shape_of(cluster: &Cluster) -> Shape {
    let metadata = &cluster.metadata;
    (metadata.generation, marks(metadata), metadata.deletion_timestamp.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use tokio::sync::mpsc;
    use tower::BoxError;

    #[test]
    fn a_cluster_that_vanished_while_nobody_watched_is_news_and_a_status_is_none() {
        let cluster = || {
            let kind = serde_json::json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
                "metadata": {"name": "c", "uid": "u"}, "spec": {}});
            serde_json::from_value::<Cluster>(kind).unwrap()
        };
        let mut seen = BTreeMap::new();
        let mut is_news = |event| is_news(&mut seen, Ok(event));
        assert!(is_news(Event::Apply(cluster())));
        assert!(!is_news(Event::Apply(cluster())));
        assert!(!is_news(Event::Init) && is_news(Event::InitDone));
        assert!(is_news(Event::Apply(cluster())), "it is there again");
    }

    #[test]
    fn label_of_a_cluster_wakes_as_an_annotation_does() {
        let kind = serde_json::json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "c", "uid": "u"}, "spec": {}});
        let mut cluster = serde_json::from_value::<Cluster>(kind).unwrap();
        let mut seen = BTreeMap::new();
        let mut is_news = |cluster: &Cluster| is_news(&mut seen, Ok(Event::Apply(cluster.clone())));
        assert!(is_news(&cluster));
        let touched = || Some([("touched".to_owned(), "by hand".to_owned())].into());
        cluster.metadata.labels = touched();
        assert!(is_news(&cluster) && !is_news(&cluster));
        cluster.metadata.annotations = touched();
        assert!(is_news(&cluster) && !is_news(&cluster));
    }

    #[tokio::test]
    async fn what_the_agent_keeps_of_its_jobs_wakes_nobody() {
        let (asks, mut asked) = mpsc::channel(8);
        let never = tower::service_fn(move |request: http::Request<Body>| {
            let asks = asks.clone();
            async move {
                asks.send(request.uri().to_string()).await?;
                std::future::pending::<Result<http::Response<Body>, BoxError>>().await
            }
        });
        let link = watch::Sender::new(LinkState::default());
        let mut wakes = Wakes::new(Client::new(never, "n"), "n", link.subscribe());
        let secrets = async {
            loop {
                let uri = asked.recv().await.unwrap();
                if uri.contains("/secrets") {
                    break uri;
                }
            }
        };
        tokio::select! {
            uri = secrets => assert!(uri.contains("labelSelector=%21agent.vworkspace.io%2Fjournal"), "{uri}"),
            () = async { loop { wakes.next().await } } => {}
        }
    }
}
