//! The stack the tests share, and the questions they ask of it.

use jiff::Timestamp;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};
use tokio::sync::OnceCell;
use vworkspace_client::Client;
use vworkspace_protocol::{
    Condition, JobId,
    admin::{EnqueueJob, Job, Resource},
};
use vworkspace_testbed::{
    Testbed, shared,
    stack::{Stack, programs},
};

/// Longer than any of these takes on a slow machine; reaching it is a failure, never a measurement.
const PATIENCE: Duration = Duration::from_secs(90);

/// The stack, the cluster it runs on, and this test's own way to the admin API: connections end with the runtime of
/// the test that made them.
pub struct World {
    pub testbed: &'static Testbed,
    pub stack: &'static Stack,
    pub client: Client,
}

/// The stack is started by the first test and shared by all.
pub async fn world() -> World {
    on(shared().await.unwrap()).await
}

/// The stack of this process, on a cluster that lives as long.
pub async fn on(testbed: &'static Testbed) -> World {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let stack = STACK
        .get_or_init(|| async {
            let work: PathBuf = tempfile::tempdir_in(testbed.work_dir()).unwrap().keep();
            let stack = Stack::start(testbed, &programs().unwrap(), &work).await.unwrap();
            stack.connected().await.unwrap();
            stack
        })
        .await;
    World { testbed, stack, client: stack.server.client().unwrap() }
}

impl World {
    /// A fresh namespace that its admin opened.
    pub async fn namespace(&self) -> String {
        self.testbed.gated_namespace("e2e").await
    }

    /// Enqueues a job and returns its id.
    pub async fn enqueue(&self, kind: &str, payload: Value, deadline: Duration) -> JobId {
        let deadline_seconds = Some(deadline.as_secs() as u32);
        let request = EnqueueJob { deadline_seconds, ..EnqueueJob::new(kind, payload) };
        self.client.enqueue_job(&self.stack.cluster, &request).await.unwrap().id
    }

    /// Enqueues the intent for an instance.
    pub async fn deploy(&self, instance: Value, deadline: Duration) -> JobId {
        let payload = json!({ "intent": "ensure-application-instance", "applicationInstance": instance });
        self.enqueue("intent", payload, deadline).await
    }

    /// Waits for the job's end.
    pub async fn end_of(&self, id: &JobId) -> Job {
        self.until_job(id, |job| job.state.is_terminal()).await
    }

    /// Waits until the job is as it should be.
    pub async fn until_job(&self, id: &JobId, fits: impl Fn(&Job) -> bool) -> Job {
        let watch = async {
            let mut seen = 0;
            loop {
                let job = self.client.watch_job(id, seen, Duration::from_secs(20)).await.unwrap();
                if fits(&job) {
                    return job;
                }
                seen = job.timeline.iter().map(|entry| entry.seq).max().unwrap_or(seen);
            }
        };
        let fitting = tokio::time::timeout(PATIENCE, watch).await;
        fitting.unwrap_or_else(|_| {
            panic!("job {id} does not get there; the operator's log:\n{}", self.stack.operator.log())
        })
    }

    /// The instance as the control plane sees it.
    pub async fn reported(&self, namespace: &str, name: &str) -> Option<Resource> {
        let page = self.client.resources(&self.stack.cluster, "ApplicationInstance", namespace, name).await;
        page.unwrap().items.into_iter().next()
    }

    /// Waits until the control plane knows a condition of that type that fits.
    pub async fn until(
        &self,
        namespace: &str,
        name: &str,
        type_: &str,
        fits: impl Fn(&Condition) -> bool,
    ) -> Condition {
        let look = async {
            loop {
                let resource = self.reported(namespace, name).await;
                let found =
                    resource.and_then(|r| r.conditions.into_iter().find(|c| c.type_ == type_ && fits(c)));
                if let Some(condition) = found {
                    return condition;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{name}: {type_} never fitted"))
    }

    /// Waits until the control plane has been told that the instance is gone.
    pub async fn until_forgotten(&self, namespace: &str, name: &str) {
        let look = async {
            while self.reported(namespace, name).await.is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{name} is still reported"));
    }

    /// Flux's release of that name, as the cluster's admin sees it.
    pub fn releases(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("helm.toolkit.fluxcd.io", "v2", "HelmRelease");
        Api::namespaced_with(self.testbed.admin(), namespace, &ApiResource::from_gvk(&kind))
    }

    /// Patches Flux's release as the cluster's admin would by hand.
    pub async fn patch_release(&self, namespace: &str, name: &str, patch: &Value) {
        self.releases(namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// An instance of chart `hello` from the chart repository.
    pub fn hello(&self, namespace: &str, name: &str, version: &str) -> Value {
        json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1",
            "kind": "ApplicationInstance",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "appRef": { "catalogId": "hello" },
                "chart": { "sourceType": "helm", "url": self.testbed.charts_url(), "name": "hello", "version": version },
                "release": { "name": name, "namespace": namespace, "timeout": "20s" },
            },
        })
    }
}

/// When the release's history says that this version was deployed.
pub fn deployed(release: &DynamicObject, version: &str) -> Option<Timestamp> {
    let history = release.data["status"]["history"].as_array()?;
    let entry = history.iter().find(|e| e["chartVersion"] == version && e["status"] == "deployed")?;
    entry["lastDeployed"].as_str()?.parse().ok()
}
