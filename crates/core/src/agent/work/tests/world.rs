//! The process of the small world, its journal and its ledger: what happens next is drawn from a seed.

use super::{
    cluster::{Object, not_now},
    control::{Enqueued, Repeats},
};
use crate::agent::{
    dedup::{self, Ledger},
    session::Failure,
    shards::{Stored, Write},
    work::{Command, Record, SaveError, Work},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use vworkspace_protocol::{JobId, Outcome};

pub(super) const KIND: &str = "ApplicationInstance";

/// What happens next is drawn from here: a seed names a whole history.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*: good enough to choose with.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    /// Any index below `len`; 0 where there is none.
    pub(super) fn choose(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len.max(1) as u64)).unwrap()
    }
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) faults: bool,
    pub(super) now: Timestamp,
    pub(super) work: Work,
    in_flight: Vec<Command>,
    pub(super) journal: BTreeMap<JobId, String>,
    /// The ledger's shards.
    ledger: BTreeMap<u64, String>,
    pub(super) jobs: Vec<Enqueued>,
    pub(super) objects: BTreeMap<String, Object>,
    /// Which jobs the API server was ever asked to take.
    pub(super) handed_over: BTreeSet<JobId>,
    /// How many objects jobs are about.
    pub(super) lanes: u64,
    /// A control plane that never offers an acked job again, or ours, which does when the session changes, or nothing was
    /// heard for long.
    offers_again: bool,
    /// How far the clock of the process is ahead, from its start on: no clock goes back while a process lives.
    ahead: SignedDuration,
    /// Whether processes have clocks that differ.
    pub(super) skewed: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(2).wrapping_add(1));
        let (offers_again, skewed, lanes) = (dice.one_in(2), dice.one_in(3), 1 + dice.roll(3));
        let mut world = Self {
            dice,
            faults: true,
            now: Timestamp::from_second(1_000_000).unwrap(),
            work: Work::default(),
            in_flight: Vec::new(),
            journal: BTreeMap::new(),
            ledger: BTreeMap::new(),
            jobs: Vec::new(),
            objects: BTreeMap::new(),
            handed_over: BTreeSet::new(),
            lanes,
            offers_again,
            ahead: SignedDuration::ZERO,
            skewed,
        };
        world.work.handle_link(true);
        world
    }

    /// The time as the process knows it.
    pub(super) fn clock(&self) -> Timestamp {
        self.now + self.ahead
    }

    /// One thing happens.
    pub(super) fn live(&mut self) {
        match self.dice.roll(22) {
            0 if self.faults => self.enqueue(),
            1 if self.faults && self.dice.one_in(3) => self.enqueue_success_again(),
            1 if self.faults && self.dice.one_in(2) => self.enqueue_any_again(),
            1 if self.faults => self.enqueue(),
            2 if self.faults && self.dice.one_in(4) => self.withdraw(),
            2 if self.offers_again && self.dice.one_in(4) => self.offer_acked_again(false),
            2 if self.faults && self.dice.one_in(6) => self.offer_closed_again(),
            2..=4 => self.poll(),
            5 => self.now += SignedDuration::from_millis(500),
            6 if self.dice.one_in(3) => self.now += SignedDuration::from_secs(10),
            7 if self.faults && self.dice.one_in(3) => self.crash(),
            8 | 20 => self.others(),
            9 | 21 => self.observe(),
            10 if self.faults => {
                let up = self.dice.one_in(2);
                self.work.handle_link(up);
            }
            _ => self.act(),
        }
    }

    /// Faults end: everything comes to its end.
    pub(super) fn heal(&mut self) {
        self.faults = false;
        self.work.handle_link(true);
        for _ in 0..20_000 {
            self.live();
            if self.jobs.iter().all(Enqueued::is_over) && self.work.is_empty() {
                return;
            }
        }
        panic!("work does not come to an end: {:#?}\n{:?}", self.work, self.jobs);
    }

    /// Collects what is to be done, and lets one thing of it happen.
    fn act(&mut self) {
        while let Some(command) = self.work.poll_command(self.clock(), self.now) {
            self.in_flight.push(command);
        }
        if self.in_flight.is_empty() {
            return;
        }
        let chosen = self.dice.choose(self.in_flight.len());
        let command = self.in_flight.swap_remove(chosen);
        let happens = !self.faults || !self.dice.one_in(5);
        let answered = !self.faults || !self.dice.one_in(5);
        let random = 0.5;
        let later = Err(Failure::Unavailable { retry_after: None });
        let (now, told) = (self.clock(), happens && answered);
        match command {
            Command::Save(record) => {
                let saved = if happens { self.save(&record) } else { Err(SaveError::Later) };
                let saved = if answered { saved } else { Err(SaveError::Later) };
                self.work.handle_saved(record.ticket, saved, now, random);
            }
            Command::Ack(ticket, job) => {
                let answer = if happens { self.ack(&job) } else { later };
                self.work.handle_acked(ticket, if answered { answer } else { later }, now, random);
            }
            Command::Apply(ticket, job) => {
                self.handed_over.insert(job.id.clone());
                let declined = self.dice.one_in(2);
                let applied = if happens { self.apply(&job.id) } else { not_now(declined) };
                // Also of what it did it may say that it did not.
                let applied = if answered { applied } else { not_now(declined) };
                self.work.handle_applied(ticket, applied, now);
            }
            // Watching is done in `observe`.
            Command::Follow(..) => {}
            Command::Status(ticket, job, _) => {
                let answer = if happens { self.progress(&job) } else { later };
                self.work.handle_status(ticket, if answered { answer } else { later }, now);
            }
            Command::Post(ticket, job, result) => {
                let answer = if happens { self.close(&job, result) } else { later };
                self.work.handle_posted(ticket, if answered { answer } else { later }, now, random);
            }
            Command::Remove(ticket, job) => {
                if happens {
                    self.journal.remove(&job);
                }
                self.work.handle_removed(ticket, told, now, random);
            }
            Command::StoreLedger(writes) => {
                let steps = if happens { writes.len() } else { self.dice.choose(writes.len() + 1) };
                self.store(writes.into_iter().take(steps));
                self.work.handle_ledger_stored(told, now, random);
            }
        }
    }

    /// The process dies: what was on its way happened or not, and only what is durable is left.
    fn crash(&mut self) {
        for command in std::mem::take(&mut self.in_flight) {
            if self.dice.one_in(2) {
                match command {
                    Command::Save(record) => drop(self.save(&record)),
                    Command::Ack(_, job) => drop(self.ack(&job)),
                    Command::Apply(_, job) => {
                        self.handed_over.insert(job.id.clone());
                        drop(self.apply(&job.id));
                    }
                    Command::Post(_, job, result) => drop(self.close(&job, result)),
                    Command::Remove(_, job) => drop(self.journal.remove(&job)),
                    Command::StoreLedger(writes) => {
                        let steps = self.dice.choose(writes.len() + 1);
                        self.store(writes.into_iter().take(steps));
                    }
                    Command::Follow(..) | Command::Status(..) => {}
                }
            }
        }
        if self.skewed {
            let minutes = i64::try_from(self.dice.roll(121)).unwrap() - 60;
            self.ahead = SignedDuration::from_mins(minutes);
        }
        let records = self.journal.keys().map(|job| (self.recorded(job), self.plan_of(job))).collect();
        let read = |text: &String| serde_json::from_str::<Vec<dedup::Entry>>(text).ok();
        let shards = self.ledger.iter().map(|(number, text)| Stored { number: *number, records: read(text) });
        let ledger = Ledger::restore(shards.collect(), Vec::new());
        self.work = Work::restore(records, ledger, self.clock());
        self.work.handle_link(true);
        if self.offers_again {
            self.offer_acked_again(true);
        }
    }

    fn store(&mut self, writes: impl Iterator<Item = Write>) {
        for write in writes {
            match write {
                Write::Put { number, text } => drop(self.ledger.insert(number, text)),
                Write::Delete { number } => drop(self.ledger.remove(&number)),
            }
        }
    }

    fn save(&mut self, record: &Record) -> Result<(), SaveError> {
        let job = self.job(&record.job.id);
        if job.is_unjournaled {
            return Err(SaveError::Never("it is too large".into()));
        }
        let is_repetition =
            record.result.as_ref().is_some_and(|r| r.outcome == Outcome::Noop && r.error.is_empty());
        // Nothing of its lane happens from its turn until this is durable.
        if is_repetition && !job.is_forgotten && job.is_without_key() && job.repeats == Repeats::Perhaps {
            let object = &self.objects[&job.object];
            let is_so = object.is_disturbed || object.value() == job.value;
            assert!(is_so, "{} repeats {:?}, and the object is {object:?}", job.job.id, job.value);
        }
        self.write(record);
        Ok(())
    }

    fn write(&mut self, record: &Record) {
        self.journal.insert(record.job.id.clone(), serde_json::to_string(record).unwrap());
    }

    pub(super) fn recorded(&self, job: &JobId) -> Record {
        serde_json::from_str(&self.journal[job]).unwrap()
    }
}
