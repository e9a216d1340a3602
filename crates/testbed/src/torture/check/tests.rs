use super::{Evidence, Stored, check};
use crate::{
    torture::history::{Asked, Change, Deed, History, Seen},
    view::{Standing, Target},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use vworkspace_protocol::{
    Condition, JobId, ObjectRef, Outcome,
    admin::{Job, JobState, TimelineEntry},
};

/// One whole run, told right: 1 makes the object, 2 was taken without an answer, 3 changes it, 4 deletes it, 5 makes it
/// again. Tests tell it wrong.
struct Run {
    history: History,
    jobs: BTreeMap<JobId, Job>,
    shown: Vec<Standing>,
    truth: Vec<Standing>,
    stored: Stored,
}

fn web() -> Target {
    Target { namespace: "n".to_owned(), name: "web".to_owned() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn id(n: u64) -> JobId {
    JobId::new(format!("job-{n}"))
}

fn asked(n: u64, deed: Deed, answered: bool) -> Asked {
    Asked { at: at(0), n, target: web(), deed, job: answered.then(|| id(n)) }
}

fn seen(uid: &str, change: Change) -> Seen {
    Seen { at: at(1), target: web(), uid: uid.to_owned(), change }
}

fn set(uid: &str, n: u64) -> Seen {
    seen(uid, Change::Set { n, generation: 1 })
}

fn job(n: u64, states: &[JobState], outcome: Option<Outcome>) -> Job {
    let mut job: Job = serde_json::from_value(json!({
        "id": id(n), "clusterId": "c", "kind": "apply", "idempotencyKey": "", "deliveries": 1,
        "target": { "kind": "ApplicationInstance", "namespace": "n", "name": "web" },
        "state": states.last().unwrap_or(&JobState::Queued), "createdAt": at(0), "asOf": at(9),
    }))
    .unwrap();
    job.outcome = outcome;
    job.timeline = (1..).zip(states).map(|(seq, state)| entry(seq, *state)).collect();
    job
}

fn entry(seq: u32, state: JobState) -> TimelineEntry {
    TimelineEntry { seq, at: at(i64::from(seq)), state, cause: String::new() }
}

fn done(n: u64) -> Job {
    use JobState::{Acked, Closed, Leased, Queued};
    job(n, &[Queued, Leased, Leased, Acked, Leased, Acked, Closed], Some(Outcome::Succeeded))
}

fn standing(uid: &str, reason: &str) -> Standing {
    let condition: Condition =
        serde_json::from_value(json!({ "type": "Ready", "status": "True", "reason": reason })).unwrap();
    Standing { target: web(), uid: uid.to_owned(), conditions: vec![condition] }
}

fn run() -> Run {
    let deed = |n| if n == 4 { Deed::Delete } else { Deed::Apply };
    Run {
        history: History {
            asked: (1..=5).map(|n| asked(n, deed(n), n != 2)).collect(),
            seen: vec![
                set("u", 1),
                set("u", 2),
                set("u", 3),
                seen("u", Change::Deleting),
                seen("u", Change::Gone),
                set("v", 5),
            ],
            ..History::default()
        },
        jobs: [1, 3, 4, 5].map(|n| (id(n), done(n))).into(),
        shown: vec![standing("v", "Placeholder")],
        truth: vec![standing("v", "Placeholder")],
        stored: Stored { jobs: 5, events: 9, ..Stored::default() },
    }
}

impl Run {
    /// Each promise once.
    fn broken(&self) -> Vec<&'static str> {
        let Self { history, jobs, shown, truth, stored } = self;
        let broken = check(&Evidence { history, jobs, shown, truth, stored });
        let names: std::collections::BTreeSet<_> =
            broken.into_iter().map(|broken| broken.invariant).collect();
        names.into_iter().collect()
    }

    fn job(&mut self, n: u64) -> &mut Job {
        self.jobs.get_mut(&id(n)).unwrap()
    }
}

/// The run told wrong by `edit` breaks exactly these.
fn told_wrong(edit: impl FnOnce(&mut Run)) -> Vec<&'static str> {
    let mut run = run();
    edit(&mut run);
    run.broken()
}

#[test]
fn a_run_in_which_all_went_well_breaks_nothing() {
    assert!(run().broken().is_empty());
}

#[test]
fn what_was_never_answered_may_have_happened_or_not() {
    let not = told_wrong(|run| {
        run.history.seen.remove(1);
        run.stored.jobs = 4;
    });
    assert!(not.is_empty(), "{not:?}");
}

#[test]
fn an_acknowledged_job_that_is_gone_is_found() {
    assert_eq!(told_wrong(|run| drop(run.jobs.remove(&id(3)))), ["I1 durable ack"]);
    assert_eq!(told_wrong(|run| run.stored.jobs = 3), ["I1 durable ack"]);
    assert_eq!(told_wrong(|run| run.stored.jobs = 6), ["I1 durable ack"]);
    assert_eq!(told_wrong(|run| run.job(3).target.name = "other".to_owned()), ["I1 durable ack"]);
}

#[test]
fn a_key_that_names_two_jobs_is_found() {
    let twice = told_wrong(|run| {
        run.history.asked.push(Asked { job: Some(JobId::new("job-6")), ..asked(5, Deed::Apply, true) });
        run.jobs.insert(JobId::new("job-6"), done(6));
        run.stored.jobs = 6;
    });
    assert_eq!(twice, ["I3 one effect"]);
    assert!(told_wrong(|run| run.history.asked.push(asked(5, Deed::Apply, true))).is_empty());
}

#[test]
fn a_job_that_does_not_end_or_ends_twice_is_found() {
    use JobState::{Acked, Cancelled, Closed, Expired, Leased, Queued, Superseded};
    let goes = |states: &'static [JobState]| {
        told_wrong(|run| *run.job(3) = job(3, states, Some(Outcome::Succeeded)))
    };
    assert_eq!(goes(&[Queued, Leased, Acked]), ["I2 one end"]);
    assert_eq!(goes(&[Queued, Acked, Closed, Closed]), ["I2 one end"]);
    assert_eq!(goes(&[Queued, Acked, Cancelled, Closed]), ["I2 one end"]);
    assert_eq!(goes(&[Queued, Acked, Queued, Closed]), ["I2 one end"]);
    assert_eq!(goes(&[Queued, Acked, Expired]), ["I2 one end"]);
    assert_eq!(goes(&[Leased, Acked, Closed]), ["I2 one end"]);
    assert_eq!(goes(&[]), ["I2 one end", "I3 one effect"]);
    assert_eq!(told_wrong(|run| run.job(3).state = Superseded), ["I2 one end"]);
    assert_eq!(told_wrong(|run| run.job(4).outcome = None), ["I2 one end"]);
    assert_eq!(told_wrong(|run| run.stored.open = 1), ["I2 one end"]);
    assert_eq!(told_wrong(|run| run.stored.ended_twice = 1), ["I2 one end"]);
    assert_eq!(told_wrong(|run| run.history.withdrawn.extend([id(3)])), ["I2 one end"]);
}

#[test]
fn an_end_without_a_reason_is_found() {
    use JobState::{Expired, Leased, Queued, Superseded, Undeliverable};
    let superseded = |by: &'static str| {
        told_wrong(|run| {
            *run.job(3) = job(3, &[Queued, Superseded], None);
            run.job(3).timeline[1].cause = format!("superseded by job {by}");
            run.history.seen.remove(2);
        })
    };
    assert_eq!(superseded("job-1"), ["I2 one end"]);
    assert_eq!(superseded("job-5"), [""; 0]);
    assert_eq!(superseded("job-2"), [""; 0], "nobody knows what it was about");
    let followed = |by: &'static str, why: &'static str| {
        told_wrong(|run| {
            run.job(3).outcome = Some(Outcome::Failed);
            run.job(3).error = format!("Superseded: by job {by}{why}");
        })
    };
    for why in ["", "; it was not taken before: busy"] {
        assert_eq!(followed("job-1", why), ["I2 one end"]);
        assert_eq!(followed("job-5", why), [""; 0]);
    }
    let ended = |states: &'static [JobState], expires_at: Option<Timestamp>| {
        told_wrong(|run| {
            *run.job(3) = job(3, states, None);
            run.job(3).expires_at = expires_at;
            run.history.seen.remove(2);
        })
    };
    assert_eq!(ended(&[Queued, Expired], None), ["I2 one end"]);
    assert_eq!(ended(&[Queued, Expired], Some(at(60))), ["I2 one end"]);
    assert_eq!(ended(&[Queued, Expired], Some(at(2))), [""; 0]);
    assert_eq!(ended(&[Queued, Leased, Undeliverable], None), ["I2 one end"]);
}

#[test]
fn an_effect_that_comes_twice_is_found() {
    let again = Change::Set { n: 3, generation: 9 };
    assert_eq!(told_wrong(|run| run.history.seen.insert(3, seen("u", again))), ["I3 one effect"]);
    assert_eq!(told_wrong(|run| run.history.seen.push(set("w", 5))), ["I3 one effect"]);
}

#[test]
fn an_effect_that_nobody_asked_for_is_found() {
    assert_eq!(told_wrong(|run| run.history.seen.push(set("v", 6))), ["I3 one effect"]);
    let other = Target { namespace: "n".to_owned(), name: "api".to_owned() };
    assert_eq!(told_wrong(|run| run.history.seen[5].target = other), ["I3 one effect"]);
    assert_eq!(told_wrong(|run| run.history.seen.push(set("v", 0))), ["I3 one effect", "I4 order"]);
}

#[test]
fn a_deletion_that_comes_twice_or_from_nowhere_is_found() {
    let twice = told_wrong(|run| {
        run.history.seen.push(seen("v", Change::Deleting));
        run.history.seen.push(seen("v", Change::Gone));
    });
    assert_eq!(twice, ["I3 one effect"]);
    let early = told_wrong(|run| {
        let deleting = run.history.seen.remove(3);
        run.history.seen.insert(1, deleting);
    });
    assert_eq!(early, ["I3 one effect"]);
    let one_for_two = told_wrong(|run| {
        run.history.seen.insert(5, seen("x", Change::Deleting));
    });
    assert_eq!(one_for_two, ["I3 one effect"]);
}

#[test]
fn a_change_that_goes_back_is_found() {
    assert_eq!(told_wrong(|run| run.history.seen.swap(1, 2)), ["I4 order"]);
    assert_eq!(told_wrong(|run| run.history.seen.push(set("v", 3))), ["I4 order"]);
}

#[test]
fn a_deletion_that_succeeded_and_deleted_nothing_is_found() {
    let stayed = told_wrong(|run| {
        run.history.seen.drain(3..5);
        run.history.seen[3].uid = "u".to_owned();
    });
    assert_eq!(stayed, ["I4 order"]);
    let never_gone = told_wrong(|run| {
        run.history.seen.drain(3..);
        run.job(5).outcome = Some(Outcome::Failed);
    });
    assert_eq!(never_gone, ["I4 order"]);
}

#[test]
fn an_outcome_that_does_not_fit_what_happened_is_found() {
    use JobState::{Expired, Leased, Queued};
    let ended = |outcome, error: &'static str, applied_ref: Option<ObjectRef>| {
        told_wrong(|run| {
            run.history.seen.retain(|seen| seen.change != Change::Set { n: 3, generation: 1 });
            let job = run.job(3);
            (job.outcome, job.applied_ref) = (Some(outcome), applied_ref);
            error.clone_into(&mut job.error);
        })
    };
    let gone = |outcome, error| ended(outcome, error, None);
    assert_eq!(gone(Outcome::Succeeded, ""), ["I3 one effect"]);
    let superseded = |applied_ref| ended(Outcome::Failed, "Superseded: by job job-5", applied_ref);
    assert_eq!(superseded(Some(ObjectRef::default())), ["I3 one effect"]);
    assert_eq!(superseded(None), [""; 0]);
    assert_eq!(gone(Outcome::Noop, ""), ["I3 one effect"]);
    assert_eq!(gone(Outcome::Noop, "expired"), [""; 0]);
    assert_eq!(gone(Outcome::Failed, "DeadlineExceeded: the API server did not take the object"), [""; 0]);
    assert_eq!(gone(Outcome::Conflict, ""), ["I9 ownership"]);

    let never_held = told_wrong(|run| {
        *run.job(3) = job(3, &[Queued, Leased, Expired], None);
        run.job(3).expires_at = Some(at(1));
    });
    assert_eq!(never_held, ["I3 one effect"]);
    let expired = told_wrong(|run| {
        run.job(3).outcome = Some(Outcome::Noop);
        "expired".clone_into(&mut run.job(3).error);
    });
    assert_eq!(expired, ["I3 one effect"]);
}

#[test]
fn events_that_are_there_twice_and_a_view_that_is_wrong_are_found() {
    let repeated = |run: &mut Run| run.stored.repeated_keys.push("k".to_owned());
    assert_eq!(told_wrong(repeated), ["I5 event identity"]);
    assert_eq!(told_wrong(|run| run.shown.clear()), ["I5 what is shown"]);
    assert_eq!(told_wrong(|run| run.truth.clear()), ["I5 what is shown"]);
    assert_eq!(told_wrong(|run| run.shown[0] = standing("u", "Placeholder")), ["I5 what is shown"]);
    assert_eq!(told_wrong(|run| run.shown[0] = standing("v", "Progressing")), ["I5 what is shown"]);
}

#[test]
fn a_broken_database_a_gap_in_the_record_and_a_mishap_are_found() {
    let damage = |run: &mut Run| run.stored.damage.push("row 7 missing from index".to_owned());
    assert_eq!(told_wrong(damage), ["integrity of the database"]);
    assert_eq!(told_wrong(|run| run.history.gaps = 1), ["the record itself"]);
    assert_eq!(told_wrong(|run| run.history.mishaps.push("x".to_owned())), ["the programs themselves"]);
}
