//! One job: ack, replay check, apply, wait, result.

use super::{Inner, Received, post::Posted};
use crate::agent::{
    action::Action,
    applier::{ApplyError, Deletion},
    conversation::until,
    links::failure_of,
};
use futures::future::{BoxFuture, OptionFuture};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use vworkspace_core::{
    agent::{
        ObjectKey,
        dedup::Entry,
        job_run::{Goal, JobRun, Observed},
        session::Failure,
    },
    backoff::Backoff,
};
use vworkspace_protocol::{JobId, ObjectRef, Outcome, outcome::JobResult};
use vworkspace_transport::AgentLink as _;

/// A job on its way through this module.
struct Running {
    run: JobRun,
    received: Received,
    object: ObjectKey,
}

/// What the API server took.
struct Accepted {
    goal: Goal,
    applied: ObjectRef,
    /// Nothing is left to wait for.
    gone: bool,
}

impl Inner {
    /// Runs a job as far as its lane is concerned.
    pub(super) async fn run(self: Arc<Self>, received: Received) {
        let object = received.lane();
        let mut running = Running { run: JobRun::new(&received.job), received, object };
        let Some(superseded) = self.take_effect(&mut running).await else {
            return;
        };
        if running.run.result().is_some() {
            self.finish(running);
        } else if matches!(running.received.action, Ok(Action::Delete { .. })) {
            self.wait(&mut running, superseded).await;
            self.finish(running);
        } else {
            let inner = self.clone();
            self.spawn(async move {
                inner.wait(&mut running, superseded).await;
                inner.finish(running);
            });
        }
    }

    /// From receipt to what the API server says; absent: the control plane wants nothing of this job any more.
    async fn take_effect(&self, running: &mut Running) -> Option<oneshot::Receiver<JobId>> {
        let (sender, superseded) = oneshot::channel();
        running.run.handle_start(self.control_plane_now());
        if running.run.result().is_some() {
            return Some(superseded);
        }
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.ok()?;
        let job = &running.received.job.id;
        if self.ack(job).await == Posted::Unwanted {
            self.close(job);
            return None;
        }
        if let Some(result) = self.ledger.replay(job, &running.received.key, &running.object) {
            running.run.handle_ended(result);
        } else {
            // The permit may have been long in coming.
            running.run.handle_start(self.control_plane_now());
        }
        if running.run.result().is_none()
            && let Some(accepted) = self.hand_over(running).await
        {
            self.accepted(running, accepted, sender);
        }
        Some(superseded)
    }

    /// Gives the object, or its deletion, to the API server; absent: the job ended instead.
    async fn hand_over(&self, running: &mut Running) -> Option<Accepted> {
        running.run.handle_applying(Timestamp::now());
        let mut backoff = Backoff::default();
        loop {
            let error = match &running.received.action {
                Ok(action) => match self.attempt(action).await {
                    Ok(accepted) => return Some(accepted),
                    Err(error) => error,
                },
                Err(refusal) => ApplyError::Refused(refusal.to_string()),
            };
            match error {
                ApplyError::Transient(cause) => {
                    let delay = backoff.handle_failure(None, rand::random());
                    tracing::warn!(job_id = %running.run.job(), cause, ?delay, "the API server did not take the object yet");
                    tokio::time::sleep(delay.min(self.until_timeout(&running.run))).await;
                    running.run.handle_timeout(Timestamp::now());
                }
                ApplyError::Refused(message) => running.run.handle_ended(failed(message)),
                ApplyError::Conflict { message, conflicts } => running.run.handle_ended(JobResult {
                    outcome: Outcome::Conflict,
                    conflicts,
                    ..failed(message)
                }),
            }
            if running.run.result().is_some() {
                return None;
            }
        }
    }

    async fn attempt(&self, action: &Action) -> Result<Accepted, ApplyError> {
        match action {
            Action::Apply { object, manifest, goal } => {
                let applied = self.applier.apply(object, manifest).await?;
                Ok(Accepted { goal: *goal, applied, gone: false })
            }
            Action::Delete { object } => Ok(match self.applier.delete(object).await? {
                Deletion::Gone => Accepted { goal: Goal::Gone, applied: object.clone(), gone: true },
                Deletion::Pending(applied) => Accepted { goal: Goal::Gone, applied, gone: false },
            }),
        }
    }

    /// The API server took it: what waited for the same object is superseded, and this one may be, later.
    fn accepted(&self, running: &mut Running, accepted: Accepted, sender: oneshot::Sender<JobId>) {
        running.run.handle_applied(accepted.goal, accepted.applied);
        if accepted.gone {
            running.run.handle_observed(None);
        }
        let job = running.run.job().clone();
        let mut lanes = self.lanes();
        let former = lanes.waiting.remove(&running.object);
        if running.run.result().is_none() {
            lanes.waiting.insert(running.object.clone(), (job.clone(), sender));
        }
        drop(lanes);
        if let Some((_, former)) = former {
            // It may have ended by itself meanwhile.
            let _ended = former.send(job);
        }
    }

    /// Follows the object until the job is over, or the control plane has closed it.
    async fn wait(&self, running: &mut Running, mut superseded: oneshot::Receiver<JobId>) {
        let mut follower = self.follow.follow(&running.object);
        let mut status: Option<BoxFuture<'_, Option<Failure>>> = None;
        loop {
            let now = follower.borrow_and_update().clone();
            let observed = now.map(|followed| followed.observed.clone());
            self.observe(running, observed).await;
            running.run.handle_timeout(Timestamp::now());
            if running.run.result().is_some() {
                break;
            }
            if status.is_none()
                && let Some(update) = running.run.poll_status(Timestamp::now())
            {
                let job = running.run.job().clone();
                status = Some(Box::pin(async move {
                    let connection = self.links.now()?;
                    connection.link.status(&job, &update).await.err().map(|error| failure_of(&error))
                }));
            }
            tokio::select! {
                Some(answer) = OptionFuture::from(status.as_mut()) => {
                    status = None;
                    if matches!(answer, Some(Failure::NotFound | Failure::Closed)) {
                        tracing::info!(job_id = %running.run.job(), "the control plane has closed this job; nobody waits for it");
                        break;
                    }
                }
                changed = follower.changed() => if changed.is_err() { break },
                Ok(by) = &mut superseded => running.run.handle_superseded(&by),
                () = tokio::time::sleep(self.until_timeout(&running.run)) => {}
            }
        }
        let mut lanes = self.lanes();
        if lanes.waiting.get(&running.object).is_some_and(|(job, _)| job == running.run.job()) {
            lanes.waiting.remove(&running.object);
        }
    }

    /// The table may not have caught up with the object's creation: absence is believed only from the API server.
    async fn observe(&self, running: &mut Running, observed: Option<Observed>) {
        let Ok(Action::Delete { object }) = &running.received.action else {
            running.run.handle_observed(observed);
            return;
        };
        if observed.is_some() {
            running.run.handle_observed(observed);
            return;
        }
        match self.applier.find(object).await {
            Ok(found) => {
                let found = found.map(|found| Observed { uid: found.uid, ..Observed::default() });
                running.run.handle_observed(found);
            }
            Err(error) => {
                tracing::warn!(%error, job_id = %running.run.job(), "whether the object is gone is not known yet");
            }
        }
    }

    /// Records the effect, and tells the result.
    fn finish(self: &Arc<Self>, running: Running) {
        let Running { run, received, .. } = running;
        let Some(result) = run.result() else {
            self.close(run.job());
            return;
        };
        let result = JobResult { timestamp: Some(Timestamp::now()), ..result.clone() };
        self.metrics.job_ended(result.outcome);
        if took_effect(&result)
            && let Some(applied_ref) = result.applied_ref.clone()
        {
            self.ledger.record(Entry {
                key: received.key.text,
                job: run.job().clone(),
                outcome: result.outcome,
                error: result.error.clone(),
                applied_ref,
                at: Timestamp::now(),
            });
        }
        self.job_ended.notify_one();
        let (inner, job) = (self.clone(), run.job().clone());
        self.spawn(async move { inner.deliver(&job, &result).await });
    }

    fn until_timeout(&self, run: &JobRun) -> Duration {
        run.poll_timeout().map_or(Duration::MAX, |due| until(due, Timestamp::now()))
    }

    fn control_plane_now(&self) -> Timestamp {
        self.links.now().map_or_else(Timestamp::now, |connection| connection.control_plane_now())
    }
}

fn failed(error: String) -> JobResult {
    JobResult { outcome: Outcome::Failed, error, applied_ref: None, conflicts: Vec::new(), timestamp: None }
}

/// A replay did nothing now, a refusal and a conflict never did.
fn took_effect(result: &JobResult) -> bool {
    match result.outcome {
        Outcome::Succeeded | Outcome::Failed => result.applied_ref.is_some(),
        Outcome::Noop | Outcome::Conflict => false,
    }
}
