//! The control plane of the small world: it hands jobs in, offers them, takes them back, and closes them once.

use super::world::{KIND, World};
use crate::agent::{
    ObjectKey,
    session::Failure,
    work::{JobAction, Plan},
};
use jiff::{SignedDuration, Timestamp};
use vworkspace_protocol::{Job, JobId, Outcome, outcome::JobResult};

/// What several jobs want is this or the next; all else is wanted by one job and its repetitions.
const COMMON: u64 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Queued,
    Leased(Timestamp),
    Acked,
    Closed(JobResult),
    /// Somebody took it back: its agent may have carried it out if it was acked before.
    Withdrawn,
}

/// What a job has in common with one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// Nothing.
    Nothing,
    /// The key of a job that succeeded: nothing may be done.
    Success,
    /// A key, or without one the payload: it is a repetition if that job turns out to be one that counts.
    Perhaps,
}

/// Deletes where `value` is absent.
#[derive(Clone, Debug)]
pub(super) struct Enqueued {
    pub(super) job: Job,
    pub(super) object: String,
    pub(super) value: Option<u64>,
    pub(super) held: Held,
    pub(super) ever_acked: bool,
    pub(super) repeats: Repeats,
    /// It is over once the API server has it.
    pub(super) at_once: bool,
    /// The journal never takes a record of it.
    pub(super) is_unjournaled: bool,
    /// The control plane has forgotten once that it is over.
    pub(super) is_forgotten: bool,
    /// Nothing can be done with it: its payload cannot be read.
    pub(super) is_illegible: bool,
}

impl World {
    pub(super) fn enqueue(&mut self) {
        let n = self.jobs.len() as u64 + 1;
        let object = format!("o{}", self.dice.roll(self.lanes));
        let has_key = self.dice.one_in(2);
        // Without a key the payload is compared: some are the same.
        let value = if has_key { n } else { COMMON + self.dice.roll(2) };
        let value = (!self.dice.one_in(4)).then_some(value);
        let mut job: Job = serde_json::from_value(serde_json::json!({
            "id": format!("j{n}"),
            "kind": "apply",
            "idempotencyKey": if has_key { format!("key-{n}") } else { String::new() },
            "payload": {"object": object, "value": value},
            "deadlineSeconds": 5 + self.dice.roll(30),
        }))
        .unwrap();
        if self.dice.one_in(5) {
            let life = i64::try_from(self.dice.roll(30)).unwrap();
            job.expires_at = Some(self.now + SignedDuration::from_secs(life));
        }
        self.jobs.push(Enqueued {
            job,
            object,
            value,
            held: Held::Queued,
            ever_acked: false,
            repeats: if has_key { Repeats::Nothing } else { Repeats::Perhaps },
            at_once: value.is_some() && self.dice.one_in(6),
            is_unjournaled: self.dice.one_in(25),
            is_forgotten: false,
            // The same payload is read the same way each time.
            is_illegible: has_key && self.dice.one_in(25),
        });
    }

    /// Somebody enqueues again what succeeded, under the same key.
    pub(super) fn enqueue_success_again(&mut self) {
        let succeeded = |job: &&Enqueued| {
            !job.is_without_key()
                && matches!(&job.held, Held::Closed(result) if result.outcome == Outcome::Succeeded)
        };
        let known: Vec<_> = self.jobs.iter().filter(succeeded).cloned().collect();
        self.enqueue_one_of(&known, Repeats::Success);
    }

    /// Somebody enqueues again one of the last jobs, whatever has become of it.
    pub(super) fn enqueue_any_again(&mut self) {
        let legible = self.jobs.iter().rev().filter(|job| !job.is_illegible && !job.is_unjournaled);
        let last: Vec<_> = legible.take(8).cloned().collect();
        self.enqueue_one_of(&last, Repeats::Perhaps);
    }

    fn enqueue_one_of(&mut self, known: &[Enqueued], repeats: Repeats) {
        let chosen = self.dice.choose(known.len());
        if let Some(known) = known.get(chosen) {
            let job = Job { id: JobId::new(format!("j{}", self.jobs.len() + 1)), ..known.job.clone() };
            // What repeats one that succeeded stays such, if that has been told already.
            let repeats = if known.repeats == Repeats::Success { Repeats::Success } else { repeats };
            let (held, ever_acked, is_forgotten) = (Held::Queued, false, false);
            self.jobs.push(Enqueued { job, held, ever_acked, repeats, is_forgotten, ..known.clone() });
        }
    }

    pub(super) fn withdraw(&mut self) {
        let open: Vec<usize> = (0..self.jobs.len()).filter(|n| !self.jobs[*n].is_over()).collect();
        if let Some(n) = open.get(self.dice.choose(open.len())) {
            self.jobs[*n].held = Held::Withdrawn;
        }
    }

    /// Nothing was heard of a job for long, or of the session that acked it.
    pub(super) fn offer_acked_again(&mut self, all: bool) {
        let chosen = self.dice.choose(self.jobs.len());
        for (n, job) in self.jobs.iter_mut().enumerate() {
            if job.held == Held::Acked && (all || n == chosen) {
                job.held = Held::Queued;
            }
        }
    }

    /// The control plane was set back, or never cared: a job that is over is offered once more.
    pub(super) fn offer_closed_again(&mut self) {
        let chosen = self.dice.choose(self.jobs.len());
        let over = self.jobs.get_mut(chosen).filter(|job| matches!(job.held, Held::Closed(_)));
        if let Some(job) = over.filter(|job| !job.is_unjournaled).map(|job| {
            job.is_forgotten = true;
            job.job.clone()
        }) {
            let plan = self.plan_of(&job.id);
            self.work.handle_offered(job, plan, self.clock());
        }
    }

    /// A poll is answered, by the rule of `control/lease.rs`: never past an earlier job of the object that may not
    /// have arrived.
    pub(super) fn poll(&mut self) {
        let mut held_back = Vec::new();
        let mut offers = Vec::new();
        for job in &mut self.jobs {
            match job.held {
                Held::Leased(until) if until > self.now => held_back.push(job.object.clone()),
                Held::Queued | Held::Leased(_) if !held_back.contains(&job.object) => {
                    job.held = Held::Leased(self.now + SignedDuration::from_secs(30));
                    offers.push(job.job.clone());
                }
                Held::Queued | Held::Leased(_) | Held::Acked | Held::Closed(_) | Held::Withdrawn => {}
            }
        }
        if self.faults && self.dice.one_in(5) {
            return; // The answer is lost.
        }
        for job in offers {
            let plan = self.plan_of(&job.id);
            self.work.handle_offered(job, plan, self.clock());
        }
    }

    pub(super) fn ack(&mut self, job: &JobId) -> Result<(), Failure> {
        let is_durable = self.journal.contains_key(job);
        let job = self.job_mut(job);
        match job.held {
            // Who forgot that it is over takes the ack.
            Held::Closed(_) if job.is_forgotten => Ok(()),
            Held::Closed(_) | Held::Withdrawn => Err(Failure::Closed),
            _ if !is_durable => panic!("{} was acked and is not durable", job.job.id),
            Held::Queued | Held::Leased(_) | Held::Acked => {
                job.held = Held::Acked;
                job.ever_acked = true;
                Ok(())
            }
        }
    }

    pub(super) fn progress(&mut self, job: &JobId) -> Result<(), Failure> {
        if self.job_mut(job).is_over() { Err(Failure::Closed) } else { Ok(()) }
    }

    pub(super) fn close(&mut self, id: &JobId, result: JobResult) -> Result<(), Failure> {
        let durable = self.journal.contains_key(id).then(|| self.recorded(id).result);
        let job = self.job_mut(id);
        let is_durable = job.is_unjournaled || durable.flatten().as_ref() == Some(&result);
        assert!(is_durable, "{id}'s result was told and is not durable");
        match &job.held {
            Held::Closed(first) => {
                assert!(
                    first == &result || job.is_unjournaled || job.is_forgotten,
                    "{id} has two results: {first:?}, {result:?}"
                );
                Err(Failure::Closed)
            }
            Held::Withdrawn => Err(Failure::Closed),
            Held::Queued | Held::Leased(_) | Held::Acked => {
                job.held = Held::Closed(result);
                Ok(())
            }
        }
    }

    pub(super) fn plan_of(&self, job: &JobId) -> Plan {
        let job = self.job(job);
        let lane = ObjectKey { kind: KIND.into(), namespace: "n".into(), name: job.object.clone() };
        let action = if job.value.is_some() { JobAction::Apply } else { JobAction::Delete };
        Plan { lane, action: if job.is_illegible { Err("illegible".into()) } else { Ok(action) } }
    }

    pub(super) fn job(&self, id: &JobId) -> &Enqueued {
        self.jobs.iter().find(|enqueued| enqueued.job.id == *id).unwrap()
    }

    fn job_mut(&mut self, id: &JobId) -> &mut Enqueued {
        self.jobs.iter_mut().find(|enqueued| enqueued.job.id == *id).unwrap()
    }
}

impl Enqueued {
    pub(super) fn is_without_key(&self) -> bool {
        self.job.idempotency_key.is_empty()
    }

    pub(super) fn result(&self) -> Option<&JobResult> {
        if let Held::Closed(result) = &self.held { Some(result) } else { None }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.held, Held::Closed(_) | Held::Withdrawn)
    }

    /// Whether its agent said that it did.
    pub(super) fn took_effect(&self) -> bool {
        let result = self.result().filter(|result| result.outcome != Outcome::Noop);
        result.is_some_and(|result| result.applied_ref.is_some())
    }

    /// Whether its agent said that it will never do anything.
    pub(super) fn is_expired(&self) -> bool {
        self.result().is_some_and(|result| result.error == "expired")
    }
}
