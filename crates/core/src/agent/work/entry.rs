//! One open job.

use super::{
    Command, Ticket,
    record::{JobAction, Plan, Record},
};
use crate::{
    agent::{
        ObjectKey,
        dedup::{self, JobKey, KeyOrigin},
        job_run::{JobRun, Observed},
        session::Failure,
    },
    backoff::Backoff,
    planted::{Bug, planted},
};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use vworkspace_protocol::{Job, JobId, ObjectRef, Outcome, outcome::JobResult};

/// Where a job stands, in the order in which it gets there. After a crash it stands where it last was durable: at
/// `Acking`, `Waiting` or `Posting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The journal does not have it. Left when it does, for [`Phase::Acking`], or never will, for [`Phase::Queued`]: it
    /// is over then, which is told when its turn comes.
    Saving,
    /// The control plane does not know that it is held. Left when it does, or wants it no more.
    Acking,
    /// Waits for its turn in its lane.
    Queued,
    /// Its turn has come, and it may expire: the journal does not say yet that it no longer does. Left when it does.
    SavingBegun,
    /// Being handed to the API server, perhaps several times. Left when that took or refused it, or by the deadline.
    Applying,
    /// The API server took it; the journal does not say so yet.
    SavingTaken,
    /// Follows the object. Left when the run has a result.
    Waiting {
        /// Whether [`Command::Follow`] was given.
        following: bool,
    },
    /// Over; the journal does not have the result yet.
    SavingResult,
    /// The result is durable and not told.
    Posting,
    /// Told; kept until the ledger is stored and nothing earlier in the lane could be repeated.
    Settled,
    /// Being taken out of the journal.
    Removing,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) lane: ObjectKey,
    pub(super) action: Result<JobAction, String>,
    pub(super) key: JobKey,
    pub(super) run: JobRun,
    pub(super) phase: Phase,
    /// The effect of this phase was given out and is not answered.
    busy: bool,
    pub(super) not_before: Option<Timestamp>,
    /// When it is looked at next.
    pub(super) due: Option<Timestamp>,
    backoff: Backoff,
    /// A status update is on its way.
    pub(super) telling: bool,
    /// What was seen of its object while the next job for it was being applied.
    pub(super) held_back: Option<Observed>,
    /// It was handed to the API server, in this process or in one before, and what that did is not known for certain.
    pub(super) unanswered: bool,
    /// The API server's last word was that it does not take it at the moment. It may have taken it before.
    pub(super) declined: bool,
    /// The control plane has closed it while the API server was being asked.
    pub(super) is_unwanted: bool,
    /// The control plane asked for so long without status updates.
    pub(super) asked_for_quiet: Option<Duration>,
    /// And so there are none until then.
    quiet_until: Option<Timestamp>,
    /// It was offered again.
    pub(super) ack_again: bool,
    /// It ended with the API server's answer and so takes the place of who waits in its lane.
    pub(super) ended_at_once: bool,
    /// False: the journal refuses it. Then it is neither acked nor run.
    pub(super) is_journaled: bool,
    /// The ledger must be stored up to here before the job is forgotten.
    pub(super) ledger_version: u64,
}

impl Entry {
    pub(super) fn new(ticket: Ticket, job: Job, plan: Plan) -> Self {
        let run = JobRun::new(&job);
        let first = if planted(Bug::AckBeforeJournal) { Phase::Acking } else { Phase::Saving };
        let record = Record { ticket, job, begun: false, replayed: false, taken: None, result: None };
        Self::at(record, plan, run, first)
    }

    /// What the last durable step was.
    pub(super) fn restore(record: Record, plan: Plan, now: Timestamp) -> Self {
        let mut run = JobRun::new(&record.job);
        if let Some(taken) = record.taken.clone() {
            run.resume(taken, now);
        }
        if let Some(result) = record.result.clone() {
            run.handle_ended(result);
        }
        let phase = match (&record.taken, &record.result) {
            (_, Some(_)) => Phase::Posting,
            (Some(_), None) => Phase::Waiting { following: false },
            (None, None) => Phase::Acking,
        };
        let unanswered = record.begun || record.job.expires_at.is_none();
        Self { unanswered, ..Self::at(record, plan, run, phase) }
    }

    fn at(record: Record, plan: Plan, run: JobRun, phase: Phase) -> Self {
        Self {
            key: JobKey::of(&record.job, &plan.lane),
            record,
            lane: plan.lane,
            action: plan.action,
            run,
            phase,
            busy: false,
            not_before: None,
            due: None,
            backoff: Backoff::default(),
            telling: false,
            held_back: None,
            unanswered: false,
            declined: false,
            is_unwanted: false,
            asked_for_quiet: None,
            quiet_until: None,
            ack_again: false,
            ended_at_once: false,
            is_journaled: true,
            ledger_version: 0,
        }
    }

    pub(super) fn id(&self) -> &JobId {
        &self.record.job.id
    }

    pub(super) fn bytes(&self) -> usize {
        self.record.job.payload.get().len()
    }

    pub(super) fn is_deletion(&self) -> bool {
        self.action == Ok(JobAction::Delete)
    }

    /// Whether what it does next needs the control plane.
    pub(super) fn wants_link(&self) -> bool {
        matches!(self.phase, Phase::Acking | Phase::Waiting { .. } | Phase::Posting)
    }

    /// Whether the phase's effect was given out and is not answered.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Gives the phase's effect once, until it is answered.
    pub(super) fn once(&mut self, command: impl FnOnce(JobId) -> Command) -> Option<Command> {
        if std::mem::replace(&mut self.busy, true) {
            return None;
        }
        Some(command(self.id().clone()))
    }

    /// Gives the record to the journal.
    pub(super) fn save(&mut self) -> Option<Command> {
        let record = self.record.clone();
        self.once(|_| Command::Save(Box::new(record)))
    }

    /// Until when no progress may be told, if the control plane asked for that.
    pub(super) fn quiet_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        if let Some(asked) = self.asked_for_quiet.take() {
            let asked = SignedDuration::try_from(asked).unwrap_or(SignedDuration::MAX);
            self.quiet_until = Some(now.saturating_add(asked).unwrap_or(Timestamp::MAX));
        }
        self.quiet_until.filter(|until| *until > now)
    }

    /// Whether the control plane asked for a pause of status updates.
    pub(super) fn is_quiet(&self) -> bool {
        self.asked_for_quiet.is_some() || self.quiet_until.is_some()
    }

    /// Another control plane asked for no pause, and nothing failed there yet. What failed at the API server keeps its
    /// distance.
    pub(super) fn handle_another_target(&mut self) {
        (self.asked_for_quiet, self.quiet_until) = (None, None);
        if self.wants_link() {
            self.not_before = None;
            self.backoff.handle_success();
        }
    }

    /// Answered: the next effect may be given, and the next failure waits for the shortest time again.
    pub(super) fn calm(&mut self) {
        self.busy = false;
        self.not_before = None;
        self.backoff.handle_success();
    }

    /// Answered, to be tried again at the time this gives.
    pub(super) fn back_off(&mut self, asked: Option<Duration>, now: Timestamp, random: f64) -> Timestamp {
        self.busy = false;
        let delay = self.backoff.handle_failure(asked, random);
        let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        let at = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        self.not_before = Some(at);
        at
    }

    /// The journal never will take this record. A job that it does not hold at all is not run.
    pub(super) fn handle_unjournaled(&mut self, why: &str) {
        if self.phase == Phase::Saving {
            self.is_journaled = false;
            self.run.handle_ended(failed(format!("the journal does not take the job: {why}")));
        }
    }

    /// Its turn has come: from here on it is handed to the API server, once it is durable that it no longer expires.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.run.handle_applying(now);
        self.phase = Phase::Applying;
        self.handle_progress(now);
        if self.phase == Phase::Applying && self.record.job.expires_at.is_some() && !self.record.begun {
            self.record.begun = true;
            self.phase = Phase::SavingBegun;
        }
    }

    /// The run may have moved on: what it says is to be saved.
    pub(super) fn handle_progress(&mut self, now: Timestamp) {
        if !matches!(self.phase, Phase::Applying | Phase::Waiting { .. }) {
            return;
        }
        if let Some(result) = self.run.result() {
            self.record.result = Some(JobResult { timestamp: Some(now), ..result.clone() });
            self.phase = Phase::SavingResult;
        } else if self.phase == Phase::Applying
            && let Some(taken) = self.run.taken()
        {
            self.record.taken = Some(taken.clone());
            self.phase = Phase::SavingTaken;
        }
    }

    /// Whether the object may be as this job wants it: it was taken, or nobody knows. Also of one that is answered as a
    /// repetition in the end: a process before this one may have handed it over, when what it repeats was not over yet.
    pub(super) fn may_be_applied(&self) -> bool {
        let is_on_its_way = self.phase == Phase::Applying && self.busy;
        let is_taken = self.phase == Phase::SavingTaken || self.ended_at_once;
        self.unanswered || is_on_its_way || is_taken
    }

    /// Whether it waits for its turn, and is not over at once when that comes: expired, unreadable, not journaled.
    pub(super) fn can_start(&self, control_plane_now: Timestamp) -> bool {
        let is_in_time = self.record.begun || !self.run.is_expired(control_plane_now);
        self.phase == Phase::Queued && self.run.result().is_none() && self.action.is_ok() && is_in_time
    }

    /// Whether a later job for the object may take its place: it is not on its way to the API server, which does not take
    /// it at the moment. A deletion keeps its lane: what comes behind it is to be another life.
    pub(super) fn may_give_way(&self) -> bool {
        self.phase == Phase::Applying && !self.busy && self.declined && !self.is_deletion()
    }

    /// Whether it is over and took effect.
    pub(super) fn took_effect(&self) -> bool {
        self.remembered().is_some_and(|entry| entry.applied_ref.is_some())
    }

    /// The control plane has closed the job. What that did to the object, or may have done, is not undone.
    pub(super) fn handle_withdrawn(&mut self, now: Timestamp) {
        let applied_ref = self.run.taken().map(|taken| taken.applied.clone());
        if applied_ref.is_some() || self.may_be_applied() {
            let error = "Withdrawn: the control plane closed the job before it was over".to_owned();
            self.record.result = Some(JobResult { applied_ref, timestamp: Some(now), ..failed(error) });
        }
        self.phase = Phase::Settled;
    }

    /// Whether this is the very job: same id, same payload.
    pub(super) fn is_of(&self, job: &Job) -> bool {
        self.id() == &job.id && self.key.digest == JobKey::of(job, &self.lane).digest
    }

    /// What the ledger is to remember: however it ended, this id is not to take effect later. A repetition is not the last
    /// job that did something to the object; one with a given key is answered by that key for ever.
    pub(super) fn remembered(&self) -> Option<dedup::Entry> {
        if self.record.replayed && self.key.origin == KeyOrigin::Given {
            return None;
        }
        let result = self.record.result.as_ref()?;
        let did = !self.record.replayed && (result.outcome != Outcome::Noop || !result.error.is_empty());
        Some(dedup::Entry {
            key: self.key.text.clone(),
            job: self.id().clone(),
            digest: self.key.digest.clone(),
            outcome: result.outcome,
            error: result.error.clone(),
            applied_ref: result.applied_ref.clone().filter(|_| did),
            may_have_changed: (did && self.may_be_applied()).then(|| ObjectRef::from(&self.lane)),
            at: result.timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }
}

/// What an answer to a message about a job means.
pub(super) enum Verdict {
    /// The control plane has closed or forgotten the job, or never will take the message.
    Unwanted,
    /// Try again, after this time if it was asked for.
    Later(Option<Duration>),
}

impl Verdict {
    pub(super) fn of(failure: Failure) -> Self {
        match failure {
            Failure::NotFound | Failure::Closed | Failure::Refused => Self::Unwanted,
            Failure::IdentityConflict { retry_after }
            | Failure::RateLimited { retry_after }
            | Failure::Unavailable { retry_after } => Self::Later(retry_after),
            // The session ends the link; the next one makes the message due at once.
            Failure::Unauthorized | Failure::Forbidden => Self::Later(None),
            // A proxy's limit may be raised; a result is never dropped for it.
            Failure::TooLarge => Self::Later(None),
        }
    }
}

pub(super) fn failed(error: String) -> JobResult {
    JobResult { outcome: Outcome::Failed, error, applied_ref: None, conflicts: Vec::new(), timestamp: None }
}
