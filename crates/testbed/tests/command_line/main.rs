//! `vwctl … --wait` beside a control plane that cuts, delays and is restarted: it always ends, with an exit code that its
//! help names, a last line, and one document on standard output, in a terminal and in a pipe alike.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod agent;
mod gateway;
mod run;

use agent::Agent;
use futures::{StreamExt as _, stream};
use gateway::Gateway;
use run::{Run, Where};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use vworkspace_protocol::{
    ClusterId, Secret,
    admin::{CreateApiToken, CreateCluster, CreateOrganization, CreateRegistrationToken},
};
use vworkspace_testbed::stack::{Server, Tls, programs};

/// Commands at the same time.
const AT_ONCE: usize = 8;
/// The server is ended and started again this often.
const RESTART_EVERY: Duration = Duration::from_secs(6);
/// A command that follows a job of an absent control plane gives up by then.
const LONGEST: Duration = Duration::from_secs(300);

/// A control plane with one cluster, whose agent ends jobs in every way.
struct Site {
    server: Arc<Server>,
    /// Of the organization that the cluster is of.
    token: Secret,
    cluster: ClusterId,
    agent: Agent,
    work: TempDir,
}

impl Site {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let work = tempfile::tempdir().unwrap();
        let tls = Tls::make(work.path()).unwrap();
        let server = Server::start(&programs().unwrap(), work.path(), &tls, &[]).await.unwrap();
        let client = server.client().unwrap();
        let wanted = CreateOrganization { name: "acme".into() };
        let organization = Some(client.create_organization(&wanted).await.unwrap().id);
        let wanted = CreateApiToken { description: "tests".into() };
        let token = client.create_api_token(organization.as_ref(), &wanted).await.unwrap().token;
        let wanted = CreateCluster { organization_id: organization, name: "clinic-1".into() };
        let cluster = client.create_cluster(&wanted).await.unwrap().id;
        let wanted = CreateRegistrationToken::default();
        let registration = client.create_registration_token(&cluster, &wanted).await.unwrap();
        let agent = Agent::start(&server, registration.token).await;
        Self { server: Arc::new(server), token, cluster, agent, work }
    }

    /// A command that hands in job `number` at `url`, and waits for it.
    fn run(&self, url: &str, number: u64, place: Where) -> Run {
        Run::new(url, &self.server.ca, &self.token, &self.cluster, number, place, self.work.path())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_that_waits_always_ends_with_its_exit_code_a_last_line_and_one_document() {
    ends_well(48).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "part of cargo xtask test --full"]
async fn thousand_commands_that_wait_end_with_their_exit_code_a_last_line_and_one_document() {
    ends_well(1_000).await;
}

async fn ends_well(runs: u64) {
    let site = Site::start().await;
    let gateway = Gateway::start(&site.server.url).await;
    let server = site.server.clone();
    let restarts = tokio::spawn(async move {
        loop {
            tokio::time::sleep(RESTART_EVERY).await;
            server.kill();
            server.restart().await.unwrap();
        }
    });
    let run = |number: u64| {
        let place = if number.is_multiple_of(2) { Where::Pipe } else { Where::Terminal };
        let run = site.run(&gateway.url, number, place);
        async move {
            let ended = tokio::task::spawn_blocking(move || run.finish(LONGEST)).await.unwrap();
            check(number, &ended);
            ended.code
        }
    };
    let codes: Vec<i32> = stream::iter(0..runs).map(run).buffer_unordered(AT_ONCE).collect().await;
    restarts.abort();
    let count = |code| codes.iter().filter(|ended| **ended == code).count();
    println!("{runs} commands: {} ended 0, {} ended 3, {} ended 4", count(0), count(3), count(4));
    assert!(count(0) > 0 && count(3) > 0, "an end was not met: {codes:?}");
    drop((site.agent, gateway));
}

/// What every run must have left behind.
fn check(number: u64, ended: &run::Ended) {
    let told = || format!("command {number} ended {}: {:?}\n{}", ended.code, ended.stdout, ended.stderr);
    assert!([0, 3, 4].contains(&ended.code), "{}", told());
    let last = ended.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    if ended.code != 0 {
        assert!(last.starts_with("hint: ") && ended.stderr.contains("error: "), "{}", told());
    }
    match ended.place {
        Where::Pipe => {
            let mut documents = serde_json::Deserializer::from_str(&ended.stdout).into_iter::<Value>();
            let outcome = documents.next().map(|job| job.unwrap()["outcome"].clone());
            assert!(documents.next().is_none(), "more than one document: {}", told());
            match ended.code {
                0 => assert_eq!(outcome, Some("succeeded".into()), "{}", told()),
                3 => assert_eq!(outcome, Some("failed".into()), "{}", told()),
                // It was cut off before it was handed in, or while it was followed.
                _ => assert!(outcome.is_none_or(|outcome| outcome.is_null()), "{}", told()),
            }
        }
        // Both streams are the terminal's.
        Where::Terminal if ended.code == 0 => {
            assert!(ended.stderr.contains("closed (succeeded)"), "{}", told());
        }
        Where::Terminal => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_leaves_one_document_and_a_last_line() {
    let site = Site::start().await;
    // Nobody ends the jobs.
    site.agent.stop();
    for (number, signal) in [(1, "HUP"), (2, "INT"), (15, "TERM")] {
        let run = site.run(&site.server.url, number, Where::Pipe).ignoring_nothing();
        let ended = tokio::task::spawn_blocking(move || run.signalled_once("Following job", signal));
        let ended = ended.await.unwrap();
        assert_eq!(u64::try_from(ended.code).unwrap(), 128 + number, "{}", ended.stderr);
        let job: Value = serde_json::from_str(&ended.stdout).unwrap();
        let jobs = site.server.client().unwrap().jobs(&site.cluster, None, 10).await.unwrap().items;
        assert_eq!(job["id"], jobs[0].id.as_str());
        assert!(ended.stderr.contains(&format!("error: ended by SIG{signal}; job ")), "{}", ended.stderr);
    }
}

/// As `nohup` starts programs.
#[tokio::test(flavor = "multi_thread")]
async fn signal_that_a_command_is_to_ignore_does_not_end_it() {
    let site = Site::start().await;
    let run = site.run(&site.server.url, 1, Where::Pipe).ignoring_hang_ups();
    let ended = tokio::task::spawn_blocking(move || run.signalled_once("Following job", "HUP"));
    let ended = ended.await.unwrap();
    assert!([0, 3].contains(&ended.code), "ended {}: {}", ended.code, ended.stderr);
}
