//! What each answer to each message about a job leads to (contract, section 4).

use super::*;
use crate::agent::job_run::Observed;
use std::time::Duration;
use vworkspace_protocol::{Condition, ConditionStatus};

const ASKED: Option<Duration> = Some(Duration::from_secs(7));

const FAILURES: [Failure; 11] = [
    Failure::Unauthorized,
    Failure::Forbidden,
    Failure::NotFound,
    Failure::Closed,
    Failure::TooLarge,
    Failure::IdentityConflict { retry_after: ASKED },
    Failure::Refused,
    Failure::RateLimited { retry_after: ASKED },
    Failure::RateLimited { retry_after: None },
    Failure::Unavailable { retry_after: ASKED },
    Failure::Unavailable { retry_after: None },
];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Everything due at that second; journal and ledger take what they are given.
fn due(work: &mut Work, second: i64) -> Vec<Command> {
    let mut told = Vec::new();
    while let Some(command) = work.poll_command(at(second), at(second)) {
        match command {
            Command::Save(record) => work.handle_saved(record.ticket, Ok(()), at(second), 0.0),
            Command::StoreLedger(_) => work.handle_ledger_stored(true, at(second), 0.0),
            other => told.push(other),
        }
    }
    told
}

fn object() -> ObjectRef {
    ObjectRef {
        kind: "ApplicationInstance".into(),
        name: "web".into(),
        generation: 1,
        ..ObjectRef::default()
    }
}

/// A job that has just been saved: its acknowledgement is on its way.
fn acking() -> Work {
    let mut work = Work::default();
    work.handle_link(true);
    let job = serde_json::from_str(r#"{"id":"j","kind":"apply","payload":{}}"#).unwrap();
    let plan = Plan { lane: ObjectKey::from(&object()), action: Ok(JobAction::Apply) };
    assert!(work.handle_offered(job, plan, at(0)));
    assert!(matches!(due(&mut work, 0)[..], [Command::Ack(0, _)]));
    work
}

/// A job that the API server has taken, and whose first progress is on its way.
fn telling() -> Work {
    let mut work = acking();
    work.handle_acked(0, Ok(()), at(0), 0.0);
    assert!(matches!(due(&mut work, 0)[..], [Command::Apply(0, _)]));
    work.handle_applied(0, Applied::Taken { object: object(), goal: Goal::Ready, gone: false }, at(0));
    assert!(matches!(due(&mut work, 0)[..], [Command::Follow(0, _)]));
    observe(&mut work, ConditionStatus::Unknown, 0);
    assert!(matches!(due(&mut work, 0)[..], [Command::Status(0, ..)]));
    work
}

/// A job whose result is on its way.
fn posting() -> Work {
    let mut work = telling();
    work.handle_status(0, Ok(()), at(0));
    observe(&mut work, ConditionStatus::True, 0);
    assert!(matches!(due(&mut work, 0)[..], [Command::Post(0, ..)]));
    work
}

fn observe(work: &mut Work, ready: ConditionStatus, second: i64) {
    let ready = Condition {
        type_: "Ready".into(),
        status: ready,
        observed_generation: 1,
        last_transition_time: None,
        reason: "r".into(),
        message: String::new(),
    };
    let observed =
        Observed { conditions: vec![ready], handled_request: Some("j".to_owned()), ..Observed::default() };
    work.handle_observed(0, Some(observed), at(second));
}

/// Seconds until a message that was not taken is sent again; with `random` 0 the shortest.
fn pause(failure: Failure) -> i64 {
    if failure.retry_after() == ASKED { 7 } else { 1 }
}

fn is_dropped(work: &mut Work) -> bool {
    // The ledger is stored at most once a second.
    let told = due(work, 2);
    matches!(told[..], [Command::Remove(0, _)])
}

#[test]
fn an_acknowledgement_that_is_refused_for_good_drops_the_job_and_any_other_is_repeated() {
    for failure in FAILURES {
        let mut work = acking();
        work.handle_acked(0, Err(failure), at(0), 0.0);
        if failure.is_final() {
            assert!(is_dropped(&mut work), "{failure:?}");
        } else {
            assert!(due(&mut work, pause(failure) - 1).is_empty(), "{failure:?}");
            assert!(matches!(due(&mut work, pause(failure))[..], [Command::Ack(0, _)]), "{failure:?}");
        }
    }
}

#[test]
fn a_result_that_is_refused_for_good_is_done_and_any_other_is_repeated() {
    for failure in FAILURES {
        let mut work = posting();
        work.handle_posted(0, Err(failure), at(0), 0.0);
        if failure.is_final() {
            assert!(is_dropped(&mut work), "{failure:?}");
        } else {
            assert!(due(&mut work, pause(failure) - 1).is_empty(), "{failure:?}");
            assert!(matches!(due(&mut work, pause(failure))[..], [Command::Post(0, ..)]), "{failure:?}");
        }
    }
}

/// Progress that was not taken is not told again: the next tells more. But nothing is told before its time.
#[test]
fn progress_that_is_not_taken_costs_nothing_unless_the_job_is_unknown_or_closed() {
    for failure in FAILURES {
        let mut work = telling();
        work.handle_status(0, Err(failure), at(0));
        if matches!(failure, Failure::NotFound | Failure::Closed) {
            assert!(is_dropped(&mut work), "{failure:?}");
            continue;
        }
        assert!(due(&mut work, 0).is_empty(), "{failure:?}");
        observe(&mut work, ConditionStatus::False, 0);
        assert!(due(&mut work, pause(failure) - 1).is_empty(), "{failure:?}");
        assert!(matches!(due(&mut work, pause(failure))[..], [Command::Status(0, ..)]), "{failure:?}");
    }
}

#[test]
fn pause_asked_for_by_another_control_plane_does_not_hold_messages_back() {
    let hour = Some(Duration::from_secs(3_600));
    let mut work = telling();
    work.handle_status(0, Err(Failure::RateLimited { retry_after: hour }), at(0));
    observe(&mut work, ConditionStatus::False, 1);
    assert!(due(&mut work, 10).is_empty());
    work.handle_another_target();
    assert!(matches!(due(&mut work, 10)[..], [Command::Status(0, ..)]));

    let mut work = posting();
    work.handle_posted(0, Err(Failure::RateLimited { retry_after: hour }), at(0), 0.0);
    assert!(due(&mut work, 10).is_empty());
    work.handle_another_target();
    assert!(matches!(due(&mut work, 10)[..], [Command::Post(0, ..)]));
}

#[test]
fn a_rejected_credential_silences_jobs_until_there_is_another() {
    let mut work = posting();
    work.handle_posted(0, Err(Failure::Unauthorized), at(0), 0.0);
    work.handle_link(false);
    assert!(due(&mut work, 9_000).is_empty());
    work.handle_link(true);
    assert!(matches!(due(&mut work, 9_000)[..], [Command::Post(0, ..)]));
}
