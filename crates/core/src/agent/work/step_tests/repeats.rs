//! What counts as a repetition.

use super::*;

/// An apply of this payload without a key, from a plain v1 control plane.
fn offer_payload(work: &mut Work, id: &str, payload: u32) {
    let job = serde_json::json!({ "deadlineSeconds": 60, "payload": payload });
    offer_job(work, id, JobAction::Apply, job);
}

/// Payload 1 was applied and is ready.
fn one_is_ready() -> Work {
    let mut work = Work::default();
    work.handle_link(true);
    offer_payload(&mut work, "one", 1);
    let one = takes(&mut work, "one", 1);
    work.handle_observed(one, Some(answered("one", 1)), NOW);
    assert!(handed_over(&mut work, NOW).is_empty());
    work
}

/// Everything is over, and what the first job wanted is no longer the last thing that was done.
fn assert_done_again(work: &mut Work, now: Timestamp) {
    assert!(work.is_empty());
    offer_payload(work, "one again", 1);
    assert_eq!(names(&handed_over(work, now)), ["one again"]);
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

/// Its key answers it: the ledger's places are for what was done.
#[test]
fn a_repetition_under_a_given_key_takes_no_place_in_the_ledger() {
    let mut work = Work::default();
    work.handle_link(true);
    let keyed = || serde_json::json!({ "idempotencyKey": "k" });
    offer_job(&mut work, "one", JobAction::Apply, keyed());
    let one = takes(&mut work, "one", 1);
    work.handle_observed(one, Some(answered("one", 1)), NOW);
    offer_job(&mut work, "one again", JobAction::Apply, keyed());
    assert!(handed_over(&mut work, NOW + SignedDuration::from_secs(2)).is_empty());
    let kept: Vec<_> = work.ledger().entries().map(|entry| entry.job.as_str()).collect();
    assert_eq!(kept, ["one"]);
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
    work.handle_observed(one, Some(answered("one", 1)), NOW);
    let Some(Command::Save(late)) = work.poll_command(NOW, NOW) else { panic!("nothing to save") };
    assert_eq!(late.ticket, one);
    offer_payload(&mut work, "two", 2);
    let two = takes(&mut work, "two", 2);
    work.handle_observed(two, Some(answered("two", 2)), NOW);
    assert!(handed_over(&mut work, NOW).is_empty());
    work.handle_saved(one, Ok(()), NOW, 0.5);
    let later = NOW + SignedDuration::from_secs(2);
    assert!(handed_over(&mut work, later).is_empty());
    assert_done_again(&mut work, later);
}

#[test]
fn what_was_applied_before_a_job_that_was_withdrawn_while_it_waited_is_applied_again() {
    let mut work = one_is_ready();
    offer_payload(&mut work, "two", 2);
    let two = takes(&mut work, "two", 2);
    work.handle_status(two, Err(Failure::Closed), NOW);
    let later = NOW + SignedDuration::from_secs(2);
    assert!(handed_over(&mut work, later).is_empty());
    assert_done_again(&mut work, later);
}

#[test]
fn what_was_applied_before_a_job_whose_fate_is_unknown_is_applied_again() {
    let mut work = one_is_ready();
    offer_payload(&mut work, "two", 2);
    let two = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(two, no_answer(), NOW);
    let over = NOW + SignedDuration::from_secs(60);
    handed_over(&mut work, over);
    work.handle_applied(two, no_answer(), over);
    handed_over(&mut work, over);
    assert_done_again(&mut work, over);
}

/// A control plane that was restored from a backup gives out an id once more.
#[test]
fn other_payload_under_the_id_of_an_open_job_is_not_acknowledged() {
    let mut work = Work::default();
    work.handle_link(true);
    offer_payload(&mut work, "one", 1);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["one"]);
    for (payload, is_acknowledged) in [(2, false), (1, true)] {
        let job = serde_json::json!({ "id": "one", "kind": "apply", "payload": payload });
        let job: Job = serde_json::from_value(job).unwrap();
        assert_eq!(work.contradicts(&job), !is_acknowledged);
        assert!(!work.handle_offered(
            job,
            Plan { lane: ObjectKey::from(&web()), action: Ok(JobAction::Apply) },
            NOW
        ));
        let command = std::iter::from_fn(|| work.poll_command(NOW, NOW)).next();
        assert_eq!(matches!(command, Some(Command::Ack(..))), is_acknowledged, "{payload}");
    }
}

/// As a control plane does that was restored from a backup.
#[test]
fn replay_after_its_expiry_answers_with_what_was_done() {
    let mut work = Work::default();
    work.handle_link(true);
    let expires_at = (NOW + SignedDuration::from_secs(5)).to_string();
    let expiring = || serde_json::json!({ "expiresAt": expires_at });
    offer_job(&mut work, "one", JobAction::Apply, expiring());
    let one = takes(&mut work, "one", 1);
    work.handle_observed(one, Some(answered("one", 1)), NOW);
    assert!(handed_over(&mut work, NOW).is_empty() && work.is_empty());
    offer_job(&mut work, "one", JobAction::Apply, expiring());
    let (handed, ended) = handed_over_and_ended(&mut work, NOW + SignedDuration::from_secs(60));
    assert!(handed.is_empty());
    let applied = ended[0].applied_ref.as_ref().map(|object| object.uid.as_str());
    assert_eq!(
        (ended.len(), ended[0].outcome, ended[0].error.as_str(), applied),
        (1, Outcome::Noop, "", Some("u"))
    );
}
