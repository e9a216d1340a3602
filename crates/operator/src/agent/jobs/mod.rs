//! Drives [`Work`]: asks it what is to be done, does it side by side, and tells it what became of each.
//!
//! Every decision is in `core/agent/work`; here are the lock around it, the tasks, and their bounds.

mod effects;

use crate::{
    agent::{
        action::{self, Action},
        applier::Applier,
        conversation::{Conversation, until},
        follow::Follow,
        journal::Journal,
        ledger::LedgerShelf,
        links::{Connection, Links},
    },
    args::SecretsInValues,
    clock,
    metrics::{JobGauges, Metrics},
    rotations::Rotations,
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vworkspace_core::agent::{
    ObjectKey,
    session::State,
    work::{Command, JobAction, Plan, Ticket, Work},
};
use vworkspace_protocol::{ClusterId, Job};

/// Most records of the journal written at the same time.
const SAVING: usize = 16;
/// Most messages about jobs on their way at the same time.
const TELLING: usize = 16;

/// What jobs are done with.
pub struct Means {
    /// Hands objects to the API server.
    pub applier: Applier,
    /// Has the credential rotated.
    pub rotations: Rotations,
    /// The conditions of all owned objects.
    pub follow: Follow,
    /// The way to the control plane.
    pub links: Links,
    /// Whether it may be talked to.
    pub conversation: Arc<Conversation>,
    /// Where open jobs outlive the process.
    pub journal: Journal,
    /// Where the ledger does.
    pub shelf: LedgerShelf,
    /// Counters.
    pub metrics: Metrics,
    /// How far jobs are behind.
    pub gauges: JobGauges,
    /// Told when a job has ended.
    pub job_ended: Arc<Notify>,
    /// What becomes of a job whose values look like secrets.
    pub secrets_in_values: SecretsInValues,
    /// Ends every task.
    pub shutdown: CancellationToken,
}

struct Inner {
    means: Means,
    work: Mutex<Work>,
    /// Told when an answer may have made something new due.
    answered: Notify,
    /// Told when a job is forgotten or has left its lane.
    room: Notify,
    /// Ends the task that follows a job's object when dropped.
    followers: Mutex<BTreeMap<Ticket, oneshot::Sender<()>>>,
    saving: Semaphore,
    telling: Semaphore,
    tracker: TaskTracker,
}

/// All jobs of this process; cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

impl Jobs {
    /// Goes on with what journal and ledger hold.
    pub async fn load(means: Means) -> Self {
        let (records, ledger) = futures::join!(means.journal.load(), means.shelf.load());
        if !records.is_empty() {
            tracing::info!(jobs = records.len(), "going on with the open jobs of the journal");
        }
        // Neither lane nor action depends on whose cluster this is.
        let nobody = ClusterId::new("");
        let planned = records.into_iter().map(|record| {
            let plan = plan_of(&record.job, &nobody);
            (record, plan)
        });
        let work = Work::restore(planned.collect(), ledger, clock::now());
        Self(Arc::new(Inner {
            means,
            work: Mutex::new(work),
            answered: Notify::new(),
            room: Notify::new(),
            followers: Mutex::default(),
            saving: Semaphore::new(SAVING),
            telling: Semaphore::new(TELLING),
            tracker: TaskTracker::new(),
        }))
    }

    /// Takes jobs in enqueue order; gives back how many are new.
    pub fn handle(&self, jobs: Vec<Job>, cluster: &ClusterId) -> usize {
        self.0.means.gauges.polled(&jobs, clock::now());
        let planned = jobs.into_iter().map(|job| (plan_of(&job, cluster), job));
        let new = {
            let (mut work, now) = (self.0.work(), clock::now());
            let offer = |(plan, job): (_, Job)| {
                if work.contradicts(&job) {
                    let why = "as after a restore of the control plane from a backup";
                    tracing::warn!(job_id = %job.id, "a known id or key comes with another payload, {why}");
                }
                work.handle_offered(job, plan, now)
            };
            planned.map(offer).filter(|is_new| *is_new).count()
        };
        self.0.answered.notify_one();
        new
    }

    /// Whether there is room for the jobs of another poll.
    pub fn has_room(&self) -> bool {
        self.0.work().has_room()
    }

    /// Waits until there is.
    pub async fn room(&self) {
        loop {
            let freed = self.0.room.notified();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Does what is due, until dropped.
    pub async fn run(&self) {
        let inner = &self.0;
        let mut link = inner.means.conversation.watch();
        let mut spoken_by: Option<Arc<Connection>> = None;
        loop {
            let active = link.borrow_and_update().session == State::Active;
            let connection = inner.means.links.now();
            let (commands, due) = {
                let mut work = inner.work();
                if !same(spoken_by.as_ref(), connection.as_ref()) {
                    // What an earlier credential failed with says nothing about this one.
                    work.handle_link(false);
                }
                if is_another_target(spoken_by.as_ref(), connection.as_ref()) {
                    work.handle_another_target();
                }
                work.handle_link(active && connection.is_some());
                let (now, control_plane_now) = (clock::now(), inner.means.links.control_plane_now());
                let commands: Vec<_> =
                    std::iter::from_fn(|| work.poll_command(now, control_plane_now)).collect();
                (commands, work.poll_timeout())
            };
            spoken_by = connection.or(spoken_by);
            commands.into_iter().for_each(|command| inner.perform(command));
            tokio::select! {
                () = inner.answered.notified() => {}
                // The sender lives in the conversation: waiting cannot fail.
                _ = link.changed() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Waits until every task has ended; call after the shutdown.
    pub async fn ended(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl Inner {
    /// Does one thing in a task of its own; its answer may make others due.
    fn perform(self: &Arc<Self>, command: Command) {
        let (inner, shutdown) = (self.clone(), self.means.shutdown.clone());
        self.tracker.spawn(async move {
            // Cut off by the end of the process: the journal knows where to go on.
            let _cut_off = shutdown.run_until_cancelled(effects::perform(&inner, command)).await;
        });
    }

    /// Tells the machine what became of an effect.
    fn answer(&self, answer: impl FnOnce(&mut Work, Timestamp)) {
        answer(&mut self.work(), clock::now());
        self.answered.notify_one();
        self.room.notify_one();
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // Every change is one call of the machine: it is whole even after a panic.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plan_of(job: &Job, cluster: &ClusterId) -> Plan {
    match action::of_job(job, cluster) {
        Ok(action) => {
            let job_action = match &action {
                Action::Apply { .. } | Action::Sync { .. } | Action::Rotate => JobAction::Apply,
                Action::Delete { .. } => JobAction::Delete,
            };
            Plan { lane: action.key(), action: Ok(job_action) }
        }
        // A job that concerns no object has a lane of its own.
        Err(refusal) => Plan {
            lane: ObjectKey {
                kind: String::new(),
                namespace: String::new(),
                name: job.id.as_str().to_owned(),
            },
            action: Err(refusal.to_string()),
        },
    }
}

fn same(one: Option<&Arc<Connection>>, other: Option<&Arc<Connection>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn is_another_target(one: Option<&Arc<Connection>>, other: Option<&Arc<Connection>>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.credentials.target() != other.credentials.target())
}

async fn sleep_until(due: Option<Timestamp>) {
    match due {
        Some(due) => tokio::time::sleep(until(due, clock::now())).await,
        None => std::future::pending().await,
    }
}
