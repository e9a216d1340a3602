use crate::world::{World, apply, at, ids};
use std::os::unix::fs::PermissionsExt;
use vworkspace_protocol::{Outcome, admin::JobState, outcome::JobResult};
use vworkspace_store::{Error, PageRequest};

#[tokio::test]
async fn what_was_answered_is_there_after_the_store_is_opened_again() {
    let world = World::new().await;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let done = world.apply(&tenant, &agent, "done", 0).await;
    world.poll(&agent, "s", 1).await;
    world.ack(&agent, &done, "s", 2).await.unwrap();
    let result = JobResult {
        outcome: Outcome::Succeeded,
        error: String::new(),
        applied_ref: None,
        conflicts: Vec::new(),
        timestamp: None,
    };
    world.store.close(&world.serving(&agent, &done).await, result, at(3)).await.unwrap();
    let queued = world.apply(&tenant, &agent, "queued", 4).await;
    let before = (world.show(&tenant, &done).await, world.show(&tenant, &queued).await);
    let world = world.reopened();
    assert_eq!((world.show(&tenant, &done).await, world.show(&tenant, &queued).await), before);
    assert!(world.store.authenticate(&agent.credential, at(5)).await.is_ok());
    assert_eq!(ids(&world.poll(&agent, "s", 6).await), [queued]);
}

#[tokio::test]
async fn one_process_at_a_time_owns_the_database_and_only_its_owner_reads_it() {
    let world = World::new().await;
    let Err(error) = world.open_again() else { panic!("opened twice") };
    let Error::InUse { path } = &error else { panic!("{error}") };
    let database = path.with_extension("sqlite");
    assert_eq!(std::fs::metadata(database).unwrap().permissions().mode() & 0o777, 0o600);
    world.store.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_enqueues_are_all_there_in_one_order() {
    let world = World::new().await;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let cluster = world.command(&tenant, &agent).await;
    let tasks = (0..64).map(|task| {
        let (store, cluster) = (world.store.clone(), cluster.clone());
        tokio::spawn(async move {
            for n in 0..20 {
                store.enqueue(&cluster, apply(&format!("t{task}-{n}")), at(n)).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let world = world.reopened();
    let cluster = world.reading(&tenant, &agent).await;
    let (mut names, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest::parse(Some(200), cursor.as_deref()).unwrap();
        let answer = world.store.jobs(&cluster, Some(JobState::Queued), &page, at(0)).await.unwrap();
        names.extend(answer.items.into_iter().map(|job| job.target.name));
        match answer.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(names.len(), 64 * 20);
    for task in 0..64 {
        let own: Vec<_> = names.iter().filter(|name| name.starts_with(&format!("t{task}-"))).collect();
        let expected: Vec<_> = (0..20).rev().map(|n| format!("t{task}-{n}")).collect();
        assert!(own.into_iter().eq(&expected), "task {task}");
    }
}
