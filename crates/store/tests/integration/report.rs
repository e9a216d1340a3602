use crate::world::{Agent, Tenant, World, at};
use vworkspace_protocol::{
    Condition, ConditionStatus, JobId, ObjectRef, Outcome,
    admin::JobState,
    id::SessionId,
    outcome::{FieldConflict, JobResult, StatusUpdate},
};
use vworkspace_store::{Command, Error, PageRequest};

async fn acked_job(world: &World) -> (Tenant, Agent, JobId) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "s", 1).await;
    world.ack(&agent, &job, "s", 2).await.unwrap();
    (tenant, agent, job)
}

fn session() -> Option<SessionId> {
    Some(SessionId::new("s"))
}

fn ready(status: ConditionStatus) -> Condition {
    Condition {
        type_: "Ready".into(),
        status,
        observed_generation: 1,
        last_transition_time: Some(at(3)),
        reason: "Progressing".into(),
        message: "installing".into(),
    }
}

fn update(phase: &str) -> StatusUpdate {
    StatusUpdate {
        phase: phase.into(),
        conditions: vec![ready(ConditionStatus::Unknown)],
        message: String::new(),
        timestamp: None,
    }
}

pub async fn the_timeline_tells_the_whole_life(world: World) {
    let (tenant, agent, job) = acked_job(&world).await;
    let serving = world.serving(&agent, &job).await;
    world.store.record_status(&serving, session().as_ref(), update("Reconciling"), at(3)).await.unwrap();
    let applied =
        ObjectRef { kind: "ApplicationInstance".into(), name: "web".into(), ..ObjectRef::default() };
    let done = JobResult { applied_ref: Some(applied.clone()), ..Outcome::Succeeded.into() };
    world.store.close(&serving, done, at(4)).await.unwrap();
    let shown = world.show(&tenant, &job).await;
    let timeline: Vec<_> = shown.timeline.iter().map(|e| (e.seq, e.at, e.state, e.cause.as_str())).collect();
    assert_eq!(
        timeline,
        [
            (1, at(0), JobState::Queued, "enqueued by organization"),
            (2, at(1), JobState::Leased, "leased to session s"),
            (3, at(2), JobState::Acked, "acked by session s"),
            (4, at(3), JobState::Acked, "progress: Reconciling"),
            (5, at(4), JobState::Closed, "result: succeeded"),
        ]
    );
    assert_eq!((shown.state, shown.outcome), (JobState::Closed, Some(Outcome::Succeeded)));
    assert_eq!((shown.phase.as_str(), shown.applied_ref), ("Reconciling", Some(applied)));
    assert_eq!(shown.conditions, [ready(ConditionStatus::Unknown)]);
}

pub async fn a_second_result_changes_nothing_and_is_told_so(world: World) {
    let (tenant, agent, job) = acked_job(&world).await;
    let serving = world.serving(&agent, &job).await;
    let conflict = JobResult {
        error: "owned by others".into(),
        conflicts: vec![FieldConflict { manager: "helm".into(), field_path: ".spec.x".into() }],
        ..Outcome::Conflict.into()
    };
    world.store.close(&serving, conflict.clone(), at(3)).await.unwrap();
    let first = world.show(&tenant, &job).await;
    assert_eq!((first.error.as_str(), &first.conflicts), ("owned by others", &conflict.conflicts));
    let second = world.store.close(&serving, Outcome::Succeeded.into(), at(4)).await;
    assert!(matches!(second, Err(Error::ResultRecorded)));
    let late = world.store.record_status(&serving, session().as_ref(), update("Ready"), at(5)).await;
    assert!(matches!(late, Err(Error::JobClosed(JobState::Closed))));
    assert!(matches!(world.ack(&agent, &job, "s", 6).await, Err(Error::JobClosed(JobState::Closed))));
    assert_eq!(world.show(&tenant, &job).await, first);
}

pub async fn a_repeated_ack_is_good_and_leaves_no_trace(world: World) {
    let (tenant, agent, job) = acked_job(&world).await;
    let before = world.show(&tenant, &job).await;
    world.ack(&agent, &job, "s", 3).await.unwrap();
    assert_eq!(world.show(&tenant, &job).await, before);
}

pub async fn a_result_without_an_ack_counts(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let job = world.apply(&tenant, &agent, "web", 0).await;
    world.poll(&agent, "s", 1).await;
    let serving = world.serving(&agent, &job).await;
    world.store.close(&serving, Outcome::Noop.into(), at(2)).await.unwrap();
    assert!(world.poll(&agent, "s", 60).await.jobs.is_empty());
    assert_eq!(world.show(&tenant, &job).await.outcome, Some(Outcome::Noop));
}

pub async fn a_cancelled_job_is_not_handed_out_and_takes_no_result(world: World) {
    let (tenant, agent, job) = acked_job(&world).await;
    let queued = world.apply(&tenant, &agent, "api", 3).await;
    for id in [&job, &queued] {
        let handle = world.store.lookup_job::<Command>(&tenant.caller, id).await.unwrap();
        world.store.cancel(&handle, at(4)).await.unwrap();
        world.store.cancel(&handle, at(5)).await.unwrap();
        let shown = world.show(&tenant, id).await;
        assert_eq!(shown.state, JobState::Cancelled);
        assert_eq!(shown.timeline.last().unwrap().cause, "cancelled by organization");
    }
    assert!(world.poll(&agent, "other", 6).await.jobs.is_empty());
    let serving = world.serving(&agent, &job).await;
    let late = world.store.close(&serving, Outcome::Succeeded.into(), at(7)).await;
    assert!(matches!(late, Err(Error::JobClosed(JobState::Cancelled))));
}

pub async fn progress_without_end_keeps_a_bounded_timeline(world: World) {
    let (tenant, agent, job) = acked_job(&world).await;
    let serving = world.serving(&agent, &job).await;
    for n in 0..510 {
        world
            .store
            .record_status(&serving, session().as_ref(), update(&format!("Phase{n}")), at(3 + n))
            .await
            .unwrap();
    }
    world.store.close(&serving, Outcome::Succeeded.into(), at(600)).await.unwrap();
    let shown = world.show(&tenant, &job).await;
    assert_eq!((shown.timeline.len(), shown.phase.as_str()), (501, "Phase509"));
    assert_eq!(shown.timeline.last().unwrap().state, JobState::Closed);
}

pub async fn a_page_of_jobs_is_bounded_by_size(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let told = Condition { message: "m".repeat(1 << 20), ..ready(ConditionStatus::False) };
    for n in 0..6 {
        let job = world.apply(&tenant, &agent, &format!("a{n}"), 0).await;
        let large = StatusUpdate { conditions: vec![told.clone()], ..update("Reconciling") };
        world.store.record_status(&world.serving(&agent, &job).await, None, large, at(1)).await.unwrap();
    }
    let cluster = world.reading(&tenant, &agent).await;
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = PageRequest::parse(None, cursor.as_deref()).unwrap();
        let page = world.store.jobs(&cluster, None, &page, at(2)).await.unwrap();
        found.push(page.items.len());
        let Some(next) = page.next_cursor else { break };
        cursor = Some(next);
    }
    assert_eq!(found, [3, 3]);
}
