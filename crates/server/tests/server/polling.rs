use crate::support::{TestServer, manifest};
use futures::FutureExt;

#[tokio::test]
async fn an_open_poll_is_woken_by_enqueue() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let mut poll = Box::pin(agent.poll(300));
    // First the poll is open and empty-handed, then the job comes, then the poll has it: order, not time.
    tokio::select! {
        jobs = &mut poll => panic!("answered before there was a job: {jobs:?}"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    assert_eq!(poll.await, [job]);
}

#[tokio::test]
async fn an_open_poll_of_another_cluster_stays_open() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let other = server.agent(&tenant, "cluster-b").await;
    let mut idle = Box::pin(other.poll(300));
    tokio::select! {
        jobs = &mut idle => panic!("answered before there was a job: {jobs:?}"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    assert_eq!(agent.poll(0).await, [job]);
    assert!(idle.as_mut().now_or_never().is_none());
}

#[tokio::test]
async fn one_poll_too_many_ends_the_oldest() {
    let server = TestServer::start().await;
    let (_tenant, agent) = server.tenant_and_agent().await;
    let mut oldest = Box::pin(agent.poll(300));
    tokio::select! {
        _ = &mut oldest => panic!("nothing to answer yet"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    let mut newer = Box::pin(futures::future::join_all((0..4).map(|_| agent.poll(300))));
    tokio::select! {
        jobs = oldest => assert!(jobs.is_empty()),
        _ = &mut newer => panic!("the newer ones wait"),
    }
}

#[tokio::test]
async fn when_all_places_are_taken_probes_are_answered_and_one_more_request_hears_503() {
    let server = TestServer::with(&["--max-requests", "1"]).await;
    let (_tenant, agent) = server.tenant_and_agent().await;
    let mut poll = Box::pin(agent.poll(300));
    tokio::select! {
        answer = &mut poll => panic!("nothing to answer yet: {answer:?}"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    assert_eq!(server.client(None).get("/livez").await.status, 200);
    assert_eq!(server.admin.get("/api/v1/whoami").await.status, 503);
}

#[tokio::test]
async fn a_watched_job_answers_with_its_next_entry() {
    let server = TestServer::start().await;
    let (tenant, agent) = server.tenant_and_agent().await;
    let job = tenant.enqueue(&agent.cluster, manifest("web", 1)).await;
    let path = format!("/api/v1/jobs/{job}?after=1&wait=60");
    let mut watch = Box::pin(tenant.client.get(&path));
    tokio::select! {
        answer = &mut watch => panic!("nothing new yet: {answer:?}"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    agent.poll(0).await;
    let seen = watch.await.expect(200);
    assert_eq!(seen["timeline"].as_array().unwrap().len(), 2);
    // What is there already is answered without waiting.
    let seen = tenant.client.get(&format!("/api/v1/jobs/{job}?after=0&wait=60")).await.expect(200);
    assert_eq!(seen["state"], "leased");
}

#[tokio::test]
async fn a_poll_without_work_ends_empty_when_its_wait_is_over() {
    let server = TestServer::start().await;
    let (_tenant, agent) = server.tenant_and_agent().await;
    assert!(agent.poll(1).await.is_empty());
}

#[tokio::test]
async fn stopping_answers_open_polls() {
    let server = TestServer::start().await;
    let (_tenant, agent) = server.tenant_and_agent().await;
    let mut poll = Box::pin(agent.poll(300));
    tokio::select! {
        _ = &mut poll => panic!("nothing to answer yet"),
        () = server.until_metric("vworkspace_server_long_polls_open 1") => {}
    }
    let (jobs, stopped) = tokio::join!(poll, server.running.stop());
    assert!(jobs.is_empty());
    stopped.unwrap();
}
