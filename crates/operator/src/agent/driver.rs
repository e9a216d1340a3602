//! Starts the agent's loops and runs the one that polls.

use crate::{
    agent::{
        applier::Applier,
        conversation::{Conversation, LinkState, until},
        credentials::{self, Credentials, Identity, Seed},
        events::{EventLoop, Untold},
        follow::Follow,
        heartbeat,
        jobs::{Jobs, Means},
        journal::Journal,
        ledger::LedgerShelf,
        links::{Connection, Links, failure_of},
        problem::Problem,
        report_check::ReportCheck,
        shard_store::ShardStore,
        snapshots::Snapshots,
    },
    args::Args,
    clock,
    metrics::{JobGauges, LinkGauges, Metrics},
    namespace_access::NamespaceAccess,
    report::{Observation, Reporter},
    rotations::Rotations,
};
use jiff::Timestamp;
use kube::Client;
use std::sync::Arc;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vworkspace_core::agent::session::{Failure, Step, pause_after_poll, poll_wait};
use vworkspace_crds::key::JOURNAL_OF_EVENTS;
use vworkspace_protocol::{ClusterId, Job, id::SessionId};
use vworkspace_transport::{AgentLink as _, EchoMark, Witness};

/// What the agent is made of.
pub struct Agent {
    /// The Kubernetes API.
    pub client: Client,
    /// In which namespaces the operator may work.
    pub access: NamespaceAccess,
    /// Flags and environment.
    pub args: Arc<Args>,
    /// Counters.
    pub metrics: Metrics,
    /// How the link is.
    pub link_gauges: LinkGauges,
    /// How far jobs are behind.
    pub job_gauges: JobGauges,
    /// What the reconcilers saw change.
    pub observations: mpsc::Receiver<Observation>,
    /// Has the credential rotated where a job asks for it.
    pub rotations: Rotations,
    /// Where deletions go, as one more reconciler.
    pub reporter: Reporter,
    /// Told how the link is.
    pub link_state: watch::Sender<LinkState>,
    /// Told which cluster this is.
    pub cluster_id: watch::Sender<Option<ClusterId>>,
    /// The API server's version.
    pub kubernetes_version: String,
    /// The run of this process, as the control plane knows it.
    pub session: SessionId,
}

/// What the loops share.
struct Driver {
    client: Client,
    access: NamespaceAccess,
    args: Arc<Args>,
    metrics: Metrics,
    conversation: Arc<Conversation>,
    identity: watch::Sender<Option<Identity>>,
    seed: Seed,
    links: Links,
    follow: Follow,
    rotations: Rotations,
    snapshots: Snapshots,
    check: Arc<ReportCheck>,
    /// Told when a job has ended.
    job_ended: Arc<Notify>,
}

/// Runs the agent until `shutdown`; then flushes events and ends within seconds.
pub async fn run(agent: Agent, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    let spawn_until_shutdown = |task: futures::future::BoxFuture<'static, ()>| {
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let _cut_off = shutdown.run_until_cancelled(task).await;
        });
    };
    let conversation =
        Arc::new(Conversation::new(agent.args.disconnect_after, agent.link_state, agent.link_gauges));
    let (connections, links) = watch::channel(None);
    let (snapshots, snapshot_requests) = mpsc::channel(1);
    let (follow, check) = (Follow::default(), Arc::<ReportCheck>::default());
    let driver = Arc::new(Driver {
        seed: Seed::of(&agent.args),
        client: agent.client.clone(),
        access: agent.access,
        args: agent.args.clone(),
        metrics: agent.metrics.clone(),
        conversation: conversation.clone(),
        identity: watch::Sender::new(None),
        links: Links::new(links),
        follow: follow.clone(),
        rotations: agent.rotations,
        snapshots: Snapshots::new(follow.clone(), snapshots, check.clone()),
        check: check.clone(),
        job_ended: Arc::default(),
    });
    let (watching, client, reporter) = (follow.clone(), agent.client.clone(), agent.reporter);
    spawn_until_shutdown(Box::pin(async move { watching.run(client, reporter).await }));
    spawn_until_shutdown(Box::pin(driver.clone().watch_credentials()));
    spawn_until_shutdown(Box::pin(driver.clone().keep_connections(
        connections,
        agent.cluster_id,
        agent.session,
    )));
    let silence = conversation.clone();
    spawn_until_shutdown(Box::pin(async move { silence.watch_silence().await }));
    let repairing = driver.clone();
    spawn_until_shutdown(Box::pin(async move {
        repairing.snapshots.repair(&repairing.conversation, &repairing.links).await;
    }));
    let (links, kubernetes_version) = (driver.links.clone(), agent.kubernetes_version);
    let beats = heartbeat::run(links, conversation.clone(), follow, check.clone(), kubernetes_version);
    spawn_until_shutdown(Box::pin(beats));
    let told = ShardStore::new(agent.client, &agent.args.agent_credentials_namespace, JOURNAL_OF_EVENTS);
    let events = EventLoop::new(told, driver.links.clone(), conversation, check, driver.job_ended.clone());
    tasks.spawn(events.run(agent.observations, snapshot_requests, shutdown.clone()));
    driver.work(agent.job_gauges, &shutdown).await;
    tasks.close();
    tasks.wait().await;
}

impl Driver {
    /// Polls and works until `shutdown`, once journal, ledger and objects are known.
    async fn work(&self, gauges: JobGauges, shutdown: &CancellationToken) {
        let prepared = async {
            self.follow.synced().await;
            Jobs::load(self.means(gauges, shutdown)).await
        };
        let Some(jobs) = shutdown.run_until_cancelled(prepared).await else {
            return;
        };
        let working = async { futures::join!(self.poll_for_ever(&jobs), jobs.run()) };
        let _cut_off = shutdown.run_until_cancelled(working).await;
        jobs.ended().await;
    }

    fn means(&self, gauges: JobGauges, shutdown: &CancellationToken) -> Means {
        let namespace = &self.args.agent_credentials_namespace;
        Means {
            applier: Applier::new(self.client.clone(), self.access.clone()),
            rotations: self.rotations.clone(),
            follow: self.follow.clone(),
            links: self.links.clone(),
            conversation: self.conversation.clone(),
            journal: Journal::new(self.client.clone(), namespace),
            shelf: LedgerShelf::new(self.client.clone(), namespace),
            metrics: self.metrics.clone(),
            gauges,
            job_ended: self.job_ended.clone(),
            secrets_in_values: self.args.secrets_in_values,
            shutdown: shutdown.clone(),
        }
    }

    async fn poll_for_ever(&self, jobs: &Jobs) {
        loop {
            let step = self.conversation.step();
            let connection = self.links.now();
            match (step, connection) {
                (Step::Halt, _) | (_, None) => self.halted().await,
                (Step::Reopen, Some(_)) => self.conversation.reopen(),
                (Step::Wait(at), Some(connection)) => {
                    rest(&self.links, &connection, &self.conversation, at).await;
                }
                (Step::Resync, Some(connection)) => self.resync(&connection).await,
                (Step::Poll, Some(connection)) if jobs.has_room() => self.poll(&connection, jobs).await,
                // Something else may be due by then: over another connection status goes first, and no job makes room before.
                (Step::Poll, Some(connection)) => tokio::select! {
                    () = jobs.room() => {}
                    () = self.links.changed_from(&connection) => {}
                },
            }
        }
    }

    /// Waits until there is something to do again: a changed credential changes the link's state.
    async fn halted(&self) {
        let mut state = self.conversation.watch();
        state.borrow_and_update();
        if matches!(self.conversation.step(), Step::Halt) || self.links.now().is_none() {
            // The sender lives in `self.conversation`: waiting cannot fail.
            let _never_fails = state.changed().await;
        }
    }

    /// Status first.
    async fn resync(&self, connection: &Arc<Connection>) {
        let dropped = self.conversation.dropped();
        match self.snapshots.take().await {
            // Another connection may lead to another control plane: that one is told from the start.
            Ok(round_trip) if self.links.is_current(connection) => {
                self.conversation.resynced(round_trip, dropped);
            }
            Ok(_) => {}
            Err(Untold { failure, problem }) => self.failed(connection, failure, problem, None).await,
        }
    }

    async fn poll(&self, connection: &Arc<Connection>, jobs: &Jobs) {
        let wait = poll_wait(self.args.agent_poll_interval, self.args.disconnect_after);
        let started = Instant::now();
        let answer = tokio::select! {
            answer = connection.link.jobs(&connection.cluster, wait) => answer,
            () = self.links.changed_from(connection) => return,
        };
        if self.links.is_current(connection) {
            self.conversation.echo(connection.echo());
        }
        match answer {
            Ok(polled) => {
                if self.links.is_current(connection) {
                    self.conversation.polled(&connection.credentials.token);
                }
                let new = self.take(polled, connection, jobs);
                let rest = pause_after_poll(new, started.elapsed());
                if !rest.is_zero() {
                    self.links.pause(connection, rest).await;
                }
            }
            Err(error) => {
                self.check.failed(&error);
                let (failure, problem) = (failure_of(&error), Problem::from(&error));
                self.failed(connection, failure, problem, error.request_id()).await;
            }
        }
    }

    fn take(&self, polled: Vec<Job>, connection: &Connection, jobs: &Jobs) -> usize {
        if polled.is_empty() {
            return 0;
        }
        let offered = polled.len();
        let new = jobs.handle(polled, &connection.cluster);
        tracing::info!(cluster_id = %connection.cluster, offered, new, "jobs received");
        new
    }

    async fn failed(
        &self,
        connection: &Arc<Connection>,
        failure: Failure,
        problem: Problem,
        request_id: Option<&str>,
    ) {
        if failure.is_rejection() && self.is_another_due(connection).await {
            tokio::select! {
                () = self.links.changed_from(connection) => {}
                () = self.is_due_again(connection) => {}
            }
            return;
        }
        if self.links.is_current(connection) {
            tracing::warn!(
                problem = problem.message,
                request_id,
                ?failure,
                "the control plane cannot be used"
            );
            self.conversation.failed(failure, problem);
        }
    }

    /// Whether another credential is to be used than the one that was just rejected. The Secret is read first: it may
    /// have been exchanged this very moment. If it was a next one, the one before still works.
    async fn is_another_due(&self, connection: &Arc<Connection>) -> bool {
        let (namespace, name) = (&self.args.agent_credentials_namespace, &self.args.agent_credentials_secret);
        let client = self.client.clone();
        if let Err(error) =
            credentials::read_secret(client, namespace, name, &self.seed, &self.identity).await
        {
            tracing::warn!(%error, "the credentials Secret could not be read again");
        }
        let used = &connection.credentials;
        let identity = self.identity.borrow().clone();
        if let Some(identity) = &identity {
            self.conversation.refused(&used.token, &identity.held);
        }
        identity.is_some_and(|identity| identity.presented(&self.conversation.verdicts()) != *used)
    }

    /// Waits until this one is to be used after all: the refusal no longer counts when the identity is written anew, and no
    /// other connection is made then.
    async fn is_due_again(&self, connection: &Connection) {
        let mut link = self.conversation.watch();
        loop {
            let verdicts = link.borrow_and_update().verdicts.clone();
            let identity = self.identity.borrow().clone();
            if identity.is_some_and(|identity| identity.presented(&verdicts) == connection.credentials) {
                return;
            }
            // The sender lives in the conversation: waiting cannot fail.
            let _never_fails = link.changed().await;
        }
    }

    async fn watch_credentials(self: Arc<Self>) {
        let (namespace, name) = (&self.args.agent_credentials_namespace, &self.args.agent_credentials_secret);
        // Without a Secret the seed alone may be enough.
        self.identity.send_replace(self.seed.merge(None));
        credentials::watch_secret(self.client.clone(), namespace, name, &self.seed, &self.identity).await;
    }

    /// One connection per credential that is to be presented; none while the agent is off, which is: no flag and no
    /// Cluster object. Rejected ones are presented once more when somebody changes the Secret or the Cluster (contract,
    /// section 4).
    async fn keep_connections(
        self: Arc<Self>,
        connections: watch::Sender<Option<Arc<Connection>>>,
        cluster_id: watch::Sender<Option<ClusterId>>,
        session: SessionId,
    ) {
        let (mut identity, mut cluster) = (self.identity.subscribe(), self.follow.cluster());
        let mut link = self.conversation.watch();
        let (mut known, mut known_wish) = (None::<Identity>, None);
        let mut witness = Arc::new(Witness::default());
        loop {
            let (written, of_cluster) =
                (identity.borrow_and_update().clone(), cluster.borrow_and_update().clone());
            let wish =
                of_cluster.as_ref().map(|c| (c.object.uid.clone(), c.object.generation, c.marks.clone()));
            // Compared, not awaited: what else changes at the same time wakes as well.
            if credentials::is_news(written.as_ref(), known.as_ref()) || wish != known_wish {
                self.conversation.identity_changed();
            }
            if let Some(identity) =
                written.as_ref().filter(|now| !known.as_ref().is_some_and(|k| now.continues(k)))
            {
                witness = Arc::new(Witness::new(EchoMark::stored(identity.held.echoes())));
                self.conversation.another_target();
            }
            known.clone_from(&written);
            known_wish = wish;
            let on = self.args.agent_enabled || of_cluster.is_some_and(|c| !c.deleting);
            let verdicts = link.borrow_and_update().verdicts.clone();
            let wanted = written.filter(|_| on).map(|identity| identity.presented(&verdicts));
            let current = connections.borrow().as_ref().map(|connection| connection.credentials.clone());
            if wanted != current {
                self.connect(wanted, &session, &witness, &connections, &cluster_id);
            }
            // All senders live as long as this task.
            tokio::select! {
                _ = identity.changed() => {}
                _ = cluster.changed() => {}
                _ = link.changed() => {}
            }
        }
    }

    fn connect(
        &self,
        credentials: Option<Credentials>,
        session: &SessionId,
        witness: &Arc<Witness>,
        connections: &watch::Sender<Option<Arc<Connection>>>,
        cluster_id: &watch::Sender<Option<ClusterId>>,
    ) {
        let id = credentials.as_ref().map(|credentials| credentials.cluster_id.clone());
        cluster_id.send_if_modified(|current| std::mem::replace(current, id.clone()) != id);
        let args = &self.args;
        let made = credentials.map(|c| Connection::new(&c, session, args, witness.clone())).transpose();
        let (connection, problem) = match made {
            Ok(connection) => (connection.map(Arc::new), String::new()),
            Err(error) => (None, error.to_string()),
        };
        match &connection {
            Some(connection) => {
                tracing::info!(cluster_id = %connection.cluster, "a credential is there; connecting");
            }
            None => tracing::info!(problem, "no credential to connect with"),
        }
        let present = connection.is_some();
        connections.send_replace(connection);
        self.check.another_link();
        self.conversation.credential(present, &problem);
    }
}

/// Waits until then, or until there is another connection to try, or until anything gets through: the session may want
/// to try sooner then.
async fn rest(links: &Links, connection: &Arc<Connection>, conversation: &Conversation, at: Timestamp) {
    tokio::select! {
        () = links.pause(connection, until(at, clock::now())) => {}
        () = conversation.heard() => {}
    }
}

#[cfg(test)]
mod tests;
