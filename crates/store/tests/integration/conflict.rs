use crate::world::{Agent, World, at};
use vworkspace_core::control::identity::{Change, Standing};
use vworkspace_protocol::{ClusterId, JobId, Outcome, id::SessionId, outcome::JobResult};
use vworkspace_store::{Contact, Error, Manage, PageRequest, Read, Sighted};

fn polls(world: &World, agent: &Agent, session: &str, second: i64) -> Sighted {
    let contact = Contact { session: Some(SessionId::new(session)), is_poll: true, ..Contact::default() };
    world.store.sighted(&agent.serve, &contact, at(second))
}

fn make_conflict(world: &World, agent: &Agent) {
    for (session, second) in [("a", 1), ("b", 2), ("a", 3), ("b", 3), ("b", 8)] {
        assert_eq!(polls(world, agent, session, second), Sighted::Known(Standing::Served, None));
    }
    let began = Sighted::Known(Standing::ServedInConflict, Some(Change::Began));
    assert_eq!(polls(world, agent, "a", 8), began);
}

async fn keep(world: &World, agent: &Agent, session: &str, second: i64) -> Result<(), Error> {
    let cluster = world.store.lookup_cluster::<Manage>(&world.admin, &agent.id).await.unwrap();
    world.store.keep_session(&cluster, &SessionId::new(session), at(second)).await
}

pub async fn conflict_is_known_after_a_restart_whoever_calls_first(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    make_conflict(&world, &agent);
    world.store.flush_presence().await.unwrap();
    let world = world.reopened().await;
    assert_eq!(polls(&world, &agent, "b", 20), Sighted::Known(Standing::Refused, None));
    assert_eq!(polls(&world, &agent, "a", 21), Sighted::Known(Standing::ServedInConflict, None));
    let known: Vec<ClusterId> = world.store.identity_conflicts().into_iter().map(|(id, _)| id).collect();
    assert_eq!(known, [agent.id]);
}

pub async fn acked_job_of_the_later_session_is_redelivered_at_the_end(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    make_conflict(&world, &agent);
    let job = world.apply(&tenant, &agent, "web", 9).await;
    world.ack(&agent, &job, "b", 10).await.unwrap();
    for second in (20..600).step_by(30) {
        assert!(world.poll(&agent, "a", second).await.jobs.is_empty(), "{second}");
    }
    assert_eq!(world.poll(&agent, "a", 700).await.jobs.len(), 1, "the other session is gone for ten minutes");
}

/// It was fetched before the conflict was plain; from its first use on, the other one has no credential that works.
pub async fn whoever_holds_the_only_good_credential_is_served(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let fetched = world.store.rotate(&agent.serve, &agent.credential, at(0)).await.unwrap();
    make_conflict(&world, &agent);
    let job = world.apply(&tenant, &agent, "web", 9).await;
    assert_eq!(world.poll(&agent, "a", 9).await.jobs.len(), 1);
    world.ack(&agent, &job, "a", 9).await.unwrap();
    assert_eq!(polls(&world, &agent, "b", 10), Sighted::Known(Standing::Refused, None));
    world.store.flush_presence().await.unwrap();
    world.store.authenticate(&fetched.token, at(11)).await.unwrap();
    let world = world.crashed().await;
    assert_eq!(polls(&world, &agent, "b", 11), Sighted::Known(Standing::Served, None));
    assert!(world.store.identity_conflicts().is_empty());
    assert_eq!(world.poll(&agent, "b", 12).await.jobs.len(), 1, "the other one cannot report on it any more");
}

pub async fn kept_session_is_known_after_a_crash(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    make_conflict(&world, &agent);
    assert!(matches!(keep(&world, &agent, "nobody", 9).await, Err(Error::UnknownSession)));
    keep(&world, &agent, "b", 9).await.unwrap();
    assert_eq!(polls(&world, &agent, "a", 10), Sighted::NotKept);
    let world = world.crashed().await;
    assert_eq!(polls(&world, &agent, "a", 11), Sighted::NotKept);
    assert_eq!(polls(&world, &agent, "b", 12), Sighted::Known(Standing::Served, None));
    // The right one was restarted meanwhile: what was refused last can be kept instead.
    assert_eq!(polls(&world, &agent, "b2", 13), Sighted::NotKept);
    keep(&world, &agent, "b2", 14).await.unwrap();
    assert_eq!(polls(&world, &agent, "b2", 15), Sighted::Known(Standing::Served, None));
    let rotated = world.store.rotate(&agent.serve, &agent.credential, at(16)).await.unwrap();
    world.store.authenticate(&rotated.token, at(17)).await.unwrap();
    let world = world.crashed().await;
    assert_eq!(polls(&world, &agent, "b3", 18), Sighted::Known(Standing::Served, None));
}

/// Revoked, archived or gone: an alarm about its identity would never end.
pub async fn cluster_without_access_is_in_no_conflict(world: World) {
    let tenant = world.tenant("o").await;
    let (revoked, archived, left) =
        (world.agent(&tenant, "c").await, world.agent(&tenant, "d").await, world.agent(&tenant, "e").await);
    for agent in [&revoked, &archived, &left] {
        make_conflict(&world, agent);
    }
    world.store.flush_presence().await.unwrap();
    assert_eq!(world.store.identity_conflicts().len(), 3);
    let managed = async |id| world.store.lookup_cluster::<Manage>(&world.admin, id).await.unwrap();
    world.store.revoke_cluster(&managed(&revoked.id).await, at(9)).await.unwrap();
    world.store.archive_cluster(&managed(&archived.id).await, at(9)).await.unwrap();
    world.store.decommission(&left.serve, &left.credential, at(9)).await.unwrap();
    assert!(world.store.identity_conflicts().is_empty());
    let world = world.crashed().await;
    assert!(world.store.identity_conflicts().is_empty(), "the note of it was not written");
}

pub async fn unknown_results_are_bounded_and_the_oldest_goes(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let id = |n: u32| JobId::new(format!("0190a0a0-0000-7000-8000-{n:012}"));
    for n in 0..1_003 {
        let result = JobResult::from(Outcome::Succeeded);
        world.store.keep_unknown_result(&agent.serve, &id(n), result, at(1)).await.unwrap();
    }
    let cluster = world.store.lookup_cluster::<Read>(&tenant.caller, &agent.id).await.unwrap();
    assert_eq!(world.store.cluster(&cluster, at(2)).await.unwrap().unknown_results, 1_000);
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = PageRequest::parse(Some(200), cursor.as_deref()).unwrap();
        let page = world.store.unknown_results(&cluster, &page).await.unwrap();
        seen.extend(page.items.into_iter().map(|result| result.job_id));
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (3..1_003).rev().map(id).collect::<Vec<_>>());
}
