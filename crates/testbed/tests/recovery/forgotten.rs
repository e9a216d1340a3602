//! The control plane is set back to an earlier state of its own data folder.

use crate::{crash::world, support::World};
use std::{fs, path::Path, time::Duration};
use vworkspace_protocol::{ConditionStatus, Outcome, condition::types::READY};

const DEADLINE: Duration = Duration::from_secs(80);
const SINCE: [&str; 4] = ["one", "two", "three", "four"];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn deployed(world: &World, namespace: &str, name: &str) {
    let job = world.deploy(world.hello(namespace, name, "1.0.0"), DEADLINE).await;
    assert_eq!(world.end_of(&job).await.outcome, Some(Outcome::Succeeded));
    world.until(namespace, name, READY, |ready| ready.status == ConditionStatus::True).await;
}

/// The cut is over before a second call fails, so that no snapshot follows from it.
#[tokio::test]
async fn objects_made_since_the_backup_come_back_after_a_restore() {
    let (world, _turn) = world().await;
    let namespace = world.namespace().await;
    deployed(&world, &namespace, "web").await;
    let (server, backup) = (&world.stack.server, tempfile::tempdir().unwrap());
    server.kill();
    copy(&server.data(), backup.path());
    server.restart().await.unwrap();
    for name in SINCE {
        deployed(&world, &namespace, name).await;
    }
    server.kill();
    fs::remove_dir_all(server.data()).unwrap();
    copy(backup.path(), &server.data());
    server.restart().await.unwrap();
    for name in SINCE {
        world.until(&namespace, name, READY, |ready| ready.status == ConditionStatus::True).await;
    }
    world.until(&namespace, "web", READY, |ready| ready.status == ConditionStatus::True).await;
}
