//! Few jobs of one object, step by step: rules that the long histories of `tests` do not single out.

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn offer(work: &mut Work, id: &str, deed: Deed) {
    offer_job(work, id, deed, serde_json::json!({ "deadlineSeconds": 60 }));
}

/// `job` holds what is to be said about it besides the rest.
fn offer_job(work: &mut Work, id: &str, deed: Deed, mut job: serde_json::Value) {
    let lane = ObjectKey { kind: "ApplicationInstance".into(), namespace: "n".into(), name: "web".into() };
    job["id"] = id.into();
    job["kind"] = "apply".into();
    job["payload"] = job["payload"].take();
    let job = serde_json::from_value(job).unwrap();
    assert!(work.handle_offered(job, Plan { lane, deed: Ok(deed) }, NOW));
}

/// A job of an object of its own; its number is its name.
fn offer_other(work: &mut Work, n: usize) {
    let name = n.to_string();
    let job = serde_json::json!({"id": name, "kind": "apply", "payload": {}});
    let lane = ObjectKey { kind: "ApplicationInstance".into(), namespace: "n".into(), name };
    work.handle_offered(serde_json::from_value(job).unwrap(), Plan { lane, deed: Ok(Deed::Apply) }, NOW);
}

#[test]
fn at_most_sixteen_jobs_are_applied_at_a_time() {
    let mut work = Work::default();
    work.handle_link(true);
    (0..MAX_APPLYING + 2).for_each(|n| offer_other(&mut work, n));
    let handed = handed_over(&mut work, NOW);
    assert_eq!(handed.len(), MAX_APPLYING);
    work.handle_applied(handed[0].0, Applied::Refused("no".into()), NOW);
    assert_eq!(handed_over(&mut work, NOW).len(), 1);
    work.handle_applied(handed[1].0, Applied::Later { cause: "not now".into(), random: 0.0 }, NOW);
    assert_eq!(handed_over(&mut work, NOW).len(), 1, "one that is tried again later keeps no place");
}

/// A control plane may offer a job again whatever it was told of it.
#[test]
fn a_job_that_is_offered_again_while_it_is_applied_takes_no_place_from_one_that_waits() {
    let mut work = Work::default();
    work.handle_link(true);
    let offer_all = |work: &mut Work| (0..=MAX_APPLYING).for_each(|n| offer_other(work, n));
    offer_all(&mut work);
    let handed = handed_over(&mut work, NOW);
    offer_all(&mut work);
    assert!(handed_over(&mut work, NOW).is_empty());
    work.handle_applied(handed[0].0, Applied::Refused("no".into()), NOW);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["16"]);
}

#[test]
fn a_job_that_is_withdrawn_while_it_waits_for_a_place_leaves_it_to_the_next() {
    let (mut work, retry) = (Work::default(), NOW + SignedDuration::from_secs(2));
    work.handle_link(true);
    (0..=MAX_APPLYING).for_each(|n| offer_other(&mut work, n));
    let handed = handed_over(&mut work, NOW);
    let (first, others) = (handed[0].0, &handed[1..]);
    work.handle_applied(first, not_now(), NOW);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["16"]);
    offer_other(&mut work, 17);
    assert!(handed_over(&mut work, retry).is_empty(), "there is no room for it, nor for the first one");
    work.handle_status(first, Err(Failure::Closed), retry);
    work.handle_applied(others[0].0, Applied::Refused("no".into()), retry);
    assert_eq!(names(&handed_over(&mut work, retry)), ["17"]);
}

/// Lets everything happen that the API server has no part in; answers what was handed to it.
fn handed_over(work: &mut Work, now: Timestamp) -> Vec<(Ticket, JobId)> {
    let mut handed = Vec::new();
    while let Some(command) = work.poll_command(now, now) {
        match command {
            Command::Save(record) => work.handle_saved(record.ticket, Ok(()), now, 0.5),
            Command::Ack(ticket, _) => work.handle_acked(ticket, Ok(()), now, 0.5),
            Command::Apply(ticket, job) => handed.push((ticket, job.id)),
            Command::Follow(..) => {}
            Command::Status(ticket, ..) => work.handle_status(ticket, Ok(()), now),
            Command::Post(ticket, ..) => work.handle_posted(ticket, Ok(()), now, 0.5),
            Command::Remove(ticket, _) => work.handle_removed(ticket, true, now, 0.5),
            Command::StoreLedger(_) => work.handle_ledger_stored(true, now, 0.5),
        }
    }
    handed
}

fn taken(goal: Goal) -> Applied {
    let object = ObjectRef { uid: "u".into(), generation: 1, ..ObjectRef::default() };
    Applied::Taken { object, goal, gone: false }
}

/// A deletion of an object that others still hold, and an apply behind it.
fn deletion_under_way() -> (Work, Ticket) {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "gone", Deed::Delete);
    offer(&mut work, "again", Deed::Apply);
    let handed = handed_over(&mut work, NOW);
    let [(deletion, id)] = handed.as_slice() else { panic!("{handed:?}") };
    assert_eq!(id.as_str(), "gone");
    work.handle_applied(*deletion, taken(Goal::Gone), NOW);
    assert!(handed_over(&mut work, NOW).is_empty(), "applied while its object was being deleted");
    (work, *deletion)
}

fn names(handed: &[(Ticket, JobId)]) -> Vec<&str> {
    handed.iter().map(|(_, id)| id.as_str()).collect()
}

#[test]
fn a_deletion_keeps_its_lane_until_the_object_is_gone() {
    let (mut work, deletion) = deletion_under_way();
    work.handle_observed(deletion, None, NOW);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["again"]);
}

#[test]
fn a_deletion_that_does_not_end_gives_its_lane_away_at_its_deadline() {
    let (mut work, _) = deletion_under_way();
    let deadline = NOW + SignedDuration::from_secs(60);
    assert_eq!(names(&handed_over(&mut work, deadline)), ["again"]);
}

#[test]
fn an_apply_that_waits_for_its_goal_holds_nobody() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "broken", Deed::Apply);
    offer(&mut work, "mended", Deed::Apply);
    let handed = handed_over(&mut work, NOW);
    assert_eq!(names(&handed), ["broken"]);
    work.handle_applied(handed[0].0, taken(Goal::Ready), NOW);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["mended"]);
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
    Observed { uid: "u".into(), observed_generation: generation, conditions: vec![condition] }
}

/// `former` waits for its goal; `later` was handed over once, without an answer, and is to be over after ten seconds.
fn answer_lost() -> (Work, Ticket, Ticket) {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "former", Deed::Apply);
    offer_job(&mut work, "later", Deed::Apply, serde_json::json!({ "deadlineSeconds": 10 }));
    let former = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(former, taken(Goal::Ready), NOW);
    let later = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(later, Applied::Later { cause: "not now".into(), random: 0.5 }, NOW);
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
        .map(|entry| (entry.record.clone(), Plan { lane: entry.lane.clone(), deed: entry.deed.clone() }))
        .collect();
    Work::restore(records, Ledger::default(), now)
}

/// The job may have been applied: what the object does from there on may be its work.
#[test]
fn what_a_job_did_whose_fate_is_unknown_is_no_success_of_the_one_before() {
    let ends: [Applied; 3] = [
        Applied::Later { cause: "not now".into(), random: 0.5 },
        Applied::Refused("NamespaceNotGated".into()),
        Applied::Conflict { message: "owned".into(), conflicts: Vec::new() },
    ];
    let (second, over) = (NOW + SignedDuration::from_secs(2), NOW + SignedDuration::from_secs(10));
    for end in ends {
        let (mut work, former, later) = answer_lost();
        work.handle_observed(former, Some(ready(2)), second);
        assert_eq!(handed_over(&mut work, over).len(), 1);
        work.handle_applied(later, end, over);
        assert!(handed_over(&mut work, over).is_empty());
        assert!(work.is_waiting(former), "what was held back was taken for its own");
        assert_eq!(
            work.jobs[&later].phase,
            Phase::Settled,
            "it is over, and kept while the former one waits"
        );
        work.handle_observed(former, Some(ready(2)), over);
        assert!(work.is_waiting(former), "what was seen later was taken for its own");

        let mut work = restarted(&work, over);
        work.handle_observed(former, Some(ready(2)), over);
        assert!(work.is_waiting(former), "a new process took it for its own");
        work.handle_observed(former, Some(ready(1)), over);
        assert_eq!(outcome_of(&work, former), Some(Outcome::Succeeded), "this is its own");
    }
}

/// Found by the simulation: a withdrawn job between the two was over, which its record in the journal did not say.
#[test]
fn what_a_job_did_whose_fate_is_unknown_is_no_success_of_one_before_it_after_a_crash() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "former", Deed::Apply);
    let expires = serde_json::json!({ "expiresAt": NOW + SignedDuration::from_secs(60) });
    offer_job(&mut work, "withdrawn", Deed::Apply, expires);
    offer(&mut work, "later", Deed::Apply);
    let former = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(former, taken(Goal::Ready), NOW);

    let mut work = restarted(&work, NOW);
    work.handle_observed(former, Some(ready(2)), NOW);
    assert!(work.is_waiting(former), "`later` may have been handed over, `withdrawn` being over");
}

#[test]
fn what_was_held_back_counts_when_the_next_job_was_refused_at_once() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "former", Deed::Apply);
    offer(&mut work, "later", Deed::Apply);
    let former = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(former, taken(Goal::Ready), NOW);
    let later = handed_over(&mut work, NOW)[0].0;
    work.handle_observed(former, Some(ready(2)), NOW);
    assert!(work.is_waiting(former));
    work.handle_applied(later, Applied::Refused("no".into()), NOW);
    assert_eq!(outcome_of(&work, former), Some(Outcome::Succeeded));
}

#[test]
fn a_job_that_is_over_at_its_ack_is_never_handed_to_the_api_server() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "withdrawn", Deed::Apply);
    let Some(Command::Save(record)) = work.poll_command(NOW, NOW) else { panic!("nothing was saved") };
    work.handle_saved(record.ticket, Ok(()), NOW, 0.5);
    let Some(Command::Ack(ticket, _)) = work.poll_command(NOW, NOW) else { panic!("nothing was acked") };
    work.handle_acked(ticket, Err(Failure::Closed), NOW, 0.5);
    assert!(handed_over(&mut work, NOW).is_empty());
    assert!(work.is_empty(), "it is forgotten, in the journal, too");
}

#[test]
fn the_ledger_is_stored_at_most_once_a_second() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "one", Deed::Delete);
    let handed = handed_over(&mut work, NOW);
    let gone = Applied::Taken { object: ObjectRef::default(), goal: Goal::Gone, gone: true };
    work.handle_applied(handed[0].0, gone.clone(), NOW);
    // Stored for the first one on the way.
    assert!(handed_over(&mut work, NOW).is_empty());
    assert!(work.is_empty());
    offer(&mut work, "two", Deed::Delete);
    let handed = handed_over(&mut work, NOW);
    work.handle_applied(handed[0].0, gone, NOW);
    assert!(handed_over(&mut work, NOW).is_empty());
    assert!(!work.is_empty(), "a job left the journal before the ledger that remembers it was stored");
    let second = NOW + SignedDuration::from_secs(1);
    assert_eq!(work.poll_timeout(), Some(second));
    assert!(handed_over(&mut work, second).is_empty());
    assert!(work.is_empty());
}

/// An apply of this payload without a key, from a plain v1 control plane.
fn offer_payload(work: &mut Work, id: &str, payload: u32) {
    let job = serde_json::json!({ "deadlineSeconds": 60, "payload": payload });
    offer_job(work, id, Deed::Apply, job);
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

/// Payload 1 was applied and is ready.
fn one_is_ready() -> Work {
    let mut work = Work::default();
    work.handle_link(true);
    offer_payload(&mut work, "one", 1);
    let one = takes(&mut work, "one", 1);
    work.handle_observed(one, Some(ready(1)), NOW);
    assert!(handed_over(&mut work, NOW).is_empty());
    work
}

#[test]
fn what_is_asked_for_twice_in_a_row_without_a_key_is_done_once() {
    let mut work = one_is_ready();
    offer_payload(&mut work, "one again", 1);
    let later = NOW + SignedDuration::from_secs(2);
    assert!(handed_over(&mut work, later).is_empty());
    assert!(work.is_empty());
    // Its id alone is remembered: it did nothing to the object.
    let kept: Vec<_> = work.ledger().entries().map(|entry| (entry.job.as_str(), entry.object())).collect();
    assert_eq!(kept, [("one again", None), ("one", Some(ObjectKey::from(&web())))]);
}

/// The correction of a job that does not get ready: back to what was there before.
#[test]
fn what_was_applied_before_a_job_that_waits_is_applied_again() {
    let mut work = one_is_ready();
    offer_payload(&mut work, "two", 2);
    takes(&mut work, "two", 2);
    offer_payload(&mut work, "one again", 1);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["one again"]);
}

/// The journal took the end of the later job first.
#[test]
fn a_job_that_is_over_late_is_not_the_last_of_its_object() {
    let mut work = Work::default();
    work.handle_link(true);
    offer_payload(&mut work, "one", 1);
    let one = takes(&mut work, "one", 1);
    work.handle_observed(one, Some(ready(1)), NOW);
    let Some(Command::Save(late)) = work.poll_command(NOW, NOW) else { panic!("nothing to save") };
    assert_eq!(late.ticket, one);
    offer_payload(&mut work, "two", 2);
    let two = takes(&mut work, "two", 2);
    work.handle_observed(two, Some(ready(2)), NOW);
    assert!(handed_over(&mut work, NOW).is_empty());
    work.handle_saved(one, Ok(()), NOW, 0.5);
    let later = NOW + SignedDuration::from_secs(2);
    assert!(handed_over(&mut work, later).is_empty());
    assert!(work.is_empty());
    offer_payload(&mut work, "one again", 1);
    assert_eq!(names(&handed_over(&mut work, later)), ["one again"]);
}

#[test]
fn what_was_applied_before_a_job_that_was_withdrawn_while_it_waited_is_applied_again() {
    let mut work = one_is_ready();
    offer_payload(&mut work, "two", 2);
    let two = takes(&mut work, "two", 2);
    work.handle_status(two, Err(Failure::Closed), NOW);
    let later = NOW + SignedDuration::from_secs(2);
    assert!(handed_over(&mut work, later).is_empty());
    assert!(work.is_empty());
    offer_payload(&mut work, "one again", 1);
    assert_eq!(names(&handed_over(&mut work, later)), ["one again"]);
}

#[test]
fn what_was_applied_before_a_job_whose_fate_is_unknown_is_applied_again() {
    let mut work = one_is_ready();
    offer_payload(&mut work, "two", 2);
    let two = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(two, Applied::Later { cause: "not now".into(), random: 0.5 }, NOW);
    let over = NOW + SignedDuration::from_secs(60);
    handed_over(&mut work, over);
    work.handle_applied(two, Applied::Later { cause: "not now".into(), random: 0.5 }, over);
    handed_over(&mut work, over);
    assert!(work.is_empty());
    offer_payload(&mut work, "one again", 1);
    assert_eq!(names(&handed_over(&mut work, over)), ["one again"]);
}

/// Somebody deleted the object, and the next job's answer is not here yet.
#[test]
fn another_life_of_the_object_is_no_success() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "former", Deed::Apply);
    let former = takes(&mut work, "former", 1);
    offer(&mut work, "later", Deed::Apply);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["later"]);
    work.handle_observed(former, Some(Observed { uid: "v".into(), ..ready(1) }), NOW);
    assert!(work.is_waiting(former), "it took the later job's success for its own");
}

/// After a crash the job behind it may have been handed over, for all that is known.
#[test]
fn a_deletion_is_over_when_the_object_has_another_life_whoever_gave_it() {
    let (work, deletion) = deletion_under_way();
    let mut work = restarted(&work, NOW);
    work.handle_link(true);
    work.handle_observed(deletion, Some(Observed { uid: "v".into(), ..ready(7) }), NOW);
    assert_eq!(outcome_of(&work, deletion), Some(Outcome::Succeeded));
}

/// A job that was handed over before a crash may be a repetition by the time it is looked at again.
#[test]
fn what_a_job_did_before_it_was_found_to_repeat_another_is_no_success_of_the_one_before() {
    let mut work = Work::default();
    work.handle_link(true);
    let keyed = |id| serde_json::json!({ "deadlineSeconds": 60, "idempotencyKey": "k", "payload": id });
    offer_job(&mut work, "first", Deed::Apply, keyed(1));
    let first = takes(&mut work, "first", 1);
    work.handle_observed(first, Some(ready(1)), NOW);
    let Some(Command::Save(late)) = work.poll_command(NOW, NOW) else { panic!("nothing to save") };
    offer(&mut work, "former", Deed::Apply);
    let former = takes(&mut work, "former", 2);
    offer_job(&mut work, "repeats", Deed::Apply, keyed(1));
    assert_eq!(names(&handed_over(&mut work, NOW)), ["repeats"]);
    work.handle_saved(late.ticket, Ok(()), NOW, 0.5);

    let mut work = restarted(&work, NOW);
    work.handle_link(true);
    assert!(handed_over(&mut work, NOW).is_empty());
    work.handle_observed(former, Some(ready(3)), NOW);
    assert!(work.is_waiting(former));
}

/// An ack says that the job is durable: of a plain v1 control plane it would be gone with the process.
#[test]
fn a_job_that_the_journal_refuses_is_not_acked_and_its_end_is_told() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "large", Deed::Apply);
    let Some(Command::Save(record)) = work.poll_command(NOW, NOW) else { panic!("nothing was saved") };
    work.handle_saved(record.ticket, Err(SaveError::Never("it is too large".into())), NOW, 0.5);
    let again = record.job.clone();
    let plan = Plan { lane: ObjectKey::from(&web()), deed: Ok(Deed::Apply) };
    assert!(!work.handle_offered(again, plan, NOW));
    let told = work.poll_command(NOW, NOW);
    let Some(Command::Post(_, _, result)) = told else { panic!("{told:?}") };
    assert_eq!(result.outcome, Outcome::Failed);
    assert!(result.error.contains("too large"), "{}", result.error);
}

/// What is handed over, and what is told meanwhile, until nothing more happens at that time.
fn told(work: &mut Work, now: Timestamp) -> Vec<(Ticket, StatusUpdate)> {
    let mut told = Vec::new();
    while let Some(command) = work.poll_command(now, now) {
        match command {
            Command::Status(ticket, _, update) => told.push((ticket, update)),
            Command::Save(record) => work.handle_saved(record.ticket, Ok(()), now, 0.5),
            Command::Ack(ticket, _) => work.handle_acked(ticket, Ok(()), now, 0.5),
            _ => {}
        }
    }
    told
}

fn not_now() -> Applied {
    Applied::Later { cause: "the API server is busy".into(), random: 0.5 }
}

#[test]
fn why_the_api_server_does_not_take_a_job_is_told_and_stands_in_its_end() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "late", Deed::Apply);
    let late = handed_over(&mut work, NOW)[0].0;
    assert!(told(&mut work, NOW).is_empty(), "being asked is no progress");
    work.handle_applied(late, not_now(), NOW);
    let progress = told(&mut work, NOW);
    let [(_, update)] = progress.as_slice() else { panic!("{progress:?}") };
    assert_eq!((update.phase.as_str(), update.message.as_str()), ("Applying", "the API server is busy"));
    let over = NOW + SignedDuration::from_secs(60);
    assert_eq!(handed_over(&mut work, over).len(), 1);
    work.handle_applied(late, not_now(), over);
    let error = &work.jobs[&late].record.result.as_ref().unwrap().error;
    assert!(
        error.starts_with("DeadlineExceeded: ") && error.ends_with(": the API server is busy"),
        "{error}"
    );
}

/// Whoever takes a job back that the API server does not take is rid of it, and what comes next begins.
#[test]
fn a_job_that_is_withdrawn_while_the_api_server_does_not_take_it_gives_its_lane_away() {
    let second = NOW + SignedDuration::from_secs(2);
    for is_being_asked in [false, true] {
        let mut work = Work::default();
        work.handle_link(true);
        offer(&mut work, "mistake", Deed::Apply);
        offer(&mut work, "correction", Deed::Apply);
        let mistake = handed_over(&mut work, NOW)[0].0;
        work.handle_applied(mistake, not_now(), NOW);
        assert_eq!(told(&mut work, NOW).len(), 1);
        if is_being_asked {
            assert_eq!(names(&handed_over(&mut work, second)), ["mistake"]);
        }
        work.handle_status(mistake, Err(Failure::Closed), second);
        if is_being_asked {
            assert!(handed_over(&mut work, second).is_empty(), "two are on their way");
            work.handle_applied(mistake, not_now(), second);
        }
        assert_eq!(names(&handed_over(&mut work, second)), ["correction"], "{is_being_asked}");
    }
}

/// The answer to what is told is all that says so, and the reason is the same every time.
#[test]
fn a_job_that_is_withdrawn_after_it_was_told_why_it_is_not_taken_gives_its_lane_away_at_the_next_try() {
    let second = NOW + SignedDuration::from_secs(2);
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "mistake", Deed::Apply);
    offer(&mut work, "correction", Deed::Apply);
    let mistake = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(mistake, not_now(), NOW);
    assert_eq!(told(&mut work, NOW).len(), 1);
    work.handle_status(mistake, Ok(()), NOW);
    assert_eq!(names(&handed_over(&mut work, second)), ["mistake"]);
    work.handle_applied(mistake, not_now(), second);
    assert_eq!(told(&mut work, second).len(), 1);
    work.handle_status(mistake, Err(Failure::Closed), second);
    assert_eq!(names(&handed_over(&mut work, second)), ["correction"]);
}
