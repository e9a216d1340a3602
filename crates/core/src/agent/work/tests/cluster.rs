//! The cluster of the small world: objects that jobs, and others, make, change and delete.

use super::world::{Dice, KIND, World};
use crate::agent::{
    job_run::{Goal, Observed},
    work::Applied,
};
use std::collections::BTreeSet;
use vworkspace_protocol::{Condition, JobId, ObjectRef, outcome::FieldConflict};

/// What others make an object.
const FOREIGN: u64 = 0;

#[derive(Default, Debug)]
pub(super) struct Object {
    pub(super) value: Option<u64>,
    /// Its deletion goes on.
    is_dying: bool,
    /// Each life has a uid of its own, and generations from 1.
    life: u64,
    generation: i64,
    is_ready: bool,
    /// The job that was applied last.
    request: Option<JobId>,
    /// The job whose request was handled last.
    handled: Option<JobId>,
    /// Jobs whose requests were seen handled beside a ready object.
    pub(super) answered: BTreeSet<JobId>,
    /// Every change that jobs made.
    pub(super) changes: Vec<Option<u64>>,
    /// The values that were seen ready.
    pub(super) seen_ready: BTreeSet<Option<u64>>,
    /// Others made, changed or deleted it after the last job.
    pub(super) is_disturbed: bool,
    /// What the watch told last, which may be late.
    told: Option<Observed>,
}

impl World {
    /// The API server is asked to take a job. Others may own what it wants, or it may not be allowed now.
    pub(super) fn apply(&mut self, job: &JobId) -> Applied {
        let job = self.jobs.iter().find(|enqueued| enqueued.job.id == *job).unwrap();
        let id = &job.job.id;
        assert!(job.ever_acked, "{id} was applied before its ack: it may have been withdrawn");
        assert!(!job.is_illegible && !job.is_unjournaled, "{id} was applied, which can never be");
        if self.faults && self.dice.one_in(15) {
            return refusal(&mut self.dice);
        }
        let object = self.objects.entry(job.object.clone()).or_default();
        if object.is_dying && job.value.is_some() {
            return not_now(true);
        }
        let was_there = object.value.is_some();
        object.is_disturbed = false;
        if object.value() != job.value {
            object.change(job.value);
            object.is_dying = was_there && job.value.is_none();
            // What the API server did not take at first, or others undid, is one change.
            if object.changes.last() != Some(&job.value) {
                object.changes.push(job.value);
            }
        }
        object.request = Some(id.clone());
        let applied = object.reference(&job.object);
        let is_gone = object.value.is_none() || object.is_dying && self.dice.one_in(2) && object.vanish();
        let goal = match job.value {
            None => Goal::Gone,
            Some(_) if job.at_once => Goal::Accepted,
            Some(_) => Goal::Ready,
        };
        // The API server may also tell of what it deleted at once as if that went on.
        let is_told_gone = goal == Goal::Gone && is_gone && (!was_there || self.dice.one_in(2));
        Applied::Taken { object: applied, goal, gone: is_told_gone }
    }

    /// What controllers and others do to an object.
    pub(super) fn others(&mut self) {
        let name = format!("o{}", self.dice.roll(self.lanes));
        let action = self.dice.roll(if self.faults { 8 } else { 5 });
        let object = self.objects.entry(name).or_default();
        match action {
            0 | 1 if object.is_dying => _ = object.vanish(),
            0..=4 => {
                object.is_ready = object.value.is_some();
                object.handled.clone_from(&object.request);
            }
            5 if !object.is_dying => {
                object.is_disturbed = true;
                object.vanish();
            }
            6 if object.value.is_some() => {
                object.generation += 1;
                object.is_ready = false;
            }
            7 if !object.is_dying => {
                object.is_disturbed = true;
                object.vanish();
                object.change(Some(FOREIGN));
            }
            _ => {}
        }
    }

    /// Every job that waits is told of its object, by a watch that may be late.
    pub(super) fn observe(&mut self) {
        for name in 0..self.lanes {
            let is_late = self.dice.one_in(3);
            let object = self.objects.entry(format!("o{name}")).or_default();
            if !is_late {
                object.tell();
            }
        }
        let now = self.clock();
        for job in &self.jobs {
            let Some(ticket) = self.work.tickets.get(&job.job.id).copied() else { continue };
            let object = &self.objects[&job.object];
            // That an object is gone is believed from the API server alone.
            let is_believed = job.value.is_some() || object.told.is_some();
            let seen = if is_believed { object.told.clone() } else { object.observed() };
            // A watch that is late by a whole life ends no deletion here: nobody could tell which life is the older.
            if job.value.is_none()
                && seen.as_ref().map(|seen| &seen.uid) != object.observed().map(|now| now.uid).as_ref()
            {
                continue;
            }
            self.work.handle_observed(ticket, seen, now);
        }
    }
}

impl Object {
    /// What is left of it once its deletion, if any, is done.
    pub(super) fn value(&self) -> Option<u64> {
        self.value.filter(|_| !self.is_dying)
    }

    fn change(&mut self, value: Option<u64>) {
        if self.value.is_none() {
            self.life += 1;
            self.generation = 0;
        }
        self.generation += 1;
        self.is_ready = false;
        // What is being deleted is there until it is gone.
        self.value = value.or(self.value);
    }

    fn vanish(&mut self) -> bool {
        self.value = None;
        self.is_dying = false;
        self.is_ready = false;
        true
    }

    fn tell(&mut self) {
        self.told = self.observed();
        if self.is_ready {
            self.seen_ready.insert(self.value);
            self.answered.extend(self.handled.clone());
        }
    }

    fn observed(&self) -> Option<Observed> {
        let ready = Condition {
            type_: "Ready".into(),
            status: self.is_ready.into(),
            observed_generation: self.generation,
            last_transition_time: None,
            reason: "R".into(),
            message: String::new(),
        };
        self.value.map(|_| Observed {
            uid: self.uid(),
            observed_generation: self.generation,
            conditions: vec![ready],
            handled_request: self.handled.as_ref().map(ToString::to_string),
            failing: None,
        })
    }

    fn reference(&self, name: &str) -> ObjectRef {
        ObjectRef {
            kind: KIND.into(),
            namespace: "n".into(),
            name: name.into(),
            uid: self.uid(),
            generation: self.generation,
            ..ObjectRef::default()
        }
    }

    fn uid(&self) -> String {
        format!("u{}", self.life)
    }
}

pub(super) fn not_now(declined: bool) -> Applied {
    Applied::Later { cause: "not now".into(), declined, random: 0.5 }
}

fn refusal(dice: &mut Dice) -> Applied {
    if dice.one_in(2) {
        return Applied::Refused("NamespaceNotGated".into());
    }
    let conflicts = vec![FieldConflict { manager: "others".into(), field_path: ".spec".into() }];
    Applied::Conflict { message: "owned by others".into(), conflicts }
}
