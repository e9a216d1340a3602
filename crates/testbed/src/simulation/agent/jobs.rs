//! Does what [`Work`] asks for, side by side, and tells it what became of each.

use super::{Agent, shards};
use crate::simulation::api::{
    API_VERSION, ApiError, Deletion, KIND, NAMESPACE, Object, Put, State as Cluster, reference_of,
};
use serde_json::Value;
use std::{rc::Rc, time::Duration};
use vworkspace_core::agent::{
    ObjectKey,
    bare_answers::Message,
    dedup::Ledger,
    job_run::{Goal, Observed, Taken},
    session::{Failure, State},
    work::{Applied, Command, JobAction, Plan, Record, SaveError, Ticket, Work},
};
use vworkspace_protocol::{
    Job, JobId, JobKind, WaitFor,
    outcome::{FieldConflict, JobResult, Outcome},
};
use vworkspace_transport::AgentLink as _;

/// What is said of a job that the API server refuses for good.
pub const REFUSED: &str = "it is there no more";
/// Most tries of one write, as in the operator's applier.
const MAX_RACES: u32 = 5;
/// Pause before the journal is read again.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

impl Agent {
    /// Goes on with what was open, what took effect and what was told.
    pub(super) async fn load(&self) {
        let (records, ledger, told) = loop {
            let read = self
                .site
                .api
                .call(|state| (state.journal.clone(), state.ledger.clone(), state.told.clone()))
                .await;
            if let Ok(read) = read {
                break read;
            }
            self.site.world.sleep(LOAD_AGAIN).await;
        };
        // What cannot be read was never written by us: the run would show it as a job that is lost.
        let records = records.values().filter_map(|text| serde_json::from_str::<Record>(text).ok());
        let records = records.map(|record| {
            let plan = plan_of(&record.job);
            (record, plan)
        });
        let now = self.now();
        let ledger = Ledger::restore(shards::read(&ledger), Vec::new());
        *self.work() = Work::restore(records.collect(), ledger, now);
        self.outbox.borrow_mut().restore(shards::read(&told));
    }

    pub(super) async fn run_jobs(self: Rc<Self>) {
        loop {
            let active = self.session().state() == State::Active && self.credential.borrow().is_some();
            let due = {
                let mut work = self.work();
                work.handle_link(active);
                while let Some(command) = work.poll_command(self.now(), self.control_now()) {
                    self.check_journaled(&command);
                    self.site.world.executor.spawn(self.group, self.clone().perform(command));
                }
                work.poll_timeout()
            };
            tokio::select! {
                biased;
                () = self.answered.notified() => {}
                () = self.until_some(due) => {}
            }
        }
    }

    fn answer(&self, answer: impl FnOnce(&mut Work)) {
        answer(&mut self.work());
        self.answered.notify_one();
        self.room.notify_one();
    }

    async fn perform(self: Rc<Self>, command: Command) {
        match command {
            Command::Save(record) => {
                self.check_expired(&record);
                self.save(*record).await;
            }
            Command::Ack(ticket, job) => {
                let mut told = self
                    .tell(&job, Message::Ack, "ack", |link, job| async move { link.ack(&job).await })
                    .await;
                if told == Err(Failure::Closed) && self.site.seen.borrow().repeated.contains(&job) {
                    // Who forgot that it is over takes the ack.
                    told = Ok(());
                }
                self.answer(|work| work.handle_acked(ticket, told, self.now(), self.random()));
            }
            Command::Apply(ticket, job) => {
                let applied = self.apply(&job).await;
                self.answer(|work| work.handle_applied(ticket, applied, self.now()));
            }
            Command::Follow(ticket, taken) => self.follow(ticket, &taken).await,
            Command::Status(ticket, job, update) => {
                self.check_progress(&job);
                let told = self.tell(&job, Message::Status, "progress", move |link, job| {
                    let update = update.clone();
                    async move { link.status(&job, &update).await }
                });
                let told = told.await;
                self.answer(|work| work.handle_status(ticket, told, self.now()));
            }
            Command::Post(ticket, job, result) => {
                let told = self.post_result(&job, result).await;
                self.answer(|work| work.handle_posted(ticket, told, self.now(), self.random()));
            }
            Command::Remove(ticket, job) => {
                let removed = self.site.api.call(move |state| state.journal.remove(&job)).await.is_ok();
                self.answer(|work| work.handle_removed(ticket, removed, self.now(), self.random()));
            }
            Command::StoreLedger(writes) => {
                let stored = self.write_shards(writes, |state| &mut state.ledger).await;
                self.answer(|work| work.handle_ledger_stored(stored, self.now(), self.random()));
            }
        }
    }

    async fn save(&self, record: Record) {
        let ticket = record.ticket;
        let name = self.site.world.history.name(&record.job.id);
        let saved = match serde_json::to_string(&record) {
            Ok(text) => self.site.api.call(move |state| state.journal.insert(record.job.id, text)).await,
            Err(_) => return,
        };
        self.note(&format!("saved {name}: {}", saved.is_ok()));
        let saved = saved.map(drop).map_err(|_| SaveError::Later);
        self.answer(|work| work.handle_saved(ticket, saved, self.now(), self.random()));
    }

    async fn tell<F, C>(&self, job: &JobId, message: Message, what: &str, call: C) -> Result<(), Failure>
    where
        C: Fn(vworkspace_transport::MemoryLink<vworkspace_server::app::AgentPort>, JobId) -> F + 'static,
        F: Future<Output = Result<(), vworkspace_transport::LinkError>> + 'static,
    {
        let Some(caller) = self.caller() else { return Err(Failure::Unavailable { retry_after: None }) };
        let (id, link) = (job.clone(), *self.link.borrow());
        let told = self.ask_about(&caller, (job, message), move |link| call(link, id.clone())).await;
        // What an earlier credential reached says nothing about this one.
        if told.is_ok() && link == *self.link.borrow() {
            self.good(&caller);
        }
        let name = self.site.world.history.name(job);
        self.note(&format!("{what} of {name}: {told:?}"));
        told
    }

    async fn post_result(&self, job: &JobId, result: JobResult) -> Result<(), Failure> {
        self.flush_events();
        let (outcome, asked_at) = (result.outcome, self.site.seen.borrow().set_backs);
        let told = self.tell(job, Message::Result, outcome.as_str(), move |link, job| {
            let result = result.clone();
            async move { link.result(&job, &result).await }
        });
        let told = told.await;
        if told.is_ok() {
            let mut seen = self.site.seen.borrow_mut();
            // A process that stood still reads the answer when it goes on.
            if seen.set_backs == asked_at {
                seen.taken_results.insert(job.clone(), outcome.as_str().to_owned());
            }
        }
        told
    }

    /// What is told must be durable before: the job before its ack, the result before it is posted.
    fn check_journaled(&self, command: &Command) {
        let (job, result) = match command {
            Command::Ack(_, job) => (job, None),
            Command::Post(_, job, result) => (job, Some(result)),
            _ => return,
        };
        let state = self.site.api.state();
        if state.lease.holder.is_some_and(|holder| holder != self.replica) {
            return;
        }
        let record = state.journal.get(job).and_then(|text| serde_json::from_str::<Record>(text).ok());
        let history = &self.site.world.history;
        let kept = record.as_ref().is_some_and(|record| result.is_none() || record.result.as_ref() == result);
        if let Some((record, result)) = record.as_ref().zip(result) {
            self.check_reached(&record.job, result, &state);
        }
        let (name, what) = (history.name(job), if result.is_some() { "the result" } else { "the ack" });
        history.holds("I1 durable ack", kept, || format!("{what} of {name} is told and not in the journal"));
    }

    /// A job expires by the control plane's clock, whatever the agent's own says.
    fn check_expired(&self, record: &Record) {
        let expired = record.result.as_ref().is_some_and(|result| result.error == "expired");
        // Later, when this is repeated, the clock may have been turned.
        if !expired || !self.site.seen.borrow_mut().expired.insert(record.job.id.clone()) {
            return;
        }
        let latest = self.site.clock.latest(self.site.wire.now());
        let history = &self.site.world.history;
        let is_time = record.job.expires_at.zip(latest).is_some_and(|(expiry, latest)| expiry <= latest);
        history.holds("I2 one end", is_time, || {
            format!("{} is called expired before its time", history.name(&record.job.id))
        });
    }

    /// Progress of a job is told at most once a second.
    fn check_progress(&self, job: &JobId) {
        let now = self.site.world.executor.now();
        let before = self.told_progress.borrow_mut().insert(job.clone(), now);
        let is_spaced = before.is_none_or(|before| now.saturating_sub(before) >= Duration::from_secs(1));
        let history = &self.site.world.history;
        history.holds("I10 bounds", is_spaced, || {
            format!("progress of {} is told twice within a second", history.name(job))
        });
    }

    /// A success is told when the object has reached what was asked for, and not before.
    fn check_reached(&self, job: &Job, result: &JobResult, state: &Cluster) {
        let (name, by) = target_of(job);
        let reached = match Task::of(job) {
            _ if result.outcome != Outcome::Succeeded => true,
            // An older job may have made the object again since.
            Task::Delete if self.site.was_set_back_in_silence() => true,
            Task::Put if job.wait_for == Some(WaitFor::Accepted) => true,
            Task::Put => state.reached_since(&name, by).next().is_some(),
            Task::Delete => state.objects.get(&name).is_none_or(|object| object.value > by),
            Task::Rotate | Task::Unknown => true,
        };
        let history = &self.site.world.history;
        history.holds("I2 one end", reached, || {
            format!("{} is told as succeeded, and its goal was not reached yet", history.name(&job.id))
        });
    }

    async fn apply(&self, job: &Job) -> Applied {
        let (name, by) = target_of(job);
        match Task::of(job) {
            Task::Rotate => match self.rotate_for(&job.id).await {
                Some(object) => Applied::Taken { object, goal: Goal::Accepted, gone: false },
                None => self.later("it is not settled", false),
            },
            Task::Delete => self.delete(&name, by).await,
            Task::Put | Task::Unknown => self.put(job).await,
        }
    }

    /// As the applier of the operator: what is written is for what was found, and found again where that has changed.
    async fn put(&self, job: &Job) -> Applied {
        let (name, by) = target_of(job);
        for _ in 0..MAX_RACES {
            let found = match self.site.api.find(&name).await {
                Ok(found) => found,
                Err(error) => return self.not_applied(error),
            };
            if found.as_ref().is_some_and(Object::is_deleting) {
                return self.later("the object is still being deleted", true);
            }
            match self.site.api.apply(&name, by, &job.id, found).await {
                Ok(Put::Taken(object)) => {
                    return Applied::Taken { object, goal: Goal::of_apply(KIND, job.wait_for), gone: false };
                }
                Ok(Put::Conflict) => return conflict(),
                Ok(Put::Deleting) => return self.later("the object is still being deleted", true),
                Ok(Put::Race) | Err(ApiError::Race) => {}
                Err(error) => return self.not_applied(error),
            }
        }
        self.not_applied(ApiError::Race)
    }

    async fn delete(&self, name: &str, by: u64) -> Applied {
        for _ in 0..MAX_RACES {
            let found = match self.site.api.find(name).await {
                Ok(Some(found)) => found,
                Ok(None) => {
                    let object = reference_of(name);
                    return Applied::Taken { object, goal: Goal::Gone, gone: true };
                }
                Err(error) => return self.not_applied(error),
            };
            let (object, gone) = match self.site.api.delete(name, by, found).await {
                Ok(Deletion::Gone(object)) => (object, true),
                Ok(Deletion::Pending(object)) => (object, false),
                Ok(Deletion::Race) | Err(ApiError::Race) => continue,
                Err(error) => return self.not_applied(error),
            };
            return Applied::Taken { object, goal: Goal::Gone, gone };
        }
        self.not_applied(ApiError::Race)
    }

    fn later(&self, cause: &str, declined: bool) -> Applied {
        Applied::Later { cause: cause.to_owned(), declined, random: self.random() }
    }

    /// As the applier of the operator classifies the statuses of its API server.
    fn not_applied(&self, error: ApiError) -> Applied {
        match error {
            ApiError::Race | ApiError::TooMany | ApiError::Internal => {
                self.later(&format!("{error:?}"), true)
            }
            ApiError::Lost | ApiError::Fenced => self.later(&format!("{error:?}"), false),
            ApiError::Gone => Applied::Refused(REFUSED.to_owned()),
        }
    }

    async fn follow(&self, ticket: Ticket, taken: &Taken) {
        let mut changed = self.site.api.watch();
        let key = &taken.applied.name;
        while self.work().is_waiting(ticket) {
            changed.borrow_and_update();
            let found = self.site.api.state().objects.get(key).cloned();
            let observed = found.map(|object| Observed {
                uid: object.uid,
                observed_generation: object.conditions.first().map_or(0, |c| c.observed_generation),
                conditions: object.conditions,
                handled_request: object.handled_request.map(|id| id.to_string()),
                failing: None,
            });
            self.answer(|work| work.handle_observed(ticket, observed, self.now()));
            if changed.changed().await.is_err() {
                return;
            }
            self.site.world.sleep_between(Duration::from_micros(100), Duration::from_millis(100)).await;
        }
    }
}

fn conflict() -> Applied {
    let (manager, field_path) = ("someone".to_owned(), ".spec.n".to_owned());
    Applied::Conflict {
        message: "another manager owns a field".to_owned(),
        conflicts: vec![FieldConflict { manager, field_path }],
    }
}

/// What the simulated operator does for a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Put,
    Delete,
    Rotate,
    Unknown,
}

impl Task {
    fn of(job: &Job) -> Self {
        match &job.kind {
            JobKind::Apply => Self::Put,
            JobKind::Delete => Self::Delete,
            JobKind::Other(_) => Self::Unknown,
            JobKind::Intent => match payload_of(job).get("intent").and_then(Value::as_str) {
                Some("ensure-application-instance") => Self::Put,
                Some("delete-application-instance") => Self::Delete,
                Some("rotate-operator-credentials") => Self::Rotate,
                Some(_) | None => Self::Unknown,
            },
        }
    }
}

fn payload_of(job: &Job) -> Value {
    serde_json::from_str(job.payload.get()).unwrap_or_default()
}

/// The object a job is about, and the number of the change it asks for.
pub(super) fn target_of(job: &Job) -> (String, u64) {
    let payload = payload_of(job);
    let object = payload.get("applicationInstance").unwrap_or(&payload);
    let name = object.pointer("/metadata/name").or_else(|| object.pointer("/name"));
    let by = object.pointer("/spec/n").or_else(|| object.pointer("/n"));
    (
        name.and_then(Value::as_str).unwrap_or_default().to_owned(),
        by.and_then(Value::as_u64).unwrap_or_default(),
    )
}

/// What a job is about, read off its payload. Rotations have a lane of their own.
pub(super) fn plan_of(job: &Job) -> Plan {
    let task = Task::of(job);
    let lane = match task {
        Task::Rotate => {
            ObjectKey { kind: "Cluster".to_owned(), namespace: String::new(), name: String::new() }
        }
        Task::Put | Task::Delete | Task::Unknown => {
            ObjectKey { kind: KIND.to_owned(), namespace: NAMESPACE.to_owned(), name: target_of(job).0 }
        }
    };
    let action = match task {
        Task::Put | Task::Rotate => Ok(JobAction::Apply),
        Task::Delete => Ok(JobAction::Delete),
        Task::Unknown => Err(format!("{API_VERSION} knows no such job")),
    };
    Plan { lane, action }
}
