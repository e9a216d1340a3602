//! A fresh database and the people and agents around it.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use vworkspace_core::control::{AdmittedJob, DnsLabel, admission, ingest, lease::Limits};
use vworkspace_protocol::{
    ClusterId, JobId, Secret,
    admin::{self, EnqueueJob},
    event::{Event, EventsRequest},
    id::{OrganizationId, SessionId},
};
use vworkspace_store::{
    Caller, Cluster, Command, Contact, Enqueued, Error, Handle, Job, Leased, Manage, Read, Serve, Settings,
    Store,
};

/// Second `second` of the test's own time.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub struct World {
    pub store: Store,
    pub admin: Caller,
    dir: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db.sqlite"), &Settings::default()).unwrap();
        let token = store.bootstrap_admin(at(0)).await.unwrap().unwrap();
        let admin = store.authenticate(&token, at(0)).await.unwrap();
        Self { store, admin, dir }
    }

    /// Ends the store and opens its file again.
    pub fn reopened(self) -> Self {
        let Self { store, admin, dir } = self;
        drop(store);
        let store = Store::open(&dir.path().join("db.sqlite"), &Settings::default()).unwrap();
        Self { store, admin, dir }
    }

    pub fn open_again(&self) -> Result<Store, Error> {
        Store::open(&self.dir.path().join("db.sqlite"), &Settings::default())
    }

    /// The number that `query` selects, past the store.
    pub fn count(&self, query: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.dir.path().join("db.sqlite")).unwrap();
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// A tenant and a caller with its token.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let installation = self.store.installation::<Manage>(&self.admin).unwrap();
        let label = DnsLabel::parse("name", name).unwrap();
        let made = self.store.create_organization(&installation, &label, at(0)).await.unwrap();
        let handle = self.store.lookup_organization::<Manage>(&self.admin, &made.id).await.unwrap();
        let token = self.store.create_api_token(&handle, "tests", at(0)).await.unwrap();
        let caller = self.store.authenticate(&token, at(0)).await.unwrap();
        Tenant { id: made.id, caller }
    }

    /// A cluster of the tenant whose agent has registered.
    pub async fn agent(&self, tenant: &Tenant, name: &str) -> Agent {
        let cluster = self.cluster(tenant, name).await;
        let token = self.registration_token(tenant, &cluster.id).await;
        let registered = self.store.register(&token, "r", at(0)).await.unwrap();
        let caller = self.store.authenticate(&registered.token, at(0)).await.unwrap();
        let serve = self.store.own_cluster(&caller).unwrap();
        Agent { id: cluster.id, caller, serve, credential: registered.token }
    }

    pub async fn cluster(&self, tenant: &Tenant, name: &str) -> admin::Cluster {
        let handle = self.store.lookup_organization::<Manage>(&tenant.caller, &tenant.id).await.unwrap();
        let label = DnsLabel::parse("name", name).unwrap();
        self.store.create_cluster(&handle, &label, at(0)).await.unwrap()
    }

    pub async fn registration_token(&self, tenant: &Tenant, cluster: &ClusterId) -> Secret {
        let handle = self.store.lookup_cluster::<Manage>(&tenant.caller, cluster).await.unwrap();
        let day = Duration::from_secs(86_400);
        self.store.issue_registration_token(&handle, day, at(0)).await.unwrap().token
    }

    pub async fn command(&self, tenant: &Tenant, agent: &Agent) -> Handle<Cluster, Command> {
        self.store.lookup_cluster(&tenant.caller, &agent.id).await.unwrap()
    }

    pub async fn reading(&self, tenant: &Tenant, agent: &Agent) -> Handle<Cluster, Read> {
        self.store.lookup_cluster(&tenant.caller, &agent.id).await.unwrap()
    }

    pub async fn enqueue(&self, tenant: &Tenant, agent: &Agent, job: AdmittedJob, second: i64) -> Enqueued {
        let cluster = self.command(tenant, agent).await;
        self.store.enqueue(&cluster, job, at(second)).await.unwrap()
    }

    /// Enqueues an apply of one object and answers its id.
    pub async fn apply(&self, tenant: &Tenant, agent: &Agent, name: &str, second: i64) -> JobId {
        self.enqueue(tenant, agent, apply(name), second).await.job.id
    }

    /// Polls as session `session`.
    pub async fn poll(&self, agent: &Agent, session: &str, second: i64) -> Leased {
        let session = SessionId::new(session);
        let contact = Contact { session: Some(session.clone()), ..Contact::default() };
        self.store.sighted(&agent.serve, &contact, at(second));
        self.store.lease(&agent.serve, Some(&session), Limits::default(), at(second)).await.unwrap()
    }

    pub async fn serving(&self, agent: &Agent, job: &JobId) -> Handle<Job, Serve> {
        self.store.lookup_job(&agent.caller, job).await.unwrap()
    }

    pub async fn ack(&self, agent: &Agent, job: &JobId, session: &str, second: i64) -> Result<(), Error> {
        let handle = self.serving(agent, job).await;
        self.store.ack(&handle, Some(&SessionId::new(session)), at(second)).await
    }

    pub async fn show(&self, tenant: &Tenant, job: &JobId) -> admin::Job {
        let handle = self.store.lookup_job::<Read>(&tenant.caller, job).await.unwrap();
        self.store.job(&handle, at(0)).await.unwrap()
    }

    pub async fn report(&self, agent: &Agent, events: Vec<Event>, second: i64) {
        let batch = ingest::admit(EventsRequest { events }).unwrap();
        self.store.ingest_events(&agent.serve, batch, at(second)).await.unwrap();
    }
}

pub struct Tenant {
    pub id: OrganizationId,
    pub caller: Caller,
}

pub struct Agent {
    pub id: ClusterId,
    pub caller: Caller,
    pub serve: Handle<Cluster, Serve>,
    pub credential: Secret,
}

pub fn ids(leased: &Leased) -> Vec<JobId> {
    leased.jobs.iter().map(|job| job.id.clone()).collect()
}

pub fn request(kind: &str, payload: Value) -> EnqueueJob {
    EnqueueJob {
        kind: kind.to_owned(),
        payload,
        idempotency_key: None,
        expires_at: None,
        wait_for: None,
        deadline_seconds: None,
    }
}

pub fn admitted(request: EnqueueJob) -> AdmittedJob {
    admission::admit(request, at(0)).unwrap()
}

pub fn manifest(name: &str) -> Value {
    json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
           "metadata": {"namespace": "org-a", "name": name}, "spec": {}})
}

pub fn apply(name: &str) -> AdmittedJob {
    admitted(request("apply", manifest(name)))
}

pub fn delete(name: &str) -> AdmittedJob {
    let payload = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
                         "namespace": "org-a", "name": name});
    admitted(request("delete", payload))
}
