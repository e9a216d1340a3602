//! All open jobs of an agent: what is done next about each, in which order, and what must be durable before it.
//!
//! ```text
//!   offered ─► Saving ─► Acking ─► Queued ─► Applying ─► SavingTaken ─► Waiting ─► SavingResult ─► Posting
//!              journal   control   turn in   API         journal        follows    journal         control plane
//!                        plane     its lane  server                     the object                     │
//!                                                        gone ◄── Removing ◄── Settled (ledger) ◄──────┘
//! ```
//!
//! - Durable before ack, result durable before post; a job leaves the journal when its result was taken **and** the
//!   ledger that remembers it is stored. A crash between any two steps starts again at the last durable one.
//! - A job that may expire is noted in the journal before it is handed to the API server, and no longer expires from
//!   there on: after a crash nobody could say whether it took effect.
//! - A lane is an object. Its jobs are saved in order and applied in order; a job that only waits for its goal has
//!   left the lane, a deletion has not. The next is applied when it is durable that the former one was.
//! - What the API server does not take at the moment gives way to a later job for the object: a correction never waits
//!   behind what it corrects. That it did is durable before the later one begins.
//! - What must not be forgotten is kept as long as something earlier in its lane could still be repeated.
//!
//! Inputs come by `handle_*`, effects leave by [`Work::poll_command`], each answered by one `handle_*`.

#[cfg(test)]
mod answers;
mod entry;
mod lane;
mod record;
#[cfg(test)]
mod step_tests;
mod steps;
#[cfg(test)]
mod tests;

pub use record::{JobAction, Plan, Record};

use crate::agent::{
    ObjectKey,
    dedup::Ledger,
    job_run::{Goal, Observed, Taken},
    session::Failure,
    shards::Write,
    shelf::Shelf,
};
use entry::{Entry, Phase, Verdict, failed};
use jiff::{SignedDuration, Timestamp};
use lane::Lane;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use vworkspace_protocol::{
    Job, JobId, ObjectRef, Outcome,
    outcome::{FieldConflict, JobResult, StatusUpdate},
};

/// Most open jobs. Beyond it no poll is made: the control plane keeps the rest.
pub const MAX_OPEN: usize = 5_000;
/// Most open jobs that are not applied yet; same rule.
pub const MAX_QUEUED: usize = 500;
/// Most jobs that the API server is asked to take at the same time; the others wait for their turn.
pub const MAX_APPLYING: usize = 16;
/// Most payload bytes of open jobs; same rule as for [`MAX_OPEN`]. Each may be in memory a second time while it is being saved.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Shortest time between two writes of the ledger.
const LEDGER_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// Names one open job between commands and their answers; rises with every job taken.
pub type Ticket = u64;

/// One effect. Each is answered by the `handle_…` its variant names.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make this durable in place of what the journal holds of the job: [`Work::handle_saved`].
    Save(Box<Record>),
    /// Tell the control plane that the job is held: [`Work::handle_acked`].
    Ack(Ticket, JobId),
    /// Hand the job's object, or its deletion, to the API server: [`Work::handle_applied`].
    Apply(Ticket, Box<Job>),
    /// Tell every state of the object from now on: [`Work::handle_observed`], until [`Work::is_waiting`] is false.
    Follow(Ticket, Taken),
    /// Tell progress: [`Work::handle_status`].
    Status(Ticket, JobId, StatusUpdate),
    /// Tell the result: [`Work::handle_posted`].
    Post(Ticket, JobId, JobResult),
    /// Take the job out of the journal: [`Work::handle_removed`].
    Remove(Ticket, JobId),
    /// Make the ledger durable: do all of this in order, and store [`Ledger::keys`] of [`Work::ledger`] for a plain v1
    /// operator: [`Work::handle_ledger_stored`].
    StoreLedger(Vec<Write>),
}

/// Why the journal did not take a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveError {
    /// It may, later.
    Later,
    /// It never will, for example because the record is too large.
    Never(String),
}

/// What the API server made of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It took the object, or the deletion.
    Taken {
        /// The object with uid and generation.
        object: ObjectRef,
        /// What must hold in the end.
        goal: Goal,
        /// For a deletion: nothing is left to wait for.
        gone: bool,
    },
    /// Other managers own fields that the job wants to set.
    Conflict {
        /// For people.
        message: String,
        /// Who owns what.
        conflicts: Vec<FieldConflict>,
    },
    /// It never will take it.
    Refused(String),
    /// It may, later; `random` in 0..1 spreads the tries.
    Later {
        /// Why not now, for people.
        cause: String,
        /// It said so itself: it can be reached, and may take a later job for the object.
        declined: bool,
        /// Uniform in 0..1.
        random: f64,
    },
}

/// Every open job and the ledger of those that are over.
#[derive(Debug, Default)]
pub struct Work {
    jobs: BTreeMap<Ticket, Entry>,
    tickets: BTreeMap<JobId, Ticket>,
    lanes: BTreeMap<ObjectKey, Lane>,
    /// When to look at which job again; [`Timestamp::MIN`] is now.
    due: BTreeSet<(Timestamp, Ticket)>,
    /// Jobs that wait for the ledger to be stored up to this version.
    unstored: BTreeSet<(u64, Ticket)>,
    next_ticket: Ticket,
    queued: usize,
    /// Commands to apply that are not answered.
    applying: usize,
    /// Whose turn in their lane has come, and who wait for one of those to be answered: who waits longest comes first.
    held_up: VecDeque<Ticket>,
    bytes: usize,
    /// Whether the control plane may be talked to about jobs: status goes first.
    link: bool,
    ledger: Ledger,
    shelf: Shelf,
}

impl Work {
    /// Goes on with what the journal and the ledger hold.
    pub fn restore(mut records: Vec<(Record, Plan)>, ledger: Ledger, now: Timestamp) -> Self {
        let mut work = Self { ledger, ..Self::default() };
        records.sort_by_key(|(record, _)| record.ticket);
        for (mut record, plan) in records {
            // Two processes may have given out the same one, each without knowing of the other's last record.
            record.ticket = record.ticket.max(work.next_ticket);
            work.next_ticket = record.ticket.saturating_add(1);
            work.insert(Entry::restore(record, plan, now), now);
        }
        work
    }

    /// A job from the control plane, in the order it was offered. Answers whether it is new; one that is open
    /// already is acknowledged again, because its acknowledgement may have been lost. Another job under the id of an
    /// open one waits for that to be over: it is offered again as long as it is not acknowledged.
    pub fn handle_offered(&mut self, job: Job, plan: Plan, now: Timestamp) -> bool {
        if let Some(ticket) = self.tickets.get(&job.id).copied() {
            if let Some(entry) = self.jobs.get_mut(&ticket) {
                entry.ack_again = entry.ack_again || entry.is_of(&job);
            }
            self.touch(ticket);
            return false;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.insert(Entry::new(ticket, job, plan), now);
        true
    }

    /// Whether the id of a job that is offered, or the key it was given, was that of another one before.
    pub fn contradicts(&self, job: &Job) -> bool {
        let open = self.tickets.get(&job.id).and_then(|ticket| self.jobs.get(ticket));
        open.is_some_and(|entry| !entry.is_of(job)) || self.ledger.contradicts(job)
    }

    /// Whether there is room for the jobs of another poll.
    pub fn has_room(&self) -> bool {
        self.jobs.len() < MAX_OPEN && self.queued < MAX_QUEUED && self.bytes < MAX_BYTES
    }

    /// Whether messages about jobs may go out: not before the snapshot, not with a rejected credential. A new link
    /// makes every waiting message due at once.
    pub fn handle_link(&mut self, up: bool) {
        if self.link == up {
            return;
        }
        self.link = up;
        if up {
            let waiting = self.jobs.iter_mut().filter(|(_, entry)| entry.wants_link());
            let due: Vec<Ticket> = waiting
                .map(|(ticket, entry)| {
                    entry.not_before = None;
                    *ticket
                })
                .collect();
            due.into_iter().for_each(|ticket| self.touch(ticket));
        }
    }

    /// The agent speaks to another control plane now, by URL or CA: neither the pause that the earlier one asked for nor
    /// the failures met there hold a message back.
    pub fn handle_another_target(&mut self) {
        let waiting = self.jobs.iter_mut().filter(|(_, entry)| entry.wants_link() || entry.is_quiet());
        let due: Vec<Ticket> = waiting
            .map(|(ticket, entry)| {
                entry.handle_another_target();
                *ticket
            })
            .collect();
        due.into_iter().for_each(|ticket| self.touch(ticket));
    }

    /// Answers [`Command::Save`].
    pub fn handle_saved(
        &mut self,
        ticket: Ticket,
        saved: Result<(), SaveError>,
        now: Timestamp,
        random: f64,
    ) {
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        match saved {
            Err(SaveError::Later) => return self.retry(ticket, None, now, random),
            Err(SaveError::Never(why)) => entry.handle_unjournaled(&why),
            Ok(()) => {}
        }
        entry.calm();
        let phase = entry.phase;
        match phase {
            Phase::Saving => {
                // What is not durable is not acked: its result alone is told, and until then it is offered again.
                entry.phase = if entry.is_journaled { Phase::Acking } else { Phase::Queued };
                let next = self.lane_of(ticket).and_then(Lane::handle_saved);
                self.touch_some(next);
            }
            Phase::SavingBegun => entry.phase = Phase::Applying,
            Phase::SavingTaken => {
                entry.phase = Phase::Waiting { following: false };
                self.handle_taken(ticket, now);
            }
            Phase::SavingResult => self.handle_result_durable(ticket, now),
            Phase::Acking
            | Phase::Queued
            | Phase::Applying
            | Phase::Waiting { .. }
            | Phase::Posting
            | Phase::Settled
            | Phase::Removing => {}
        }
        self.touch(ticket);
    }

    /// Answers [`Command::Ack`].
    pub fn handle_acked(&mut self, ticket: Ticket, acked: Result<(), Failure>, now: Timestamp, random: f64) {
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        let acked = acked.map_err(Verdict::of);
        match acked {
            // It was repeated, and what was answered then stands unless the job can still be skipped.
            _ if entry.phase > Phase::Queued => {}
            Ok(()) if entry.phase == Phase::Queued => {}
            Err(Verdict::Later(_)) if entry.phase == Phase::Queued => {}
            Ok(()) => {
                entry.calm();
                entry.phase = Phase::Queued;
                self.touch(ticket);
                // It may give way to this one.
                let head = self.lane_of(ticket).and_then(|lane| lane.head());
                self.touch_some(head);
            }
            Err(Verdict::Unwanted) => self.abandon(ticket, now),
            Err(Verdict::Later(after)) => self.retry(ticket, after, now, random),
        }
    }

    /// Answers [`Command::Apply`].
    pub fn handle_applied(&mut self, ticket: Ticket, applied: Applied, now: Timestamp) {
        self.applying = self.applying.saturating_sub(1);
        self.touch_held_up();
        let Some(entry) = self.jobs.get_mut(&ticket).filter(|entry| entry.phase == Phase::Applying) else {
            return;
        };
        match applied {
            Applied::Later { cause, declined, random } => {
                entry.unanswered = true;
                entry.declined = declined;
                entry.run.handle_delayed(&cause);
                entry.run.handle_timeout(now);
                if entry.is_unwanted {
                    return self.abandon(ticket, now);
                }
                if entry.run.result().is_none() {
                    let deadline = entry.run.poll_timeout();
                    self.retry_before(ticket, deadline, now, random);
                    return self.touch(ticket);
                }
            }
            Applied::Refused(message) => entry.run.handle_ended(failed(message)),
            Applied::Conflict { message, conflicts } => {
                let result = JobResult { outcome: Outcome::Conflict, conflicts, ..failed(message) };
                entry.run.handle_ended(result);
            }
            Applied::Taken { object, goal, gone } => {
                entry.run.handle_applied(goal, object);
                if gone {
                    entry.run.handle_observed(None);
                }
                entry.ended_at_once = entry.run.result().is_some();
            }
        }
        entry.calm();
        entry.handle_progress(now);
        self.touch(ticket);
        self.release_held_back(ticket, now);
    }

    /// The object of a job that waits, as it is now; `None`: it is gone. What may be the work of a later job for the
    /// object is held back until that job's fate is known, if ever: the one that waits must not take another's success
    /// for its own.
    pub fn handle_observed(&mut self, ticket: Ticket, observed: Option<Observed>, now: Timestamp) {
        let is_anothers = self.may_be_anothers(ticket, observed.as_ref());
        if let Some(entry) = self.jobs.get_mut(&ticket)
            && matches!(entry.phase, Phase::Waiting { .. })
        {
            entry.held_back = None;
            if is_anothers {
                entry.held_back = observed;
                return;
            }
            entry.run.handle_observed(observed);
            entry.handle_progress(now);
            self.touch(ticket);
        }
    }

    /// Answers [`Command::Status`].
    pub fn handle_status(&mut self, ticket: Ticket, told: Result<(), Failure>, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        entry.telling = false;
        entry.asked_for_quiet = told.err().and_then(Failure::retry_after);
        let is_unwanted = matches!(told, Err(Failure::NotFound | Failure::Closed));
        match entry.phase {
            Phase::Waiting { .. } if is_unwanted => self.abandon(ticket, now),
            Phase::Applying if is_unwanted && !entry.is_busy() => self.abandon(ticket, now),
            // What is on its way to the API server is answered first: its lane may not go on before.
            Phase::Applying => entry.is_unwanted |= is_unwanted,
            _ => self.touch(ticket),
        }
    }

    /// Answers [`Command::Post`].
    pub fn handle_posted(
        &mut self,
        ticket: Ticket,
        posted: Result<(), Failure>,
        now: Timestamp,
        random: f64,
    ) {
        let Some(entry) = self.jobs.get_mut(&ticket).filter(|entry| entry.phase == Phase::Posting) else {
            return;
        };
        match posted.map_err(Verdict::of) {
            Ok(()) | Err(Verdict::Unwanted) => {
                entry.calm();
                entry.phase = Phase::Settled;
                self.touch(ticket);
            }
            Err(Verdict::Later(after)) => self.retry(ticket, after, now, random),
        }
    }

    /// Answers [`Command::Remove`].
    pub fn handle_removed(&mut self, ticket: Ticket, removed: bool, now: Timestamp, random: f64) {
        if removed {
            self.forget(ticket);
        } else {
            self.retry(ticket, None, now, random);
        }
    }

    /// Answers [`Command::StoreLedger`].
    pub fn handle_ledger_stored(&mut self, stored: bool, now: Timestamp, random: f64) {
        if self.shelf.handle_stored(stored, LEDGER_INTERVAL, now, random) {
            self.ledger.handle_written(stored);
            self.touch_stored();
        }
    }

    /// The next effect. `control_plane_now` is the control plane's clock, by which jobs expire.
    pub fn poll_command(&mut self, now: Timestamp, control_plane_now: Timestamp) -> Option<Command> {
        while let Some((at, ticket)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, ticket));
            if let Some(entry) = self.jobs.get_mut(&ticket) {
                entry.due = None;
            }
            if let Some(command) = self.step(ticket, now, control_plane_now) {
                return Some(command);
            }
        }
        self.shelf.due().filter(|due| *due <= now)?;
        self.shelf.start();
        Some(Command::StoreLedger(self.ledger.poll_writes()))
    }

    /// When [`Work::poll_command`] has something next, unless an answer comes before.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let job = self.due.first().map(|(at, _)| *at);
        [job, self.shelf.due()].into_iter().flatten().min()
    }

    /// The jobs that are over.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether the job still follows its object.
    pub fn is_waiting(&self, ticket: Ticket) -> bool {
        self.jobs.get(&ticket).is_some_and(|entry| matches!(entry.phase, Phase::Waiting { .. }))
    }

    /// Whether no job is open.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}
