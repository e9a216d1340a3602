//! What [`Work`] does between an input and the next effect: whose turn it is, and what a step sets free.

use super::{
    Command, MAX_APPLYING, Ticket, Work,
    entry::{Entry, Phase, failed},
    lane::Lane,
};
use crate::{
    agent::{
        dedup::{self, KeyOrigin},
        job_run::{Goal, Observed},
    },
    planted::{Bug, planted},
};
use jiff::Timestamp;
use std::time::Duration;
use vworkspace_protocol::{JobId, outcome::JobResult};

impl Work {
    pub(super) fn step(
        &mut self,
        ticket: Ticket,
        now: Timestamp,
        control_plane_now: Timestamp,
    ) -> Option<Command> {
        if self.jobs.get(&ticket)?.phase == Phase::Applying
            && let Some(command) = self.tell(ticket, now)
        {
            self.touch(ticket);
            return Some(command);
        }
        self.give_way(ticket, now, control_plane_now);
        let entry = self.jobs.get_mut(&ticket)?;
        if let Some(at) = entry.not_before.filter(|at| *at > now) {
            self.schedule(ticket, at);
            return None;
        }
        if entry.ack_again && self.link {
            entry.ack_again = false;
            // Whoever was told the result, or wants none, needs no acknowledgement; what is not durable gets none.
            let again = (Phase::Queued..=Phase::Posting).contains(&entry.phase) && entry.is_journaled;
            let again = again.then(|| Command::Ack(ticket, entry.id().clone()));
            self.touch(ticket);
            return again;
        }
        let is_head = self.lanes.get(&entry.lane)?.head() == Some(ticket);
        if entry.phase == Phase::Queued && (is_head || planted(Bug::IgnoreLanes)) {
            return self.start(ticket, now, control_plane_now);
        }
        let entry = self.jobs.get_mut(&ticket)?;
        let lane = self.lanes.get(&entry.lane)?;
        match entry.phase {
            Phase::Saving if lane.next_to_save() == Some(ticket) => entry.save(),
            Phase::SavingTaken | Phase::SavingResult
                if !entry.is_journaled || planted(Bug::ResultBeforeJournal) =>
            {
                self.handle_saved(ticket, Ok(()), now, 0.0);
                None
            }
            Phase::SavingBegun | Phase::SavingTaken | Phase::SavingResult => entry.save(),
            Phase::Acking if self.link => entry.once(|id| Command::Ack(ticket, id)),
            Phase::Applying if entry.is_busy() => None,
            Phase::Applying if self.applying >= MAX_APPLYING => {
                if !self.held_up.contains(&ticket) {
                    self.held_up.push_back(ticket);
                }
                None
            }
            Phase::Applying => {
                let job = entry.record.job.clone();
                self.applying += 1;
                entry.once(|_| Command::Apply(ticket, Box::new(job)))
            }
            Phase::Waiting { .. } => self.wait(ticket, now),
            Phase::Posting if self.link => {
                let result = entry.record.result.clone()?;
                entry.once(|id| Command::Post(ticket, id, result))
            }
            Phase::Settled
                if (self.shelf.stored() >= entry.ledger_version || planted(Bug::LedgerNotAwaited))
                    && lane.may_forget(ticket) =>
            {
                entry.phase = Phase::Removing;
                self.step(ticket, now, control_plane_now)
            }
            Phase::Removing if entry.is_journaled => entry.once(|id| Command::Remove(ticket, id)),
            Phase::Removing => {
                self.forget(ticket);
                None
            }
            Phase::Saving | Phase::Acking | Phase::Queued | Phase::Posting | Phase::Settled => None,
        }
    }

    /// The job's turn has come: it may be over before it starts.
    pub(super) fn start(
        &mut self,
        ticket: Ticket,
        now: Timestamp,
        control_plane_now: Timestamp,
    ) -> Option<Command> {
        let replay = self.replay(ticket);
        let entry = self.jobs.get_mut(&ticket)?;
        // Before its expiry is looked at: what was done is told, also to a restored control plane that asks too late.
        if let Some(replay) = replay {
            entry.record.replayed = entry.run.result().is_none();
            entry.run.handle_ended(replay);
        } else if !entry.record.begun {
            entry.run.handle_start(control_plane_now);
        }
        if let Err(refusal) = &entry.action {
            entry.run.handle_ended(failed(refusal.clone()));
        }
        entry.begin(now);
        self.touch(ticket);
        None
    }

    /// A job that the API server does not take at the moment ends if a later one for its object is there to be applied
    /// (`docs/decisions/0011`). Before its pause is over: the later one need not wait for that.
    fn give_way(&mut self, ticket: Ticket, now: Timestamp, control_plane_now: Timestamp) {
        let Some(correction) = self.correction_of(ticket, control_plane_now) else { return };
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        entry.calm();
        entry.run.handle_gave_way(&correction);
        entry.handle_progress(now);
        self.held_up.retain(|held_up| *held_up != ticket);
        self.touch_held_up();
    }

    fn correction_of(&self, ticket: Ticket, control_plane_now: Timestamp) -> Option<JobId> {
        let entry = self.jobs.get(&ticket).filter(|entry| entry.may_give_way())?;
        let mut behind = self.lanes.get(&entry.lane)?.after(ticket);
        let correction = behind.find(|later| self.is_to_be_applied(*later, control_plane_now))?;
        Some(self.jobs.get(&correction)?.id().clone())
    }

    /// Whether this job, once its turn comes, is handed to the API server. One that bears the key of an earlier job that is
    /// not over may turn out to repeat it; of those that are, the ledger knows.
    fn is_to_be_applied(&self, ticket: Ticket, control_plane_now: Timestamp) -> bool {
        let entry = self.jobs.get(&ticket).filter(|entry| entry.can_start(control_plane_now));
        let Some(key) = entry.map(|entry| &entry.key) else { return false };
        let mut earlier = self.jobs.range(..ticket).map(|(_, earlier)| earlier);
        let may_be_repeated = |earlier: &Entry| earlier.key == *key && earlier.phase < Phase::Posting;
        let is_of_its_own = key.origin != KeyOrigin::Given || !earlier.any(may_be_repeated);
        is_of_its_own && self.replay(ticket).is_none()
    }

    /// The result of what this job repeats. A computed key says that only if the ledger knows all that was done with the
    /// object before: an earlier job that waits for its goal, say, is in between and not recorded yet.
    fn replay(&self, ticket: Ticket) -> Option<JobResult> {
        let entry = self.jobs.get(&ticket)?;
        let is_recorded = self.lanes.get(&entry.lane)?.is_settled_before(ticket);
        let counts = is_recorded
            || entry.key.origin == KeyOrigin::Given
            || self.ledger.knows(entry.id(), &entry.key.digest);
        self.ledger.replay(entry.id(), &entry.key, &entry.lane).filter(|_| counts)
    }

    /// Follows the object, tells progress, and minds the deadline.
    pub(super) fn wait(&mut self, ticket: Ticket, now: Timestamp) -> Option<Command> {
        let link = self.link;
        let entry = self.jobs.get_mut(&ticket)?;
        entry.run.handle_timeout(now);
        entry.handle_progress(now);
        let Phase::Waiting { following } = entry.phase else {
            self.touch(ticket);
            return None;
        };
        let command = if following {
            self.tell(ticket, now)
        } else {
            entry.phase = Phase::Waiting { following: true };
            let taken = entry.run.taken()?.clone();
            Some(Command::Follow(ticket, taken))
        };
        let entry = self.jobs.get_mut(&ticket)?;
        let quiet = entry.quiet_until(now);
        let tells_next = link && !entry.telling && quiet.is_none();
        let next = if tells_next { entry.run.poll_timeout() } else { entry.run.deadline() };
        for next in next.into_iter().chain(quiet) {
            self.schedule(ticket, next);
        }
        command
    }

    /// Progress, if there is any that may be told now. What the API server is asked for the first time is none.
    fn tell(&mut self, ticket: Ticket, now: Timestamp) -> Option<Command> {
        let link = self.link;
        let entry = self.jobs.get_mut(&ticket)?;
        if !link || entry.telling || entry.quiet_until(now).is_some() {
            return None;
        }
        let update = entry.run.poll_status(now)?;
        entry.telling = true;
        Some(Command::Status(ticket, entry.id().clone(), update))
    }

    /// It is durable that the API server took the job: the lane goes on, and who waited before it is superseded.
    pub(super) fn handle_taken(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(entry) = self.jobs.get(&ticket) else { return };
        let (by, stays) = (entry.id().clone(), entry.is_deletion());
        let waits = matches!(entry.phase, Phase::Waiting { .. });
        let Some(lane) = self.lane_of(ticket) else { return };
        let former = lane.handle_taken(ticket, waits && !stays);
        if !stays {
            self.release(ticket);
        }
        let Some(former) = former.filter(|former| *former != ticket) else { return };
        if let Some(waiting) = self.jobs.get_mut(&former) {
            waiting.run.handle_superseded(&by);
            waiting.handle_progress(now);
            self.touch(former);
        }
    }

    /// Whether an observation of this job's object may show what a later job of its lane did: the API server has that
    /// one perhaps, and the object moved on. If it is known to have it, the job at hand is superseded. After a crash this
    /// may be one far behind the head: those between may have been withdrawn, of which the journal tells nothing.
    /// A deletion waits for the end of one life, which nobody's work looks like.
    pub(super) fn may_be_anothers(&self, ticket: Ticket, observed: Option<&Observed>) -> bool {
        let Some((entry, observed)) = self.jobs.get(&ticket).zip(observed) else { return false };
        let Some(taken) = entry.run.taken().filter(|taken| taken.goal != Goal::Gone) else { return false };
        let has_moved_on = observed.newest_generation() > taken.applied.generation;
        let Some(lane) = self.lanes.get(&entry.lane).filter(|_| has_moved_on) else { return false };
        lane.after(ticket).filter_map(|later| self.jobs.get(&later)).any(Entry::may_be_applied)
    }

    /// What was held back from the job that waits before this one in its lane is its own after all, unless the API
    /// server took this one, or nobody knows.
    pub(super) fn release_held_back(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(former) = self.lane_of(ticket).and_then(|lane| lane.waiting()) else { return };
        let held_back = self.jobs.get_mut(&former).and_then(|former| former.held_back.take());
        if let Some(observed) = held_back {
            self.handle_observed(former, Some(observed), now);
        }
    }

    /// The result is durable: it may be told, and the ledger takes it.
    pub(super) fn handle_result_durable(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        entry.phase = Phase::Posting;
        if std::mem::take(&mut entry.ended_at_once) {
            self.handle_taken(ticket, now);
        }
        if !planted(Bug::ForgetLedger) {
            self.record(ticket);
        }
        self.settle(ticket);
        self.release_held_back(ticket, now);
    }

    /// The ledger takes this job, which is over. Its last one of an object is to be the last one that changed it: those
    /// behind this one in its lane that it has already, because they were over sooner, follow once more.
    fn record(&mut self, ticket: Ticket) {
        let Some(lane) = self.lane_of(ticket) else { return };
        let behind: Vec<Ticket> = lane.after(ticket).collect();
        for ticket in std::iter::once(ticket).chain(behind) {
            let Some(over) = self.unrecorded(ticket) else { continue };
            let at = over.at;
            self.ledger.handle_done(over, at);
            let version = self.shelf.change();
            self.unstored.insert((version, ticket));
            if let Some(entry) = self.jobs.get_mut(&ticket) {
                entry.ledger_version = version;
            }
        }
    }

    /// What the ledger lacks of a job that is over, be it its place behind an earlier one.
    fn unrecorded(&self, ticket: Ticket) -> Option<dedup::Entry> {
        let entry = self.jobs.get(&ticket).filter(|entry| entry.phase >= Phase::Posting)?;
        let mut before =
            self.lanes.get(&entry.lane)?.before(ticket).filter_map(|ticket| self.jobs.get(&ticket));
        let is_last = |former: &Entry| self.ledger.is_last_of(&entry.lane, former.id());
        let over = entry.remembered()?;
        let is_lacking = !self.ledger.knows(entry.id(), &entry.key.digest)
            || over.object().is_some() && before.any(is_last);
        is_lacking.then_some(over)
    }

    /// The control plane wants nothing of this job any more.
    pub(super) fn abandon(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        entry.calm();
        entry.handle_withdrawn(now);
        self.held_up.retain(|held_up| *held_up != ticket);
        self.touch_held_up();
        self.record(ticket);
        self.settle(ticket);
    }

    /// There may be room for one more to be applied, or one less wants it. Without room nobody leaves the queue: who came
    /// back would be its last.
    pub(super) fn touch_held_up(&mut self) {
        if self.applying < MAX_APPLYING {
            let next = self.held_up.pop_front();
            self.touch_some(next);
        }
    }

    /// Nothing of the job can be repeated any more: its lane goes on.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        let freed = self.lane_of(ticket).map(|lane| lane.settle(ticket));
        freed.into_iter().flatten().for_each(|ticket| self.touch(ticket));
        self.release(ticket);
    }

    /// The next of its lane may be applied.
    pub(super) fn release(&mut self, ticket: Ticket) {
        let Some(lane) = self.lane_of(ticket) else { return };
        let (held, next) = (lane.release(ticket), lane.head());
        self.queued -= usize::from(held);
        self.touch_some(next);
    }

    pub(super) fn insert(&mut self, entry: Entry, now: Timestamp) {
        let ticket = entry.record.ticket;
        self.bytes += entry.bytes();
        self.queued += 1;
        self.tickets.insert(entry.id().clone(), ticket);
        let lane = self.lanes.entry(entry.lane.clone()).or_default();
        lane.insert(ticket, entry.phase == Phase::Saving);
        let phase = entry.phase;
        self.jobs.insert(ticket, entry);
        match phase {
            Phase::Waiting { .. } => self.handle_taken(ticket, now),
            Phase::Posting => self.restore_result(ticket, now),
            Phase::Saving
            | Phase::Acking
            | Phase::Queued
            | Phase::SavingBegun
            | Phase::Applying
            | Phase::SavingTaken
            | Phase::SavingResult
            | Phase::Settled
            | Phase::Removing => {}
        }
        self.touch(ticket);
    }

    /// A result that was durable before a crash: the ledger, and the end of who waited before it, may not have been.
    pub(super) fn restore_result(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(entry) = self.jobs.get(&ticket) else { return };
        let took_effect = entry.took_effect();
        self.record(ticket);
        if took_effect {
            self.handle_taken(ticket, now);
        }
        self.settle(ticket);
    }

    pub(super) fn forget(&mut self, ticket: Ticket) {
        let Some(entry) = self.jobs.remove(&ticket) else { return };
        self.bytes -= entry.bytes();
        self.tickets.remove(entry.id());
        if let Some(due) = entry.due {
            self.due.remove(&(due, ticket));
        }
        // Only a settled job is forgotten: it left its queue before.
        if let Some(lane) = self.lanes.get_mut(&entry.lane)
            && lane.remove(ticket)
        {
            self.lanes.remove(&entry.lane);
        }
    }

    /// Tries the job's command again after `asked`, or with growing delays.
    pub(super) fn retry(&mut self, ticket: Ticket, asked: Option<Duration>, now: Timestamp, random: f64) {
        if let Some(entry) = self.jobs.get_mut(&ticket) {
            let at = entry.back_off(asked, now, random);
            self.schedule(ticket, at);
        }
    }

    pub(super) fn retry_before(
        &mut self,
        ticket: Ticket,
        latest: Option<Timestamp>,
        now: Timestamp,
        random: f64,
    ) {
        if let Some(entry) = self.jobs.get_mut(&ticket) {
            let at = entry.back_off(None, now, random);
            let at = latest.map_or(at, |latest| at.min(latest));
            entry.not_before = Some(at);
            self.schedule(ticket, at);
        }
    }

    pub(super) fn lane_of(&mut self, ticket: Ticket) -> Option<&mut Lane> {
        self.lanes.get_mut(&self.jobs.get(&ticket)?.lane)
    }

    /// Looks at the job at this time, or before if that was planned.
    pub(super) fn schedule(&mut self, ticket: Ticket, at: Timestamp) {
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        let former = entry.due.replace(entry.due.map_or(at, |due| due.min(at)));
        if let Some(former) = former {
            self.due.remove(&(former, ticket));
        }
        self.due.extend(entry.due.map(|due| (due, ticket)));
    }

    pub(super) fn touch(&mut self, ticket: Ticket) {
        self.schedule(ticket, Timestamp::MIN);
    }

    pub(super) fn touch_some(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.touch(ticket);
        }
    }

    /// The ledger is stored: what waited for that may be forgotten.
    pub(super) fn touch_stored(&mut self) {
        let stored = self.shelf.stored();
        while let Some((_, ticket)) = self.unstored.first().copied().filter(|(version, _)| *version <= stored)
        {
            self.unstored.pop_first();
            self.touch(ticket);
        }
    }
}
