//! The cluster, the reconciler that runs against it, and what tests ask of both.

use crate::counting::{self, Calls};
use anyhow::{Context as _, bail};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
    runtime::wait::await_condition,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    sync::{OnceCell, watch},
};
use tokio_util::sync::CancellationToken;
use vworkspace_crds::{ApplicationInstance, key};
use vworkspace_operator::{
    Context,
    args::SecretsInValues,
    controllers::{application_instance, gate::Gates},
    flux::written::FluxKind,
    metrics::Metrics,
    namespace_access::NamespaceAccess,
    report::{Observation, Reporter},
};
use vworkspace_testbed::Testbed;

/// Longest wait for anything in these tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One runtime for all tests: clients and the reconciler belong to the runtime they were made in.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The cluster and the running reconciler.
pub struct World {
    pub testbed: &'static Testbed,
    pub admin: Client,
    /// What the reconciler has asked the API server.
    pub calls: Calls,
    observations: Arc<Mutex<Vec<Observation>>>,
}

/// Runs one test in the shared world.
pub fn test<F: Future<Output = anyhow::Result<()>>>(
    body: impl FnOnce(&'static World) -> F,
) -> anyhow::Result<()> {
    RUNTIME.block_on(async { body(World::shared().await?).await })
}

/// Waits until something is so; asks again and again, for what no watch tells.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let look = async {
        while !is_so().await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, look).await.with_context(|| format!("{what}: never"))?
}

impl World {
    async fn shared() -> anyhow::Result<&'static Self> {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        let world = WORLD.get_or_try_init(Self::start).await?;
        Ok(world)
    }

    async fn start() -> anyhow::Result<Self> {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Another test program of the same process may have been first.
        let _installed = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let testbed = vworkspace_testbed::shared().await?;
        let (client, calls) = counting::client(testbed.operator().await?).await?;
        let (reporter, mut reports) = Reporter::channel();
        let shutdown = CancellationToken::new();
        let context = Context {
            client: client.clone(),
            own_namespace: key::DEFAULT_NAMESPACE.to_owned(),
            cluster_id: watch::channel(None).1,
            reporter,
            gates: Gates::watch(client.clone(), shutdown.clone()),
            access: NamespaceAccess::new(client),
            secrets_in_values: SecretsInValues::Warn,
            metrics: Metrics::new().0,
        };
        tokio::spawn(application_instance::run(context, shutdown));
        let observations = Arc::<Mutex<Vec<Observation>>>::default();
        let seen = observations.clone();
        tokio::spawn(async move {
            while let Some(observation) = reports.recv().await {
                seen.lock().unwrap().push(observation);
            }
        });
        Ok(Self { testbed, admin: testbed.admin(), calls, observations })
    }

    /// What the reconciler has reported of one instance.
    pub fn observations(&self, namespace: &str, name: &str) -> Vec<Observation> {
        let is_about = |observation: &&Observation| {
            let (Observation::Conditions { object, .. }
            | Observation::Seen { object, .. }
            | Observation::Changed { object, .. }
            | Observation::Deleted { object }
            | Observation::Rotated { object, .. }) = observation;
            object.namespace == namespace && object.name == name
        };
        self.observations.lock().unwrap().iter().filter(is_about).cloned().collect()
    }

    /// A fresh namespace, opened as a cluster's admin does: labelled, and the role bound there.
    pub async fn gated(&self, prefix: &str) -> anyhow::Result<String> {
        Ok(self.testbed.gated_namespace(prefix).await)
    }

    /// A fresh namespace that nobody opened.
    pub async fn closed(&self, prefix: &str) -> anyhow::Result<String> {
        Ok(self.testbed.namespace(prefix).await)
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }

    pub fn flux(&self, kind: FluxKind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.admin.clone(), namespace, &kind.resource())
    }

    /// An instance of the sample chart from the classic repository, as a person writes it.
    pub fn helm(&self, namespace: &str, chart: &str, version: &str) -> Value {
        let chart = json!({"sourceType": "helm", "url": self.testbed.charts_url(), "name": chart, "version": version});
        instance(namespace, &chart)
    }

    /// The same from the registry.
    pub fn oci(&self, namespace: &str, chart: &str, version: &str) -> Value {
        let url = format!("oci://{}/charts", self.testbed.registry());
        let chart =
            json!({"sourceType": "oci", "url": url, "name": chart, "version": version, "insecure": true});
        instance(namespace, &chart)
    }

    pub async fn create(&self, namespace: &str, instance: Value) -> anyhow::Result<ApplicationInstance> {
        let instance = serde_json::from_value(instance)?;
        Ok(self.api(namespace).create(&PostParams::default(), &instance).await?)
    }

    pub async fn patch(&self, namespace: &str, patch: Value) -> anyhow::Result<ApplicationInstance> {
        let api: Api<ApplicationInstance> = self.api(namespace);
        Ok(api.patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Waits until the instance tells all of `words`, each `Type=Status/Reason`, of its present generation.
    pub async fn told(&self, namespace: &str, words: &[&str]) -> anyhow::Result<ApplicationInstance> {
        let tells = |instance: &ApplicationInstance| {
            let observed = instance.status.as_ref().and_then(|status| status.observed_generation);
            let told = words_of(instance);
            observed == instance.metadata.generation
                && words.iter().all(|word| told.iter().any(|told| told == word))
        };
        let found = self.until(self.api::<ApplicationInstance>(namespace), "shop", tells).await;
        match found {
            Ok(found) => Ok(found),
            Err(error) => {
                let now = self.api::<ApplicationInstance>(namespace).get_opt("shop").await?;
                bail!(
                    "{error}: waited for {words:?}, the instance says {:#?}",
                    now.and_then(|now| now.status)
                );
            }
        }
    }

    /// The instance as it is.
    pub async fn instance(&self, namespace: &str) -> anyhow::Result<ApplicationInstance> {
        Ok(self.api(namespace).get("shop").await?)
    }

    /// Waits until a condition's message has these words.
    pub async fn told_message(&self, namespace: &str, type_: &str, words: &str) -> anyhow::Result<()> {
        let says = |instance: &ApplicationInstance| {
            condition(instance, type_).is_ok_and(|condition| condition.message.contains(words))
        };
        let found = self.until(self.api::<ApplicationInstance>(namespace), "shop", says).await;
        found.map(drop).with_context(|| format!("{type_} never said {words:?}"))
    }

    /// Waits until an object is as it should be.
    pub async fn until<K>(
        &self,
        api: Api<K>,
        name: &str,
        is_so: impl Fn(&K) -> bool + Send,
    ) -> anyhow::Result<K>
    where
        K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        let condition = await_condition(api, name, |object: Option<&K>| object.is_some_and(&is_so));
        let found = tokio::time::timeout(PATIENCE, condition)
            .await
            .with_context(|| format!("{name} never became so"))??;
        found.context("the object went away")
    }

    /// Waits until an object is not there.
    pub async fn gone<K>(&self, api: Api<K>, name: &str) -> anyhow::Result<()>
    where
        K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        let condition = await_condition(api, name, |object: Option<&K>| object.is_none());
        tokio::time::timeout(PATIENCE, condition)
            .await
            .with_context(|| format!("{name} never went away"))??;
        Ok(())
    }

    /// Waits until the release's Deployment runs that many replicas.
    pub async fn replicas(&self, namespace: &str, name: &str, replicas: i32) -> anyhow::Result<()> {
        let runs = |deployment: &Deployment| {
            let status = deployment.status.as_ref();
            status.is_some_and(|status| {
                status.ready_replicas == Some(replicas) && status.replicas == Some(replicas)
            })
        };
        self.until(self.api::<Deployment>(namespace), name, runs).await?;
        Ok(())
    }

    /// Phases of the namespace's pods.
    pub async fn pod_phases(&self, namespace: &str) -> anyhow::Result<Vec<String>> {
        let pods = self.api::<Pod>(namespace).list(&ListParams::default()).await?;
        let phases = pods.into_iter().filter_map(|pod| pod.status.and_then(|status| status.phase));
        Ok(phases.collect())
    }
}

fn instance(namespace: &str, chart: &Value) -> Value {
    json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1",
        "kind": "ApplicationInstance",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {
            "appRef": {"catalogId": "hello"},
            "chart": chart,
            "release": {"name": "shop", "namespace": namespace, "timeout": "60s"},
        },
    })
}

/// `Type=Status/Reason` of every condition.
pub fn words_of(instance: &ApplicationInstance) -> Vec<String> {
    conditions(instance).iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect()
}

pub fn condition<'a>(instance: &'a ApplicationInstance, type_: &str) -> anyhow::Result<&'a Condition> {
    conditions(instance)
        .iter()
        .find(|condition| condition.type_ == type_)
        .with_context(|| format!("no condition {type_}"))
}

fn conditions(instance: &ApplicationInstance) -> &[Condition] {
    instance.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

/// resourceVersion of an object.
pub fn version_of<K: Resource>(object: &K) -> String {
    object.resource_version().unwrap_or_default()
}
