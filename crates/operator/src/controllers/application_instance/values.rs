//! Watches of what a spec refers to: the Secret or ConfigMap with values, and the Secret of a private chart source.
//!
//! The role grants `get` and `watch` there but no `list` (contract, section 8), so each watch is a plain one for one
//! name, metadata only: the content is Flux's to read.

use super::{
    dereference::{ValuesKind, ValuesObject},
    watch::{Wake, send},
};
use crate::cause::cause;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, Resource,
    api::{WatchEvent, WatchParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use vworkspace_core::{backoff::CEILING, watch_pace::WatchPace};

/// Most objects watched at a time. Beyond it an instance's values are looked at by its timer only.
const WATCHES: usize = 512;

/// The running watches.
pub(super) struct ValuesWatches {
    client: Client,
    wakes: mpsc::Sender<Wake>,
    shutdown: CancellationToken,
    /// By namespace and name of the instance.
    running: Mutex<BTreeMap<(String, String), Running>>,
}

struct Running {
    objects: Vec<ValuesObject>,
    _until_dropped: DropGuard,
}

impl ValuesWatches {
    pub(super) fn new(client: Client, wakes: mpsc::Sender<Wake>, shutdown: CancellationToken) -> Self {
        Self { client, wakes, shutdown, running: Mutex::default() }
    }

    /// Watches `objects` for the instance, and nothing else for it.
    pub(super) fn keep(&self, instance: &Wake, objects: Vec<ValuesObject>) {
        let namespace = instance.namespace.clone().unwrap_or_default();
        let key = (namespace.clone(), instance.name.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&key).map_or(&[][..], |running| running.objects.as_slice()) == objects {
            return;
        }
        running.remove(&key);
        if objects.is_empty() {
            return;
        }
        let watched: usize = running.values().map(|running| running.objects.len()).sum();
        if watched + objects.len() > WATCHES {
            tracing::warn!(
                namespace,
                name = instance.name,
                "too many values are watched; these wait for the timer"
            );
            return;
        }
        let token = self.shutdown.child_token();
        for object in &objects {
            let follow = self.follow(&namespace, object, instance.clone());
            tokio::spawn(token.clone().run_until_cancelled_owned(follow));
        }
        running.insert(key, Running { objects, _until_dropped: token.drop_guard() });
    }

    /// Watches that run.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn follow(
        &self,
        namespace: &str,
        object: &ValuesObject,
        wake: Wake,
    ) -> futures::future::BoxFuture<'static, ()> {
        let (client, wakes, name) = (self.client.clone(), self.wakes.clone(), object.name.clone());
        match object.kind {
            ValuesKind::Secret => {
                Box::pin(follow(Api::<Secret>::namespaced(client, namespace), name, wake, wakes))
            }
            ValuesKind::ConfigMap => {
                Box::pin(follow(Api::<ConfigMap>::namespaced(client, namespace), name, wake, wakes))
            }
        }
    }
}

/// Wakes the instance at every event. Each start of the watch tells the present state first, so that nothing between
/// two watches is missed.
async fn follow<K>(api: Api<K>, name: String, wake: Wake, wakes: mpsc::Sender<Wake>)
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut pace = WatchPace::default();
    loop {
        let started = Instant::now();
        let ended = follow_once(&api, &params, &wake, &wakes, &mut pace).await;
        if ended.is_ok() && started.elapsed() >= CEILING {
            // There was nothing to tell, for as long as a watch lasts.
            pace.handle_progress();
        }
        let pause = pace.handle_failure((), None, rand::random());
        if let Err(error) = ended {
            // Flux names what is wrong with the values; a watch only makes us look sooner.
            let error = cause(&error);
            tracing::debug!(error, name, "the watch of referenced values failed; retrying with back-off");
        }
        tokio::time::sleep(pause.delay).await;
    }
}

async fn follow_once<K>(
    api: &Api<K>,
    params: &WatchParams,
    wake: &Wake,
    wakes: &mpsc::Sender<Wake>,
    pace: &mut WatchPace<()>,
) -> Result<(), kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut events = api.watch_metadata(params, "0").await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => {
                pace.handle_progress();
                send(wakes, wake.clone()).await;
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}
