//! One job from receipt to result (contract, sections 2 and 7).
//!
//! ```text
//!   Received ──► Applying ──► Waiting(goal, deadline) ──► Done(result)
//!       └────────────┴── expired, replayed, refused, conflict ──►─┘
//! ```
//!
//! `succeeded` is reported only when the object says so about the generation that was applied, and after Flux has handled
//! the job's request: an unchanged spec keeps its generation, so old conditions would pass for an answer. What is not
//! clearly over waits until the deadline, except for a failure that lasts ([`super::helm_failure`]).

use super::helm_failure::Failing;
use crate::planted::{Bug, planted};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vworkspace_protocol::{
    Condition, ConditionStatus, Job, JobId, ObjectRef, Outcome, WaitFor,
    condition::{reasons, types},
    limits,
    outcome::{JobResult, StatusUpdate, phase},
};

/// The kind that Flux is asked to look at.
const APPLICATION_INSTANCE: &str = "ApplicationInstance";

/// Shortest time between two status updates of one job.
const STATUS_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// What the waiting job's object is, as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The API server's identity of it.
    pub uid: String,
    /// `status.observedGeneration`; 0 where the kind has none.
    pub observed_generation: i64,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
    /// `status.handledRequest`: the newest request that was answered.
    pub handled_request: Option<String>,
    /// `status.failing`: the failures of Helm that Flux retries.
    pub failing: Option<Failing>,
}

impl Observed {
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// The newest generation that any condition speaks about.
    pub(crate) fn newest_generation(&self) -> i64 {
        let spoken = self.conditions.iter().map(|condition| self.generation_of(condition));
        spoken.max().unwrap_or(self.observed_generation)
    }

    /// Which generation a condition speaks about: its own word, else the status'.
    fn generation_of(&self, condition: &Condition) -> i64 {
        if condition.observed_generation > 0 {
            condition.observed_generation
        } else {
            self.observed_generation
        }
    }
}

/// What must hold for the job to have succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// The API server accepted the object: nothing to wait for.
    Accepted,
    /// The object says it is ready: condition `Ready` of an ApplicationInstance.
    Ready,
    /// The object says it has finished: conditions `Succeeded`, `Failed`, `Cancelled` of an Operation.
    Finished,
    /// The object is gone.
    Gone,
}

impl Goal {
    /// The goal of a job that applies an object of `kind`.
    pub fn of_apply(kind: &str, wait_for: Option<WaitFor>) -> Self {
        match (wait_for, kind) {
            (Some(WaitFor::Accepted), _) => Self::Accepted,
            (Some(WaitFor::Ready) | None, "Operation") => Self::Finished,
            (Some(WaitFor::Ready), _) | (None, "ApplicationInstance") => Self::Ready,
            (None, _) => Self::Accepted,
        }
    }
}

/// That the API server took a job, and what is waited for. Outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// What must hold.
    pub goal: Goal,
    /// The object with uid and generation.
    pub applied: ObjectRef,
    /// Until then.
    pub deadline: Timestamp,
    /// Flux must have handled the job's request before anything is said about the goal. False for records of earlier
    /// versions, which made none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_requested: bool,
}

/// Where a job stands. Each state owns what is known in it.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Not handed to the API server yet. Left by [`JobRun::handle_applying`] or [`JobRun::handle_ended`].
    Received,
    /// Being handed over, perhaps several times. Left by [`JobRun::handle_applied`], [`JobRun::handle_ended`] or
    /// the deadline.
    Applying {
        deadline: Timestamp,
        /// Why it was not taken the last time, for people; empty before.
        cause: String,
    },
    /// Accepted; follows the object. Left by an observation, the deadline, or a later job for the object.
    Waiting { taken: Taken, last: Option<Observed> },
    /// Over. Final.
    Done(JobResult),
}

/// One job's run.
#[derive(Clone, Debug)]
pub struct JobRun {
    job: JobId,
    expires_at: Option<Timestamp>,
    deadline_after: SignedDuration,
    retry_seconds: Option<u32>,
    state: State,
    told: Option<StatusUpdate>,
    told_at: Option<Timestamp>,
}

impl JobRun {
    /// A job as received.
    pub fn new(job: &Job) -> Self {
        let asked = job.deadline_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let deadline = asked.unwrap_or(limits::DEFAULT_DEADLINE).min(limits::MAX_DEADLINE);
        Self {
            job: job.id.clone(),
            expires_at: job.expires_at,
            deadline_after: SignedDuration::try_from(deadline).unwrap_or(SignedDuration::from_secs(1800)),
            retry_seconds: job.retry_seconds,
            state: State::Received,
            told: None,
            told_at: None,
        }
    }

    /// The job's id.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// Ends the job as `noop` if it must not start any more. `control_plane_now` is the control plane's clock.
    pub fn handle_start(&mut self, control_plane_now: Timestamp) {
        if self.is_expired(control_plane_now) {
            self.end(Outcome::Noop, "expired", None);
        }
    }

    /// Whether its time to start has passed, by the control plane's clock.
    pub fn is_expired(&self, control_plane_now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires| control_plane_now > expires)
    }

    /// The object is being handed to the API server: the deadline runs from here.
    pub fn handle_applying(&mut self, now: Timestamp) {
        if matches!(self.state, State::Received) {
            let deadline = now.saturating_add(self.deadline_after).unwrap_or(Timestamp::MAX);
            let deadline = if planted(Bug::ForgetDeadline) { Timestamp::MAX } else { deadline };
            self.state = State::Applying { deadline, cause: String::new() };
        }
    }

    /// The API server did not take it, and is asked again. That is told with every try: the answer says whether anybody
    /// still wants the job.
    pub fn handle_delayed(&mut self, why: &str) {
        if let State::Applying { cause, .. } = &mut self.state {
            limits::clip(why, limits::MESSAGE_BYTES).clone_into(cause);
            self.told = None;
        }
    }

    /// The API server took the object, or its deletion.
    pub fn handle_applied(&mut self, goal: Goal, applied: ObjectRef) {
        let State::Applying { deadline, .. } = self.state else {
            return;
        };
        match goal {
            Goal::Accepted => self.end(Outcome::Succeeded, "", Some(applied)),
            Goal::Ready | Goal::Finished | Goal::Gone => {
                let is_requested = goal == Goal::Ready && applied.kind == APPLICATION_INSTANCE;
                let taken = Taken { goal, applied, deadline, is_requested };
                self.state = State::Waiting { taken, last: None };
            }
        }
    }

    /// The job is over before it took effect: replayed, refused, in conflict. Of an error, and of the fields that others
    /// own, the first [`limits::MESSAGE_BYTES`] are kept: the journal takes the result beside the payload.
    pub fn handle_ended(&mut self, mut result: JobResult) {
        if matches!(self.state, State::Done(_)) {
            return;
        }
        result.error.truncate(limits::clip(&result.error, limits::MESSAGE_BYTES).len());
        let mut bytes = 0;
        let fitting = result.conflicts.iter().take_while(|conflict| {
            bytes += conflict.manager.len() + conflict.field_path.len();
            bytes <= limits::MESSAGE_BYTES
        });
        result.conflicts.truncate(fitting.count());
        self.state = State::Done(result);
    }

    /// The object as it is now; `None`: it is gone. Of another life under the same name no more is believed than that: it
    /// is neither what was applied nor what was to go.
    pub fn handle_observed(&mut self, observed: Option<Observed>) {
        let State::Waiting { taken, last } = &mut self.state else {
            return;
        };
        let is_same_life =
            |observed: &Observed| taken.applied.uid.is_empty() || observed.uid == taken.applied.uid;
        let observed = observed.filter(is_same_life);
        let verdict = match verdict(taken, &self.job, observed.as_ref()) {
            Verdict::Waits if taken.goal == Goal::Ready => rights_verdict(last.as_ref(), observed.as_ref()),
            clear => clear,
        };
        match verdict {
            Verdict::Succeeded => {
                let applied = taken.applied.clone();
                self.end(Outcome::Succeeded, "", Some(applied));
            }
            Verdict::Failed(error) => {
                let applied = taken.applied.clone();
                self.end(Outcome::Failed, &error, Some(applied));
            }
            Verdict::Waits => {
                if observed.is_some() {
                    *last = observed;
                }
            }
        }
    }

    /// A later job for the same object was applied.
    pub fn handle_superseded(&mut self, by: &JobId) {
        if let State::Waiting { taken, .. } = &self.state {
            let applied = taken.applied.clone();
            self.end(Outcome::Failed, &format!("Superseded: by job {by}"), Some(applied));
        }
    }

    /// The API server does not take it, and a later job for the same object takes its place.
    pub fn handle_gave_way(&mut self, to: &JobId) {
        if let State::Applying { cause, .. } = &self.state {
            let error = format!("Superseded: by job {to}; it was not taken before: {cause}");
            self.end(Outcome::Failed, &error, None);
        }
    }

    /// Goes on waiting where an earlier process stopped. Its clock may have been ahead of ours: no deadline is farther
    /// off than if the job began now.
    pub fn resume(&mut self, taken: Taken, now: Timestamp) {
        if matches!(self.state, State::Received) {
            let latest = now.saturating_add(self.deadline_after).unwrap_or(Timestamp::MAX);
            let latest = if planted(Bug::ForgetDeadline) { Timestamp::MAX } else { latest };
            let deadline = taken.deadline.min(latest);
            self.state = State::Waiting { taken: Taken { deadline, ..taken }, last: None };
        }
    }

    /// Ends the job if its deadline has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match &self.state {
            State::Applying { deadline, cause } if now >= *deadline => {
                let separator = if cause.is_empty() { "" } else { ": " };
                let error =
                    format!("DeadlineExceeded: it could not be carried out in time{separator}{cause}");
                self.end(Outcome::Failed, &error, None);
            }
            State::Waiting { taken, last } if now >= taken.deadline => {
                let error = format!("DeadlineExceeded: {}", last_word(taken, &self.job, last.as_ref()));
                let applied = taken.applied.clone();
                self.end(Outcome::Failed, &error, Some(applied));
            }
            State::Waiting { taken, .. } => {
                if let Some((_, error)) = self.lasting_failure().filter(|(at, _)| now >= *at) {
                    let applied = taken.applied.clone();
                    self.end(Outcome::Failed, &error, Some(applied));
                }
            }
            State::Received | State::Applying { .. } | State::Done(_) => {}
        }
    }

    /// When the job stops waiting for a failure that Flux retries, and its error.
    fn lasting_failure(&self) -> Option<(Timestamp, String)> {
        let State::Waiting { taken, last: Some(observed) } = &self.state else { return None };
        let failing = observed.failing.as_ref()?;
        let ready = observed.condition(types::READY)?;
        let is_about_this = taken.goal == Goal::Ready
            && !is_unanswered(taken, &self.job, observed)
            && ready.status == ConditionStatus::False
            && ready.reason == reasons::HELM_RELEASE_FAILED
            && observed.generation_of(ready) >= taken.applied.generation;
        let at = failing.gives_up_at(self.retry_seconds).filter(|_| is_about_this)?;
        Some((at, format!("{} (the same failure {} times; Flux tries on)", told(ready), failing.tries)))
    }

    /// When [`JobRun::handle_timeout`] or [`JobRun::poll_status`] has something to do next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Received | State::Done(_) => None,
            State::Applying { deadline, .. } => Some(*deadline),
            State::Waiting { .. } => {
                let due = self.deadline()?;
                match self.told_at {
                    Some(at) if self.progress() != self.told => {
                        Some(due.min(at.saturating_add(STATUS_INTERVAL).unwrap_or(due)))
                    }
                    _ => Some(due),
                }
            }
        }
    }

    /// When the job ends as failed unless something happens before.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::Received | State::Done(_) => None,
            State::Applying { deadline, .. } => Some(*deadline),
            State::Waiting { taken, .. } => {
                let failure = self.lasting_failure().map_or(Timestamp::MAX, |(at, _)| at);
                Some(taken.deadline.min(failure))
            }
        }
    }

    /// What the API server took, while the job waits for its goal.
    pub fn taken(&self) -> Option<&Taken> {
        match &self.state {
            State::Waiting { taken, .. } => Some(taken),
            State::Received | State::Applying { .. } | State::Done(_) => None,
        }
    }

    /// Progress to tell: only what changed, at most once a second.
    pub fn poll_status(&mut self, now: Timestamp) -> Option<StatusUpdate> {
        let update = self.progress()?;
        let is_soon = self.told_at.is_some_and(|at| now.duration_since(at) < STATUS_INTERVAL);
        if is_soon || self.told.as_ref() == Some(&update) {
            return None;
        }
        (self.told, self.told_at) = (Some(update.clone()), Some(now));
        Some(StatusUpdate { timestamp: Some(now), ..update })
    }

    /// The result, once there is one.
    pub fn result(&self) -> Option<&JobResult> {
        match &self.state {
            State::Done(result) => Some(result),
            State::Received | State::Applying { .. } | State::Waiting { .. } => None,
        }
    }

    fn progress(&self) -> Option<StatusUpdate> {
        let (phase, conditions, message) = match &self.state {
            State::Received | State::Done(_) => return None,
            State::Applying { cause, .. } if cause.is_empty() => return None,
            State::Applying { cause, .. } => (phase::APPLYING, Vec::new(), cause.clone()),
            State::Waiting { taken, last: Some(last) } if is_outdated(taken, &self.job, last) => {
                (phase::RECONCILING, Vec::new(), "waiting for Flux to look".to_owned())
            }
            State::Waiting { taken, last } => (
                phase_of(taken.goal, last.as_ref()),
                last.as_ref().map(|last| last.conditions.clone()).unwrap_or_default(),
                String::new(),
            ),
        };
        Some(StatusUpdate { phase: phase.to_owned(), conditions, message, timestamp: None })
    }

    fn end(&mut self, outcome: Outcome, error: &str, applied_ref: Option<ObjectRef>) {
        let error = limits::clip(error, limits::MESSAGE_BYTES).to_owned();
        self.state =
            State::Done(JobResult { outcome, error, applied_ref, conflicts: Vec::new(), timestamp: None });
    }
}

enum Verdict {
    Succeeded,
    Failed(String),
    Waits,
}

fn verdict(taken: &Taken, job: &JobId, observed: Option<&Observed>) -> Verdict {
    let applied = &taken.applied;
    match (taken.goal, observed) {
        (Goal::Gone, Some(_)) if planted(Bug::DeletedAtOnce) => Verdict::Succeeded,
        (Goal::Accepted, _) | (Goal::Gone, None) => Verdict::Succeeded,
        (Goal::Gone, Some(_)) | (Goal::Ready | Goal::Finished, None) => Verdict::Waits,
        (Goal::Ready, Some(observed)) if is_unanswered(taken, job, observed) => Verdict::Waits,
        (Goal::Ready, Some(observed)) => ready_verdict(applied.generation, observed),
        (Goal::Finished, Some(observed)) => finished_verdict(applied.generation, observed),
    }
}

/// Returns `true` while what the object says may be older than the job.
fn is_unanswered(taken: &Taken, job: &JobId, observed: &Observed) -> bool {
    let is_handled = observed.handled_request.as_deref() == Some(job.as_str());
    taken.is_requested && !is_handled
}

/// Returns `true` if what the object says would be taken for an answer to the job, and is none.
fn is_outdated(taken: &Taken, job: &JobId, observed: &Observed) -> bool {
    let failed = observed.condition(types::READY).is_some_and(|c| c.reason == reasons::HELM_RELEASE_FAILED);
    let decides = failed || !matches!(ready_verdict(taken.applied.generation, observed), Verdict::Waits);
    is_unanswered(taken, job, observed) && decides
}

fn ready_verdict(applied: i64, observed: &Observed) -> Verdict {
    let Some(ready) = observed.condition(types::READY) else {
        return Verdict::Waits;
    };
    if observed.generation_of(ready) < applied {
        return Verdict::Waits;
    }
    let works = observed.condition(types::RECONCILING).is_some_and(|c| c.status != ConditionStatus::False);
    let blocked = observed.condition(types::BLOCKED).filter(|blocked| {
        blocked.status == ConditionStatus::True && observed.generation_of(blocked) >= applied
    });
    let for_good = matches!(ready.reason.as_str(), reasons::HELM_RELEASE_FAILED | reasons::VALIDATION_FAILED)
        // Ready carries the source's own reason then, whatever Flux calls it.
        || blocked.is_some_and(|blocked| blocked.reason == reasons::SOURCE_STALLED);
    match ready.status {
        // Something else runs than was asked for (contract, section 7).
        ConditionStatus::True if drift_of(applied, observed).is_some() => Verdict::Waits,
        ConditionStatus::True => Verdict::Succeeded,
        ConditionStatus::False if !works && for_good => Verdict::Failed(told(ready)),
        ConditionStatus::False | ConditionStatus::Unknown => Verdict::Waits,
    }
}

/// The drift that is reported about the applied generation.
fn drift_of(applied: i64, observed: &Observed) -> Option<&Condition> {
    let drifted = observed.condition(types::DRIFTED)?;
    let counts = drifted.status == ConditionStatus::True && observed.generation_of(drifted) >= applied;
    counts.then_some(drifted)
}

/// Fails a waiting job once the operator has lost its rights in the namespace.
///
/// What the first observation says may be older than the job: the API server confirmed the rights before it took the
/// object. So only a change counts.
fn rights_verdict(before: Option<&Observed>, now: Option<&Observed>) -> Verdict {
    fn ready(observed: Option<&Observed>) -> Option<&Condition> {
        observed?.condition(types::READY)
    }
    let lost = |condition: &Condition| condition.reason == reasons::NAMESPACE_NOT_AUTHORIZED;
    match (ready(before), ready(now)) {
        (Some(before), Some(now)) if !lost(before) && lost(now) => Verdict::Failed(told(now)),
        _ => Verdict::Waits,
    }
}

fn finished_verdict(applied: i64, observed: &Observed) -> Verdict {
    let holds = |type_: &str| {
        let condition = observed.condition(type_).filter(|c| c.status == ConditionStatus::True);
        condition.filter(|c| observed.generation_of(c) >= applied)
    };
    if holds("Succeeded").is_some() {
        Verdict::Succeeded
    } else if let Some(condition) = holds("Failed").or_else(|| holds("Cancelled")) {
        Verdict::Failed(told(condition))
    } else {
        Verdict::Waits
    }
}

/// `HelmReleaseFailed: message`.
fn told(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

/// The last Ready condition about what was applied, or why there is none: a condition of an earlier generation says
/// nothing about this job.
fn last_word(taken: &Taken, job: &JobId, last: Option<&Observed>) -> String {
    let type_ = match taken.goal {
        Goal::Ready | Goal::Accepted => types::READY,
        Goal::Finished => "Running",
        Goal::Gone => types::DELETING,
    };
    let reported = last.and_then(|last| Some((last.condition(type_)?, last)));
    let drift = last.and_then(|last| drift_of(taken.applied.generation, last));
    match reported {
        Some((condition, last)) if is_outdated(taken, job, last) => {
            format!("Flux has not handled the request of this job; before it, the object was {condition}")
        }
        Some((Condition { status: ConditionStatus::True, .. }, _))
            if taken.goal == Goal::Ready && drift.is_some() =>
        {
            drift.map(Condition::to_string).unwrap_or_default()
        }
        Some((condition, last))
            if taken.goal == Goal::Gone || last.generation_of(condition) >= taken.applied.generation =>
        {
            condition.to_string()
        }
        Some(_) => format!(
            "the object has not reported its {type_} condition for generation {} yet",
            taken.applied.generation
        ),
        None if taken.goal == Goal::Gone => "the object is still there".to_owned(),
        None => format!("the object never reported its {type_} condition"),
    }
}

fn phase_of(goal: Goal, last: Option<&Observed>) -> &'static str {
    let holds = |type_| {
        last.and_then(|last| last.condition(type_)).is_some_and(|c| c.status == ConditionStatus::True)
    };
    match goal {
        Goal::Gone => phase::DELETING,
        Goal::Accepted | Goal::Ready | Goal::Finished if holds(types::BLOCKED) => phase::BLOCKED,
        Goal::Accepted | Goal::Ready | Goal::Finished => phase::RECONCILING,
    }
}

#[cfg(test)]
mod tests;
