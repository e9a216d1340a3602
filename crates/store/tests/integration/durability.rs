//! What was answered is there, however the store ends; what is abandoned happens whole or not at all.

use crate::world::{Agent, Tenant, World, admitted, apply, at, begin, ids, manifest};
use vworkspace_protocol::{
    Outcome,
    admin::{self, EnqueueJob, JobState},
};
use vworkspace_store::{Contact, Error, PageRequest};

pub async fn what_was_answered_is_there_after_the_store_is_opened_again(world: World) {
    let known = Known::made_in(&world).await;
    known.is_in(world.reopened().await).await;
}

pub async fn what_was_answered_survives_a_crash(world: World) {
    let known = Known::made_in(&world).await;
    known.is_in(world.crashed().await).await;
}

/// What a caller was told.
struct Known {
    tenant: Tenant,
    agent: Agent,
    jobs: Vec<admin::Job>,
}

impl Known {
    async fn made_in(world: &World) -> Self {
        let tenant = world.tenant("o").await;
        let agent = world.agent(&tenant, "c").await;
        let done = world.apply(&tenant, &agent, "done", 0).await;
        world.poll(&agent, "s", 1).await;
        world.ack(&agent, &done, "s", 2).await.unwrap();
        world
            .store
            .close(&world.serving(&agent, &done).await, Outcome::Succeeded.into(), at(3))
            .await
            .unwrap();
        let queued = world.apply(&tenant, &agent, "queued", 4).await;
        let jobs = vec![world.show(&tenant, &done).await, world.show(&tenant, &queued).await];
        Self { tenant, agent, jobs }
    }

    async fn is_in(&self, world: World) {
        for job in &self.jobs {
            assert_eq!(world.show(&self.tenant, &job.id).await, *job);
        }
        assert!(world.store.authenticate(&self.agent.credential, at(5)).await.is_ok());
        assert_eq!(ids(&world.poll(&self.agent, "s", 6).await), [self.jobs[1].id.clone()]);
    }
}

pub async fn an_abandoned_write_happens_whole_all_the_same(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let older = world.apply(&tenant, &agent, "web", 0).await;
    let cluster = world.command(&tenant, &agent).await;
    // Begun, then dropped before its answer.
    begin(world.store.enqueue(&cluster, apply("web"), at(1)));
    // Answered after what was queued before it.
    world.store.barrier().await.unwrap();
    let reading = world.reading(&tenant, &agent).await;
    let all = world.store.jobs(&reading, None, &PageRequest::default(), at(2)).await.unwrap().items;
    assert_eq!((all.len(), &all[1].id, all[1].state), (2, &older, JobState::Superseded));
    let job = world.show(&tenant, &all[0].id).await;
    assert_eq!((job.state, job.timeline.len()), (JobState::Queued, 1));
}

pub async fn a_refused_write_leaves_nothing_behind(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let queued = world.apply(&tenant, &agent, "web", 0).await;
    let mut keyed = EnqueueJob::new("apply", manifest("api"));
    keyed.idempotency_key = Some("k".into());
    world.enqueue(&tenant, &agent, admitted(keyed), 1).await;
    // An apply of the first object under the second one's key: it would supersede, and must not.
    let mut taken = EnqueueJob::new("apply", manifest("web"));
    taken.idempotency_key = Some("k".into());
    let cluster = world.command(&tenant, &agent).await;
    let refused = world.store.enqueue(&cluster, admitted(taken), at(2)).await;
    assert!(matches!(refused, Err(Error::AlreadyExists { .. })));
    let world = world.reopened().await;
    assert_eq!(world.show(&tenant, &queued).await.state, JobState::Queued);
    assert_eq!(world.poll(&agent, "s", 3).await.jobs.len(), 2);
}

pub async fn concurrent_enqueues_are_all_there_in_one_order(world: World) {
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
    let world = world.reopened().await;
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

pub async fn a_crash_loses_what_was_noted_of_agents_since_the_last_flush_and_nothing_else(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    world.store.sighted(&agent.serve, &Contact::default(), at(10));
    world.store.flush_presence().await.unwrap();
    world.store.sighted(&agent.serve, &Contact::default(), at(20));
    let job = world.apply(&tenant, &agent, "web", 21).await;
    let world = world.crashed().await;
    let reading = world.reading(&tenant, &agent).await;
    assert_eq!(world.store.cluster(&reading, at(22)).await.unwrap().last_seen, Some(at(10)));
    assert_eq!(world.show(&tenant, &job).await.state, JobState::Queued);
}
