//! A fresh database, on a file or in memory, and the people and agents around it.

use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use vworkspace_core::control::{AdmittedJob, DnsLabel, admission, ingest, job::Step, lease::Limits};
use vworkspace_protocol::{
    ClusterId, JobId, Secret,
    admin::{self, EnqueueJob},
    event::{Event, EventsRequest},
    id::{OrganizationId, SessionId},
    outcome::StatusUpdate,
};
use vworkspace_store::{
    Caller, Cluster, Command, Contact, Enqueued, Error, Handle, Job, Leased, Manage, Memory, Read, Serve,
    Settings, Store,
};

/// Second `second` of the test's own time.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Begins the call and drops it, answered or not.
pub fn begin(call: impl Future) {
    let _answer = call.now_or_never();
}

pub struct World {
    pub store: Store,
    pub admin: Caller,
    disk: Disk,
}

/// Where the database is, and what commits it.
enum Disk {
    File(TempDir),
    Memory { memory: Memory, committing: JoinHandle<()> },
}

impl Disk {
    fn file(folder: TempDir) -> (Store, Self) {
        let store = Store::open(&database_in(&folder), &Settings::default()).unwrap();
        (store, Self::File(folder))
    }

    fn memory(memory: Memory) -> (Store, Self) {
        let (store, mut committer) = Store::open_in(&memory, &Settings::default()).unwrap();
        let committing = tokio::spawn(async move {
            while let Some(group) = committer.gather().await {
                committer.commit(group);
            }
        });
        (store, Self::Memory { memory, committing })
    }
}

pub fn database_in(folder: &TempDir) -> PathBuf {
    folder.path().join("db.sqlite")
}

impl World {
    /// On a file of its own.
    pub async fn on_file() -> Self {
        Self::begin(Disk::file(tempfile::tempdir().unwrap())).await
    }

    /// In memory, where every group is committed at once.
    pub async fn in_memory() -> Self {
        Self::begin(Disk::memory(Memory::new().unwrap())).await
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        match &self.disk {
            Disk::File(folder) => folder.path(),
            Disk::Memory { .. } => panic!("there are no files"),
        }
    }

    async fn begin((store, disk): (Store, Disk)) -> Self {
        let token = store.bootstrap_admin(at(0)).await.unwrap().unwrap();
        let admin = store.authenticate(&token, at(0)).await.unwrap();
        Self { store, admin, disk }
    }

    /// Ends the store in good order and opens it again.
    pub async fn reopened(self) -> Self {
        let Self { store, admin, disk } = self;
        drop(store);
        let (store, disk) = match disk {
            Disk::File(folder) => Disk::file(folder),
            Disk::Memory { memory, committing } => {
                committing.await.unwrap();
                Disk::memory(memory)
            }
        };
        Self { store, admin, disk }
    }

    /// Ends the store where it stands and opens what the disk held at that moment.
    pub async fn crashed(self) -> Self {
        let Self { store, admin, disk } = self;
        let (opened, disk) = match disk {
            Disk::File(folder) => {
                let left = tempfile::tempdir().unwrap();
                for file in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
                    fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
                }
                Disk::file(left)
            }
            Disk::Memory { memory, committing } => {
                committing.abort();
                let _ = committing.await;
                Disk::memory(memory)
            }
        };
        drop(store);
        Self { store: opened, admin, disk }
    }

    /// The number that `query` selects in the file, past the store.
    pub fn count(&self, query: &str) -> i64 {
        let Disk::File(folder) = &self.disk else { panic!("there is no file") };
        let connection = rusqlite::Connection::open(database_in(folder)).unwrap();
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// A tenant and a caller with its token.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let installation = self.store.installation::<Manage>(&self.admin).unwrap();
        let label = DnsLabel::parse("name", name).unwrap();
        let made = self.store.create_organization(&installation, &label, at(0)).await.unwrap();
        let handle = self.store.lookup_organization::<Manage>(&self.admin, &made.id).await.unwrap();
        let token = self.store.create_api_token(&handle, "tests", at(0)).await.unwrap().token;
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

    pub async fn ack(&self, agent: &Agent, job: &JobId, session: &str, second: i64) -> Result<Step, Error> {
        let handle = self.serving(agent, job).await;
        self.store.ack(&handle, Some(&SessionId::new(session)), at(second)).await
    }

    /// Tells progress as session `session`.
    pub async fn status(&self, agent: &Agent, job: &JobId, session: &str, second: i64) {
        let handle = self.serving(agent, job).await;
        let update =
            StatusUpdate { phase: "P".into(), conditions: vec![], message: String::new(), timestamp: None };
        let session = SessionId::new(session);
        self.store.record_status(&handle, Some(&session), update, at(second)).await.unwrap();
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

pub fn admitted(request: EnqueueJob) -> AdmittedJob {
    admission::admit(request).unwrap()
}

pub fn manifest(name: &str) -> Value {
    json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
           "metadata": {"namespace": "org-a", "name": name}, "spec": {}})
}

pub fn apply(name: &str) -> AdmittedJob {
    admitted(EnqueueJob::new("apply", manifest(name)))
}

pub fn delete(name: &str) -> AdmittedJob {
    let payload = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
                         "namespace": "org-a", "name": name});
    admitted(EnqueueJob::new("delete", payload))
}

/// As `vwctl app deploy` sends an instance.
pub fn ensure(name: &str) -> AdmittedJob {
    let payload = json!({"intent": "ensure-application-instance", "applicationInstance": manifest(name)});
    admitted(EnqueueJob::new("intent", payload))
}
