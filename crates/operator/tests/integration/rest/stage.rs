//! A cluster in which nobody honours Flux's API but the test, and the operator's reconciler, which can be restarted.

use crate::world::{PATIENCE, RUNTIME};
use anyhow::{Context as _, bail, ensure};
use k8s_openapi::{NamespaceResourceScope, api::rbac::v1::RoleBinding};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::DynamicObject,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use vworkspace_crds::key;
use vworkspace_operator::{
    Context,
    args::SecretsInValues,
    controllers::{application_instance, gate::Gates},
    flux::written::FluxKind,
    metrics::Metrics,
    namespace_access::NamespaceAccess,
    report::{Observation, Reporter},
};
use vworkspace_testbed::{GivenCharts, Options, Testbed};

/// Between two looks at a counter.
pub const PAUSE: Duration = Duration::from_millis(5);
/// Nothing is fetched in this cluster.
const NOBODY: &str = "127.0.0.1:9";

/// One test plays on it at a time: reconciles are counted for all of the cluster.
pub struct Stage {
    pub testbed: Testbed,
    pub admin: Client,
    operator: Operator,
    observations: Arc<Mutex<Vec<Observation>>>,
}

/// One life of the operator's reconciler.
struct Operator {
    metrics: Metrics,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), application_instance::Error>>,
}

/// Runs one test on the stage.
pub fn test(body: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>) -> anyhow::Result<()> {
    static STAGE: tokio::sync::Mutex<Option<Stage>> = tokio::sync::Mutex::const_new(None);
    RUNTIME.block_on(async {
        let mut held = STAGE.lock().await;
        let stage = match held.as_mut() {
            Some(stage) => stage,
            None => held.insert(Stage::start().await?),
        };
        body(stage).await
    })
}

impl Stage {
    async fn start() -> anyhow::Result<Self> {
        vworkspace_testbed::install_globals("warn");
        let charts = GivenCharts { url: Some(format!("http://{NOBODY}")), registry: Some(NOBODY.to_owned()) };
        let options = Options { charts, without_flux: true, ..Options::default() };
        let testbed = Testbed::start_with(options).await?;
        let observations = Arc::default();
        let operator = Operator::start(testbed.operator().await?, &observations);
        Ok(Self { admin: testbed.admin(), testbed, operator, observations })
    }

    /// Ends the reconciler, and starts it anew with nothing remembered.
    pub async fn restart_operator(&mut self) -> anyhow::Result<()> {
        self.operator.shutdown.cancel();
        (&mut self.operator.ended).await??;
        self.operator = Operator::start(self.testbed.operator().await?, &self.observations);
        Ok(())
    }

    /// A fresh namespace, opened in the order that lets no watch of the operator fail: the role is bound first.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let namespace = self.testbed.namespace(prefix).await;
        let bindings: Api<RoleBinding> = self.api(&namespace);
        bindings.create(&PostParams::default(), &crate::gates::binding()).await?;
        let operator = self.testbed.operator().await?;
        let last = FluxKind::OciRepository.resource();
        let api = Api::<DynamicObject>::namespaced_with(operator, &namespace, &last);
        let bound = async {
            while api.list(&ListParams::default()).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, bound).await.context("the role bound has no effect")?;
        self.testbed.open_namespace(&namespace).await?;
        Ok(namespace)
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

    /// What was reported of one namespace.
    pub fn observations(&self, namespace: &str) -> Vec<Observation> {
        let is_about = |observation: &&Observation| {
            let (Observation::Conditions { object, .. }
            | Observation::Seen { object, .. }
            | Observation::Changed { object, .. }
            | Observation::Deleted { object }
            | Observation::Rotated { object, .. }) = observation;
            object.namespace == namespace
        };
        let all = self.observations.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(is_about).cloned().collect()
    }

    /// Reconciles that this life of the operator has ended without an error.
    pub fn reconciles(&self) -> anyhow::Result<u64> {
        let text = self.operator.metrics.text();
        let ours = text.lines().filter(|line| {
            line.starts_with("controller_runtime_reconcile_total{")
                && line.contains("controller=\"applicationinstance\"")
                && !line.contains("result=\"error\"")
        });
        let counts = ours.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
        counts.sum::<Result<u64, _>>().context("the metrics hold no count of reconciles")
    }

    /// Waits until so many reconciles have ended.
    pub async fn reconciled(&self, count: u64) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let now = self.reconciles()?;
            if now >= count {
                return Ok(());
            }
            ensure!(!self.operator.ended.is_finished(), "the reconciler ended");
            if start.elapsed() > PATIENCE {
                bail!("{now} reconciles have ended, {count} are waited for");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Operator {
    fn start(client: Client, observations: &Arc<Mutex<Vec<Observation>>>) -> Self {
        let (reporter, mut reports) = Reporter::channel();
        let (shutdown, metrics) = (CancellationToken::new(), Metrics::new().0);
        let context = Context {
            client: client.clone(),
            own_namespace: key::DEFAULT_NAMESPACE.to_owned(),
            cluster_id: watch::channel(None).1,
            reporter,
            gates: Gates::watch(client.clone(), shutdown.clone()),
            access: NamespaceAccess::new(client),
            secrets_in_values: SecretsInValues::Warn,
            metrics: metrics.clone(),
        };
        let ended = tokio::spawn(application_instance::run(context, shutdown.clone()));
        let seen = observations.clone();
        tokio::spawn(async move {
            while let Some(observation) = reports.recv().await {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(observation);
            }
        });
        Self { metrics, shutdown, ended }
    }
}
