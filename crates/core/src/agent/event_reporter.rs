//! Reports condition events: keys and queues them, and stores the key counters before a batch is sent.
//!
//! ```text
//!   observed ──► log (n counted up) ──► outbox ──► due? ──► log stored ──► batch posted
//! ```
//!
//! - A batch that is due goes out when the log is stored up to what its events need. What needs nothing new, as a
//!   snapshot of what did not change, goes at once.
//! - While the log cannot be stored, writes are repeated with growing delays and events coalesce.
//! - When that has gone on for [`PATIENCE`], events go out all the same: a view of the cluster that is late for ever is
//!   worse than what a crash could do then, which is that a condition that returned to what was stored last is taken for
//!   unchanged until it changes again.

use super::{
    divergence::{Depth, Settled},
    outbox::{Delivery, EventBatcher},
    shards::Write,
    transition::{ContentChange, News, TransitionLog},
};
use crate::planted::{Bug, planted};
use jiff::{SignedDuration, Timestamp};
use vworkspace_protocol::{
    Condition, ObjectRef,
    event::{Event, EventsRequest, kind},
};

/// How long events wait for a log that cannot be stored, from the first write that failed: well within the time after
/// which a silent cluster is shown as disconnected, by default.
pub const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// Reports the transitions of objects, each under a key that is never used again.
///
/// Time and order are the outbox's; at most one write and one batch are on their way.
#[derive(Debug, Default)]
pub struct EventReporter {
    log: TransitionLog,
    outbox: EventBatcher,
}

impl EventReporter {
    /// Goes on with the log as it was stored.
    pub fn new(log: TransitionLog) -> Self {
        Self { log, outbox: EventBatcher::default() }
    }

    /// A status write changed an object's conditions.
    pub fn handle_transition(
        &mut self,
        object: &ObjectRef,
        before: &[Condition],
        after: &[Condition],
        now: Timestamp,
    ) {
        for news in self.log.handle_transition(object, before, after, now) {
            self.outbox.handle_event(news, now);
        }
    }

    /// An object is gone.
    pub fn handle_deleted(&mut self, object: &ObjectRef, now: Timestamp) {
        if let Some(news) = self.log.handle_deleted(object, now) {
            self.outbox.handle_event(news, now);
        }
    }

    /// A rotation was stored, or is told again.
    pub fn handle_rotated(&mut self, object: &ObjectRef, rotation: &str, at: Timestamp, now: Timestamp) {
        self.outbox.handle_event(TransitionLog::handle_rotated(object, rotation, at), now);
    }

    /// The content of an application was replaced with no change of its spec, or that is reported again.
    pub fn handle_changed(&mut self, object: &ObjectRef, change: &ContentChange, now: Timestamp) {
        self.outbox.handle_event(TransitionLog::handle_changed(object, change), now);
    }

    /// These are all objects there are: what went while no process looked is told.
    pub fn handle_listed<'a>(&mut self, there: impl Iterator<Item = &'a ObjectRef>, now: Timestamp) {
        let ends = self.log.handle_listed(there, now);
        self.repeat(ends, now);
    }

    /// Reports the ends once more that the control plane took before, if the snapshot is so deep.
    pub fn handle_ends_again(&mut self, depth: Depth, now: Timestamp) {
        if depth != Depth::Plain && !planted(Bug::ForgetEnds) {
            let ends = self.log.handle_ends_again(now);
            self.repeat(ends, now);
        }
    }

    /// Everything that is known about an object is told, whether it was before or not.
    pub fn handle_snapshot(&mut self, object: &ObjectRef, conditions: &[Condition], now: Timestamp) {
        self.handle_snapshot_of(Depth::Plain, object, conditions, now);
    }

    /// As [`EventReporter::handle_snapshot`], as part of a snapshot of this depth.
    pub fn handle_snapshot_of(
        &mut self,
        depth: Depth,
        object: &ObjectRef,
        conditions: &[Condition],
        now: Timestamp,
    ) {
        let all = match depth {
            Depth::Plain | Depth::WithEnds => self.log.handle_snapshot(object, conditions, now),
            Depth::Anew => self.log.handle_snapshot_anew(object, conditions, now),
        };
        self.repeat(all, now);
    }

    /// What was reported, if the control plane took all of it and nothing waits.
    pub fn settled(&self) -> Option<Settled> {
        let is_empty = self.outbox.is_empty() || planted(Bug::CompareInFlight);
        let digest = self.log.digest().filter(|_| is_empty)?;
        Some(Settled { digest, revision: self.outbox.added() })
    }

    /// These are an object's conditions: what was not told of them is.
    pub fn handle_seen(&mut self, object: &ObjectRef, conditions: &[Condition], now: Timestamp) {
        for news in self.log.handle_seen(object, conditions, now) {
            self.outbox.handle_event(news, now);
        }
    }

    /// What was told of an object last is of this version of it; nought: nobody knows.
    pub fn handle_version(&mut self, object: &ObjectRef, version: u64) {
        self.log.handle_version(object, version);
    }

    /// Whether something newer than this version of the object was told. A snapshot of it would be taken for news.
    pub fn is_outdated(&self, object: &ObjectRef, version: u64) -> bool {
        self.log.is_outdated(object, version)
    }

    /// Asks that everything waiting goes out now.
    pub fn handle_flush(&mut self, now: Timestamp) {
        self.outbox.handle_flush(now);
    }

    /// What to store now, if anything; ask before [`EventReporter::poll_batch`], and only while a batch could go out. Answer
    /// with [`EventReporter::handle_written`].
    pub fn poll_writes(&mut self, now: Timestamp) -> Option<Vec<Write>> {
        self.store_due().filter(|due| *due <= now)?;
        Some(self.log.poll_writes())
    }

    /// Answers [`EventReporter::poll_writes`]: whether every step was done; `random` in 0..1 spreads the tries.
    pub fn handle_written(&mut self, done: bool, now: Timestamp, random: f64) {
        self.log.handle_written(done, now, random);
    }

    /// The next batch, if one is due and may go out. Answer with [`EventReporter::handle_delivery`].
    pub fn poll_batch(&mut self, now: Timestamp) -> Option<EventsRequest> {
        let patient = self.patience_ends().is_none_or(|end| now < end);
        let stored = if patient { self.log.stored() } else { u64::MAX };
        self.outbox.poll_batch(now, stored)
    }

    /// What became of the batch. Gives back the poison event, once it is found alone; it is gone from here.
    pub fn handle_delivery(&mut self, delivery: Delivery, now: Timestamp) -> Option<Event> {
        if delivery == Delivery::Taken {
            let ended = self.outbox.in_flight().filter(|event| event.kind == kind::OBJECT_DELETED);
            for event in ended {
                self.log.handle_end_known(&event.resource_ref);
            }
        }
        let poison = self.outbox.handle_delivery(delivery, now);
        // Refused for good: to tell it again at every snapshot would help nobody.
        for event in poison.iter().filter(|event| event.kind == kind::OBJECT_DELETED) {
            self.log.handle_end_known(&event.resource_ref);
        }
        poison
    }

    /// When something is to be stored or to go out, if it can.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.store_due(), self.batch_due()].into_iter().flatten().min()
    }

    /// The events that wait.
    pub fn outbox(&self) -> &EventBatcher {
        &self.outbox
    }

    fn repeat(&mut self, all: Vec<News>, now: Timestamp) {
        for news in all {
            self.outbox.handle_snapshot(news, now);
        }
    }

    /// Not before a batch wants it, so that one write serves all that gathered; with nothing to deliver, what was
    /// forgotten is.
    fn store_due(&self) -> Option<Timestamp> {
        let due = self.log.due()?;
        if self.outbox.is_empty() {
            Some(due)
        } else {
            self.outbox.poll_timeout().map(|batch| batch.max(due))
        }
    }

    fn batch_due(&self) -> Option<Timestamp> {
        let due = self.outbox.poll_timeout()?;
        if self.outbox.is_held(self.log.stored()) {
            self.patience_ends().map(|end| end.max(due))
        } else {
            Some(due)
        }
    }

    fn patience_ends(&self) -> Option<Timestamp> {
        self.log.failing_since().map(|since| since.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests;
