//! What jobs did to objects: each once, in order (I3, I4).

use super::{Broken, Evidence, Near};
use crate::{
    torture::history::{Change, Deed, Seen, Wish},
    view::Target,
};
use std::collections::{BTreeMap, BTreeSet};
use vworkspace_protocol::{
    Outcome,
    admin::{Job, JobState},
};

/// Every broken promise about effects.
pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Broken> {
    let mut effects = Effects::new(evidence);
    for (target, changes) in evidence.history.by_target() {
        effects.changes_are_jobs_and_rise(target, &changes);
        effects.ends_are_deletions(target, &changes);
        effects.lives_end(target, &changes);
    }
    effects.outcomes_fit();
    effects.broken
}

struct Effects<'a> {
    evidence: &'a Evidence<'a>,
    /// Every number that was asked for, also without an answer.
    asked: BTreeMap<u64, Wish>,
    /// Numbers that objects carried.
    carried: BTreeSet<u64>,
    broken: Vec<Broken>,
}

impl<'a> Effects<'a> {
    fn new(evidence: &'a Evidence<'a>) -> Self {
        let asked = evidence
            .history
            .asked
            .iter()
            .map(|asked| (asked.n, Wish { n: asked.n, target: asked.target.clone(), deed: asked.deed }));
        let carried = evidence.history.seen.iter().filter_map(number);
        Self { evidence, asked: asked.collect(), carried: carried.collect(), broken: Vec::new() }
    }

    fn broke(&mut self, invariant: &'static str, target: &Target, near: Near, what: String) {
        self.broken.push(Broken { invariant, target: Some(target.clone()), near, what });
    }

    /// As many changes as jobs that changed the object: each number comes once, and never after a later one.
    fn changes_are_jobs_and_rise(&mut self, target: &Target, changes: &[&Seen]) {
        let mut last = 0;
        for seen in changes {
            let Some(n) = number(seen) else { continue };
            let wished = self.asked.get(&n).is_some_and(|w| w.target == *target && w.deed == Deed::Apply);
            if !wished {
                let what = format!("at {} it carries {n}, which nobody asked for", seen.at);
                self.broke("I3 one effect", target, Near::Time(seen.at), what);
            }
            if n == last {
                let what = format!("at {} it was changed by job number {n} once more", seen.at);
                self.broke("I3 one effect", target, Near::Time(seen.at), what);
            } else if n < last {
                let what = format!("at {} it went from {last} back to {n}", seen.at);
                self.broke("I4 order", target, Near::Time(seen.at), what);
            }
            last = last.max(n);
        }
    }

    /// Each deletion was one job's, between the numbers before and after it; no job deleted twice.
    fn ends_are_deletions(&mut self, target: &Target, changes: &[&Seen]) {
        let mut deletions: BTreeSet<u64> = self
            .asked
            .values()
            .filter(|w| w.target == *target && w.deed == Deed::Delete)
            .map(|w| w.n)
            .collect();
        for (at, seen) in changes.iter().enumerate().filter(|(_, seen)| seen.change == Change::Deleting) {
            let before = changes[..at].iter().rev().find_map(|seen| number(seen)).unwrap_or(0);
            let after = changes[at..].iter().find_map(|seen| number(seen)).unwrap_or(u64::MAX);
            match deletions.range(before.saturating_add(1)..after).next().copied() {
                // The earliest that fits: a later one may be needed for a later end.
                Some(n) => {
                    deletions.remove(&n);
                }
                None => {
                    let what = format!(
                        "at {} it was deleted between {before} and {after}, where no deletion is left that was asked for",
                        seen.at
                    );
                    self.broke("I3 one effect", target, Near::Time(seen.at), what);
                }
            }
        }
    }

    /// A deletion that succeeded left nothing of what was there before: no life spans it.
    fn lives_end(&mut self, target: &Target, changes: &[&Seen]) {
        let mut lives: BTreeMap<&str, (u64, u64, bool)> = BTreeMap::new();
        for seen in changes {
            let life = lives.entry(&seen.uid).or_insert((u64::MAX, 0, false));
            if let Some(n) = number(seen) {
                (life.0, life.1) = (life.0.min(n), life.1.max(n));
            }
            life.2 |= seen.change == Change::Gone;
        }
        let succeeded: Vec<u64> = self
            .known()
            .filter(|(job, wish)| {
                wish.deed == Deed::Delete && wish.target == *target && job.outcome == Some(Outcome::Succeeded)
            })
            .map(|(_, wish)| wish.n)
            .collect();
        for n in succeeded {
            for (uid, (first, last, gone)) in &lives {
                if *first < n && (*last > n || !gone) {
                    let what = format!(
                        "deletion {n} succeeded, but life {uid} carried {first} before and {last} last, gone: {gone}"
                    );
                    self.broke("I4 order", target, Near::Job(n), what);
                }
            }
        }
    }

    /// Outcomes say what became of the object.
    fn outcomes_fit(&mut self) {
        let mut wrong = Vec::new();
        for (job, wish) in self.known() {
            if job.outcome == Some(Outcome::Conflict) {
                wrong.push(("I9 ownership", wish.clone(), job, "a conflict, and nobody else writes"));
            }
            if wish.deed == Deed::Delete {
                continue;
            }
            let carried = self.carried.contains(&wish.n);
            let acked = job.timeline.iter().any(|entry| entry.state == JobState::Acked);
            if !carried && must_have_had_effect(job) {
                wrong.push(("I3 one effect", wish.clone(), job, "it had no effect"));
            }
            if carried && job.state != JobState::Closed && !acked {
                wrong.push(("I3 one effect", wish.clone(), job, "it was never acked and had an effect"));
            }
            if carried && job.outcome == Some(Outcome::Noop) && job.error == "expired" {
                wrong.push(("I3 one effect", wish.clone(), job, "it expired and had an effect"));
            }
        }
        for (invariant, wish, job, what) in wrong {
            let told = format!(
                "{what}: number {}, job {} {} {:?} {}",
                wish.n, job.id, job.state, job.outcome, job.error
            );
            self.broke(invariant, &wish.target, Near::Job(wish.n), told);
        }
    }

    /// Jobs of which both sides know.
    fn known(&self) -> impl Iterator<Item = (&'a Job, Wish)> + use<'a> {
        let (evidence, acknowledged) = (self.evidence, self.evidence.history.acknowledged());
        acknowledged.into_iter().filter_map(|(id, wish)| Some((evidence.jobs.get(&id)?, wish)))
    }
}

/// The API server took what this job asked for; a replay too says so of the job it repeats.
fn must_have_had_effect(job: &Job) -> bool {
    match job.outcome {
        Some(Outcome::Succeeded) => true,
        // One that gave way before the API server took it has none.
        Some(Outcome::Failed) => job.error.starts_with("Superseded") && job.applied_ref.is_some(),
        Some(Outcome::Noop) => job.error != "expired",
        Some(Outcome::Conflict) | None => false,
    }
}

fn number(seen: &Seen) -> Option<u64> {
    match seen.change {
        Change::Set { n, .. } => Some(n),
        Change::Deleting | Change::Gone => None,
    }
}
