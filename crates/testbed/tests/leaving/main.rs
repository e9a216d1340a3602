//! A cluster that leaves, in the right order and in the wrong one: `docs/walkthroughs/uninstall.md`, with the built
//! programs on a cluster of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../end_to_end/support.rs"]
#[allow(dead_code, reason = "the end-to-end tests ask more questions than these")]
mod support;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use serde_json::Value;
use std::{process::Output, time::Duration};
use support::World;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use vworkspace_crds::{
    ApplicationInstance, Cluster,
    key::{APPLICATION_INSTANCE_FINALIZER, DEFAULT_NAMESPACE},
};
use vworkspace_protocol::{Outcome, admin::Presence};
use vworkspace_testbed::{
    GivenCharts, Options, Testbed,
    stack::{Operator, Stack, programs},
};

/// Longer than any of these takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// One joined cluster with an application. Each test has the cluster to itself, and leaves nothing in it.
struct Joined {
    world: World,
    /// The operator's account, made anew for each test: its namespace goes.
    account: Testbed,
    namespace: String,
    _turn: MutexGuard<'static, ()>,
}

impl Joined {
    async fn start() -> Self {
        static TESTBED: OnceCell<Testbed> = OnceCell::const_new();
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let own = || async { Testbed::start_with(Options::default()).await.unwrap() };
        let testbed = TESTBED.get_or_init(own).await;
        let account = account(testbed).await;
        let work = tempfile::tempdir_in(testbed.work_dir()).unwrap().keep();
        let stack = Stack::start(&account, &programs().unwrap(), &work).await.unwrap();
        stack.connected().await.unwrap();
        // Both programs are ended below; a test that fails ends them with the process.
        let stack: &'static Stack = Box::leak(Box::new(stack));
        let client = stack.server.client().unwrap();
        let world = World { testbed, stack, client };
        let namespace = world.namespace().await;
        let job = world.deploy(world.hello(&namespace, "web", "1.0.0"), PATIENCE).await;
        assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));
        Self { world, account, namespace, _turn: turn }
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.world.testbed.admin())
    }

    fn clusters(&self) -> Api<Cluster> {
        Api::all(self.world.testbed.admin())
    }

    fn instances(&self) -> Api<ApplicationInstance> {
        Api::namespaced(self.world.testbed.admin(), &self.namespace)
    }

    async fn leave(&self, arguments: &[&str]) -> Output {
        let mut command = self.world.stack.vwctl.command();
        command.args(["cluster", "leave", "--kubeconfig"]).arg(self.world.testbed.kubeconfig());
        command.args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What is in the way, as `kind/name`, `true` for what is being deleted.
    async fn in_the_way(&self) -> Vec<(String, bool)> {
        let output = self.leave(&["--check", "-o", "json"]).await;
        assert!(output.status.success(), "{}", said(&output));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let objects = found["objects"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        objects
            .map(|o| (format!("{}/{}", text(&o["kind"]), text(&o["name"])), o["deleting"] == true))
            .collect()
    }

    /// The operator's pods end with their namespace. Then everything else is asked to go.
    async fn delete_in_the_wrong_order(&self) {
        self.world.stack.operator.kill();
        self.delete_operators_namespace().await;
        let params = DeleteParams::default();
        self.namespaces().delete(&self.namespace, &params).await.unwrap();
        self.clusters().delete("control-plane", &params).await.unwrap();
        let namespace = format!("Namespace/{}", self.namespace);
        let hanging = ["ApplicationInstance/web", "Cluster/control-plane", &namespace];
        until("all three hang", async || {
            let found = self.in_the_way().await;
            hanging.iter().all(|name| found.contains(&((*name).to_owned(), true)))
        })
        .await;
    }

    async fn delete_operators_namespace(&self) {
        self.namespaces().delete(DEFAULT_NAMESPACE, &DeleteParams::default()).await.unwrap();
        until("the operator's namespace is gone", async || {
            self.namespaces().get_opt(DEFAULT_NAMESPACE).await.unwrap().is_none()
        })
        .await;
    }

    async fn until_all_is_gone(&self) {
        until("the application's namespace is gone", async || {
            self.namespaces().get_opt(&self.namespace).await.unwrap().is_none()
        })
        .await;
        assert!(self.clusters().get_opt("control-plane").await.unwrap().is_none());
    }
}

/// Our definitions, roles and the operator's account in the cluster of `testbed`.
async fn account(testbed: &Testbed) -> Testbed {
    let charts = GivenCharts {
        url: Some(testbed.charts_url().to_owned()),
        registry: Some(testbed.registry().to_owned()),
    };
    let kubeconfig = Some(testbed.kubeconfig().to_owned());
    Testbed::start_with(Options { kubeconfig, operator_kubeconfig: None, charts, without_flux: false })
        .await
        .unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn leave_ends_what_hangs_when_the_operator_went_first() {
    let joined = Joined::start().await;
    joined.delete_in_the_wrong_order().await;
    let asked = joined.leave(&[]).await;
    assert_eq!(asked.status.code(), Some(1), "nobody said yes: {}", said(&asked));
    assert!(joined.clusters().get_opt("control-plane").await.unwrap().is_some());

    let left = joined.leave(&["--yes"]).await;
    assert_eq!(left.status.code(), Some(0), "{}", said(&left));
    assert!(said(&left).contains("was not decommissioned at the control plane"), "{}", said(&left));
    joined.until_all_is_gone().await;
    assert_eq!(joined.in_the_way().await, []);
    joined.world.stack.server.kill();
}

#[tokio::test]
async fn operator_that_comes_back_ends_what_hangs() {
    let joined = Joined::start().await;
    joined.delete_in_the_wrong_order().await;
    let account = account(&joined.account).await;
    let work = tempfile::tempdir_in(joined.world.testbed.work_dir()).unwrap().keep();
    let operator = Operator::start(&programs().unwrap(), &work, account.operator_kubeconfig(), &[]).unwrap();
    joined.until_all_is_gone().await;
    operator.kill();
    joined.delete_operators_namespace().await;
    joined.world.stack.server.kill();
}

#[tokio::test]
async fn leave_with_a_running_operator_keeps_the_applications() {
    let joined = Joined::start().await;
    let left = joined.leave(&["--yes"]).await;
    assert_eq!(left.status.code(), Some(0), "{}", said(&left));
    assert!(said(&left).contains("still carry"), "{}", said(&left));
    let known = joined.world.client.cluster(&joined.world.stack.cluster).await.unwrap();
    assert_eq!(known.presence, Presence::Unregistered, "the operator told the control plane");

    joined.world.stack.operator.kill();
    let again = joined.leave(&["--yes"]).await;
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let instance = joined.instances().get("web").await.unwrap();
    assert!(!instance.finalizers().iter().any(|f| f == APPLICATION_INSTANCE_FINALIZER));
    let release = joined.world.releases(&joined.namespace).get("web").await.unwrap();
    assert!(release.metadata.deletion_timestamp.is_none(), "the application keeps running");

    let gone = joined.leave(&["--yes", "--delete-applications"]).await;
    assert_eq!(gone.status.code(), Some(0), "{}", said(&gone));
    assert!(joined.instances().get_opt("web").await.unwrap().is_none());
    assert!(joined.world.releases(&joined.namespace).get_opt("web").await.unwrap().is_none());
    joined.delete_operators_namespace().await;
    joined.world.stack.server.kill();
}
