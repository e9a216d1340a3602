//! Few jobs of one object, step by step: rules that the long histories of `tests` do not single out.

mod fates;
mod lanes;
mod not_taken;
mod repeats;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn offer(work: &mut Work, id: &str, action: JobAction) {
    offer_job(work, id, action, serde_json::json!({ "deadlineSeconds": 60 }));
}

/// `job` holds what is to be said about it besides the rest.
fn offer_job(work: &mut Work, id: &str, action: JobAction, job: serde_json::Value) {
    offer_planned(work, id, Ok(action), job);
}

fn offer_planned(work: &mut Work, id: &str, action: Result<JobAction, String>, mut job: serde_json::Value) {
    let lane = ObjectKey { kind: "ApplicationInstance".into(), namespace: "n".into(), name: "web".into() };
    job["id"] = id.into();
    job["kind"] = "apply".into();
    job["payload"] = job["payload"].take();
    let job = serde_json::from_value(job).unwrap();
    assert!(work.handle_offered(job, Plan { lane, action }, NOW));
}

/// Lets everything happen that the API server has no part in; answers what was handed to it.
fn handed_over(work: &mut Work, now: Timestamp) -> Vec<(Ticket, JobId)> {
    handed_over_and_ended(work, now).0
}

/// The same, and which results were told.
fn handed_over_and_ended(work: &mut Work, now: Timestamp) -> (Vec<(Ticket, JobId)>, Vec<JobResult>) {
    let (mut handed, mut ended) = (Vec::new(), Vec::new());
    while let Some(command) = work.poll_command(now, now) {
        match command {
            Command::Save(record) => work.handle_saved(record.ticket, Ok(()), now, 0.5),
            Command::Ack(ticket, _) => work.handle_acked(ticket, Ok(()), now, 0.5),
            Command::Apply(ticket, job) => handed.push((ticket, job.id)),
            Command::Follow(..) => {}
            Command::Status(ticket, ..) => work.handle_status(ticket, Ok(()), now),
            Command::Post(ticket, _, result) => {
                ended.push(result);
                work.handle_posted(ticket, Ok(()), now, 0.5);
            }
            Command::Remove(ticket, _) => work.handle_removed(ticket, true, now, 0.5),
            Command::StoreLedger(_) => work.handle_ledger_stored(true, now, 0.5),
        }
    }
    (handed, ended)
}

fn taken(goal: Goal) -> Applied {
    let object = ObjectRef { uid: "u".into(), generation: 1, ..ObjectRef::default() };
    Applied::Taken { object, goal, gone: false }
}

fn names(handed: &[(Ticket, JobId)]) -> Vec<&str> {
    handed.iter().map(|(_, id)| id.as_str()).collect()
}

/// The object as its controller tells it: ready at this generation.
fn ready(generation: i64) -> Observed {
    let condition = vworkspace_protocol::Condition {
        type_: "Ready".into(),
        status: true.into(),
        observed_generation: generation,
        last_transition_time: None,
        reason: "r".into(),
        message: String::new(),
    };
    Observed {
        uid: "u".into(),
        observed_generation: generation,
        conditions: vec![condition],
        ..Observed::default()
    }
}

/// The same, once Flux has handled the request of `job`.
fn answered(job: &str, generation: i64) -> Observed {
    Observed { handled_request: Some(job.to_owned()), ..ready(generation) }
}

/// `former` waits for its goal; `later` was handed over once, without an answer, and is to be over after ten seconds.
fn answer_lost() -> (Work, Ticket, Ticket) {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "former", JobAction::Apply);
    offer_job(&mut work, "later", JobAction::Apply, serde_json::json!({ "deadlineSeconds": 10 }));
    let former = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(former, taken(Goal::Ready), NOW);
    let later = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(later, no_answer(), NOW);
    (work, former, later)
}

/// How a job ended, by what the journal holds of it when it is over.
fn outcome_of(work: &Work, ticket: Ticket) -> Option<Outcome> {
    work.jobs[&ticket].record.result.as_ref().map(|result| result.outcome)
}

/// A new process, after one that had told its journal everything.
fn restarted(work: &Work, now: Timestamp) -> Work {
    let records = work.jobs.values();
    let records = records
        .map(|entry| (entry.record.clone(), Plan { lane: entry.lane.clone(), action: entry.action.clone() }))
        .collect();
    Work::restore(records, Ledger::default(), now)
}

/// Hands over the only job that is due, lets the API server take it as this generation, and says which it was.
fn takes(work: &mut Work, id: &str, generation: i64) -> Ticket {
    let handed = handed_over(work, NOW);
    assert_eq!(names(&handed), [id]);
    let object = ObjectRef { generation, ..web() };
    work.handle_applied(handed[0].0, Applied::Taken { object, goal: Goal::Ready, gone: false }, NOW);
    assert!(handed_over(work, NOW).is_empty());
    handed[0].0
}

fn web() -> ObjectRef {
    ObjectRef {
        kind: "ApplicationInstance".into(),
        namespace: "n".into(),
        name: "web".into(),
        uid: "u".into(),
        generation: 1,
        ..ObjectRef::default()
    }
}

fn not_now() -> Applied {
    Applied::Later { cause: "the API server is busy".into(), declined: true, random: 0.5 }
}

fn no_answer() -> Applied {
    Applied::Later { cause: "there was no answer".into(), declined: false, random: 0.5 }
}

/// A deletion of an object that others still hold, and an apply behind it.
fn deletion_under_way() -> (Work, Ticket) {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "gone", JobAction::Delete);
    offer(&mut work, "again", JobAction::Apply);
    let handed = handed_over(&mut work, NOW);
    let [(deletion, id)] = handed.as_slice() else { panic!("{handed:?}") };
    assert_eq!(id.as_str(), "gone");
    work.handle_applied(*deletion, taken(Goal::Gone), NOW);
    assert!(handed_over(&mut work, NOW).is_empty(), "applied while its object was being deleted");
    (work, *deletion)
}
