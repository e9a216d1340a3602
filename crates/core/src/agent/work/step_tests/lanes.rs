//! Whose turn it is.

use super::*;

/// A job of an object of its own; its number is its name.
fn offer_other(work: &mut Work, n: usize) {
    let name = n.to_string();
    let job = serde_json::json!({"id": name, "kind": "apply", "payload": {}});
    let lane = ObjectKey { kind: "ApplicationInstance".into(), namespace: "n".into(), name };
    work.handle_offered(
        serde_json::from_value(job).unwrap(),
        Plan { lane, action: Ok(JobAction::Apply) },
        NOW,
    );
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
    work.handle_applied(handed[1].0, not_now(), NOW);
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

/// The API server answers about none of these objects; those that come first are asked about again all the time.
#[test]
fn none_waits_for_a_place_longer_than_those_that_had_one_meanwhile() {
    let (mut work, mut now, jobs) = (Work::default(), NOW, 4 * MAX_APPLYING);
    work.handle_link(true);
    (0..jobs).for_each(|n| offer_other(&mut work, n));
    let mut asked = Vec::new();
    for _ in 0..jobs / MAX_APPLYING {
        let handed = handed_over(&mut work, now);
        now += SignedDuration::from_secs(30);
        handed.iter().for_each(|(ticket, _)| work.handle_applied(*ticket, no_answer(), now));
        asked.extend(handed.into_iter().map(|(ticket, _)| ticket));
    }
    asked.sort_unstable();
    assert_eq!(asked, (0..jobs as Ticket).collect::<Vec<_>>());
}

/// Where no place becomes free, nobody loses his.
#[test]
fn a_withdrawal_changes_nothing_about_who_gets_the_next_place() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "waits", JobAction::Apply);
    let waiting = takes(&mut work, "waits", 1);
    (0..MAX_APPLYING + 2).for_each(|n| offer_other(&mut work, n));
    let handed = handed_over(&mut work, NOW);
    assert_eq!(handed.len(), MAX_APPLYING);
    work.handle_status(waiting, Err(Failure::Closed), NOW);
    assert!(handed_over(&mut work, NOW).is_empty());
    work.handle_applied(handed[0].0, Applied::Refused("no".into()), NOW);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["16"]);
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
    offer(&mut work, "broken", JobAction::Apply);
    offer(&mut work, "mended", JobAction::Apply);
    let handed = handed_over(&mut work, NOW);
    assert_eq!(names(&handed), ["broken"]);
    work.handle_applied(handed[0].0, taken(Goal::Ready), NOW);
    assert_eq!(names(&handed_over(&mut work, NOW)), ["mended"]);
}

#[test]
fn a_job_that_is_over_at_its_ack_is_never_handed_to_the_api_server() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "withdrawn", JobAction::Apply);
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
    offer(&mut work, "one", JobAction::Delete);
    let handed = handed_over(&mut work, NOW);
    let gone = Applied::Taken { object: ObjectRef::default(), goal: Goal::Gone, gone: true };
    work.handle_applied(handed[0].0, gone.clone(), NOW);
    // Stored for the first one on the way.
    assert!(handed_over(&mut work, NOW).is_empty());
    assert!(work.is_empty());
    offer(&mut work, "two", JobAction::Delete);
    let handed = handed_over(&mut work, NOW);
    work.handle_applied(handed[0].0, gone, NOW);
    assert!(handed_over(&mut work, NOW).is_empty());
    assert!(!work.is_empty(), "a job left the journal before the ledger that remembers it was stored");
    let second = NOW + SignedDuration::from_secs(1);
    assert_eq!(work.poll_timeout(), Some(second));
    assert!(handed_over(&mut work, second).is_empty());
    assert!(work.is_empty());
}

/// An ack says that the job is durable: of a plain v1 control plane it would be gone with the process.
#[test]
fn a_job_that_the_journal_refuses_is_not_acked_and_its_end_is_told() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "large", JobAction::Apply);
    let Some(Command::Save(record)) = work.poll_command(NOW, NOW) else { panic!("nothing was saved") };
    work.handle_saved(record.ticket, Err(SaveError::Never("it is too large".into())), NOW, 0.5);
    let again = record.job.clone();
    let plan = Plan { lane: ObjectKey::from(&web()), action: Ok(JobAction::Apply) };
    assert!(!work.handle_offered(again, plan, NOW));
    let told = work.poll_command(NOW, NOW);
    let Some(Command::Post(_, _, result)) = told else { panic!("{told:?}") };
    assert_eq!(result.outcome, Outcome::Failed);
    assert!(result.error.contains("too large"), "{}", result.error);
}
