//! What the API server does not take, for now.

use super::*;

fn offer_illegible(work: &mut Work, id: &str) {
    offer_planned(work, id, Err("it cannot be read".into()), serde_json::json!({}));
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

#[test]
fn why_the_api_server_does_not_take_a_job_is_told_and_stands_in_its_end() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "late", JobAction::Apply);
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

/// Whoever takes a job back that gets no answer from the API server is rid of it, and what comes next begins.
#[test]
fn a_job_that_is_withdrawn_while_the_api_server_does_not_take_it_gives_its_lane_away() {
    let second = NOW + SignedDuration::from_secs(2);
    for is_being_asked in [false, true] {
        let mut work = Work::default();
        work.handle_link(true);
        offer(&mut work, "mistake", JobAction::Apply);
        offer(&mut work, "correction", JobAction::Apply);
        let mistake = handed_over(&mut work, NOW)[0].0;
        work.handle_applied(mistake, no_answer(), NOW);
        assert_eq!(told(&mut work, NOW).len(), 1);
        if is_being_asked {
            assert_eq!(names(&handed_over(&mut work, second)), ["mistake"]);
        }
        work.handle_status(mistake, Err(Failure::Closed), second);
        if is_being_asked {
            assert!(handed_over(&mut work, second).is_empty(), "two are on their way");
            work.handle_applied(mistake, no_answer(), second);
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
    offer(&mut work, "mistake", JobAction::Apply);
    offer(&mut work, "correction", JobAction::Apply);
    let mistake = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(mistake, no_answer(), NOW);
    assert_eq!(told(&mut work, NOW).len(), 1);
    work.handle_status(mistake, Ok(()), NOW);
    assert_eq!(names(&handed_over(&mut work, second)), ["mistake"]);
    work.handle_applied(mistake, no_answer(), second);
    assert_eq!(told(&mut work, second).len(), 1);
    work.handle_status(mistake, Err(Failure::Closed), second);
    assert_eq!(names(&handed_over(&mut work, second)), ["correction"]);
}

/// One that the API server does not take at the moment, and what came behind it before and after that was known.
fn declined(behind: impl Fn(&mut Work)) -> Vec<Work> {
    [false, true]
        .into_iter()
        .map(|is_behind_before| {
            let mut work = Work::default();
            work.handle_link(true);
            offer(&mut work, "mistake", JobAction::Apply);
            if is_behind_before {
                behind(&mut work);
            }
            let mistake = handed_over(&mut work, NOW)[0].0;
            work.handle_applied(mistake, not_now(), NOW);
            if !is_behind_before {
                assert!(handed_over(&mut work, NOW).is_empty());
                behind(&mut work);
            }
            work
        })
        .collect()
}

#[test]
fn a_job_that_the_api_server_does_not_take_gives_way_to_a_later_one_for_its_object() {
    for action in [JobAction::Apply, JobAction::Delete] {
        for mut work in declined(|work| offer(work, "correction", action)) {
            let (handed, ended) = handed_over_and_ended(&mut work, NOW);
            assert_eq!(names(&handed), ["correction"]);
            let [mistake] = ended.as_slice() else { panic!("{ended:?}") };
            assert_eq!((mistake.outcome, &mistake.applied_ref), (Outcome::Failed, &None));
            assert!(mistake.error.starts_with("Superseded: by job correction; "), "{}", mistake.error);
        }
    }
}

#[test]
fn a_job_gives_way_to_none_that_will_not_be_applied() {
    let second = NOW + SignedDuration::from_secs(2);
    let expired = serde_json::json!({"expiresAt": NOW - SignedDuration::from_secs(1)});
    for mut work in declined(|work| offer_job(work, "late", JobAction::Apply, expired.clone())) {
        assert_eq!(names(&handed_over(&mut work, second)), ["mistake"]);
    }
    for mut work in declined(|work| offer_illegible(work, "illegible")) {
        assert_eq!(names(&handed_over(&mut work, second)), ["mistake"]);
    }
}

/// It would be answered as a repetition, and nobody's wish would be done.
#[test]
fn a_job_gives_way_to_no_repetition_of_an_earlier_one() {
    let mut work = Work::default();
    work.handle_link(true);
    let keyed = || serde_json::json!({"idempotencyKey": "k"});
    offer_job(&mut work, "first", JobAction::Apply, keyed());
    let first = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(first, taken(Goal::Ready), NOW);
    offer(&mut work, "second", JobAction::Apply);
    let second = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(second, not_now(), NOW);
    offer_job(&mut work, "first again", JobAction::Apply, keyed());
    assert!(handed_over(&mut work, NOW).is_empty());
    assert_eq!(names(&handed_over(&mut work, NOW + SignedDuration::from_secs(2))), ["second"]);
}

/// What failed is kept as long as an earlier job waits; its key is new work all the same.
#[test]
fn a_job_gives_way_to_a_repetition_of_one_that_failed() {
    let mut work = Work::default();
    work.handle_link(true);
    let keyed = || serde_json::json!({"idempotencyKey": "k"});
    offer(&mut work, "waits", JobAction::Apply);
    takes(&mut work, "waits", 1);
    offer_job(&mut work, "failed", JobAction::Apply, keyed());
    let failed = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(failed, Applied::Refused("no".into()), NOW);
    offer(&mut work, "mistake", JobAction::Apply);
    let mistake = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(mistake, not_now(), NOW);
    offer_job(&mut work, "correction", JobAction::Apply, keyed());
    assert_eq!(names(&handed_over(&mut work, NOW)), ["correction"]);
}

/// Whether the API server has it is not known; and while it cannot be reached, the later one gets no further either.
#[test]
fn a_job_without_an_answer_keeps_its_turn() {
    let second = NOW + SignedDuration::from_secs(2);
    let (mut work, ..) = answer_lost();
    offer(&mut work, "third", JobAction::Apply);
    assert!(handed_over(&mut work, NOW).is_empty());
    assert_eq!(names(&handed_over(&mut work, second)), ["later"]);
}

/// What comes behind it is to be another life of the object.
#[test]
fn a_deletion_that_the_api_server_does_not_take_keeps_its_turn() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "gone", JobAction::Delete);
    offer(&mut work, "again", JobAction::Apply);
    let deletion = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(deletion, not_now(), NOW);
    assert_eq!(names(&handed_over(&mut work, NOW + SignedDuration::from_secs(2))), ["gone"]);
}
