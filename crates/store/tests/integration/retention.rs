use crate::world::{Agent, Tenant, World, admitted, apply, at, ids, manifest};
use std::time::Duration;
use vworkspace_core::control::ingest;
use vworkspace_protocol::{
    Condition, ConditionStatus, JobId, ObjectRef, Outcome,
    admin::EnqueueJob,
    event::{Event, EventsRequest, kind},
};
use vworkspace_store::{Error, Manage, Pass, Pruned, Read, ResourceFilter};

const DAY: i64 = 24 * 3600;

/// A job that ended at `second`.
async fn ended(world: &World, tenant: &Tenant, agent: &Agent, name: &str, second: i64) -> JobId {
    let job = world.apply(tenant, agent, name, second).await;
    world.poll(agent, "s", second).await;
    world.ack(agent, &job, "s", second).await.unwrap();
    world
        .store
        .close(&world.serving(agent, &job).await, Outcome::Succeeded.into(), at(second))
        .await
        .unwrap();
    job
}

/// One whole pass.
async fn prune(world: &World, second: i64) -> Pruned {
    let (mut pass, mut all) = (Pass::default(), Pruned::default());
    loop {
        let batch = world.store.prune(&mut pass, at(second)).await.unwrap();
        all.jobs += batch.jobs;
        all.events += batch.events;
        all.audit += batch.audit;
        all.tokens += batch.tokens;
        if batch.finished {
            return all;
        }
    }
}

async fn is_there(world: &World, tenant: &Tenant, job: &JobId) -> bool {
    world.store.lookup_job::<Read>(&tenant.caller, job).await.is_ok()
}

#[tokio::test]
async fn a_job_is_kept_for_thirty_days_after_its_end_and_an_open_one_for_ever() {
    let world = World::on_file().await;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let old = ended(&world, &tenant, &agent, "old", 0).await;
    let young = ended(&world, &tenant, &agent, "young", 2 * DAY).await;
    let newest = world.apply(&tenant, &agent, "open", 3 * DAY).await;
    assert_eq!(prune(&world, 30 * DAY - 1).await.jobs, 0);
    assert_eq!(prune(&world, 30 * DAY).await.jobs, 1);
    assert!(!is_there(&world, &tenant, &old).await && is_there(&world, &tenant, &young).await);
    assert_eq!(prune(&world, 1000 * DAY).await.jobs, 1);
    assert!(is_there(&world, &tenant, &newest).await);
    assert_eq!(world.count("SELECT count(*) FROM job_step"), 1);
    assert_eq!(
        world.count("SELECT count(*) FROM job_spec") + world.count("SELECT count(*) FROM job_report"),
        1
    );
}

pub async fn the_newest_job_stays_so_that_its_number_is_not_given_again(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let last = ended(&world, &tenant, &agent, "web", 0).await;
    assert_eq!(prune(&world, 400 * DAY).await.jobs, 0);
    assert!(is_there(&world, &tenant, &last).await);
    let next = world.apply(&tenant, &agent, "web", 400 * DAY).await;
    assert_eq!(prune(&world, 400 * DAY).await.jobs, 1);
    assert_eq!(ids(&world.poll(&agent, "s", 400 * DAY).await), [next]);
}

pub async fn one_batch_is_bounded_and_a_pass_goes_on_past_what_stays(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    // Each takes the place of the one before.
    for second in 0..150 {
        world.apply(&tenant, &agent, "web", second).await;
    }
    let mut pass = Pass::default();
    let first = world.store.prune(&mut pass, at(31 * DAY)).await.unwrap();
    assert_eq!((first.jobs, first.finished), (100, false));
    assert_eq!(world.store.prune(&mut pass, at(31 * DAY)).await.unwrap().jobs, 49);
}

pub async fn an_idempotency_key_is_remembered_as_long_as_its_job(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let keyed = || {
        let mut job = EnqueueJob::new("apply", manifest("web"));
        job.idempotency_key = Some("mine".to_owned());
        admitted(job)
    };
    let first = world.enqueue(&tenant, &agent, keyed(), 0).await;
    world.enqueue(&tenant, &agent, apply("web"), 1).await;
    world.enqueue(&tenant, &agent, apply("other"), 2).await;
    prune(&world, 30 * DAY).await;
    let again = world.enqueue(&tenant, &agent, keyed(), 30 * DAY).await;
    assert!(!again.created && again.job.id == first.job.id);
    prune(&world, 31 * DAY).await;
    assert!(world.enqueue(&tenant, &agent, keyed(), 31 * DAY).await.created);
}

#[tokio::test]
async fn audit_records_outlive_their_jobs_and_end_in_their_own_time() {
    let world = World::on_file().await;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    ended(&world, &tenant, &agent, "web", 0).await;
    world.apply(&tenant, &agent, "later", 100 * DAY).await;
    assert_eq!(prune(&world, 100 * DAY).await.jobs, 1);
    let enqueued = "SELECT count(*) FROM audit WHERE action = 'enqueue' AND job IS NOT NULL";
    assert_eq!(world.count(enqueued), 2);
    assert!(prune(&world, 365 * DAY).await.audit > 0);
    assert_eq!(world.count("SELECT count(*) FROM audit"), 1);
}

pub async fn events_are_kept_for_thirty_days_and_what_objects_are_like_for_as_long_as_they_are_there(
    world: World,
) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    world.report(&agent, vec![transition("a", 0)], 0).await;
    world.report(&agent, vec![transition("b", 1)], 20 * DAY).await;
    assert_eq!(prune(&world, 30 * DAY).await.events, 1);
    let batch = ingest::admit(EventsRequest { events: vec![transition("b", 1)] }).unwrap();
    assert_eq!(world.store.ingest_events(&agent.serve, batch, at(30 * DAY)).await.unwrap().new, 0);
    let reading = world.reading(&tenant, &agent).await;
    let all = ResourceFilter::default();
    let page =
        world.store.resources(&reading, &all, &vworkspace_store::PageRequest::default()).await.unwrap();
    assert_eq!(page.items.len(), 2);
}

/// The server's clock was ahead for a while and was set right.
pub async fn what_is_dated_in_the_future_keeps_nothing_behind_it_from_being_deleted(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let ahead = ended(&world, &tenant, &agent, "ahead", 1000 * DAY).await;
    world.report(&agent, vec![transition("ahead", 0)], 1000 * DAY).await;
    // More than one batch looks at.
    for second in 0..6 {
        ended(&world, &tenant, &agent, "web", second).await;
        let events = (0..100).map(|n| transition(&format!("{second}-{n}"), 0)).collect();
        world.report(&agent, events, second).await;
    }
    world.apply(&tenant, &agent, "open", 35 * DAY).await;
    world.report(&agent, vec![transition("young", 0)], 35 * DAY).await;
    let Pruned { jobs, events, .. } = prune(&world, 36 * DAY).await;
    assert_eq!((jobs, events), (6, 600));
    assert!(is_there(&world, &tenant, &ahead).await, "it goes thirty days after the time it bears");
}

pub async fn tokens_are_deleted_thirty_days_after_their_life(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let handle = world.store.lookup_cluster::<Manage>(&tenant.caller, &agent.id).await.unwrap();
    let life = Duration::from_secs(3600);
    let unused = world.store.issue_registration_token(&handle, life, at(0)).await.unwrap().token;
    assert_eq!(prune(&world, 30 * DAY).await.tokens, 0);
    let refused = world.store.register(&unused, "", at(30 * DAY)).await;
    assert!(matches!(refused, Err(Error::TokenExpired)));
    // The unused token and the one that the agent used.
    assert_eq!(prune(&world, 31 * DAY).await.tokens, 2);
    let forgotten = world.store.register(&unused, "", at(31 * DAY)).await;
    assert!(matches!(forgotten, Err(Error::Unauthenticated)));
    assert!(world.store.authenticate(&agent.credential, at(31 * DAY)).await.is_ok());
    assert_eq!(prune(&world, 120 * DAY).await.tokens, 1);
    assert!(world.store.authenticate(&agent.credential, at(120 * DAY)).await.is_err());
}

pub async fn a_credential_that_was_dropped_unused_is_deleted_thirty_days_later(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    world.store.rotate(&agent.serve, &agent.credential, at(40 * DAY)).await.unwrap();
    prune(&world, 70 * DAY).await;
    assert_eq!(prune(&world, 71 * DAY).await.tokens, 1);
    assert!(world.store.authenticate(&agent.credential, at(71 * DAY)).await.is_ok());
}

fn transition(name: &str, generation: i64) -> Event {
    Event {
        event_key: format!("key-{name}"),
        kind: kind::CONDITION_TRANSITION.to_owned(),
        resource_ref: ObjectRef {
            api_version: "apps.vworkspace.io/v1alpha1".into(),
            kind: "ApplicationInstance".into(),
            namespace: "org-a".into(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            generation,
        },
        conditions: vec![Condition {
            type_: "Ready".into(),
            status: ConditionStatus::True,
            observed_generation: generation,
            last_transition_time: None,
            reason: "Succeeded".into(),
            message: String::new(),
        }],
        operator_version: String::new(),
        kubernetes_version: String::new(),
        sequence: 0,
        timestamp: None,
    }
}
