//! A small world around [`Work`]: a journal, a ledger, a control plane and a cluster that fail, lose answers, and a
//! process that dies between any two steps. Whatever happens, what the contract promises must hold.

use super::*;
use crate::agent::{
    dedup,
    shards::{Stored, Write},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const OBJECTS: u64 = 3;
const KIND: &str = "ApplicationInstance";

/// What happens next is drawn from here: a seed names a whole history.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*: good enough to choose with.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Queued,
    Leased(Timestamp),
    Acked,
    Closed(JobResult),
    /// Somebody took it back: its agent may have carried it out if it was acked before.
    Withdrawn,
}

/// Deletes where `value` is absent.
#[derive(Clone, Debug)]
struct Enqueued {
    job: Job,
    object: String,
    value: Option<u64>,
    held: Held,
    ever_acked: bool,
    /// It bears the key of a job that succeeded: nothing may be done.
    repeats: bool,
}

#[derive(Default, Debug)]
struct Object {
    value: Option<u64>,
    generation: i64,
    ready: bool,
    /// Every change that had an effect.
    changes: Vec<Option<u64>>,
    /// The values that were seen ready.
    seen_ready: BTreeSet<Option<u64>>,
}

struct World {
    dice: Dice,
    faults: bool,
    now: Timestamp,
    work: Work,
    in_flight: Vec<Command>,
    journal: BTreeMap<JobId, String>,
    /// The ledger's shards.
    ledger: BTreeMap<u64, String>,
    jobs: Vec<Enqueued>,
    objects: BTreeMap<String, Object>,
    /// A control plane that never offers an acked job again, or ours, which does when the session changes.
    offers_again: bool,
    crashes: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(2).wrapping_add(1));
        let offers_again = dice.one_in(2);
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
            offers_again,
            crashes: 0,
        };
        world.work.handle_link(true);
        world
    }

    fn enqueue(&mut self) {
        let n = self.jobs.len() as u64 + 1;
        let object = format!("o{}", self.dice.roll(OBJECTS));
        let value = (!self.dice.one_in(4)).then_some(n);
        let key = if self.dice.one_in(2) { format!("key-{n}") } else { String::new() };
        let job = serde_json::from_value(serde_json::json!({
            "id": format!("j{n}"), "kind": "apply", "idempotencyKey": key, "payload": {"object": object, "value": n},
            "deadlineSeconds": 5 + self.dice.roll(30),
        }));
        let mut job: Job = job.unwrap();
        if self.dice.one_in(5) {
            let life = i64::try_from(self.dice.roll(30)).unwrap();
            job.expires_at = Some(self.now + SignedDuration::from_secs(life));
        }
        self.push(job, object, value, false);
    }

    /// Somebody enqueues again what succeeded, under the same key.
    fn enqueue_again(&mut self) {
        let succeeded = |job: &&Enqueued| {
            !job.job.idempotency_key.is_empty()
                && matches!(&job.held, Held::Closed(result) if result.outcome == Outcome::Succeeded)
        };
        let known: Vec<_> = self.jobs.iter().filter(succeeded).cloned().collect();
        if let Some(known) = known.get(self.dice.roll(known.len().max(1) as u64) as usize) {
            let job = Job { id: JobId::new(format!("j{}", self.jobs.len() + 1)), ..known.job.clone() };
            self.push(job, known.object.clone(), known.value, true);
        }
    }

    fn withdraw(&mut self) {
        let chosen = self.dice.roll(self.jobs.len().max(1) as u64);
        let job = self.jobs.get_mut(usize::try_from(chosen).unwrap());
        if let Some(job) = job.filter(|job| !matches!(job.held, Held::Closed(_))) {
            job.held = Held::Withdrawn;
        }
    }

    fn push(&mut self, job: Job, object: String, value: Option<u64>, repeats: bool) {
        self.jobs.push(Enqueued { job, object, value, held: Held::Queued, ever_acked: false, repeats });
    }

    fn plan_of(&self, job: &JobId) -> Plan {
        let job = self.jobs.iter().find(|enqueued| enqueued.job.id == *job).unwrap();
        let lane = ObjectKey { kind: KIND.into(), namespace: "n".into(), name: job.object.clone() };
        Plan { lane, deed: Ok(if job.value.is_some() { Deed::Apply } else { Deed::Delete }) }
    }

    /// A poll is answered, by the rule of `control/lease.rs`: never past an earlier job of the object that may not
    /// have arrived.
    fn poll(&mut self) {
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
            self.work.handle_offered(job, plan, self.now);
        }
    }

    /// Collects what is to be done, and lets one thing of it happen.
    fn act(&mut self) {
        while let Some(command) = self.work.poll_command(self.now, self.now) {
            self.in_flight.push(command);
        }
        if self.in_flight.is_empty() {
            return;
        }
        let chosen = self.dice.roll(self.in_flight.len() as u64);
        let command = self.in_flight.swap_remove(usize::try_from(chosen).unwrap());
        let happens = !self.faults || !self.dice.one_in(5);
        let answered = !self.faults || !self.dice.one_in(5);
        let random = 0.5;
        let later = Failure::Unavailable { retry_after: None };
        let (now, told) = (self.now, happens && answered);
        match command {
            Command::Save(record) => {
                if happens {
                    self.save(&record);
                }
                let saved = if told { Ok(()) } else { Err(SaveError::Later) };
                self.work.handle_saved(record.ticket, saved, now, random);
            }
            Command::Ack(ticket, job) => {
                let answer = if happens { self.ack(&job) } else { Err(later) };
                self.work.handle_acked(ticket, if answered { answer } else { Err(later) }, now, random);
            }
            Command::Apply(ticket, job) => {
                let applied = if happens { self.apply(&job.id) } else { Applied::Later { random } };
                let applied = if answered { applied } else { Applied::Later { random } };
                self.work.handle_applied(ticket, applied, now);
            }
            // Watching is done in `observe`.
            Command::Follow(..) => {}
            Command::Status(ticket, _, _) => {
                self.work.handle_status(ticket, if told { Ok(()) } else { Err(later) }, now);
            }
            Command::Post(ticket, job, result) => {
                let answer = if happens { self.close(&job, result) } else { Err(later) };
                self.work.handle_posted(ticket, if answered { answer } else { Err(later) }, now, random);
            }
            Command::Remove(ticket, job) => {
                if happens {
                    self.journal.remove(&job);
                }
                self.work.handle_removed(ticket, told, now, random);
            }
            Command::StoreLedger(writes) => {
                let steps =
                    if happens { writes.len() } else { self.dice.roll(writes.len() as u64 + 1) as usize };
                self.store(writes.into_iter().take(steps));
                self.work.handle_ledger_stored(told, now, random);
            }
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

    fn save(&mut self, record: &Record) {
        self.journal.insert(record.job.id.clone(), serde_json::to_string(record).unwrap());
    }

    fn ack(&mut self, job: &JobId) -> Result<(), Failure> {
        let durable = self.journal.contains_key(job);
        let job = self.jobs.iter_mut().find(|enqueued| enqueued.job.id == *job).unwrap();
        match job.held {
            Held::Closed(_) | Held::Withdrawn => Err(Failure::Closed),
            _ if !durable => panic!("{} was acked and is not durable", job.job.id),
            Held::Queued | Held::Leased(_) | Held::Acked => {
                job.held = Held::Acked;
                job.ever_acked = true;
                Ok(())
            }
        }
    }

    fn recorded(&self, job: &JobId) -> Record {
        serde_json::from_str(&self.journal[job]).unwrap()
    }

    fn close(&mut self, job: &JobId, result: JobResult) -> Result<(), Failure> {
        let record = self.recorded(job);
        assert_eq!(record.result.as_ref(), Some(&result), "{job}'s result was told and is not durable");
        let job = self.jobs.iter_mut().find(|enqueued| enqueued.job.id == *job).unwrap();
        if let Held::Closed(first) = &job.held {
            assert_eq!(first, &result, "{} has two results", job.job.id);
            return Err(Failure::Closed);
        }
        if job.held == Held::Withdrawn {
            return Err(Failure::Closed);
        }
        job.held = Held::Closed(result);
        Ok(())
    }

    fn apply(&mut self, job: &JobId) -> Applied {
        let job = self.jobs.iter().find(|enqueued| enqueued.job.id == *job).unwrap();
        assert!(job.ever_acked, "{} was applied before its ack: it may have been withdrawn", job.job.id);
        let object = self.objects.entry(job.object.clone()).or_default();
        let was_there = object.value.is_some();
        if object.value != job.value {
            object.generation += 1;
            object.value = job.value;
            object.ready = false;
            object.changes.push(job.value);
        }
        let applied = ObjectRef {
            kind: KIND.into(),
            namespace: "n".into(),
            name: job.object.clone(),
            uid: "u".into(),
            generation: object.generation,
            ..ObjectRef::default()
        };
        let goal = if job.value.is_some() { Goal::Ready } else { Goal::Gone };
        Applied::Taken { object: applied, goal, gone: job.value.is_none() && !was_there }
    }

    /// Every job that waits sees its object.
    fn observe(&mut self) {
        for job in &self.jobs {
            let Some(ticket) = self.work.tickets.get(&job.job.id).copied() else { continue };
            let object = self.objects.entry(job.object.clone()).or_default();
            if object.ready {
                object.seen_ready.insert(object.value);
            }
            let ready = vworkspace_protocol::Condition {
                type_: "Ready".into(),
                status: object.ready.into(),
                observed_generation: object.generation,
                last_transition_time: None,
                reason: "R".into(),
                message: String::new(),
            };
            let observed = object.value.map(|_| Observed {
                uid: "u".into(),
                observed_generation: object.generation,
                conditions: vec![ready],
            });
            self.work.handle_observed(ticket, observed, self.now);
        }
    }

    /// The process dies: what was on its way happened or not, and only what is durable is left.
    fn crash(&mut self) {
        self.crashes += 1;
        for command in std::mem::take(&mut self.in_flight) {
            if self.dice.one_in(2) {
                match command {
                    Command::Save(record) => self.save(&record),
                    Command::Ack(_, job) => drop(self.ack(&job)),
                    Command::Apply(_, job) => drop(self.apply(&job.id)),
                    Command::Post(_, job, result) => drop(self.close(&job, result)),
                    Command::Remove(_, job) => drop(self.journal.remove(&job)),
                    Command::StoreLedger(writes) => self.store(writes.into_iter()),
                    Command::Follow(..) | Command::Status(..) => {}
                }
            }
        }
        let records = self.journal.values().map(|text| serde_json::from_str::<Record>(text).unwrap());
        let records = records.map(|record| (record.clone(), self.plan_of(&record.job.id))).collect();
        let read = |text: &String| serde_json::from_str::<Vec<dedup::Entry>>(text).ok();
        let shards = self.ledger.iter().map(|(number, text)| Stored { number: *number, records: read(text) });
        let ledger = Ledger::restore(shards.collect(), Vec::new(), self.now);
        self.work = Work::restore(records, ledger, self.now);
        self.work.handle_link(true);
        if self.offers_again {
            for job in self.jobs.iter_mut().filter(|job| job.held == Held::Acked) {
                job.held = Held::Queued;
            }
        }
    }

    fn live(&mut self) {
        match self.dice.roll(20) {
            0 if self.faults => self.enqueue(),
            1 if self.faults && self.dice.one_in(3) => self.enqueue_again(),
            1 if self.faults => self.enqueue(),
            2 if self.faults && self.dice.one_in(4) => self.withdraw(),
            2..=4 => self.poll(),
            5 => self.now += SignedDuration::from_millis(500),
            6 if self.dice.one_in(3) => self.now += SignedDuration::from_secs(10),
            7 if self.faults && self.dice.one_in(3) => self.crash(),
            8 => {
                let n = self.dice.roll(OBJECTS);
                self.objects.entry(format!("o{n}")).or_default().ready = true;
            }
            9 => self.observe(),
            10 if self.faults => {
                let up = self.dice.one_in(2);
                self.work.handle_link(up);
            }
            _ => self.act(),
        }
    }

    /// Faults end: everything comes to its end.
    fn heal(&mut self) {
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

    fn check(&self) {
        assert!(self.journal.is_empty(), "the journal keeps what is over: {:?}", self.journal.keys());
        assert!(self.work.due.is_empty() && self.work.lanes.is_empty() && self.work.queued == 0);
        assert_eq!(self.work.bytes, 0);
        for (name, object) in &self.objects {
            let took_part = |job: &&Enqueued| job.object == *name && !job.repeats && !job.is_expired();
            let of_object: Vec<_> = self.jobs.iter().filter(took_part).collect();
            let asked: Vec<_> = of_object.iter().map(|job| job.value).collect();
            let mut rest = asked.iter();
            let in_order = object.changes.iter().all(|change| rest.any(|value| value == change));
            assert!(in_order, "{name} went back: asked {asked:?}, changed {:?}", object.changes);
            // A job that could not be carried out in time may have been, and is none of those that must have been.
            let sure = of_object.iter().rposition(|job| job.took_effect());
            let is_last = asked[sure.unwrap_or(0)..].contains(&object.value);
            let untouched = sure.is_none() && object.value.is_none();
            assert!(is_last || untouched, "{name} did not end at its last job: {of_object:?}");
        }
        for (n, job) in self.jobs.iter().enumerate() {
            let Some(result) = job.result() else { continue };
            match result.outcome {
                Outcome::Noop => {
                    assert!(job.repeats || job.is_expired(), "{} did nothing: {result:?}", job.job.id);
                }
                Outcome::Succeeded => self.check_success(n, job, result),
                Outcome::Failed => assert!(!job.repeats, "{} was run again: {result:?}", job.job.id),
                Outcome::Conflict => panic!("nobody else owns anything"),
            }
        }
    }

    /// Nothing may be called reached that was not seen, or once a later job for the object had taken effect.
    fn check_success(&self, n: usize, job: &Enqueued, result: &JobResult) {
        assert!(!job.repeats, "{} was run again", job.job.id);
        let was_seen = job.value.is_none() || self.objects[&job.object].seen_ready.contains(&job.value);
        assert!(was_seen, "{} took another's success for its own", job.job.id);
        let counts = |later: &&Enqueued| later.object == job.object && !later.repeats && later.took_effect();
        for later in self.jobs[n + 1..].iter().filter(counts) {
            let theirs = later.result().and_then(|result| result.timestamp);
            assert!(result.timestamp <= theirs, "{} succeeded after {} was over", job.job.id, later.job.id);
        }
    }
}

impl Enqueued {
    fn result(&self) -> Option<&JobResult> {
        if let Held::Closed(result) = &self.held { Some(result) } else { None }
    }

    fn is_over(&self) -> bool {
        matches!(self.held, Held::Closed(_) | Held::Withdrawn)
    }

    /// Whether its agent said that it did.
    fn took_effect(&self) -> bool {
        self.result().is_some_and(|result| result.applied_ref.is_some())
    }

    fn is_expired(&self) -> bool {
        self.result().is_some_and(|result| result.error == "expired")
    }
}

fn play(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..400 {
        world.live();
    }
    world.heal();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Crashes at any step, lost answers, refused writes and a link that comes and goes: no job is lost, none takes
    /// effect twice, each object goes through its jobs in order, each job has one result, and nothing is left over.
    #[test]
    fn no_job_is_lost_or_doubled_whatever_crashes(seed in any::<u64>()) {
        play(seed);
    }
}

/// Two replicas, each of which knew nothing of the other's last job, may leave records with one ticket.
#[test]
fn records_that_bear_the_same_ticket_are_both_gone_on_with() {
    let mut world = World::new(7);
    let records = ["j1", "j2"].map(|id| {
        let job =
            serde_json::from_value(serde_json::json!({ "id": id, "kind": "apply", "payload": {} })).unwrap();
        let lane = ObjectKey { kind: KIND.into(), namespace: "n".into(), name: "o".into() };
        (
            Record { ticket: 3, job, begun: false, taken: None, result: None },
            Plan { lane, deed: Ok(Deed::Apply) },
        )
    });
    world.work = Work::restore(records.into(), Ledger::default(), world.now);
    world.work.handle_link(true);
    let commands: Vec<_> = std::iter::from_fn(|| world.work.poll_command(world.now, world.now)).collect();
    let acked: Vec<_> = commands
        .iter()
        .filter_map(|c| if let Command::Ack(_, job) = c { Some(job.as_str()) } else { None })
        .collect();
    assert_eq!(acked, ["j1", "j2"]);
}

/// What a process does with the only record it finds, whose job expired a second ago; each command is answered well.
fn after_a_crash(begun: bool) -> (Vec<&'static str>, Option<JobResult>) {
    let mut world = World::new(7);
    let mut job: Job =
        serde_json::from_value(serde_json::json!({ "id": "j1", "kind": "apply", "payload": {} })).unwrap();
    job.expires_at = Some(world.now - SignedDuration::from_secs(1));
    let lane = ObjectKey { kind: KIND.into(), namespace: "n".into(), name: "o".into() };
    let record = Record { ticket: 3, job, begun, taken: None, result: None };
    let plan = Plan { lane, deed: Ok(Deed::Apply) };
    world.work = Work::restore(vec![(record, plan)], Ledger::default(), world.now);
    world.work.handle_link(true);
    let (mut done, mut result) = (Vec::new(), None);
    while let Some(command) = world.work.poll_command(world.now, world.now) {
        match command {
            Command::Ack(ticket, _) => {
                done.push("ack");
                world.work.handle_acked(ticket, Ok(()), world.now, 0.0);
            }
            Command::Apply(..) => done.push("apply"),
            Command::Save(record) => {
                done.push("save");
                result = record.result.clone();
                world.work.handle_saved(record.ticket, Ok(()), world.now, 0.0);
            }
            other => panic!("{other:?}"),
        }
        if result.is_some() {
            break;
        }
    }
    (done, result)
}

/// Found by the torture: a job was applied, the process died before it could note that, and the next one called the
/// job expired, as if nothing had been done.
#[test]
fn a_job_that_may_have_been_handed_over_before_a_crash_no_longer_expires() {
    assert_eq!(after_a_crash(true), (vec!["ack", "apply"], None));
    let (done, result) = after_a_crash(false);
    assert_eq!(done, ["ack", "save"]);
    assert_eq!(
        result.map(|result| (result.outcome, result.error)),
        Some((Outcome::Noop, "expired".to_owned()))
    );
}
