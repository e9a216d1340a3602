//! The credential changes under a running conversation.

use crate::{crash::world, support::World};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use vworkspace_core::agent::{
    credentials::{Fetched, Held},
    rotation::Cause,
};
use vworkspace_crds::{
    Cluster,
    key::{
        CREDENTIALS_SECRET, DEFAULT_NAMESPACE, SECRET_CA, SECRET_NEXT, SECRET_ROTATED_JOB, SECRET_TOKEN,
        SECRET_URL,
    },
};
use vworkspace_protocol::{
    JobId, Outcome, Secret as Token, admin::EnqueueJob, condition::reasons::CREDENTIAL_REJECTED,
    event::EventsRequest, id::SessionId,
};
use vworkspace_transport::{
    AgentLink as _,
    http::client::{HttpLink, LinkSettings},
};

const ROTATIONS: usize = 100;

/// Asks for a rotation as the cluster's admin would, and waits until it is done. Answers the new credential.
pub async fn rotate(world: &World, old: &[u8]) -> Vec<u8> {
    let clusters: Api<Cluster> = Api::all(world.testbed.admin());
    let name = clusters.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    let wish = Patch::Merge(json!({ "spec": { "rotateCredentials": true } }));
    clusters.patch(&name, &PatchParams::default(), &wish).await.unwrap();
    let done = async {
        loop {
            let fulfilled = clusters.get(&name).await.unwrap().spec.rotate_credentials != Some(true);
            let now = credential(world).await;
            if fulfilled && now != old {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let rotated = tokio::time::timeout(Duration::from_secs(60), done).await;
    rotated.unwrap_or_else(|_| panic!("no rotation; the operator's log:\n{}", world.stack.operator.log()))
}

fn secrets(world: &World) -> Api<Secret> {
    Api::namespaced(world.testbed.admin(), DEFAULT_NAMESPACE)
}

/// A key of the credentials Secret.
async fn stored(world: &World, key: &str) -> Option<Vec<u8>> {
    let mut data = secrets(world).get(CREDENTIALS_SECRET).await.unwrap().data.unwrap();
    data.remove(key).map(|value| value.0)
}

pub async fn credential(world: &World) -> Vec<u8> {
    stored(world, SECRET_TOKEN).await.unwrap()
}

/// The current credential, as text.
pub async fn token(world: &World) -> Token {
    Token::new(&String::from_utf8(credential(world).await).unwrap())
}

/// The agent's way to the control plane with that credential.
pub async fn link(world: &World, bearer: &Token) -> HttpLink {
    HttpLink::new(&LinkSettings {
        base_url: String::from_utf8(stored(world, SECRET_URL).await.unwrap()).unwrap(),
        ca_pem: stored(world, SECRET_CA).await,
        bearer: Some(bearer.clone()),
        session: SessionId::new("a-crashed-process"),
        user_agent: "recovery-tests".to_owned(),
        capabilities: vworkspace_protocol::headers::AGENT_CAPABILITIES.to_owned(),
        allow_insecure_http: false,
        witness: std::sync::Arc::default(),
    })
    .unwrap()
}

/// Leaves what a crash of the operator leaves after it fetched a new credential, for that job.
pub async fn store_next(world: &World, next: Token, job: &JobId) {
    let current = Held::new(world.stack.cluster.clone(), token(world).await, None);
    let fetched = Fetched { token: next, life: None, rotation: "before-the-crash".to_owned() };
    let both = current.fetched(fetched, &Cause::Job(job.clone()));
    let next = serde_json::to_string(both.next().unwrap()).unwrap();
    let crashed = Patch::Merge(json!({ "stringData": { SECRET_NEXT: next } }));
    secrets(world).patch(CREDENTIALS_SECRET, &PatchParams::default(), &crashed).await.unwrap();
}

async fn nobody_was_told_of_a_rejected_credential(world: &World) {
    let told = world.client.events(&world.stack.cluster, "ConditionTransition", 1_000).await.unwrap().items;
    let rejected = told.iter().flat_map(|event| &event.conditions).find(|c| c.reason == CREDENTIAL_REJECTED);
    assert!(!told.is_empty() && rejected.is_none(), "a rejected credential was shown: {rejected:?}");
}

/// The audit events of the rotations since then.
async fn told(world: &World, since: Timestamp) -> usize {
    let told = world.client.events(&world.stack.cluster, "CredentialRotated", 1_000).await.unwrap().items;
    for event in &told {
        let condition = &event.conditions[0];
        assert_eq!(
            (condition.type_.as_str(), condition.reason.as_str()),
            ("Authenticated", "CredentialRotated")
        );
    }
    told.iter().filter(|event| event.timestamp.is_some_and(|at| at >= since)).count()
}

async fn until_told(world: &World, since: Timestamp, at_least: usize) {
    let look = async {
        while told(world, since).await < at_least {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), look).await;
    told.unwrap_or_else(|_| {
        panic!("a rotation was not told; the operator's log:\n{}", world.stack.operator.log())
    });
}

/// Hands in the intent.
pub async fn rotation_job(world: &World) -> JobId {
    let intent = json!({ "intent": "rotate-operator-credentials" });
    world.enqueue("intent", intent, Duration::from_secs(80)).await
}

pub async fn succeeds(world: &World, job: &JobId) {
    let ended = world.end_of(job).await;
    assert_eq!(ended.outcome, Some(Outcome::Succeeded), "{}", ended.error);
    assert_eq!(ended.applied_ref.unwrap().kind, "Cluster");
}

/// One more version of an instance whose release is not waited for.
async fn job(world: &World, namespace: &str, n: usize) -> JobId {
    let mut instance = world.hello(namespace, &format!("web-{}", n % 5), "1.0.0");
    instance["metadata"]["labels"] = json!({ "n": n.to_string() });
    let request = EnqueueJob {
        wait_for: Some(vworkspace_protocol::WaitFor::Accepted),
        deadline_seconds: Some(60),
        ..EnqueueJob::new("apply", instance)
    };
    world.client.enqueue_job(&world.stack.cluster, &request).await.unwrap().id
}

#[tokio::test]
async fn a_hundred_rotations_in_a_row_lose_no_job_and_no_credential_comes_back() {
    let (world, _turn) = world().await;
    let namespace = world.namespace().await;
    let (mut seen, start) = (BTreeSet::new(), Timestamp::now());
    let mut now = credential(&world).await;
    for n in 0..ROTATIONS {
        let job = job(&world, &namespace, n).await;
        seen.insert(now.clone());
        now = rotate(&world, &now).await;
        let ended = world.end_of(&job).await;
        assert_eq!(ended.outcome, Some(Outcome::Succeeded), "{n}: {}", ended.error);
    }
    assert_eq!(seen.len(), ROTATIONS, "a credential came back");
    until_told(&world, start, ROTATIONS).await;
    nobody_was_told_of_a_rejected_credential(&world).await;
}

#[tokio::test]
async fn jobs_and_the_command_line_rotate_and_each_rotation_is_told_once() {
    let (world, _turn) = world().await;
    let (before, start) = (credential(&world).await, Timestamp::now());
    let job = rotation_job(&world).await;
    succeeds(&world, &job).await;
    let by_job = credential(&world).await;
    let mut rotate = world.stack.vwctl.command();
    rotate.args(["cluster", "rotate", &world.stack.cluster_name, "--wait"]);
    let ended = tokio::task::spawn_blocking(move || rotate.output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let by_command = credential(&world).await;
    assert_eq!(BTreeSet::from([before, by_job, by_command]).len(), 3);
    // A new process tells the last rotation again: it is the same event.
    world.stack.operator.kill();
    world.stack.operator.restart().unwrap();
    succeeds(&world, &rotation_job(&world).await).await;
    until_told(&world, start, 3).await;
    assert_eq!(told(&world, start).await, 3);
}

#[tokio::test]
async fn a_rotation_that_was_stored_before_a_crash_is_not_made_again_for_its_job() {
    let (world, _turn) = world().await;
    world.stack.operator.kill();
    let job = rotation_job(&world).await;
    // As the crash left it: the new credential is stored, in the same write as the job it was made for.
    let crashed = Patch::Merge(json!({ "stringData": { SECRET_ROTATED_JOB: job.as_str() } }));
    secrets(&world).patch(CREDENTIALS_SECRET, &PatchParams::default(), &crashed).await.unwrap();
    let before = credential(&world).await;
    world.stack.operator.restart().unwrap();
    succeeds(&world, &job).await;
    assert_eq!(credential(&world).await, before);
    succeeds(&world, &rotation_job(&world).await).await;
    assert_ne!(credential(&world).await, before);
}

#[tokio::test]
async fn a_new_credential_that_the_control_plane_dropped_costs_nothing_and_its_rotation_is_made_again() {
    let (world, _turn) = world().await;
    world.stack.operator.kill();
    let (job, old) = (rotation_job(&world).await, token(&world).await);
    // The request arrived twice, and the answer to the first is what is held.
    let dropped = link(&world, &old).await.rotate().await.unwrap().token;
    link(&world, &old).await.rotate().await.unwrap();
    store_next(&world, dropped.clone(), &job).await;
    world.stack.operator.restart().unwrap();
    succeeds(&world, &job).await;
    let now = token(&world).await;
    assert!(now != old && now != dropped, "the rotation was not made again");
    assert_eq!(stored(&world, SECRET_NEXT).await, None);
    nobody_was_told_of_a_rejected_credential(&world).await;
}

#[tokio::test]
async fn a_new_credential_whose_first_use_a_crash_forgot_becomes_the_current_one() {
    let (world, _turn) = world().await;
    world.stack.operator.kill();
    let (job, old) = (rotation_job(&world).await, token(&world).await);
    let new = link(&world, &old).await.rotate().await.unwrap().token;
    link(&world, &new).await.events(&EventsRequest { events: Vec::new() }).await.unwrap();
    assert!(link(&world, &old).await.rotate().await.is_err(), "the old one is dead");
    store_next(&world, new.clone(), &job).await;
    world.stack.operator.restart().unwrap();
    succeeds(&world, &job).await;
    assert!(token(&world).await == new);
    assert_eq!(stored(&world, SECRET_NEXT).await, None);
    nobody_was_told_of_a_rejected_credential(&world).await;
}
