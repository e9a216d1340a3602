//! Jobs in lanes: one lane per object, in enqueue order; lanes side by side, a bounded number applying at a time.
//!
//! ```text
//!   poll ─► handle ─► lane of the object ─► ack ─► apply ─┬─► (lane free) ─► wait for Ready ─► result
//!                       next job waits here               └─► wait until gone ─► (lane free) ─► result
//! ```
//!
//! A lane is held while a job is applied and while a deletion is going on, not while a job waits for its goal: a
//! correction never waits behind what it corrects (contract, section 2).

mod post;
mod run;

use crate::{
    agent::{action, applier::Applier, follow::Follow, ledger::LedgerStore, links::Links},
    metrics::Metrics,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vworkspace_core::agent::{ObjectKey, dedup::JobKey};
use vworkspace_protocol::{ClusterId, Job, JobId};

/// Most jobs handed to the API server at the same time.
pub const APPLYING: usize = 16;
/// Most jobs that are open here, waiting ones included. Beyond it no poll is made: the control plane keeps the rest.
pub const MAX_OPEN: usize = 5_000;
/// Most jobs in lanes that are not applied yet; same rule.
pub const MAX_QUEUED: usize = 500;

/// A job in its lane.
struct Received {
    job: Job,
    action: Result<action::Action, action::Refusal>,
    key: JobKey,
}

#[derive(Default)]
struct Lanes {
    /// Every job from receipt until its result was delivered.
    open: BTreeSet<JobId>,
    /// A lane is here exactly while its task runs.
    queues: BTreeMap<ObjectKey, VecDeque<Received>>,
    queued: usize,
    /// Who is told when a later job for the object was applied.
    waiting: BTreeMap<ObjectKey, (JobId, oneshot::Sender<JobId>)>,
}

struct Inner {
    applier: Applier,
    follow: Follow,
    links: Links,
    ledger: Arc<LedgerStore>,
    metrics: Metrics,
    job_ended: Arc<Notify>,
    permits: Semaphore,
    lanes: Mutex<Lanes>,
    room: Notify,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

/// All jobs of this process; cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

impl Jobs {
    /// No jobs yet. `job_ended` is told at each end; tasks end with `shutdown`.
    pub fn new(
        applier: Applier,
        follow: Follow,
        links: Links,
        ledger: Arc<LedgerStore>,
        metrics: Metrics,
        job_ended: Arc<Notify>,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            applier,
            follow,
            links,
            ledger,
            metrics,
            job_ended,
            permits: Semaphore::new(APPLYING),
            lanes: Mutex::default(),
            room: Notify::new(),
            tracker: TaskTracker::new(),
            shutdown,
        }))
    }

    /// Takes jobs in enqueue order; gives back how many are new. A job that is open already is acknowledged again,
    /// because its acknowledgement may have been lost.
    pub fn handle(&self, jobs: Vec<Job>, cluster: &ClusterId) -> usize {
        let mut new = 0;
        for job in jobs {
            if self.0.lanes().open.insert(job.id.clone()) {
                new += 1;
                self.enqueue(Received::new(job, cluster));
            } else {
                let inner = self.0.clone();
                self.spawn(async move { inner.ack_once(&job.id).await });
            }
        }
        new
    }

    /// Waits until there is room for the jobs of another poll.
    pub async fn room(&self) {
        loop {
            let freed = self.0.room.notified();
            {
                let lanes = self.0.lanes();
                if lanes.open.len() < MAX_OPEN && lanes.queued < MAX_QUEUED {
                    return;
                }
            }
            freed.await;
        }
    }

    /// Waits until every task has ended; call after `shutdown`.
    pub async fn ended(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    fn enqueue(&self, received: Received) {
        let lane = received.lane();
        let mut lanes = self.0.lanes();
        lanes.queued += 1;
        if let Some(queue) = lanes.queues.get_mut(&lane) {
            queue.push_back(received);
            return;
        }
        lanes.queues.insert(lane.clone(), VecDeque::from([received]));
        drop(lanes);
        self.spawn(self.0.clone().run_lane(lane));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

impl Inner {
    async fn run_lane(self: Arc<Self>, lane: ObjectKey) {
        while let Some(received) = self.next_of(&lane) {
            self.clone().run(received).await;
        }
    }

    /// The lane's next job; without one the lane ends, under the same lock that a newcomer would take.
    fn next_of(&self, lane: &ObjectKey) -> Option<Received> {
        let mut lanes = self.lanes();
        let next = lanes.queues.get_mut(lane).and_then(VecDeque::pop_front);
        if next.is_some() {
            lanes.queued -= 1;
            self.room.notify_one();
        } else {
            lanes.queues.remove(lane);
        }
        next
    }

    /// The job is over and its result delivered, or nobody wants it.
    fn close(&self, job: &JobId) {
        self.lanes().open.remove(job);
        self.room.notify_one();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tracker.spawn(async move {
            // Cut off by the end of the process: the control plane offers the job again.
            let _cut_off = shutdown.run_until_cancelled(task).await;
        });
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Nothing in here panics between two changes that belong together.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Received {
    fn new(job: Job, cluster: &ClusterId) -> Self {
        let action = action::of_job(&job, cluster);
        let key = JobKey::of(&job, &lane_of(&job, &action));
        Self { job, action, key }
    }

    fn lane(&self) -> ObjectKey {
        lane_of(&self.job, &self.action)
    }
}

/// A job that concerns no object has a lane of its own.
fn lane_of(job: &Job, action: &Result<action::Action, action::Refusal>) -> ObjectKey {
    match action {
        Ok(action) => action.key(),
        Err(_) => {
            ObjectKey { kind: String::new(), namespace: String::new(), name: job.id.as_str().to_owned() }
        }
    }
}
