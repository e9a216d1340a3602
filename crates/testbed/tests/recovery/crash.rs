//! Crashes with a job open.

use crate::support::{self, World};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use vworkspace_crds::{
    ApplicationInstance,
    key::{DEFAULT_NAMESPACE, JOURNAL, JOURNAL_OF_JOBS, JOURNAL_RECORD},
};
use vworkspace_protocol::{ConditionStatus, JobId, Outcome, condition::types::SUSPENDED};
use vworkspace_testbed::{Options, Testbed};

const DEADLINE: Duration = Duration::from_secs(80);

/// The stack that is about to be broken: one test at a time.
pub async fn world() -> (World, MutexGuard<'static, ()>) {
    static TESTBED: OnceCell<Testbed> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    // Never a cluster that others use as well: its one operator is killed here.
    let own = || async { Testbed::start_with(Options::default()).await.unwrap() };
    let testbed = TESTBED.get_or_init(own).await;
    (support::on(testbed).await, turn)
}

/// What the journal holds of the open jobs.
async fn journal(world: &World) -> Vec<Value> {
    let secrets: Api<Secret> = Api::namespaced(world.testbed.admin(), DEFAULT_NAMESPACE);
    let labelled = ListParams::default().labels(&format!("{JOURNAL}={JOURNAL_OF_JOBS}"));
    let secrets = secrets.list(&labelled).await.unwrap().items;
    let records = secrets.into_iter().map(|secret| secret.data.unwrap()[JOURNAL_RECORD].0.clone());
    records.map(|record| serde_json::from_slice(&record).unwrap()).collect()
}

async fn until_journal(world: &World, what: &str, fits: impl Fn(&[Value]) -> bool) {
    let look = async {
        while !fits(&journal(world).await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), look).await;
    found.unwrap_or_else(|_| {
        panic!("the journal never was {what}; the operator's log:\n{}", world.stack.operator.log())
    });
}

/// A job that waits: its release is suspended.
async fn waiting_job(world: &World, namespace: &str) -> JobId {
    let first = world.deploy(world.hello(namespace, "web", "1.0.0"), DEADLINE).await;
    assert_eq!(world.end_of(&first).await.outcome, Some(Outcome::Succeeded));
    until_journal(world, "empty after the first job", <[Value]>::is_empty).await;
    world.patch_release(namespace, "web", &json!({ "spec": { "suspend": true } })).await;
    world.until(namespace, "web", SUSPENDED, |c| c.status == ConditionStatus::True).await;
    let job = world.deploy(world.hello(namespace, "web", "1.1.0"), DEADLINE).await;
    until_journal(world, "told that the API server took the job", |open| {
        open.iter().any(|record| record["job"]["id"] == job.as_str() && record["taken"].is_object())
    })
    .await;
    job
}

/// How often the instance's wish was changed.
async fn generation(world: &World, namespace: &str) -> i64 {
    let instances: Api<ApplicationInstance> = Api::namespaced(world.testbed.admin(), namespace);
    instances.get_metadata("web").await.unwrap().metadata.generation.unwrap()
}

async fn resume(world: &World, namespace: &str) {
    world.patch_release(namespace, "web", &json!({ "spec": { "suspend": false } })).await;
}

#[tokio::test]
async fn an_operator_that_is_killed_while_a_job_waits_goes_on_where_it_stopped() {
    let (world, _turn) = world().await;
    let namespace = world.namespace().await;
    let job = waiting_job(&world, &namespace).await;
    let before = generation(&world, &namespace).await;

    world.stack.operator.kill();
    resume(&world, &namespace).await;
    world.stack.operator.restart().unwrap();

    let job = world.end_of(&job).await;
    assert_eq!(job.outcome, Some(Outcome::Succeeded), "{}", job.error);
    assert_eq!(generation(&world, &namespace).await, before, "it was applied twice");
    until_journal(&world, "empty", <[Value]>::is_empty).await;
}

#[tokio::test]
async fn a_result_that_nobody_could_be_told_survives_both_ends() {
    let (world, _turn) = world().await;
    let namespace = world.namespace().await;
    let job = waiting_job(&world, &namespace).await;

    world.stack.server.kill();
    resume(&world, &namespace).await;
    until_journal(&world, "told the result while the control plane was away", |open| {
        open.iter()
            .any(|record| record["job"]["id"] == job.as_str() && record["result"]["outcome"] == "succeeded")
    })
    .await;
    world.stack.operator.kill();
    world.stack.server.restart().await.unwrap();
    world.stack.operator.restart().unwrap();

    assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));
    until_journal(&world, "empty", <[Value]>::is_empty).await;
}
