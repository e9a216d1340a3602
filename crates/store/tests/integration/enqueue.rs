use crate::world::{World, admitted, apply, at, delete, ensure, ids, manifest};
use serde_json::json;
use vworkspace_protocol::{
    WaitFor,
    admin::{EnqueueJob, JobState},
};
use vworkspace_store::{Command, Error, PageRequest};

pub async fn an_enqueued_job_reads_back_as_it_was_answered(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let enqueued = world.enqueue(&tenant, &agent, apply("web"), 0).await;
    assert!(enqueued.created);
    assert_eq!(enqueued.job.idempotency_key, format!("job/{}", enqueued.job.id));
    assert_eq!(world.show(&tenant, &enqueued.job.id).await, enqueued.job);
}

pub async fn every_enqueue_without_a_key_gets_one_of_its_own(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let one = world.enqueue(&tenant, &agent, apply("web"), 0).await;
    let two = world.enqueue(&tenant, &agent, apply("web"), 0).await;
    assert!(one.created && two.created);
    assert_ne!(one.job.idempotency_key, two.job.idempotency_key);
    assert_eq!(world.poll(&agent, "s", 1).await.jobs[0].idempotency_key, two.job.idempotency_key);
}

pub async fn the_agent_gets_the_payload_and_every_member(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut full = EnqueueJob::new("apply", manifest("web"));
    full.idempotency_key = Some("mine".into());
    full.expires_at = Some(at(100));
    full.wait_for = Some(WaitFor::Accepted);
    full.deadline_seconds = Some(60);
    full.retry_seconds = Some(0);
    full.force = true;
    world.enqueue(&tenant, &agent, admitted(full), 1).await;
    let job = world.poll(&agent, "s", 2).await.jobs.remove(0);
    assert_eq!(serde_json::from_str::<serde_json::Value>(job.payload.get()).unwrap(), manifest("web"));
    assert_eq!((job.kind.as_str(), job.idempotency_key.as_str()), ("apply", "mine"));
    assert_eq!((job.created_at, job.expires_at), (Some(at(1)), Some(at(100))));
    assert_eq!((job.wait_for, job.deadline_seconds), (Some(WaitFor::Accepted), Some(60)));
    assert_eq!((job.retry_seconds, job.force), (Some(0), true));
}

pub async fn an_explicit_key_stands_for_one_payload_of_one_cluster(world: World) {
    let tenant = world.tenant("o").await;
    let (one, two) = (world.agent(&tenant, "one").await, world.agent(&tenant, "two").await);
    let keyed = |name: &str| {
        let mut job = EnqueueJob::new("apply", manifest(name));
        job.idempotency_key = Some("k".into());
        admitted(job)
    };
    let first = world.enqueue(&tenant, &one, keyed("web"), 0).await;
    let again = world.enqueue(&tenant, &one, keyed("web"), 1).await;
    assert_eq!((again.created, &again.job.id), (false, &first.job.id));
    assert_eq!(again.job.timeline, first.job.timeline);
    let cluster = world.command(&tenant, &one).await;
    let other = world.store.enqueue(&cluster, keyed("api"), at(2)).await;
    assert!(matches!(other, Err(Error::AlreadyExists { .. })));
    assert!(world.enqueue(&tenant, &two, keyed("api"), 3).await.created);
    assert_eq!(world.poll(&one, "s", 4).await.jobs.len(), 1);
}

pub async fn a_newer_apply_takes_the_place_of_those_never_handed_out(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let handed = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "s", 1).await;
    let older = world.apply(&tenant, &agent, "web", 2).await;
    let other = world.apply(&tenant, &agent, "api", 2).await;
    let newer = world.enqueue(&tenant, &agent, apply("web"), 3).await;
    assert_eq!(newer.superseded, std::slice::from_ref(&older));
    let superseded = world.show(&tenant, &older).await;
    assert_eq!(superseded.state, JobState::Superseded);
    assert_eq!(superseded.timeline.last().unwrap().cause, format!("superseded by job {}", newer.job.id));
    assert_eq!(world.show(&tenant, &handed).await.state, JobState::Leased);
    world.ack(&agent, &handed, "s", 4).await.unwrap();
    assert_eq!(ids(&world.poll(&agent, "s", 5).await), [other, newer.job.id]);
}

pub async fn applies_and_ensure_intents_of_one_object_supersede(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut last = world.enqueue(&tenant, &agent, ensure("web"), 0).await.job.id;
    for (n, job) in [ensure("web"), apply("web"), ensure("web")].into_iter().enumerate() {
        let newer = world.enqueue(&tenant, &agent, job, n as i64 + 1).await;
        assert_eq!(newer.superseded, [last]);
        last = newer.job.id;
    }
    assert_eq!(ids(&world.poll(&agent, "s", 5).await), [last]);
}

pub async fn no_job_supersedes_across_a_queued_delete(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let delete_intent = json!({"intent": "delete-application-instance", "namespace": "org-a", "name": "web"});
    let mut expected = Vec::new();
    for gone in [delete("web"), admitted(EnqueueJob::new("intent", delete_intent))] {
        expected.push(world.enqueue(&tenant, &agent, apply("web"), 0).await.job.id);
        expected.push(world.enqueue(&tenant, &agent, gone, 1).await.job.id);
    }
    let first = world.enqueue(&tenant, &agent, ensure("web"), 2).await;
    assert_eq!(first.superseded, []);
    let second = world.enqueue(&tenant, &agent, apply("web"), 3).await;
    assert_eq!(second.superseded, [first.job.id]);
    expected.push(second.job.id);
    assert_eq!(ids(&world.poll(&agent, "s", 5).await), expected);
}

pub async fn a_cancelled_delete_keeps_no_job_from_superseding(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let older = world.apply(&tenant, &agent, "web", 0).await;
    let gone = world.enqueue(&tenant, &agent, delete("web"), 1).await.job.id;
    let command = world.store.lookup_job::<Command>(&tenant.caller, &gone).await.unwrap();
    world.store.cancel(&command, at(2)).await.unwrap();
    let newer = world.enqueue(&tenant, &agent, apply("web"), 3).await;
    assert_eq!(newer.superseded, [older]);
}

pub async fn operation_requests_are_never_superseded(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let operation = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Operation",
                           "metadata": {"namespace": "org-a", "name": "backup"}});
    let request = || {
        admitted(EnqueueJob::new("intent", json!({"intent": "request-operation", "operation": operation})))
    };
    let mut expected = Vec::new();
    for _ in 0..2 {
        let requested = world.enqueue(&tenant, &agent, request(), 0).await;
        assert_eq!(requested.superseded, []);
        expected.push(requested.job.id);
    }
    let applied =
        world.enqueue(&tenant, &agent, admitted(EnqueueJob::new("apply", operation.clone())), 1).await;
    assert_eq!(applied.superseded, []);
    expected.push(applied.job.id);
    assert_eq!(ids(&world.poll(&agent, "s", 5).await), expected);
}

pub async fn jobs_are_listed_newest_first_by_state_and_page(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(world.apply(&tenant, &agent, &format!("a{n}"), n).await);
        world.poll(&agent, "s", n).await;
    }
    world.ack(&agent, &made[1], "s", 6).await.unwrap();
    world.ack(&agent, &made[3], "s", 6).await.unwrap();
    made.reverse();
    let cluster = world.reading(&tenant, &agent).await;
    let page = PageRequest::parse(Some(3), None).unwrap();
    let first = world.store.jobs(&cluster, None, &page, at(9)).await.unwrap();
    let page = PageRequest::parse(Some(3), first.next_cursor.as_deref()).unwrap();
    let second = world.store.jobs(&cluster, None, &page, at(9)).await.unwrap();
    let listed: Vec<_> = first.items.iter().chain(&second.items).map(|job| job.id.clone()).collect();
    assert_eq!((listed, second.next_cursor), (made.clone(), None));
    let acked =
        world.store.jobs(&cluster, Some(JobState::Acked), &PageRequest::default(), at(9)).await.unwrap();
    let acked: Vec<_> = acked.items.iter().map(|job| &job.id).collect();
    assert_eq!(acked, [&made[1], &made[3]]);
    assert!(first.items[0].timeline.is_empty());
}

/// The answer to the first was lost, and the caller asks again later than the job might have started.
pub async fn a_keyed_enqueue_that_is_repeated_after_its_time_answers_the_job_that_stands(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let keyed = |key: &str| {
        let mut job = EnqueueJob::new("apply", manifest("web"));
        job.idempotency_key = Some(key.into());
        job.expires_at = Some(at(10));
        admitted(job)
    };
    let first = world.enqueue(&tenant, &agent, keyed("k"), 0).await;
    let again = world.enqueue(&tenant, &agent, keyed("k"), 11).await;
    assert_eq!((again.created, again.job.id), (false, first.job.id));
    let cluster = world.command(&tenant, &agent).await;
    let late = world.store.enqueue(&cluster, keyed("another"), at(10)).await;
    assert!(matches!(late, Err(Error::NotAJob(_))), "a key that nobody used stands for nothing");
}

pub async fn an_object_of_another_api_group_is_another_object_and_superseded_by_none(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let backup = |api_version: &str| {
        let payload = json!({"apiVersion": api_version, "kind": "Backup",
                             "metadata": {"namespace": "org-a", "name": "nightly"}});
        admitted(EnqueueJob::new("apply", payload))
    };
    let one = world.enqueue(&tenant, &agent, backup("velero.io/v1"), 0).await.job.id;
    let other = world.enqueue(&tenant, &agent, backup("postgresql.cnpg.io/v1"), 1).await;
    assert_eq!(other.superseded, []);
    let newer = world.enqueue(&tenant, &agent, backup("velero.io/v2"), 2).await;
    assert_eq!(newer.superseded, [one]);
}

/// The key that a job shows is that job's, also where nobody chose it: the agent would take another job under it for a
/// repeat, and not apply it.
pub async fn the_key_that_a_job_was_given_stands_for_that_job_alone(world: World) {
    let tenant = world.tenant("o").await;
    let (one, two) = (world.agent(&tenant, "one").await, world.agent(&tenant, "two").await);
    let first = world.enqueue(&tenant, &one, apply("web"), 0).await;
    let keyed = |name: &str| {
        let mut job = EnqueueJob::new("apply", manifest(name));
        job.idempotency_key = Some(first.job.idempotency_key.clone());
        admitted(job)
    };
    let again = world.enqueue(&tenant, &one, keyed("web"), 1).await;
    assert_eq!((again.created, &again.job.id), (false, &first.job.id));
    let cluster = world.command(&tenant, &one).await;
    let other = world.store.enqueue(&cluster, keyed("api"), at(2)).await;
    assert!(matches!(other, Err(Error::AlreadyExists { .. })));
    assert!(
        world.enqueue(&tenant, &two, keyed("api"), 3).await.created,
        "another cluster's agent knows it not"
    );
}
