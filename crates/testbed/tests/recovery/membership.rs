//! The Cluster object comes, goes, and changes under a running operator.

use crate::{
    crash::world,
    rotation::{link, store_next, token},
    support::World,
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::wait::{await_condition, conditions::is_deleted},
};
use serde_json::json;
use std::{fs, time::Duration};
use vworkspace_crds::{
    Cluster,
    cluster::ClusterSpec,
    key::{CREDENTIALS_SECRET, DEFAULT_NAMESPACE, REGISTRATION_TOKEN_KEY, SECRET_CA, SECRET_TOKEN},
};
use vworkspace_protocol::{
    JobId, Outcome,
    admin::{CreateRegistrationToken, EnqueueJob, JobState, Presence},
    condition::reasons,
    event::EventsRequest,
};
use vworkspace_testbed::stack::Tls;
use vworkspace_transport::AgentLink as _;

/// Longer than any of these takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub fn clusters(world: &World) -> Api<Cluster> {
    Api::all(world.testbed.admin())
}

pub fn secrets(world: &World) -> Api<Secret> {
    Api::namespaced(world.testbed.admin(), DEFAULT_NAMESPACE)
}

/// The Cluster in charge: these tests make others with later names only.
pub async fn in_charge(world: &World) -> Cluster {
    clusters(world).list(&ListParams::default()).await.unwrap().items.remove(0)
}

pub async fn delete(world: &World, cluster: &Cluster) {
    let name = cluster.metadata.name.as_deref().unwrap();
    clusters(world).delete(name, &DeleteParams::default()).await.unwrap();
    until_gone(world, cluster).await;
}

async fn until_gone(world: &World, cluster: &Cluster) {
    let (name, uid) = (cluster.metadata.name.clone().unwrap(), cluster.metadata.uid.clone().unwrap());
    let gone = await_condition(clusters(world), &name, is_deleted(&uid));
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.unwrap_or_else(|_| panic!("{name} stays; the operator's log:\n{}", world.stack.operator.log()))
        .unwrap();
}

async fn presence(world: &World) -> Presence {
    world.client.cluster(&world.stack.cluster).await.unwrap().presence
}

async fn until_present(world: &World, wanted: Presence) {
    let look = async {
        while presence(world).await != wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, look).await;
    seen.unwrap_or_else(|_| panic!("never {wanted:?}; the operator's log:\n{}", world.stack.operator.log()));
}

/// What the cluster's admin does to join again: a new token, and the object as it was.
pub async fn join_again(world: &World, spec: &ClusterSpec) {
    let wanted = CreateRegistrationToken::default();
    let token = world.client.create_registration_token(&world.stack.cluster, &wanted).await.unwrap().token;
    hand_over(world, spec, token.expose()).await;
    let cluster = Cluster::new("control-plane", spec.clone());
    clusters(world).create(&PostParams::default(), &cluster).await.unwrap();
    until_present(world, Presence::Connected).await;
}

async fn rotation_job(world: &World) -> JobId {
    let intent = json!({ "intent": "rotate-operator-credentials" });
    let request = EnqueueJob { deadline_seconds: Some(80), ..EnqueueJob::new("intent", intent) };
    world.client.enqueue_job(&world.stack.cluster, &request).await.unwrap().id
}

/// Writes the registration token into its Secret.
pub async fn hand_over(world: &World, spec: &ClusterSpec, token: &str) {
    let secret = spec.registration_token_secret_ref.as_ref().unwrap().name.clone();
    let fresh = Patch::Merge(json!({ "stringData": { REGISTRATION_TOKEN_KEY: token } }));
    secrets(world).patch(&secret, &PatchParams::default(), &fresh).await.unwrap();
}

pub async fn jobs_flow(world: &World) {
    let ended = world.end_of(&rotation_job(world).await).await;
    assert_eq!(ended.outcome, Some(Outcome::Succeeded), "{}", ended.error);
}

#[tokio::test]
async fn a_deleted_cluster_has_left_and_joins_again_with_a_new_token() {
    let (world, _turn) = world().await;
    let cluster = in_charge(&world).await;
    let credential = secrets(&world).get(CREDENTIALS_SECRET).await.unwrap();

    delete(&world, &cluster).await;
    assert_eq!(presence(&world).await, Presence::Unregistered);
    let uid = credential.metadata.uid.unwrap();
    let collected = await_condition(secrets(&world), CREDENTIALS_SECRET, is_deleted(&uid));
    tokio::time::timeout(PATIENCE, collected).await.unwrap().unwrap();
    let waiting = rotation_job(&world).await;
    assert_eq!(world.client.job(&waiting).await.unwrap().state, JobState::Queued);

    join_again(&world, &cluster.spec).await;
    let ended = world.end_of(&waiting).await;
    assert_eq!(ended.outcome, Some(Outcome::Succeeded), "{}", ended.error);
}

#[tokio::test]
async fn a_cluster_that_leaves_during_a_rotation_ends_whichever_credential_works() {
    let (world, _turn) = world().await;
    for was_used in [true, false] {
        let cluster = in_charge(&world).await;
        world.stack.operator.kill();
        let old = token(&world).await;
        let new = link(&world, &old).await.rotate().await.unwrap().token;
        let works = if was_used {
            link(&world, &new).await.events(&EventsRequest { events: Vec::new() }).await.unwrap();
            new.clone()
        } else {
            // It is replaced, and nobody has the one in its place.
            link(&world, &old).await.rotate().await.unwrap();
            old
        };
        let works = link(&world, &works).await;
        store_next(&world, new, &JobId::new("j")).await;
        let credential = secrets(&world).get(CREDENTIALS_SECRET).await.unwrap();
        let name = cluster.metadata.name.as_deref().unwrap();
        clusters(&world).delete(name, &DeleteParams::default()).await.unwrap();
        world.stack.operator.restart().unwrap();
        until_gone(&world, &cluster).await;
        assert_eq!(presence(&world).await, Presence::Unregistered, "used: {was_used}");
        assert!(works.rotate().await.is_err(), "used: {was_used}");
        let uid = credential.metadata.uid.unwrap();
        let collected = await_condition(secrets(&world), CREDENTIALS_SECRET, is_deleted(&uid));
        tokio::time::timeout(PATIENCE, collected).await.unwrap().unwrap();
        join_again(&world, &cluster.spec).await;
    }
}

#[tokio::test]
async fn a_second_cluster_goes_without_taking_the_identity_along() {
    let (world, _turn) = world().await;
    let first = in_charge(&world).await;
    let second = Cluster::new("ignored", first.spec.clone());
    clusters(&world).create(&PostParams::default(), &second).await.unwrap();
    let told = await_condition(clusters(&world), "ignored", |cluster: Option<&Cluster>| {
        let status = cluster.and_then(|cluster| cluster.status.as_ref());
        status.is_some_and(|status| status.conditions.iter().any(|c| c.reason == reasons::NOT_SINGLETON))
    });
    let second = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap().unwrap();
    delete(&world, &second).await;
    jobs_flow(&world).await;
}

#[tokio::test]
async fn an_unreachable_control_plane_does_not_keep_the_cluster_for_ever() {
    let (world, _turn) = world().await;
    let cluster = in_charge(&world).await;
    world.stack.server.kill();
    delete(&world, &cluster).await;
    assert!(world.stack.operator.log().contains("the control plane did not decommission this cluster"));
    world.stack.server.restart().await.unwrap();
    // It does not know: the identity is still registered.
    assert_ne!(presence(&world).await, Presence::Unregistered);
    join_again(&world, &cluster.spec).await;
    jobs_flow(&world).await;
}

#[tokio::test]
async fn a_control_plane_that_moves_to_another_address_and_ca_is_followed_without_a_restart() {
    let (world, _turn) = world().await;
    let cluster = in_charge(&world).await;
    let work = tempfile::tempdir_in(world.testbed.work_dir()).unwrap().keep();
    let tls = Tls::make(&work).unwrap();
    let moved = world.stack.server.moved(&work, &tls).await.unwrap();
    let elsewhere = World { client: moved.client().unwrap(), ..world };

    follow_to(&elsewhere, &cluster, &moved.url, &fs::read(&moved.ca).unwrap()).await;
    jobs_flow(&elsewhere).await;

    // And back: the other tests of this stack know the old address only.
    moved.kill();
    let home = &elsewhere.stack.server;
    home.restart().await.unwrap();
    let back = World { client: home.client().unwrap(), ..elsewhere };
    follow_to(&back, &cluster, &home.url, &fs::read(&home.ca).unwrap()).await;
    jobs_flow(&back).await;
}

/// Tells the operator where the control plane is now, as the cluster's admin would: the CA in its Secret, the URL in
/// the object.
pub async fn follow_to(world: &World, cluster: &Cluster, url: &str, ca: &[u8]) {
    let name = cluster.metadata.name.clone().unwrap();
    let secret = cluster.spec.control_plane_ca_secret_ref.as_ref().unwrap().name.clone();
    let ca = Patch::Merge(json!({ "data": { SECRET_CA: ByteString(ca.to_vec()) } }));
    secrets(world).patch(&secret, &PatchParams::default(), &ca).await.unwrap();
    let url = Patch::Merge(json!({ "spec": { "controlPlaneEndpoint": url } }));
    clusters(world).patch(&name, &PatchParams::default(), &url).await.unwrap();
    assert!(secrets(world).get(CREDENTIALS_SECRET).await.unwrap().data.unwrap().contains_key(SECRET_TOKEN));
}
