//! Invariants I1 to I5, read off the histories. Pure: the same evidence gives the same verdict.
//!
//! | | |
//! |---|---|
//! | I1 durable ack | each acknowledged job is there; the database holds no fewer |
//! | I2 one end | each job is over, by a legal way, once, for a reason; a withdrawal that was acknowledged stands |
//! | I3 one effect | each change of an object is one job's and no job's comes twice; each end of a life has a deletion of its own |
//! | I4 order | numbers only rise on an object; a deletion that succeeded left nothing older behind |
//! | I5 events | no event is there twice; what the control plane shows is what is in the cluster |

mod effects;
#[cfg(test)]
mod tests;

use super::history::{Deed, History, Wish};
use crate::{
    timeline,
    view::{Standing, Target, differences},
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use vworkspace_protocol::{
    JobId,
    admin::{Job, JobState},
};

/// Deliveries without an ack after which a job is undeliverable (contract, section 2).
const MOST_DELIVERIES: usize = 10;

/// What the database holds, read without the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Jobs.
    pub jobs: u64,
    /// Jobs that are not over.
    pub open: u64,
    /// Jobs with more than one end in their timeline.
    pub ended_twice: u64,
    /// Events.
    pub events: u64,
    /// Keys of events that are there more than once.
    pub repeated_keys: Vec<String>,
    /// What SQLite's own checks say; empty: all is well.
    pub damage: Vec<String>,
}

/// Everything the verdict rests on.
pub struct Evidence<'a> {
    /// Both witnesses.
    pub history: &'a History,
    /// The acknowledged jobs the control plane still knows, with their timelines.
    pub jobs: &'a BTreeMap<JobId, Job>,
    /// The objects of the cluster, as the control plane shows them.
    pub shown: &'a [Standing],
    /// The objects of the cluster.
    pub truth: &'a [Standing],
    /// The database.
    pub stored: &'a Stored,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub invariant: &'static str,
    /// The object it is about, if it is about one.
    pub target: Option<Target>,
    /// The moment, or the job's number, around which to look.
    pub near: Near,
    /// What is wrong, for people.
    pub what: String,
}

/// Where in a history to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    /// At its end.
    End,
    /// Where the job of this number is told of.
    Job(u64),
    /// At this time.
    Time(Timestamp),
}

/// Every broken promise.
pub fn check(evidence: &Evidence<'_>) -> Vec<Broken> {
    let mut checks = Checks { evidence, broken: Vec::new() };
    checks.the_record_is_whole();
    checks.every_acknowledged_job_is_there();
    checks.a_key_names_one_job();
    checks.every_job_is_over();
    checks.every_end_has_a_reason();
    checks.withdrawals_stand();
    checks.the_database_agrees();
    checks.what_is_shown_is_what_is();
    checks.broken.extend(effects::check(evidence));
    checks.broken
}

struct Checks<'a> {
    evidence: &'a Evidence<'a>,
    broken: Vec<Broken>,
}

impl Checks<'_> {
    fn broke(&mut self, invariant: &'static str, target: Option<&Target>, what: String) {
        self.broken.push(Broken { invariant, target: target.cloned(), near: Near::End, what });
    }

    fn the_record_is_whole(&mut self) {
        let history = self.evidence.history;
        if history.gaps > 0 {
            let what =
                format!("the watch on the API server broke {} times: changes may be missing", history.gaps);
            self.broke("the record itself", None, what);
        }
        for mishap in &history.mishaps {
            self.broke("the programs themselves", None, mishap.clone());
        }
    }

    fn every_acknowledged_job_is_there(&mut self) {
        for (id, wish) in self.evidence.history.acknowledged() {
            match self.evidence.jobs.get(&id) {
                None => {
                    self.about("I1 durable ack", &wish, &format!("job {id} was acknowledged and is gone"));
                }
                Some(job)
                    if (&job.target.namespace, &job.target.name)
                        != (&wish.target.namespace, &wish.target.name) =>
                {
                    self.about("I1 durable ack", &wish, &format!("job {id} is about {:?}", job.target));
                }
                Some(_) => {}
            }
        }
    }

    fn a_key_names_one_job(&mut self) {
        let mut named: BTreeMap<u64, &JobId> = BTreeMap::new();
        for asked in &self.evidence.history.asked {
            let Some(id) = &asked.job else { continue };
            let first = *named.entry(asked.n).or_insert(id);
            if first != id {
                let wish = Wish { n: asked.n, target: asked.target.clone(), deed: asked.deed };
                self.about("I3 one effect", &wish, &format!("it is both job {first} and job {id}"));
            }
        }
    }

    fn every_job_is_over(&mut self) {
        let acknowledged = self.evidence.history.acknowledged();
        for (id, job) in self.evidence.jobs {
            let Some(wish) = acknowledged.get(id) else { continue };
            if !job.state.is_terminal() {
                self.about("I2 one end", wish, &format!("job {id} is {}", job.state));
            }
            if job.state == JobState::Closed && job.outcome.is_none() {
                self.about("I2 one end", wish, &format!("job {id} is closed without an outcome"));
            }
            if !timeline::is_legal(job, false) {
                let states: Vec<_> = job.timeline.iter().map(|entry| entry.state.as_str()).collect();
                self.about("I2 one end", wish, &format!("job {id} is {} and went {states:?}", job.state));
            }
        }
    }

    /// What took a job's place is a later one for its object, and a job's time has passed when it ends for that.
    fn every_end_has_a_reason(&mut self) {
        let acknowledged = self.evidence.history.acknowledged();
        for (id, job) in self.evidence.jobs {
            let Some(wish) = acknowledged.get(id) else { continue };
            let (ended, cause) =
                job.timeline.last().map_or((Timestamp::MAX, ""), |entry| (entry.at, entry.cause.as_str()));
            let is_later = |by: &JobId| {
                // Of one whose answer was lost nobody knows what it was to do.
                acknowledged.get(by).is_none_or(|by| by.target == wish.target && by.n > wish.n)
            };
            let is_reason = match job.state {
                JobState::Superseded => {
                    let by = cause.strip_prefix("superseded by job ").map(JobId::new);
                    wish.deed == Deed::Apply && by.is_some_and(|by| is_later(&by))
                }
                JobState::Expired => job.expires_at.is_some_and(|expiry| expiry <= ended),
                JobState::Closed => timeline::superseded_by(job).is_none_or(|by| is_later(&by)),
                JobState::Undeliverable => handed_out_in_vain(job) >= MOST_DELIVERIES,
                JobState::Queued | JobState::Leased | JobState::Acked | JobState::Cancelled => true,
            };
            if !is_reason {
                self.about("I2 one end", wish, &format!("job {id} is {}: {cause}", job.state));
            }
        }
    }

    fn withdrawals_stand(&mut self) {
        for id in &self.evidence.history.withdrawn {
            let Some(job) = self.evidence.jobs.get(id) else { continue };
            if job.state != JobState::Cancelled {
                let what = format!("job {id} was withdrawn and is {}", job.state);
                self.broke("I2 one end", None, what);
            }
        }
    }

    fn the_database_agrees(&mut self) {
        let (stored, history) = (self.evidence.stored, self.evidence.history);
        let acknowledged: BTreeSet<JobId> = history.acknowledged().into_keys().collect();
        let least = acknowledged.len() as u64;
        let most = least + history.unknown().len() as u64;
        if !(least..=most).contains(&stored.jobs) {
            let what = format!("the database holds {} jobs; {least} to {most} were taken", stored.jobs);
            self.broke("I1 durable ack", None, what);
        }
        if stored.open + stored.ended_twice > 0 {
            let what = format!(
                "the database holds {} open jobs and {} with two ends",
                stored.open, stored.ended_twice
            );
            self.broke("I2 one end", None, what);
        }
        for key in &stored.repeated_keys {
            self.broke("I5 event identity", None, format!("event {key} is there more than once"));
        }
        for damage in &stored.damage {
            self.broke("integrity of the database", None, damage.clone());
        }
    }

    fn what_is_shown_is_what_is(&mut self) {
        for difference in differences(self.evidence.shown, self.evidence.truth) {
            self.broke("I5 what is shown", Some(&difference.target), difference.what);
        }
    }

    fn about(&mut self, invariant: &'static str, wish: &Wish, what: &str) {
        let what = format!("{what} ({:?} {} of {})", wish.deed, wish.n, wish.target);
        let near = Near::Job(wish.n);
        self.broken.push(Broken { invariant, target: Some(wish.target.clone()), near, what });
    }
}

/// How often it was handed out since it was acked last, if ever.
fn handed_out_in_vain(job: &Job) -> usize {
    let since = job.timeline.iter().rev().take_while(|entry| entry.state != JobState::Acked);
    since.filter(|entry| entry.state == JobState::Leased && entry.cause.starts_with("leased")).count()
}
