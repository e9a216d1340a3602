//! The credential changes under a running conversation.

use crate::{crash::world, support::World};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use vworkspace_crds::{
    Cluster,
    key::{CREDENTIALS_SECRET, DEFAULT_NAMESPACE, SECRET_TOKEN},
};
use vworkspace_protocol::{Outcome, admin::EnqueueJob, condition::reasons::CREDENTIAL_REJECTED};

const ROTATIONS: usize = 100;

/// Asks for a rotation as the cluster's admin would, and waits until it is done. Answers the new credential.
async fn rotate(world: &World, old: &[u8]) -> Vec<u8> {
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

async fn credential(world: &World) -> Vec<u8> {
    let secrets: Api<Secret> = Api::namespaced(world.testbed.admin(), DEFAULT_NAMESPACE);
    secrets.get(CREDENTIALS_SECRET).await.unwrap().data.unwrap()[SECRET_TOKEN].0.clone()
}

/// One more version of an instance whose release is not waited for.
async fn job(world: &World, namespace: &str, n: usize) -> vworkspace_protocol::JobId {
    let mut instance = world.hello(namespace, &format!("web-{}", n % 5), "1.0.0");
    instance["metadata"]["labels"] = json!({ "n": n.to_string() });
    let request = EnqueueJob {
        kind: "apply".to_owned(),
        payload: instance,
        idempotency_key: None,
        expires_at: None,
        wait_for: Some(vworkspace_protocol::WaitFor::Accepted),
        deadline_seconds: Some(60),
    };
    world.client.enqueue_job(&world.stack.cluster, &request).await.unwrap().id
}

#[tokio::test]
async fn a_hundred_rotations_in_a_row_lose_no_job_and_no_credential_comes_back() {
    let (world, _turn) = world().await;
    let namespace = world.namespace().await;
    let mut seen = BTreeSet::new();
    let mut now = credential(&world).await;
    for n in 0..ROTATIONS {
        let job = job(&world, &namespace, n).await;
        seen.insert(now.clone());
        now = rotate(&world, &now).await;
        let ended = world.end_of(&job).await;
        assert_eq!(ended.outcome, Some(Outcome::Succeeded), "{n}: {}", ended.error);
    }
    assert_eq!(seen.len(), ROTATIONS, "a credential came back");
    let told = world.client.events(&world.stack.cluster, "ConditionTransition", 1_000).await.unwrap().items;
    let rejected = told.iter().flat_map(|event| &event.conditions).find(|c| c.reason == CREDENTIAL_REJECTED);
    assert!(!told.is_empty() && rejected.is_none(), "a rejected credential was shown: {rejected:?}");
}
