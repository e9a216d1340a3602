//! A small world around [`Work`]: a journal, a ledger, a control plane and a cluster that fail, refuse, lose answers, and
//! tell late; people and others who withdraw jobs, ask for the same again, and change objects; and a process that dies
//! between any two steps, and starts again with another clock. Whatever happens, what the contract promises must hold.

mod cluster;
mod control;
mod world;

use super::*;
use control::{Enqueued, Held, Repeats};
use proptest::prelude::*;
use world::{KIND, World};

impl World {
    fn check(&self) {
        assert!(self.journal.is_empty(), "the journal keeps what is over: {:?}", self.journal.keys());
        assert!(self.work.due.is_empty() && self.work.lanes.is_empty() && self.work.queued == 0);
        assert_eq!((self.work.bytes, self.work.applying, self.work.held_up.len()), (0, 0, 0));
        for name in self.objects.keys() {
            self.check_object(name);
        }
        for (n, job) in self.jobs.iter().enumerate() {
            let Some(result) = job.result() else { continue };
            let never = job.is_illegible || job.is_unjournaled;
            match result.outcome {
                _ if job.is_expired() => {}
                Outcome::Failed => {
                    self.check_superseded(n, result);
                    assert!(
                        never || job.repeats != Repeats::Success,
                        "{} was run again: {result:?}",
                        job.job.id
                    );
                }
                _ if never => panic!("{} cannot be done: {result:?}", job.job.id),
                Outcome::Noop => {
                    assert_ne!(job.repeats, Repeats::Nothing, "{} did nothing: {result:?}", job.job.id);
                }
                Outcome::Succeeded => self.check_success(n, job, result),
                Outcome::Conflict => {
                    assert_ne!(job.repeats, Repeats::Success, "{} was run again", job.job.id);
                }
            }
        }
    }

    /// What takes a job's place is a later job for its object. Of one that was not taken it is one that was tried, or that
    /// wants the same as another that was; unless somebody took it back before.
    fn check_superseded(&self, n: usize, result: &JobResult) {
        let Some(by) = result.error.strip_prefix("Superseded: by job ") else { return };
        let by = by.split(';').next().unwrap_or_default();
        let (job, behind) = (&self.jobs[n], &self.jobs[n + 1..]);
        let by = behind.iter().find(|other| other.object == job.object && other.job.id.as_str() == by);
        let Some(by) = by else { panic!("{} is told as superseded: {result:?}", job.job.id) };
        let is_taken_back = by.held == Held::Withdrawn || by.is_expired();
        let wants_the_same = |later: &&Enqueued| later.object == by.object && later.value == by.value;
        let mut tried = behind.iter().filter(wants_the_same).map(|later| &later.job.id);
        let was_tried = tried.any(|later| self.handed_over.contains(later));
        assert!(was_tried || is_taken_back, "{} gave way to {by:?}", job.job.id);
    }

    /// It went through its jobs in order, and is as the last one that took effect wants it.
    fn check_object(&self, name: &str) {
        let object = &self.objects[name];
        let took_part =
            |job: &&Enqueued| job.object == name && job.repeats != Repeats::Success && !job.is_expired();
        let of_object: Vec<_> = self.jobs.iter().filter(took_part).collect();
        let asked: Vec<_> = of_object.iter().map(|job| job.value).collect();
        let mut rest = asked.iter();
        let in_order = object.changes.iter().all(|change| rest.any(|value| value == change));
        assert!(in_order, "{name} went back: asked {asked:?}, changed {:?}", object.changes);
        // A job that could not be carried out in time may have been, and is none of those that must have been.
        let sure = of_object.iter().rposition(|job| job.took_effect());
        let is_last = asked[sure.unwrap_or(0)..].contains(&object.value());
        let is_untouched = sure.is_none() && object.value().is_none();
        assert!(
            is_last || is_untouched || object.is_disturbed,
            "{name} did not end at its last job: {object:?} {of_object:?}"
        );
    }

    /// Nothing may be called reached that was not seen, or once a later job for the object had taken effect.
    fn check_success(&self, n: usize, job: &Enqueued, result: &JobResult) {
        assert_ne!(job.repeats, Repeats::Success, "{} was run again", job.job.id);
        let is_reached = job.value.is_none() || job.at_once;
        let object = &self.objects[&job.object];
        let was_seen = is_reached || object.seen_ready.contains(&job.value);
        assert!(was_seen, "{} took another's success for its own", job.job.id);
        // An object that is as the job wants it already was ready before, which is no answer.
        let is_answered = is_reached || object.answered.contains(&job.job.id);
        assert!(is_answered, "{} succeeded before its request was handled", job.job.id);
        // What is over at once, a deletion perhaps, is so before that is durable; until then the one before it may see
        // its own end.
        let counts = |later: &&Enqueued| later.object == job.object && later.took_effect();
        let counts = |later: &&Enqueued| counts(later) && later.value.is_some() && !later.at_once;
        for later in self.jobs[n + 1..].iter().filter(counts).filter(|_| !self.skewed) {
            let theirs = later.result().and_then(|result| result.timestamp);
            assert!(result.timestamp <= theirs, "{} succeeded after {} was over", job.job.id, later.job.id);
        }
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
            Record { ticket: 3, job, begun: false, replayed: false, taken: None, result: None },
            Plan { lane, action: Ok(JobAction::Apply) },
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
    let record = Record { ticket: 3, job, begun, replayed: false, taken: None, result: None };
    let plan = Plan { lane, action: Ok(JobAction::Apply) };
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
