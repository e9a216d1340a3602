use crate::world::{World, admitted, apply, at, begin, ids, manifest};
use serde_json::json;
use vworkspace_core::control::lease::{Limits, MOST_SCANNED};
use vworkspace_protocol::{
    Outcome,
    admin::{EnqueueJob, JobState},
    id::SessionId,
};
use vworkspace_store::Contact;

pub async fn an_unacked_job_is_offered_again_when_its_lease_ends(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    let first = world.poll(&agent, "s", 1).await;
    assert_eq!((ids(&first), first.next_due), (vec![job.clone()], Some(at(31))));
    let early = world.poll(&agent, "s", 30).await;
    assert_eq!((ids(&early), early.next_due), (vec![], Some(at(31))));
    assert_eq!(ids(&world.poll(&agent, "s", 31).await), std::slice::from_ref(&job));
    let shown = world.show(&tenant, &job).await;
    assert_eq!((shown.state, shown.deliveries), (JobState::Leased, 2));
    assert_eq!(shown.timeline[1].cause, "leased to session s");
}

pub async fn an_idle_poll_gets_nothing_and_knows_no_due_time(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let idle = world.poll(&agent, "s", 1).await;
    assert!(idle.jobs.is_empty() && idle.next_due.is_none() && idle.ended.is_empty());
}

pub async fn an_acked_job_is_offered_again_to_a_new_session_once(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "one", 1).await;
    world.ack(&agent, &job, "one", 2).await.unwrap();
    assert!(world.poll(&agent, "one", 100).await.jobs.is_empty());
    assert_eq!(ids(&world.poll(&agent, "two", 101).await), std::slice::from_ref(&job));
    world.ack(&agent, &job, "two", 102).await.unwrap();
    assert!(world.poll(&agent, "two", 200).await.jobs.is_empty());
    assert_eq!(world.show(&tenant, &job).await.deliveries, 0);
}

pub async fn a_new_session_that_acks_by_itself_is_not_offered_the_job(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "one", 1).await;
    world.ack(&agent, &job, "one", 2).await.unwrap();
    let contact = Contact { session: Some("two".to_owned().into()), ..Contact::default() };
    world.store.sighted(&agent.serve, &contact, at(3));
    world.ack(&agent, &job, "two", 3).await.unwrap();
    assert!(world.poll(&agent, "two", 4).await.jobs.is_empty());
}

pub async fn an_acked_job_is_offered_again_after_ten_silent_minutes(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "s", 1).await;
    world.ack(&agent, &job, "s", 2).await.unwrap();
    assert!(world.poll(&agent, "s", 600).await.jobs.is_empty());
    assert!(world.poll(&agent, "s", 1199).await.jobs.is_empty());
    assert_eq!(ids(&world.poll(&agent, "s", 1799).await), [job]);
}

/// One that was restored from a backup does not know what the agent has told since.
pub async fn a_started_server_offers_once_more_what_was_acked(mut world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "one", 1).await;
    world.ack(&agent, &job, "one", 2).await.unwrap();
    for second in [10, 20] {
        world.store.flush_presence().await.unwrap();
        world = world.reopened().await;
        assert_eq!(ids(&world.poll(&agent, "one", second).await), std::slice::from_ref(&job));
        world.ack(&agent, &job, "one", second + 1).await.unwrap();
        assert!(world.poll(&agent, "one", second + 2).await.jobs.is_empty());
    }
}

pub async fn a_later_job_for_the_object_never_overtakes_one_that_may_be_lost(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let first = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "s", 1).await;
    let second = world.apply(&tenant, &agent, "web", 2).await;
    let other = world.apply(&tenant, &agent, "api", 2).await;
    assert_eq!(ids(&world.poll(&agent, "s", 3).await), [other]);
    assert_eq!(ids(&world.poll(&agent, "s", 40).await)[..2], [first, second]);
}

pub async fn ten_unacked_deliveries_park_the_job_and_an_ack_sets_the_count_back(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let lost = world.apply(&tenant, &agent, "lost", 0).await;
    for n in 0..10 {
        assert_eq!(ids(&world.poll(&agent, "s", n * 30).await), std::slice::from_ref(&lost), "delivery {n}");
    }
    let over = world.poll(&agent, "s", 300).await;
    assert_eq!((ids(&over), over.ended), (vec![], vec![(lost.clone(), JobState::Undeliverable)]));
    let shown = world.show(&tenant, &lost).await;
    assert_eq!(shown.state, JobState::Undeliverable);
    assert_eq!(shown.timeline.len(), 12);
    assert!(world.ack(&agent, &lost, "s", 301).await.is_err());
}

pub async fn a_job_whose_time_passed_is_not_handed_out(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let expiring = |name: &str| {
        let mut job = EnqueueJob::new("apply", manifest(name));
        job.expires_at = Some(at(10));
        admitted(job)
    };
    let polled = world.enqueue(&tenant, &agent, expiring("a"), 0).await.job.id;
    let found = world.poll(&agent, "s", 10).await;
    assert_eq!((ids(&found), found.ended), (vec![], vec![(polled.clone(), JobState::Expired)]));
    assert_eq!(world.show(&tenant, &polled).await.state, JobState::Expired);

    let swept = world.enqueue(&tenant, &agent, expiring("b"), 0).await.job.id;
    let held = world.enqueue(&tenant, &agent, expiring("c"), 0).await.job.id;
    assert!(world.store.expire_due(at(9)).await.unwrap().is_empty());
    assert_eq!(ids(&world.poll(&agent, "s", 9).await), [swept.clone(), held.clone()]);
    world.ack(&agent, &held, "s", 9).await.unwrap();
    assert!(world.store.expire_due(at(11)).await.unwrap().is_empty());
    assert_eq!(world.store.expire_due(at(39)).await.unwrap(), [swept]);
    assert_eq!(world.show(&tenant, &held).await.state, JobState::Acked);
}

pub async fn a_poll_is_bounded_by_number_and_by_size(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut made = Vec::new();
    for n in 0..60 {
        made.push(world.enqueue(&tenant, &agent, apply(&format!("a{n}")), 0).await.job.id);
    }
    assert_eq!(ids(&world.poll(&agent, "s", 1).await), made[..50]);
    assert_eq!(ids(&world.poll(&agent, "s", 1).await), made[50..]);

    let other = world.agent(&tenant, "d").await;
    for n in 0..10 {
        let mut payload = manifest(&format!("b{n}"));
        payload["spec"]["blob"] = json!("x".repeat(500 * 1024));
        world.enqueue(&tenant, &other, admitted(EnqueueJob::new("apply", payload)), 0).await;
    }
    assert_eq!(world.poll(&other, "s", 1).await.jobs.len(), 8);
    let small = Limits { jobs: 50, bytes: 1 };
    let alone = world.store.lease(&other.serve, None, small, at(1)).await.unwrap();
    assert_eq!(alone.jobs.len(), 1);
}

pub async fn concurrent_polls_never_get_the_same_job(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    for n in 0..100 {
        world.apply(&tenant, &agent, &format!("a{n}"), 0).await;
    }
    let polls = (0..8).map(|_| {
        let (store, serve) = (world.store.clone(), agent.serve.clone());
        tokio::spawn(
            async move { store.lease(&serve, None, Limits { jobs: 20, bytes: 1 << 20 }, at(1)).await },
        )
    });
    let mut all = Vec::new();
    for poll in polls.collect::<Vec<_>>() {
        all.extend(ids(&poll.await.unwrap().unwrap()));
    }
    all.sort();
    let handed = all.len();
    all.dedup();
    assert_eq!((handed, all.len()), (100, 100));
}

/// What was held before counts as lost once, however far ahead the clock was.
pub async fn a_clock_that_was_ahead_for_a_moment_holds_up_no_new_job(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let held = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "s", 1).await;
    world.ack(&agent, &held, "s", 2).await.unwrap();
    let contact = Contact { session: Some("s".to_owned().into()), ..Contact::default() };
    world.store.sighted(&agent.serve, &contact, at(3600));
    let new = world.apply(&tenant, &agent, "api", 3).await;
    assert_eq!(ids(&world.poll(&agent, "s", 4).await), std::slice::from_ref(&held));
    world.ack(&agent, &held, "s", 5).await.unwrap();
    assert_eq!(ids(&world.poll(&agent, "s", 6).await), [new]);
}

/// No note was written of the agent that acked it, and the clock has gone back since.
pub async fn what_was_acked_before_a_crash_is_offered_to_the_next_session_though_the_clock_went_back(
    world: World,
) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 3600).await;
    world.poll(&agent, "one", 3600).await;
    world.ack(&agent, &job, "one", 3601).await.unwrap();
    let world = world.crashed().await;
    assert_eq!(ids(&world.poll(&agent, "two", 5).await), std::slice::from_ref(&job));
    world.ack(&agent, &job, "two", 6).await.unwrap();
    assert!(world.poll(&agent, "two", 7).await.jobs.is_empty(), "it is offered once");
}

/// Plain v1 agents name no session; one that calls at once cannot be told from the one before by its silence either.
pub async fn what_the_last_agent_acked_is_offered_to_the_one_that_registers_next(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    let poll = async |world: &World, second| {
        world.store.sighted(&agent.serve, &Contact::default(), at(second));
        world.store.lease(&agent.serve, None, Limits::default(), at(second)).await.unwrap()
    };
    poll(&world, 1).await;
    world.store.ack(&world.serving(&agent, &job).await, None, at(2)).await.unwrap();
    world.store.flush_presence().await.unwrap();
    let register = async |world: &World, second| {
        let token = world.registration_token(&tenant, &agent.id).await;
        world.store.register(&token, "", at(second)).await.unwrap();
    };
    register(&world, 3).await;
    let world = world.crashed().await;
    assert_eq!(ids(&poll(&world, 4).await), std::slice::from_ref(&job), "no note of it was written");
    world.store.ack(&world.serving(&agent, &job).await, None, at(5)).await.unwrap();
    assert!(poll(&world, 6).await.jobs.is_empty(), "it is offered once");
    register(&world, 7).await;
    assert_eq!(ids(&poll(&world, 8).await), std::slice::from_ref(&job));
    world.store.ack(&world.serving(&agent, &job).await, None, at(3600)).await.unwrap();
    world.store.flush_presence().await.unwrap();
    register(&world, 9).await;
    let world = world.crashed().await;
    assert_eq!(ids(&poll(&world, 10).await), [job], "the clock went back before the registration");
}

pub async fn a_poll_that_found_only_jobs_that_are_over_looks_again_at_once(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    for n in 0..MOST_SCANNED {
        let mut job = EnqueueJob::new("apply", manifest(&format!("a{n}")));
        job.expires_at = Some(at(10));
        world.enqueue(&tenant, &agent, admitted(job), 0).await;
    }
    let good = world.apply(&tenant, &agent, "web", 1).await;
    let first = world.poll(&agent, "s", 10).await;
    assert_eq!((first.jobs.len(), first.ended.len()), (0, MOST_SCANNED));
    assert_eq!(first.next_due, Some(at(10)));
    assert_eq!(ids(&world.poll(&agent, "s", 10).await), [good]);
}

/// The ack of a session that is gone was on its way through the server while the next one asked for jobs already.
pub async fn what_a_session_acks_after_the_next_one_called_is_offered_to_that_one(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "one", 1).await;
    assert!(world.poll(&agent, "two", 3).await.jobs.is_empty());
    world.ack(&agent, &job, "one", 4).await.unwrap();
    assert_eq!(ids(&world.poll(&agent, "two", 5).await), std::slice::from_ref(&job));
    world.ack(&agent, &job, "two", 6).await.unwrap();
    assert!(world.poll(&agent, "two", 7).await.jobs.is_empty());
}

/// It was told when it was, and stored when the next session had found nothing to take over.
pub async fn an_ack_that_waited_for_longer_than_the_next_sessions_poll_is_offered_to_that_one(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "one", 1).await;
    assert!(world.poll(&agent, "two", 3).await.jobs.is_empty());
    world.ack(&agent, &job, "one", 2).await.unwrap();
    assert_eq!(ids(&world.poll(&agent, "two", 5).await), [job]);
}

pub async fn an_ack_whose_session_went_away_during_the_write_is_offered_to_the_next_one(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "one", 1).await;
    assert!(world.poll(&agent, "two", 3).await.jobs.is_empty());
    begin(world.store.ack(&world.serving(&agent, &job).await, Some(&SessionId::new("one")), at(4)));
    world.store.barrier().await.unwrap();
    assert_eq!(ids(&world.poll(&agent, "two", 5).await), [job]);
}

/// What is told of progress says that the job is held, like an ack.
pub async fn what_a_session_tells_of_a_job_after_the_next_one_called_keeps_it_from_nobody(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "one", 1).await;
    world.ack(&agent, &job, "one", 2).await.unwrap();
    let contact = Contact { session: Some("two".to_owned().into()), ..Contact::default() };
    world.store.sighted(&agent.serve, &contact, at(3));
    world.status(&agent, &job, "one", 4).await;
    assert_eq!(ids(&world.poll(&agent, "two", 5).await), std::slice::from_ref(&job));
    world.ack(&agent, &job, "two", 6).await.unwrap();
    world.status(&agent, &job, "two", 7).await;
    assert!(world.poll(&agent, "two", 8).await.jobs.is_empty());
}

/// An ack that got lost is no reason to say that the job never started: its agent tells how far it is.
pub async fn a_job_whose_progress_was_told_has_started_and_does_not_expire(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut job = EnqueueJob::new("apply", manifest("web"));
    job.expires_at = Some(at(10));
    let job = world.enqueue(&tenant, &agent, admitted(job), 0).await.job.id;
    world.poll(&agent, "s", 1).await;
    world.status(&agent, &job, "s", 2).await;
    assert!(world.store.expire_due(at(40)).await.unwrap().is_empty());
    assert_eq!(ids(&world.poll(&agent, "s", 41).await), std::slice::from_ref(&job), "it was never acked");
    let serving = world.serving(&agent, &job).await;
    world.store.close(&serving, Outcome::Succeeded.into(), at(42)).await.unwrap();
}
