//! The answer to a rotation is lost, at a control plane where the old credential is dead by then.

use crate::{
    crash::world,
    membership::{PATIENCE, clusters, delete, hand_over, in_charge, jobs_flow, join_again},
    strict_v1::{CLUSTER, StrictV1},
    support::World,
};
use kube::{
    api::{Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::json;
use vworkspace_crds::{Cluster, cluster::ClusterSpec};
use vworkspace_protocol::condition::{reasons, types};

#[tokio::test]
async fn cluster_registers_once_more_after_a_lost_rotation() {
    let (world, _turn) = world().await;
    let home = in_charge(&world).await;
    delete(&world, &home).await;
    let control_plane = StrictV1::start("v1-token-1").await;
    hand_over(&world, &home.spec, "v1-token-1").await;
    let there = ClusterSpec {
        control_plane_endpoint: Some(control_plane.url.clone()),
        control_plane_ca_secret_ref: None,
        cluster_id: None,
        ..home.spec.clone()
    };
    clusters(&world).create(&PostParams::default(), &Cluster::new("control-plane", there)).await.unwrap();
    polled(&world, &control_plane).await;

    // The token is accepted once more: nobody has to do anything, and the identity stays.
    lose_a_rotation(&world, &control_plane).await;
    polled(&world, &control_plane).await;
    assert_eq!(control_plane.registrations(), [None, Some(CLUSTER.to_owned())]);
    until_authenticated(&world, true, "").await;

    // It is not: the cluster tries once, and says what helps.
    control_plane.accept(&[]);
    lose_a_rotation(&world, &control_plane).await;
    until_authenticated(&world, false, "registration token").await;
    assert_eq!(control_plane.registrations().len(), 3, "it registers again once");
    control_plane.accept(&["v1-token-2"]);
    hand_over(&world, &home.spec, "v1-token-2").await;
    polled(&world, &control_plane).await;
    assert_eq!(control_plane.registrations()[3], Some(CLUSTER.to_owned()));
    until_authenticated(&world, true, "").await;

    delete(&world, &in_charge(&world).await).await;
    join_again(&world, &home.spec).await;
    jobs_flow(&world).await;
}

async fn polled(world: &World, control_plane: &StrictV1) {
    let polled = tokio::time::timeout(PATIENCE, control_plane.polled()).await;
    polled.unwrap_or_else(|_| panic!("no poll; the operator's log:\n{}", world.stack.operator.log()));
}

/// Asks for a rotation as the cluster's admin would, once an earlier wish has been fulfilled.
async fn lose_a_rotation(world: &World, control_plane: &StrictV1) {
    let is_free = |cluster: Option<&Cluster>| {
        cluster.is_some_and(|cluster| cluster.spec.rotate_credentials != Some(true))
    };
    let free =
        tokio::time::timeout(PATIENCE, await_condition(clusters(world), "control-plane", is_free)).await;
    free.unwrap_or_else(|_| panic!("the wish stays; the operator's log:\n{}", world.stack.operator.log()))
        .unwrap();
    control_plane.lose_next_rotation();
    let wish = Patch::Merge(json!({ "spec": { "rotateCredentials": true } }));
    clusters(world).patch("control-plane", &PatchParams::default(), &wish).await.unwrap();
    let lost = async {
        while !control_plane.has_lost_a_rotation() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, lost).await.unwrap();
}

/// Waits until the Cluster says whether its credential is accepted, in a message that holds this.
async fn until_authenticated(world: &World, holds: bool, message: &str) {
    let reason = if holds { reasons::CREDENTIAL_ACCEPTED } else { reasons::CREDENTIAL_REJECTED };
    let is_told = |cluster: Option<&Cluster>| {
        let status = cluster.and_then(|cluster| cluster.status.as_ref());
        let conditions = status.map(|status| &*status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| {
            condition.type_ == types::AUTHENTICATED
                && condition.reason == reason
                && condition.message.contains(message)
        })
    };
    let told =
        tokio::time::timeout(PATIENCE, await_condition(clusters(world), "control-plane", is_told)).await;
    told.unwrap_or_else(|_| panic!("never {reason}; the operator's log:\n{}", world.stack.operator.log()))
        .unwrap();
}
