//! The Flux stand-in: what the testbed runs where Flux's own controllers are not given.
//!
//! It honours the API of Flux's source-controller and helm-controller as far as the recordings in `fixtures/flux` show
//! it, on top of the real `helm` program. It is a prop for tests and the demo, says so in its log, and is never part of
//! what we ship. `tests/flux` replays the recordings against it (and, unchanged, against the real controllers).
//!
//! ```text
//!   watch of each kind ──wake──▶ one worker per object ──▶ source.rs   fetch index, chart, OCI layer (fetch.rs → store.rs)
//!   (spec, deletion,             (queue.rs: never twice     │ new artifact: wake who uses it
//!    requestedAt only)            at a time, retry times)   ▼
//!                                                          release.rs  chart + values → plan.rs (pure) → helm.rs
//!                                                                      status.rs (pure): outcome → conditions
//! ```
//!
//! What readers of the real Flux see in passing is written in the same order: conditions first, then the other fields,
//! `observedGeneration` last.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use futures::{StreamExt as _, pin_mut};
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

mod access;
mod fetch;
mod helm;
mod objects;
mod plan;
mod queue;
mod release;
mod source;
mod status;
mod store;
mod values;
mod write;

use objects::{HelmChart, HelmRelease, HelmRepository, OCIRepository};
use queue::{Key, Kind, Next, Queue};

/// What the stand-in needs to run.
#[derive(Clone)]
pub struct Config {
    /// A client that may do what Flux may do, in all namespaces.
    pub client: kube::Client,
    /// The `helm` program.
    pub helm: PathBuf,
    /// The kubeconfig that `helm` uses, with the same rights as `client`.
    pub kubeconfig: PathBuf,
    /// A folder of its own: fetched charts, Helm's caches, values while Helm runs.
    pub work_dir: PathBuf,
}

/// What every reconcile has at hand.
struct Flux {
    client: kube::Client,
    http: fetch::Http,
    helm: helm::Helm,
    store: store::Store,
    queue: Queue,
}

/// Serves Flux's API in all namespaces until it is dropped; everything it started stops with it.
///
/// # Errors
/// When `helm` cannot be run, the work folder cannot be made or a watch ends for good.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let Config { client, helm, kubeconfig, work_dir } = config;
    let helm = helm::Helm::new(helm, kubeconfig, &work_dir)?;
    let version = helm.version().await?;
    let flux = Arc::new(Flux {
        client,
        http: fetch::Http::new()?,
        helm,
        store: store::Store::new(&work_dir)?,
        queue: Queue::default(),
    });
    let _stop_workers_on_drop = flux.queue.stopper();
    tracing::info!(
        helm = version,
        "Flux stand-in: serving HelmRepository, HelmChart, OCIRepository and HelmRelease (a prop for tests, not Flux)"
    );
    tokio::try_join!(
        watch::<HelmRepository>(&flux, Kind::HelmRepository),
        watch::<HelmChart>(&flux, Kind::HelmChart),
        watch::<OCIRepository>(&flux, Kind::OCIRepository),
        watch::<HelmRelease>(&flux, Kind::HelmRelease),
    )?;
    Ok(())
}

impl Flux {
    async fn reconcile(self: &Arc<Self>, key: &Key) -> anyhow::Result<Next> {
        match key.kind {
            Kind::HelmRepository => source::reconcile::<HelmRepository>(self, key).await,
            Kind::HelmChart => source::reconcile::<HelmChart>(self, key).await,
            Kind::OCIRepository => source::reconcile::<OCIRepository>(self, key).await,
            Kind::HelmRelease => release::reconcile(self, key).await,
        }
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// What makes Flux look at an object again; its status does not.
#[derive(PartialEq)]
struct Cause {
    uid: Option<String>,
    generation: Option<i64>,
    deleting: bool,
    requested_at: Option<String>,
}

/// Wakes the worker of an object when something but its status changed.
async fn watch<K>(flux: &Arc<Flux>, kind: Kind) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(Api::<K>::all(flux.client.clone()), watcher::Config::default()).default_backoff();
    pin_mut!(events);
    // One entry per object that exists in the cluster.
    let mut seen = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                let key = Key::of(kind, &object);
                let cause = cause(&object);
                if seen.get(&key) != Some(&cause) {
                    seen.insert(key.clone(), cause);
                    flux.wake(key);
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                let key = Key::of(kind, &object);
                seen.remove(&key);
                flux.wake(key);
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => {
                tracing::warn!(%error, kind = ?kind, "Flux stand-in: a watch broke off and is tried again");
            }
        }
    }
    Err(anyhow::anyhow!("ended")).with_context(|| format!("Flux stand-in: watch of {kind:?}"))
}

fn cause<K: Resource>(object: &K) -> Cause {
    Cause {
        uid: object.uid(),
        generation: object.meta().generation,
        deleting: object.meta().deletion_timestamp.is_some(),
        requested_at: objects::requested_at(object),
    }
}
