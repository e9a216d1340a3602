//! Each command of the machine, done once and answered.

use super::Inner;
use crate::agent::{
    action::{self, Action},
    applier::{ApplyError, Deletion},
    ledger::keys_text,
    links::failure_of,
};
use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};
use vworkspace_core::agent::{
    ObjectKey,
    job_run::{Goal, Observed, Taken},
    session::Failure,
    work::{Applied, Command, SaveError, Ticket},
};
use vworkspace_protocol::{Job, JobId, Outcome, outcome::JobResult};
use vworkspace_transport::{AgentLink as _, LinkError, http::client::HttpLink};

/// Longest time the API server gets for one call.
const API_CALL: Duration = Duration::from_secs(30);
/// Pause before the API server is asked again whether an object is gone.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Does it, and tells the machine what became of it.
pub(super) async fn perform(inner: &Inner, command: Command) {
    match command {
        Command::Save(record) => {
            if record.result.is_some() {
                inner.stop_following(record.ticket);
            }
            let _permit = inner.saving.acquire().await;
            let saved = timeout(API_CALL, inner.means.journal.save(&record)).await;
            let saved = saved.unwrap_or(Err(SaveError::Later));
            inner.answer(|work, now| work.handle_saved(record.ticket, saved, now, rand::random()));
        }
        Command::Ack(ticket, job) => {
            let acked = inner.tell(&job, "acknowledgement", async |link| link.ack(&job).await).await;
            inner.answer(|work, now| work.handle_acked(ticket, acked, now, rand::random()));
        }
        Command::Apply(ticket, job) => {
            let applied = inner.apply(&job).await;
            inner.answer(|work, now| work.handle_applied(ticket, applied, now));
        }
        Command::Follow(ticket, taken) => inner.follow(ticket, &taken).await,
        Command::Status(ticket, job, update) => {
            let told = inner.tell(&job, "progress", async |link| link.status(&job, &update).await).await;
            inner.answer(|work, _| work.handle_status(ticket, told));
        }
        Command::Post(ticket, job, result) => {
            let posted = inner.post(&job, &result).await;
            inner.answer(|work, now| work.handle_posted(ticket, posted, now, rand::random()));
        }
        Command::Remove(ticket, job) => {
            inner.stop_following(ticket);
            let _permit = inner.saving.acquire().await;
            let removed = timeout(API_CALL, inner.means.journal.remove(&job)).await.unwrap_or(false);
            inner.answer(|work, now| work.handle_removed(ticket, removed, now, rand::random()));
        }
        Command::StoreLedger(writes) => {
            let keys = keys_text(inner.work().ledger());
            let stored = inner.means.shelf.store(&writes, &keys).await;
            inner.answer(|work, now| work.handle_ledger_stored(stored, now, rand::random()));
        }
    }
}

impl Inner {
    /// One message about a job, once: the machine decides about another try.
    async fn tell(
        &self,
        job: &JobId,
        what: &str,
        message: impl AsyncFnOnce(&HttpLink) -> Result<(), LinkError>,
    ) -> Result<(), Failure> {
        let _permit = self.telling.acquire().await;
        let Some(connection) = self.means.links.now() else {
            return Err(Failure::Unavailable { retry_after: None });
        };
        let told = message(&connection.link).await;
        if told.is_ok() && self.means.links.is_current(&connection) {
            self.means.conversation.good(&connection.credentials.token);
        }
        told.map_err(|error| {
            let failure = failure_of(&error);
            let request_id = error.request_id();
            tracing::warn!(%error, request_id, job_id = %job, ?failure, "the {what} was not taken");
            failure
        })
    }

    async fn post(&self, job: &JobId, result: &JobResult) -> Result<(), Failure> {
        // Whoever waits for the job wants to see the conditions that led to its end.
        self.means.job_ended.notify_one();
        let posted = self.tell(job, "result", async |link| link.result(job, result).await).await;
        if posted.is_ok() {
            self.means.metrics.job_ended(result.outcome);
            if result.outcome == Outcome::Succeeded {
                self.means.gauges.succeeded();
            }
            tracing::info!(job_id = %job, outcome = %result.outcome, error = result.error, "job result delivered");
        }
        posted
    }

    /// Gives the object, or its deletion, to the API server; or has the credential rotated.
    async fn apply(&self, job: &Job) -> Applied {
        let Some(connection) = self.means.links.now() else {
            // Whose labels the object gets is not known at the moment.
            return Applied::Later { random: rand::random() };
        };
        let action = match action::of_job(job, &connection.cluster) {
            Ok(action) => action,
            Err(refusal) => return Applied::Refused(refusal.to_string()),
        };
        let attempt = async {
            match &action {
                Action::Apply { object, manifest, goal } => {
                    let object = self.means.applier.apply(object, manifest).await?;
                    Ok(Applied::Taken { object, goal: *goal, gone: false })
                }
                Action::Delete { object } => Ok(match self.means.applier.delete(object).await? {
                    Deletion::Gone => Applied::Taken { object: object.clone(), goal: Goal::Gone, gone: true },
                    Deletion::Pending(object) => Applied::Taken { object, goal: Goal::Gone, gone: false },
                }),
                Action::Rotate => {
                    let object = self.means.rotations.rotate(&job.id).await?;
                    Ok(Applied::Taken { object, goal: Goal::Accepted, gone: false })
                }
            }
        };
        let slow = || Err(ApplyError::Transient("there was no answer in time".to_owned()));
        match timeout(API_CALL, attempt).await.unwrap_or_else(|_| slow()) {
            Ok(applied) => applied,
            Err(ApplyError::Refused(message)) => Applied::Refused(message),
            Err(ApplyError::Conflict { message, conflicts }) => Applied::Conflict { message, conflicts },
            Err(ApplyError::Transient(cause)) => {
                tracing::warn!(job_id = %job.id, cause, "the job could not be carried out yet");
                Applied::Later { random: rand::random() }
            }
        }
    }

    /// Tells every state of the object until the job is over.
    async fn follow(&self, ticket: Ticket, taken: &Taken) {
        let (stop, mut stopped) = oneshot::channel();
        self.followers().insert(ticket, stop);
        if !self.work().is_waiting(ticket) {
            // It was over before this task began.
            return self.stop_following(ticket);
        }
        let mut follower = self.means.follow.follow(&ObjectKey::from(&taken.applied));
        let following = async {
            loop {
                let seen = follower.borrow_and_update().as_ref().map(|followed| followed.observed.clone());
                let believed = seen.is_some() || taken.goal != Goal::Gone;
                let look_again = if believed {
                    self.answer(|work, now| work.handle_observed(ticket, seen, now));
                    None
                } else {
                    self.look(ticket, taken).await
                };
                tokio::select! {
                    changed = follower.changed() => if changed.is_err() { return },
                    () = pause(look_again) => {}
                }
            }
        };
        tokio::select! {
            () = following => {}
            _ = &mut stopped => {}
        }
    }

    /// The table may not have caught up with the object's creation: absence is believed only from the API server.
    /// Answers when to look again.
    async fn look(&self, ticket: Ticket, taken: &Taken) -> Option<Duration> {
        match self.means.applier.find(&taken.applied).await {
            Ok(found) => {
                let still_there = found.is_some();
                let observed = found.map(|found| Observed { uid: found.uid, ..Observed::default() });
                self.answer(|work, now| work.handle_observed(ticket, observed, now));
                still_there.then_some(LOOK_AGAIN)
            }
            Err(error) => {
                tracing::warn!(%error, "whether the object is gone is not known yet");
                Some(LOOK_AGAIN)
            }
        }
    }

    fn stop_following(&self, ticket: Ticket) {
        self.followers().remove(&ticket);
    }

    fn followers(&self) -> MutexGuard<'_, std::collections::BTreeMap<Ticket, oneshot::Sender<()>>> {
        // Each change is one insertion or removal: the map is whole even after a panic.
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits that long; without a time for ever.
async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
