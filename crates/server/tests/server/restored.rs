//! A data folder that is put back to an earlier state: what the control plane forgot is found by content.

use crate::support::{Client, TestServer, settings};
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeSet, fs, path::Path};
use vworkspace_core::{
    agent::{
        divergence::{Comparison, Depth, Divergence},
        event_reporter::EventReporter,
        outbox::Delivery,
    },
    report_digest::ReportDigest,
};
use vworkspace_protocol::{
    Condition, ConditionStatus, ObjectRef, Secret,
    event::{Event, EventsRequest, kind},
    id::SessionId,
};
use vworkspace_server::serve::Running;
use vworkspace_transport::{
    AgentLink as _,
    http::client::{HttpLink, LinkSettings},
};

/// An agent that reports applications, with the operator's own machines and its HTTP link.
struct Reporting {
    link: HttpLink,
    event_reporter: EventReporter,
    divergence: Divergence,
    objects: Vec<ObjectRef>,
    now: Timestamp,
    /// Batches sent, heartbeats left out.
    batches: usize,
}

fn link(url: &str, bearer: &Secret) -> HttpLink {
    HttpLink::new(&LinkSettings {
        base_url: url.to_owned(),
        ca_pem: None,
        bearer: Some(bearer.clone()),
        session: SessionId::new("one-run"),
        user_agent: "vworkspace-operator/test".to_owned(),
        capabilities: vworkspace_protocol::headers::AGENT_CAPABILITIES.to_owned(),
        allow_insecure_http: false,
        witness: Default::default(),
    })
    .unwrap()
}

fn ready() -> Vec<Condition> {
    vec![Condition {
        type_: "Ready".into(),
        status: ConditionStatus::True,
        observed_generation: 1,
        last_transition_time: Some(Timestamp::UNIX_EPOCH),
        reason: "HelmReleaseReady".into(),
        message: String::new(),
    }]
}

impl Reporting {
    fn new(link: HttpLink) -> Self {
        let (event_reporter, divergence) = (EventReporter::default(), Divergence::default());
        Self { link, event_reporter, divergence, objects: Vec::new(), now: Timestamp::UNIX_EPOCH, batches: 0 }
    }

    async fn create(&mut self, name: &str) {
        let object = ObjectRef {
            api_version: "apps.vworkspace.io/v1alpha1".into(),
            kind: "ApplicationInstance".into(),
            namespace: "apps".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            generation: 1,
        };
        self.event_reporter.handle_transition(&object, &[], &ready(), self.now);
        self.objects.push(object);
        self.flush().await;
    }

    async fn delete(&mut self, name: &str) {
        let place = self.objects.iter().position(|object| object.name == name).unwrap();
        let object = self.objects.remove(place);
        self.event_reporter.handle_deleted(&object, self.now);
        self.flush().await;
    }

    /// Delivers what waits, and compares the answers as the operator does.
    async fn flush(&mut self) {
        self.now += SignedDuration::from_secs(2);
        loop {
            if self.event_reporter.poll_writes(self.now).is_some() {
                self.event_reporter.handle_written(true, self.now, 0.0);
            }
            self.event_reporter.handle_flush(self.now);
            let Some(batch) = self.event_reporter.poll_batch(self.now) else { break };
            self.batches += 1;
            let answer = self.link.events(&batch).await.unwrap();
            self.event_reporter.handle_delivery(Delivery::Taken, self.now);
            let settled = self.event_reporter.settled();
            self.divergence.handle_answer(settled, settled, answer.report_digest.as_deref());
        }
    }

    async fn beat(&mut self) -> Comparison {
        self.now += SignedDuration::from_secs(30);
        let beat = Event {
            event_key: String::new(),
            kind: kind::CLUSTER_HEARTBEAT.to_owned(),
            resource_ref: ObjectRef { kind: "Cluster".into(), name: "this".into(), ..ObjectRef::default() },
            conditions: Vec::new(),
            operator_version: String::new(),
            kubernetes_version: String::new(),
            sequence: 0,
            timestamp: Some(self.now),
        };
        let before = self.event_reporter.settled();
        let answer = self.link.events(&EventsRequest { events: vec![beat] }).await.unwrap();
        assert!(answer.report_digest.as_deref().is_some_and(|held| held.parse::<ReportDigest>().is_ok()));
        self.divergence.handle_answer(before, self.event_reporter.settled(), answer.report_digest.as_deref())
    }

    /// Takes the snapshot that is due, and returns how deep it was.
    async fn snapshot(&mut self) -> Option<Depth> {
        if !self.divergence.is_snapshot_due(self.now) {
            return None;
        }
        let depth = self.divergence.handle_snapshot_begun(self.now);
        self.event_reporter.handle_listed(self.objects.iter(), self.now);
        self.event_reporter.handle_ends_again(depth, self.now);
        for object in &self.objects {
            self.event_reporter.handle_snapshot_of(depth, object, &ready(), self.now);
        }
        self.flush().await;
        self.divergence.handle_snapshot_ended(true, self.now);
        Some(depth)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn shown(tenant: &Client, url: &str, cluster: &str) -> BTreeSet<String> {
    let path = format!("/api/v1/clusters/{cluster}/resources");
    let resources = tenant.at(url).get(&path).await.expect(200);
    let items = resources["items"].as_array().unwrap();
    items.iter().map(|item| item["resourceRef"]["name"].as_str().unwrap().to_owned()).collect()
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn restored_data_folder_gets_one_snapshot_and_shows_all() {
    let (server, away) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let (tenant, agent) = server.tenant_and_agent().await;
    let bearer = Secret::new(agent.client.bearer().unwrap());
    let mut reporting = Reporting::new(link(&server.running.url, &bearer));
    reporting.create("web").await;
    reporting.create("old").await;
    let TestServer { running, folder, .. } = server;
    let data = folder.path().join("data");
    let restart = async |running: Running, between: &dyn Fn()| {
        running.stop().await.unwrap();
        between();
        Running::start(settings(&folder, &[])).await.unwrap()
    };
    let backed_up = restart(running, &|| copy(&data, away.path())).await;
    reporting.link = link(&backed_up.url, &bearer);
    for name in ["one", "two", "three", "four"] {
        reporting.create(name).await;
    }
    reporting.delete("old").await;
    assert_eq!(reporting.beat().await, Comparison::Agrees);

    let put_back = || {
        fs::remove_dir_all(&data).unwrap();
        copy(away.path(), &data);
    };
    let restored = restart(backed_up, &put_back).await;
    reporting.link = link(&restored.url, &bearer);
    let batches = reporting.batches;
    assert_eq!(shown(&tenant.client, &restored.url, &agent.cluster).await, names(&["old", "web"]));
    assert_eq!((reporting.beat().await, reporting.snapshot().await), (Comparison::Differs, None));
    assert_eq!(reporting.beat().await, Comparison::Differs);
    assert!(reporting.divergence.is_diverged());
    assert_eq!(reporting.snapshot().await, Some(Depth::WithEnds));
    let all = names(&["four", "one", "three", "two", "web"]);
    assert_eq!(shown(&tenant.client, &restored.url, &agent.cluster).await, all);
    for _ in 0..200 {
        assert_eq!((reporting.beat().await, reporting.snapshot().await), (Comparison::Agrees, None));
    }
    assert_eq!((reporting.batches - batches, reporting.divergence.is_diverged()), (1, false));
    restored.stop().await.unwrap();
}
