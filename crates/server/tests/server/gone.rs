//! Callers that go away while the store writes for them: the use-cases over a store whose commits the test makes.

use crate::support::PATIENCE;
use futures::FutureExt;
use serde_json::json;
use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::{ClusterId, JobId, Outcome, Secret, admin::EnqueueJob};
use vworkspace_server::{
    app::{
        App,
        access::{Person, authenticate_person},
        archive, clusters, jobs,
    },
    background,
    clock::SystemClock,
};
use vworkspace_store::{Committer, Manage, Memory, Settings, Store};
use vworkspace_transport::{AgentCall, ControlPort};

/// One cluster whose agent has registered.
struct World {
    app: Arc<App>,
    committer: Committer,
    admin: Person,
    cluster: ClusterId,
    agent: AgentCall,
}

impl World {
    async fn new() -> Self {
        let (store, mut committer) = Store::open_in(&Memory::new().unwrap(), &Settings::default()).unwrap();
        let app = Arc::new(App::over(store, Arc::new(SystemClock), 100));
        let (admin, cluster, bearer) = answered(&mut committer, registered(&app)).await;
        let agent = AgentCall {
            bearer: Some(bearer),
            session: None,
            capabilities: Vec::new(),
            user_agent: String::new(),
            address: None,
        };
        Self { app, committer, admin, cluster, agent }
    }

    async fn enqueue(&self, version: u32) -> JobId {
        let payload = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
                             "metadata": {"namespace": "org-a", "name": "web"}, "spec": {"version": version}});
        let job = EnqueueJob::new("apply", payload);
        jobs::enqueue(&self.app, &self.admin, &self.cluster, job).await.ok().unwrap().job.id
    }

    async fn poll(app: Arc<App>, agent: AgentCall, cluster: ClusterId) -> Vec<JobId> {
        let jobs = app.agent_port().jobs(agent, cluster, Duration::from_secs(300)).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect()
    }

    fn commit(&mut self) {
        while let Some(group) = self.committer.gather().now_or_never().flatten() {
            self.committer.commit(group);
        }
    }
}

/// The answer to a call, with everything committed that it waits for.
async fn answered<T>(committer: &mut Committer, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        tokio::select! {
            biased;
            answer = &mut call => return answer,
            Some(group) = committer.gather() => committer.commit(group),
        }
    }
}

async fn registered(app: &App) -> (Person, ClusterId, Secret) {
    let (store, now) = (&app.store, app.clock.now());
    let token = store.bootstrap_admin(now).await.unwrap().unwrap();
    let admin = store.authenticate(&token, now).await.unwrap();
    let name = DnsLabel::parse("name", "a").unwrap();
    let installation = store.installation::<Manage>(&admin).unwrap();
    let made = store.create_organization(&installation, &name, now).await.unwrap();
    let organization = store.lookup_organization::<Manage>(&admin, &made.id).await.unwrap();
    let cluster = store.create_cluster(&organization, &name, now).await.unwrap().id;
    let managed = store.lookup_cluster::<Manage>(&admin, &cluster).await.unwrap();
    let day = Duration::from_secs(86_400);
    let registration = store.issue_registration_token(&managed, day, now).await.unwrap().token;
    let credential = store.register(&registration, "", now).await.unwrap().token;
    (authenticate_person(app, Some(&token)).await.ok().unwrap(), cluster, credential)
}

#[tokio::test]
async fn a_job_whose_caller_went_away_during_the_write_still_wakes_the_poll_that_waits() {
    let mut world = World::new().await;
    let poll = World::poll(world.app.clone(), world.agent.clone(), world.cluster.clone());
    let mut poll = pin!(poll);
    assert!(poll.as_mut().now_or_never().is_none());
    world.commit();
    assert!(poll.as_mut().now_or_never().is_none(), "it has looked and sleeps");

    assert!(world.enqueue(1).now_or_never().is_none(), "the caller goes away before there is an answer");
    world.commit();
    assert!(poll.as_mut().now_or_never().is_none(), "it looks again");
    world.commit();
    let jobs = poll.now_or_never().expect("nothing woke the poll");
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn a_later_job_goes_out_though_the_acking_agent_heard_no_answer() {
    let mut world = World::new().await;
    let poll = || World::poll(world.app.clone(), world.agent.clone(), world.cluster.clone());
    let (first_poll, second_poll) = (poll(), poll());
    let first = pin!(world.enqueue(1)).as_mut().now_or_never();
    assert!(first.is_none());
    world.commit();
    let first = answered(&mut world.committer, first_poll).await;
    let mut waiting = pin!(second_poll);
    assert!(waiting.as_mut().now_or_never().is_none());
    world.commit();
    assert!(world.enqueue(2).now_or_never().is_none());
    world.commit();
    assert!(waiting.as_mut().now_or_never().is_none());
    world.commit();
    assert!(waiting.as_mut().now_or_never().is_none(), "it waits for the ack of the first");

    let port = world.app.agent_port();
    assert!(port.ack(world.agent.clone(), first[0].clone()).now_or_never().is_none());
    world.commit();
    assert!(waiting.as_mut().now_or_never().is_none(), "it looks again");
    world.commit();
    assert_eq!(waiting.now_or_never().expect("nothing woke the poll").len(), 1);
}

#[tokio::test]
async fn a_watch_sees_a_result_though_the_agent_heard_no_answer() {
    let mut world = World::new().await;
    let poll = World::poll(world.app.clone(), world.agent.clone(), world.cluster.clone());
    assert!(world.enqueue(1).now_or_never().is_none());
    world.commit();
    let job = answered(&mut world.committer, poll).await.remove(0);
    let World { app, mut committer, admin, agent, .. } = world;
    let mut watch = pin!(jobs::watch(&app, &admin, &job, 2, Duration::from_secs(60)));
    assert!(watch.as_mut().now_or_never().is_none(), "it has seen both entries and sleeps");

    let port = app.agent_port();
    let result = port.result(agent, job.clone(), Outcome::Succeeded.into());
    assert!(result.now_or_never().is_none(), "the agent goes away before there is an answer");
    assert!(watch.as_mut().now_or_never().is_none(), "nothing is durable yet");
    answered(&mut committer, app.store.barrier()).await.unwrap();
    let seen = watch.now_or_never().expect("nothing woke the watch").ok().unwrap();
    assert_eq!(seen.outcome, Some(Outcome::Succeeded));
}

/// A poll that has looked, found nothing and sleeps.
fn sleeping_poll(world: &mut World) -> Pin<Box<dyn Future<Output = Vec<JobId>>>> {
    let poll = World::poll(world.app.clone(), world.agent.clone(), world.cluster.clone());
    let mut poll: Pin<Box<dyn Future<Output = Vec<JobId>>>> = Box::pin(poll);
    assert!(poll.as_mut().now_or_never().is_none());
    world.commit();
    assert!(poll.as_mut().now_or_never().is_none(), "it has looked and sleeps");
    poll
}

#[tokio::test]
async fn revocation_ends_a_poll_though_its_caller_went_away() {
    let mut world = World::new().await;
    let mut poll = sleeping_poll(&mut world);
    let begun = clusters::revoke(&world.app, &world.admin, &world.cluster).now_or_never();
    assert!(begun.is_none(), "the caller goes away before there is an answer");
    assert!(poll.as_mut().now_or_never().is_none(), "it looks again while its credential still works");
    world.commit();
    assert!(poll.now_or_never().expect("it sleeps again with a dead credential").is_empty());
}

#[tokio::test]
async fn archiving_ends_a_poll_though_its_caller_went_away() {
    let mut world = World::new().await;
    let mut poll = sleeping_poll(&mut world);
    let begun = archive::cluster(&world.app, &world.admin, &world.cluster).now_or_never();
    assert!(begun.is_none(), "the caller goes away before there is an answer");
    world.commit();
    assert!(poll.as_mut().now_or_never().is_none(), "nobody has woken it");
    let World { app, mut committer, .. } = world;
    answered(&mut committer, background::cancel_archived(app)).await;
    let ended = tokio::time::timeout(PATIENCE, answered(&mut committer, poll)).await;
    assert!(ended.expect("nothing woke the poll").is_empty());
}
