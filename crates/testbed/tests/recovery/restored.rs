//! The control plane is restored from a backup: `docs/walkthroughs/restore.md`, with the built programs.

use crate::{
    crash::world,
    rotation::{credential, rotate},
    support::World,
};
use kube::Api;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use vworkspace_crds::ApplicationInstance;
use vworkspace_protocol::{
    ConditionStatus, JobId, Outcome,
    admin::{JobState, Presence, UnknownResult},
    condition::types::SUSPENDED,
};

const DEADLINE: Duration = Duration::from_secs(300);
/// Longer than any of these takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Copies the files of one folder into another, which is made.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Stops the server, copies its data folder, and starts it again.
async fn back_up(world: &World) -> PathBuf {
    let backup = tempfile::tempdir_in(world.testbed.work_dir()).unwrap().keep();
    world.stack.server.kill();
    copy(&world.stack.server.data(), &backup);
    world.stack.server.restart().await.unwrap();
    backup
}

async fn restore(world: &World, backup: &Path) {
    world.stack.server.kill();
    fs::remove_dir_all(world.stack.server.data()).unwrap();
    copy(backup, &world.stack.server.data());
    world.stack.server.restart_with(&["--restored"]).await.unwrap();
}

async fn succeeded(world: &World, job: &JobId) {
    let ended = world.end_of(job).await;
    assert_eq!(ended.outcome, Some(Outcome::Succeeded), "{}", ended.error);
}

/// How often the wish for an instance was changed, and the version it is for.
async fn wish(world: &World, namespace: &str, name: &str) -> (i64, String) {
    let instances: Api<ApplicationInstance> = Api::namespaced(world.testbed.admin(), namespace);
    let instance = instances.get(name).await.unwrap();
    (instance.metadata.generation.unwrap(), instance.spec.chart.unwrap().version)
}

/// A job that waits because its release is suspended, with the agent holding it.
async fn under_way(world: &World, namespace: &str, name: &str) -> JobId {
    world.patch_release(namespace, name, &json!({ "spec": { "suspend": true } })).await;
    world.until(namespace, name, SUSPENDED, |c| c.status == ConditionStatus::True).await;
    let job = world.deploy(world.hello(namespace, name, "1.1.0"), DEADLINE).await;
    world.until_job(&job, |job| job.state == JobState::Acked && !job.phase.is_empty()).await;
    job
}

async fn resume(world: &World, namespace: &str, name: &str) {
    world.patch_release(namespace, name, &json!({ "spec": { "suspend": false } })).await;
}

async fn until_connected(world: &World) {
    let look = async {
        while world.client.cluster(&world.stack.cluster).await.unwrap().presence != Presence::Connected {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let back = tokio::time::timeout(PATIENCE, look).await;
    back.unwrap_or_else(|_| panic!("not back; the operator's log:\n{}", world.stack.operator.log()));
}

async fn until_unknown_result(world: &World, job: &JobId) -> UnknownResult {
    let look = async {
        loop {
            let kept = world.client.unknown_results(&world.stack.cluster).await.unwrap().items;
            if let Some(result) = kept.into_iter().find(|result| result.job_id == *job) {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let kept = tokio::time::timeout(PATIENCE, look).await;
    kept.unwrap_or_else(|_| panic!("no result is kept; the operator's log:\n{}", world.stack.operator.log()))
}

#[tokio::test]
async fn restored_control_plane_undoes_and_repeats_nothing() {
    let (world, _turn) = world().await;
    let namespace = world.namespace().await;
    for name in ["web", "slow", "late"] {
        let job = world.deploy(world.hello(&namespace, name, "1.0.0"), DEADLINE).await;
        succeeded(&world, &job).await;
    }
    // Open at the backup: one that the agent holds, and one that is queued and will be cancelled.
    let held_by_agent = under_way(&world, &namespace, "slow").await;
    world.stack.operator.kill();
    let payload = json!({ "intent": "delete-application-instance", "namespace": namespace, "name": "web" });
    let deletion = world.enqueue("intent", payload, DEADLINE).await;
    let backup = back_up(&world).await;

    // What the backup does not know: a cancelled job, a rotation, three jobs, one of them under way.
    world.client.cancel_job(&deletion).await.unwrap();
    world.stack.operator.restart().unwrap();
    until_connected(&world).await;
    resume(&world, &namespace, "slow").await;
    succeeded(&world, &held_by_agent).await;
    let old = credential(&world).await;
    let rotated = rotate(&world, &old).await;
    for name in ["web", "new"] {
        let version = if name == "web" { "1.1.0" } else { "1.0.0" };
        let job = world.deploy(world.hello(&namespace, name, version), DEADLINE).await;
        succeeded(&world, &job).await;
    }
    let unfinished = under_way(&world, &namespace, "late").await;
    let mut before = Vec::new();
    for name in ["web", "slow", "late", "new"] {
        before.push(wish(&world, &namespace, name).await);
    }

    restore(&world, &backup).await;
    until_connected(&world).await;
    resume(&world, &namespace, "late").await;
    let kept = until_unknown_result(&world, &unfinished).await;
    assert_eq!((kept.outcome, kept.error.as_str()), (Outcome::Succeeded, ""));
    for held in [&held_by_agent, &deletion] {
        assert!(world.client.job(held).await.unwrap().held_since.is_some());
    }
    // Jobs flow, and those that are held stay where they are.
    let fresh = world.deploy(world.hello(&namespace, "fresh", "1.0.0"), DEADLINE).await;
    succeeded(&world, &fresh).await;
    assert_eq!(world.client.job(&deletion).await.unwrap().state, JobState::Queued);
    // The backup does not know the newest credential: a former one was accepted, and exchanged at once.
    let exchanged = async {
        while credential(&world).await == rotated {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, exchanged)
        .await
        .expect("the credential is still the one that the backup does not know");
    // The agent did the one that it held; released, it is told so and not done again.
    world.client.release_job(&held_by_agent).await.unwrap();
    let ended = world.end_of(&held_by_agent).await;
    assert_eq!(ended.outcome, Some(Outcome::Noop), "{}", ended.error);
    world.client.cancel_job(&deletion).await.unwrap();

    let mut after = Vec::new();
    for name in ["web", "slow", "late", "new"] {
        after.push(wish(&world, &namespace, name).await);
    }
    assert_eq!(after, before);
    let known = world.client.cluster(&world.stack.cluster).await.unwrap();
    assert_eq!((known.held_jobs, known.identity_conflict), (0, None));
}
