//! What is believed of a job whose fate, or whose object, is not certain.

use super::*;

/// The job may have been applied: what the object does from there on may be its work.
#[test]
fn what_a_job_did_whose_fate_is_unknown_is_no_success_of_the_one_before() {
    let ends: [Applied; 3] = [
        no_answer(),
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
    offer(&mut work, "former", JobAction::Apply);
    let expires = serde_json::json!({ "expiresAt": NOW + SignedDuration::from_secs(60) });
    offer_job(&mut work, "withdrawn", JobAction::Apply, expires);
    offer(&mut work, "later", JobAction::Apply);
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
    offer(&mut work, "former", JobAction::Apply);
    offer(&mut work, "later", JobAction::Apply);
    let former = handed_over(&mut work, NOW)[0].0;
    work.handle_applied(former, taken(Goal::Ready), NOW);
    let later = handed_over(&mut work, NOW)[0].0;
    work.handle_observed(former, Some(ready(2)), NOW);
    assert!(work.is_waiting(former));
    work.handle_applied(later, Applied::Refused("no".into()), NOW);
    assert_eq!(outcome_of(&work, former), Some(Outcome::Succeeded));
}

/// Somebody deleted the object, and the next job's answer is not here yet.
#[test]
fn another_life_of_the_object_is_no_success() {
    let mut work = Work::default();
    work.handle_link(true);
    offer(&mut work, "former", JobAction::Apply);
    let former = takes(&mut work, "former", 1);
    offer(&mut work, "later", JobAction::Apply);
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
    offer_job(&mut work, "first", JobAction::Apply, keyed(1));
    let first = takes(&mut work, "first", 1);
    work.handle_observed(first, Some(answered("first", 1)), NOW);
    let Some(Command::Save(late)) = work.poll_command(NOW, NOW) else { panic!("nothing to save") };
    offer(&mut work, "former", JobAction::Apply);
    let former = takes(&mut work, "former", 2);
    offer_job(&mut work, "repeats", JobAction::Apply, keyed(1));
    assert_eq!(names(&handed_over(&mut work, NOW)), ["repeats"]);
    work.handle_saved(late.ticket, Ok(()), NOW, 0.5);

    let mut work = restarted(&work, NOW);
    work.handle_link(true);
    assert!(handed_over(&mut work, NOW).is_empty());
    work.handle_observed(former, Some(answered("former", 3)), NOW);
    assert!(work.is_waiting(former));
}
