//! Why each job ended: every end has a reason that the world knows of, and comes no sooner than it may (I2, I3).

use super::{
    api::State,
    people::{Wish, Wishes},
};
use crate::timeline::superseded_by;
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeSet, time::Duration};
use vworkspace_protocol::{
    JobId, Outcome,
    admin::{Job, JobState, TimelineEntry},
};

/// Deliveries without an ack after which a job is undeliverable (contract, section 2).
const MOST_DELIVERIES: usize = 10;

/// What the reasons are compared with.
pub struct Reasons<'a> {
    /// All of a cluster's jobs, oldest first, with their timelines.
    pub jobs: &'a [Job],
    /// What its people asked for.
    pub wishes: &'a Wishes,
    /// Jobs that were offered before the control plane was set back to a backup: what it shows of them is not all.
    pub done_before: &'a BTreeSet<JobId>,
    /// What became of its objects.
    pub state: &'a State,
    /// For how long a job that was handed out is offered to nobody.
    pub lease: Duration,
    /// Whether all clocks go alike: only then do times that two of them told compare.
    pub is_on_time: bool,
}

impl Reasons<'_> {
    /// What is wrong with the way a job ended; `None`: nothing. Of a job that was never answered for nobody knows what it
    /// was to do.
    pub fn wrong(&self, job: &Job) -> Option<&'static str> {
        let taken = self.wishes.taken.borrow();
        let wish = taken.get(&job.id)?;
        let ended = job.timeline.last().map_or(Timestamp::MAX, |entry| entry.at);
        match job.state {
            JobState::Queued | JobState::Leased | JobState::Acked => None,
            JobState::Closed if self.state.lost_journal => None,
            JobState::Closed => self.closed_wrong(job, wish, ended),
            JobState::Expired => {
                let is_time = job.expires_at.is_some_and(|expiry| expiry <= ended);
                let was_held = job.timeline.iter().any(|entry| entry.state == JobState::Acked);
                (!is_time || was_held).then_some("it expired before its time, or was held")
            }
            JobState::Cancelled => {
                let asked = self.wishes.withdrawn.borrow().contains(&job.id);
                (!asked).then_some("nobody withdrew it")
            }
            JobState::Superseded => {
                let may_be = was_held(job) || !wish.deletes && !wish.rotates;
                (!may_be || !self.is_replaced(job)).then_some("nothing took its place")
            }
            JobState::Undeliverable => {
                let lost = job.timeline.iter().rev().take_while(|entry| entry.state != JobState::Acked);
                let times = lost.filter(|entry| is_delivery(entry)).count();
                (times < MOST_DELIVERIES).then_some("it was not handed out often enough")
            }
        }
    }

    /// Whether a job that was handed out was handed out again while its lease held.
    pub fn is_offered_too_soon(&self, job: &Job) -> bool {
        let lease = SignedDuration::try_from(self.lease).unwrap_or(SignedDuration::MAX);
        let pairs = job.timeline.windows(2).filter(|pair| pair.iter().all(is_delivery));
        let mut gaps = pairs.filter_map(|pair| Some(pair.last()?.at.duration_since(pair.first()?.at)));
        self.is_on_time && gaps.any(|gap| gap < lease)
    }

    fn closed_wrong(&self, job: &Job, wish: &Wish, ended: Timestamp) -> Option<&'static str> {
        let had_effect = self.state.changes.iter().any(|change| change.by == wish.n);
        let changes = !wish.deletes && !wish.rotates;
        match job.outcome {
            None => Some("it is closed without an outcome"),
            Some(Outcome::Noop) if job.error == "expired" => {
                let is_time = job.expires_at.is_some_and(|expiry| expiry <= ended || !self.is_on_time);
                if had_effect {
                    Some("it expired and had an effect")
                } else {
                    (!is_time).then_some("its agent let it expire before its time")
                }
            }
            Some(Outcome::Noop) => (changes && !had_effect).then_some("it repeats what was never done"),
            Some(Outcome::Failed) => self.failed_wrong(job, wish, ended),
            Some(Outcome::Succeeded | Outcome::Conflict) => None,
        }
    }

    fn failed_wrong(&self, job: &Job, wish: &Wish, ended: Timestamp) -> Option<&'static str> {
        if let Some(by) = superseded_by(job) {
            // Around a restore an earlier job may come to its agent behind a later one.
            let is_same = |other: &Job| other.id == by && other.target == job.target;
            let is_reordered = !self.done_before.is_empty() && self.jobs.iter().any(is_same);
            let is_followed =
                is_reordered || self.is_followed(job, &by) || self.is_followed_by_lost(wish, &by);
            return (!is_followed).then_some("no later job took its place");
        }
        if job.error.starts_with("DeadlineExceeded: ") {
            let acked =
                job.timeline.iter().find(|entry| entry.state == JobState::Acked).map(|entry| entry.at);
            let least = SignedDuration::from_secs(wish.deadline_seconds.into());
            let is_time = acked.is_none_or(|acked| ended.duration_since(acked) >= least);
            let is_known = self.is_on_time && !self.done_before.contains(&job.id);
            return (is_known && !is_time).then_some("its deadline had not passed");
        }
        // The control plane ended it, and knows that no more.
        if job.error.starts_with("Withdrawn: ") && self.done_before.contains(&job.id) {
            return None;
        }
        // What the API server here says when it refuses for good.
        (job.error != super::agent::REFUSED).then_some("nobody knows why it failed")
    }

    /// Returns `true` if the later job that the end names gives the object a new content, and no deletion of the object
    /// stood in the queue between the two.
    fn is_replaced(&self, job: &Job) -> bool {
        let cause = job.timeline.last().map_or("", |entry| &entry.cause);
        let Some(by) = cause.strip_prefix("superseded by job ") else { return false };
        let by = JobId::new(by.split(',').next().unwrap_or(by));
        // Of one that was held since a restore: whatever came later for the object is not undone by it.
        if was_held(job) {
            return self.later(job, &by).is_some();
        }
        let taken = self.wishes.taken.borrow();
        // A job whose answer was lost is in no list of wishes.
        let replaces = |later: &Job| match taken.get(&later.id) {
            Some(wish) => !wish.deletes && !wish.rotates,
            None => later.kind != "delete",
        };
        let between =
            self.jobs.iter().skip_while(|other| other.id != job.id).take_while(|other| other.id != by);
        let has_deletion = between.filter(|other| other.target == job.target).any(|other| {
            let left_the_queue = matches!(other.state, JobState::Cancelled | JobState::Expired);
            !left_the_queue && taken.get(&other.id).is_some_and(|wish| wish.deletes)
        });
        // A control plane that was set back knows less of a deletion than is known here, so it is not judged by that.
        let was_set_back = !self.done_before.is_empty();
        (was_set_back || !has_deletion) && self.later(job, &by).is_some_and(replaces)
    }

    /// Whether a later job of the same object had an effect, as far as is known of it; or is there at all, where this one was
    /// not taken and gave way.
    fn is_followed(&self, job: &Job, by: &JobId) -> bool {
        let taken = self.wishes.taken.borrow();
        let by = self.later(job, by).map(|later| taken.get(&later.id));
        if job.applied_ref.is_none() {
            return by.is_some();
        }
        let changed: BTreeSet<u64> = self.state.changes.iter().map(|change| change.by).collect();
        by.is_some_and(|wish| wish.is_none_or(|wish| wish.deletes || changed.contains(&wish.n)))
    }

    /// Whether it is a later job of the same object that the control plane does not know any more. Of one whose answer
    /// its people never got, too, nobody is left who knows the object.
    fn is_followed_by_lost(&self, wish: &Wish, by: &JobId) -> bool {
        let taken = self.wishes.taken.borrow();
        let is_known = || self.jobs.iter().any(|job| job.id == *by);
        match taken.get(by) {
            Some(later) if self.wishes.lost.borrow().contains(by) => {
                later.object == wish.object && later.n > wish.n
            }
            Some(_) => false,
            None => self.done_before.contains(by) && !is_known(),
        }
    }

    fn later(&self, job: &Job, id: &JobId) -> Option<&Job> {
        let mut behind = self.jobs.iter().skip_while(|other| other.id != job.id).skip(1);
        behind.find(|other| other.id == *id && other.target == job.target)
    }
}

/// Whether it was held since a restore.
fn was_held(job: &Job) -> bool {
    job.timeline.iter().any(|entry| entry.cause.starts_with("held: "))
}

/// Progress that was told of a job that is handed out is told in the same state.
fn is_delivery(entry: &TimelineEntry) -> bool {
    entry.state == JobState::Leased && entry.cause.starts_with("leased")
}
