//! Clusters and organizations go out of use.

use crate::world::{Tenant, World, admitted, apply, at, ids, manifest};
use std::collections::BTreeSet;
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::{
    ClusterId,
    admin::{EnqueueJob, JobState},
    outcome::{JobResult, Outcome},
};
use vworkspace_store::{Archived, Error, Manage, PageRequest, Read};

async fn archive(world: &World, tenant: &Tenant, cluster: &ClusterId, second: i64) {
    let handle = world.store.lookup_cluster::<Manage>(&tenant.caller, cluster).await.unwrap();
    world.store.archive_cluster(&handle, at(second)).await.unwrap();
}

async fn archive_tenant(world: &World, tenant: &Tenant) {
    let organization = world.store.lookup_organization::<Manage>(&world.admin, &tenant.id).await.unwrap();
    let all = world.store.installation::<Manage>(&world.admin).unwrap();
    world.store.archive_organization(&organization, &all, at(5)).await.unwrap();
}

/// Names of the clusters that the admin sees.
async fn names(world: &World, archived: Archived) -> Vec<String> {
    let all = world.store.installation::<Read>(&world.admin).unwrap();
    let page = world.store.clusters(&all, archived, &PageRequest::default(), at(9)).await.unwrap();
    page.items.into_iter().map(|cluster| cluster.name).collect()
}

pub async fn archived_cluster_ends_its_access_and_frees_its_name(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let open = world.registration_token(&tenant, &agent.id).await;
    archive(&world, &tenant, &agent.id, 5).await;
    archive(&world, &tenant, &agent.id, 6).await;
    let refused = world.store.authenticate(&agent.credential, at(6)).await;
    assert!(matches!(refused, Err(Error::Unauthenticated)));
    assert!(matches!(world.store.register(&open, "s", at(6)).await, Err(Error::Unauthenticated)));

    let reading = world.store.lookup_cluster::<Read>(&tenant.caller, &agent.id).await.unwrap();
    assert_eq!(
        world.store.cluster(&reading, at(6)).await.unwrap().archived_at,
        Some(at(5)),
        "kept from the first"
    );
    assert!(names(&world, Archived::Hidden).await.is_empty());
    assert_eq!(names(&world, Archived::Shown).await, ["c"]);
    let new = world.cluster(&tenant, "c").await;
    assert!(new.id != agent.id);
    assert_eq!(names(&world, Archived::Shown).await, ["c", "c"]);
}

pub async fn archiving_cancels_open_jobs_and_leaves_ended_ones(world: World) {
    let tenant = world.tenant("o").await;
    let (agent, other) = (world.agent(&tenant, "c").await, world.agent(&tenant, "d").await);
    let ended = world.apply(&tenant, &agent, "ended", 0).await;
    let acked = world.apply(&tenant, &agent, "acked", 0).await;
    world.poll(&agent, "s", 1).await;
    world.ack(&agent, &acked, "s", 2).await.unwrap();
    let handle = world.serving(&agent, &ended).await;
    world.store.close(&handle, JobResult::from(Outcome::Succeeded), at(2)).await.unwrap();
    let queued = world.apply(&tenant, &agent, "queued", 3).await;
    let elsewhere = world.apply(&tenant, &other, "web", 3).await;

    archive(&world, &tenant, &agent.id, 5).await;
    let batch = world.store.cancel_archived(at(6)).await.unwrap();
    assert!(batch.finished && batch.clusters == [agent.id.clone()]);
    let cancelled: BTreeSet<_> = batch.cancelled.iter().collect();
    assert_eq!(cancelled, BTreeSet::from([&acked, &queued]));
    for job in [&acked, &queued] {
        let shown = world.show(&tenant, job).await;
        let last = shown.timeline.last().unwrap();
        assert_eq!((shown.state, last.state, last.at), (JobState::Cancelled, JobState::Cancelled, at(6)));
        assert_eq!(last.cause, "cancelled: the cluster was archived by organization");
    }
    assert_eq!(world.show(&tenant, &ended).await.state, JobState::Closed);
    assert_eq!(ids(&world.poll(&other, "s", 7).await), [elsewhere]);
    let again = world.store.cancel_archived(at(8)).await.unwrap();
    assert!(again.finished && again.cancelled.is_empty() && again.clusters.is_empty());
}

pub async fn archived_organization_ends_with_all_that_is_its_own(world: World) {
    let (tenant, other) = (world.tenant("o").await, world.tenant("p").await);
    let (agent, stays) = (world.agent(&tenant, "c").await, world.agent(&other, "c").await);
    let organization = world.store.lookup_organization::<Manage>(&tenant.caller, &tenant.id).await.unwrap();
    let token = world.store.create_api_token(&organization, "ci", at(1)).await.unwrap().token;
    let job = world.apply(&tenant, &agent, "web", 1).await;
    archive_tenant(&world, &tenant).await;
    for dead in [&token, &agent.credential] {
        assert!(matches!(world.store.authenticate(dead, at(6)).await, Err(Error::Unauthenticated)));
    }
    assert_eq!(world.store.cancel_archived(at(6)).await.unwrap().cancelled, std::slice::from_ref(&job));
    let seen = world.store.lookup_job::<Read>(&world.admin, &job).await.unwrap();
    assert_eq!(world.store.job(&seen, at(6)).await.unwrap().state, JobState::Cancelled, "its history stays");

    assert!(world.store.authenticate(&stays.credential, at(6)).await.is_ok());
    let all = world.store.installation::<Read>(&world.admin).unwrap();
    let list = async |archived| {
        let page = world.store.organizations(&all, archived, &PageRequest::default()).await.unwrap();
        page.items.into_iter().map(|organization| organization.id).collect::<Vec<_>>()
    };
    assert_eq!(list(Archived::Hidden).await, std::slice::from_ref(&other.id));
    assert_eq!(list(Archived::Shown).await, [tenant.id.clone(), other.id]);
    assert_eq!(names(&world, Archived::Hidden).await, ["c"]);
    assert!(world.tenant("o").await.id != tenant.id, "the name may be used again");
}

pub async fn nothing_new_is_made_in_what_is_archived(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let command = world.command(&tenant, &agent).await;
    archive(&world, &tenant, &agent.id, 5).await;
    let refused = world.store.enqueue(&command, apply("web"), at(6)).await;
    assert!(matches!(refused, Err(Error::Archived { what: "cluster" })), "{refused:?}");
    let managing = world.store.lookup_cluster::<Manage>(&tenant.caller, &agent.id).await.unwrap();
    let life = std::time::Duration::from_secs(60);
    let refused = world.store.issue_registration_token(&managing, life, at(6)).await.map(drop);
    assert!(matches!(refused, Err(Error::Archived { what: "cluster" })), "{refused:?}");

    archive_tenant(&world, &tenant).await;
    let organization = world.store.lookup_organization::<Manage>(&world.admin, &tenant.id).await.unwrap();
    let refused = world.store.create_api_token(&organization, "ci", at(6)).await.map(drop);
    assert!(matches!(refused, Err(Error::Archived { what: "organization" })), "{refused:?}");
    let name = DnsLabel::parse("name", "d").unwrap();
    let refused = world.store.create_cluster(&organization, &name, at(6)).await;
    assert!(matches!(refused, Err(Error::Archived { what: "organization" })), "{refused:?}");
}

pub async fn many_jobs_are_cancelled_in_batches_across_a_crash(world: World) {
    const JOBS: usize = 700;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let command = world.command(&tenant, &agent).await;
    let jobs = (0..JOBS).map(|n| {
        let job = admitted(EnqueueJob::new("apply", manifest(&format!("web{n}"))));
        world.store.enqueue(&command, job, at(1))
    });
    for made in futures::future::join_all(jobs).await {
        made.unwrap();
    }
    archive(&world, &tenant, &agent.id, 5).await;
    let first = world.store.cancel_archived(at(6)).await.unwrap();
    assert!(!first.finished && first.cancelled.len() < JOBS, "{}", first.cancelled.len());
    let world = world.crashed().await;
    let (mut cancelled, mut finished) = (first.cancelled.len(), false);
    while !finished {
        let batch = world.store.cancel_archived(at(7)).await.unwrap();
        assert!(batch.finished || !batch.cancelled.is_empty(), "no progress");
        cancelled += batch.cancelled.len();
        finished = batch.finished;
    }
    assert_eq!(cancelled, JOBS);
    let reading = world.reading(&tenant, &agent).await;
    let queued = Some(JobState::Queued);
    let left = world.store.jobs(&reading, queued, &PageRequest::default(), at(8)).await.unwrap();
    assert!(left.items.is_empty());
}

pub async fn archived_cluster_makes_room_within_the_bound(world: World) {
    let tenant = world.tenant("o").await;
    let organization = world.store.lookup_organization::<Manage>(&tenant.caller, &tenant.id).await.unwrap();
    let names: Vec<_> = (0..1_000).map(|n| DnsLabel::parse("name", &format!("c{n}")).unwrap()).collect();
    let made = names.iter().map(|name| world.store.create_cluster(&organization, name, at(0)));
    let made = futures::future::join_all(made).await;
    let last = made.into_iter().map(Result::unwrap).next_back().unwrap();
    let more = DnsLabel::parse("name", "more").unwrap();
    let refused = world.store.create_cluster(&organization, &more, at(1)).await;
    assert!(matches!(refused, Err(Error::LimitReached { most: 1_000, .. })), "{refused:?}");
    archive(&world, &tenant, &last.id, 2).await;
    world.store.create_cluster(&organization, &more, at(3)).await.unwrap();
}
