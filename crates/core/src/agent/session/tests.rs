use super::*;
use proptest::prelude::*;

const SILENCE: Failure = Failure::Unavailable { retry_after: None };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn active() -> Session {
    let mut session = Session::new(DISCONNECT_AFTER);
    session.handle_credential(true, at(0));
    assert_eq!(session.poll_step(at(0)), Step::Resync);
    session.handle_resynced(true, at(0));
    session
}

#[test]
fn status_goes_first_then_jobs() {
    let mut session = Session::new(DISCONNECT_AFTER);
    assert_eq!(session.poll_step(at(0)), Step::Halt);
    session.handle_credential(true, at(0));
    assert_eq!(session.poll_step(at(0)), Step::Resync);
    session.handle_resynced(true, at(1));
    assert_eq!(session.poll_step(at(1)), Step::Poll);
}

const REJECTIONS: [(Failure, Rejection); 2] = [
    (Failure::Unauthorized, Rejection::CredentialRejected),
    (Failure::Forbidden, Rejection::IdentityForbidden),
];

#[test]
fn rejected_agent_asks_again_after_a_minute_doubling_to_fifteen() {
    for (failure, why) in REJECTIONS {
        let (mut session, mut now) = (active(), 0);
        for minutes in [1, 2, 4, 8, 15, 15] {
            session.handle_failure(failure, at(now), 1.0);
            assert_eq!(session.state(), State::Rejected(why));
            assert_eq!(session.poll_step(at(now)), Step::Wait(at(now + 60 * minutes)));
            now += 60 * minutes;
            assert_eq!(session.poll_step(at(now)), Step::Reopen);
            // Each of the credentials held is tried over a connection of its own.
            session.handle_credential(true, at(now));
            assert_eq!(session.poll_step(at(now)), Step::Resync);
            assert_eq!(session.rejected().map(|rejected| rejected.why), Some(why), "until a good answer");
        }
    }
}

#[test]
fn change_by_somebody_else_ends_a_rejection_at_once() {
    for (failure, _) in REJECTIONS {
        let mut session = active();
        session.handle_failure(failure, at(1), 1.0);
        session.handle_change();
        assert_eq!((session.poll_step(at(1)), session.rejected()), (Step::Resync, None));
        session.handle_failure(failure, at(2), 1.0);
        assert_eq!(session.poll_step(at(2)), Step::Wait(at(62)), "waits start from the shortest again");
    }
}

#[test]
fn good_answer_after_a_rejection_is_followed_by_a_snapshot() {
    for (failure, _) in REJECTIONS {
        let mut session = active();
        session.handle_failure(failure, at(1), 1.0);
        session.handle_good(at(2));
        assert_eq!((session.poll_step(at(2)), session.rejected()), (Step::Resync, None));
    }
}

#[test]
fn loser_of_an_identity_conflict_waits_as_asked_and_stays_open() {
    let mut session = active();
    let conflict = Failure::of_refusal(409, "identity_conflict", Some(Duration::from_secs(30)));
    session.handle_failure(conflict, at(1), 0.5);
    assert_eq!(session.state(), State::Resyncing);
    assert_eq!(session.rejected().map(|rejected| rejected.why), Some(Rejection::IdentityConflict));
    assert_eq!(session.poll_step(at(1)), Step::Wait(at(31)));
    assert_eq!(session.poll_step(at(31)), Step::Resync);
}

#[test]
fn foreign_answer_means_try_again_and_waits_a_minute_at_most() {
    let hour = Some(Duration::from_secs(3600));
    for status in [200, 204, 302, 400, 401, 403, 404, 407, 409, 429, 500, 503] {
        let failure = Failure::of_foreign(status, hour);
        assert_eq!(failure, Failure::Unavailable { retry_after: Some(FOREIGN_CEILING) }, "{status}");
        assert_eq!(Failure::of_foreign(status, None), SILENCE, "{status}");
    }
    assert_eq!(Failure::of_foreign(413, hour), Failure::TooLarge);
}

#[test]
fn retry_after_is_exact_and_other_failures_back_off() {
    let mut session = active();
    let asked = Failure::RateLimited { retry_after: Some(Duration::from_secs(17)) };
    session.handle_failure(asked, at(1), 0.0);
    assert_eq!(session.poll_step(at(17)), Step::Wait(at(18)));
    assert_eq!(session.poll_step(at(18)), Step::Poll);
    session.handle_failure(Failure::of_status(503, None), at(18), 0.0);
    assert_eq!(session.poll_step(at(18)), Step::Wait(at(19)));
    assert_eq!(session.state(), State::Resyncing);
}

#[test]
fn a_long_cut_is_told_and_ends_with_a_snapshot() {
    let mut session = active();
    let cut = Failure::Unavailable { retry_after: None };
    for second in (1..60).step_by(5) {
        session.handle_failure(cut, at(second), 0.0);
        assert!(!session.is_disconnected(at(second)));
    }
    assert_eq!(session.disconnects_at(), Some(at(60)));
    assert!(session.is_disconnected(at(60)));
    assert_eq!(session.poll_step(at(200)), Step::Resync);
    session.handle_resynced(true, at(201));
    assert!(!session.is_disconnected(at(201)));
    assert_eq!(session.poll_step(at(201)), Step::Poll);
}

#[test]
fn an_empty_snapshot_is_no_round_trip_and_the_back_off_goes_on_growing() {
    let mut session = active();
    for (failures, second) in [10, 20, 30].into_iter().enumerate() {
        session.handle_failure(SILENCE, at(second), 1.0);
        session.handle_resynced(false, at(second));
        assert_eq!(session.poll_step(at(second)), Step::Wait(at(second + (2 << failures))));
    }
    assert_eq!(session.last_good(), Some(at(0)));
}

#[test]
fn one_lost_request_is_no_cut_but_two_are() {
    let mut session = active();
    session.handle_failure(Failure::Unavailable { retry_after: None }, at(1), 0.0);
    assert_eq!(session.poll_step(at(10)), Step::Poll);
    session.handle_failure(Failure::Unavailable { retry_after: None }, at(10), 0.0);
    assert_eq!(session.poll_step(at(20)), Step::Resync);
}

#[test]
fn a_good_round_trip_ends_the_waiting_and_status_still_goes_first() {
    let mut session = active();
    for second in [10, 20, 30] {
        session.handle_failure(SILENCE, at(second), 1.0);
    }
    assert_eq!(session.poll_step(at(32)), Step::Wait(at(38)));
    session.handle_good(at(32));
    assert_eq!(session.poll_step(at(32)), Step::Resync);
}

#[test]
fn a_wait_ends_early_once_per_cut_and_never_within_a_second() {
    let mut session = active();
    session.handle_failure(SILENCE, at(10), 1.0);
    session.handle_good(at(10));
    assert_eq!(session.poll_step(at(10)), Step::Wait(at(11)));
    session.handle_failure(SILENCE, at(11), 1.0);
    session.handle_good(at(12));
    assert_eq!(session.poll_step(at(12)), Step::Wait(at(15)), "a poll that fails for its own reasons");
    session.handle_resynced(true, at(15));
    session.handle_failure(SILENCE, at(20), 1.0);
    session.handle_good(at(21));
    assert_eq!(session.poll_step(at(21)), Step::Poll, "the next cut");
}

#[test]
fn what_was_asked_for_stands_whatever_gets_through() {
    let asked = Some(Duration::from_secs(17));
    for failure in [Failure::RateLimited { retry_after: asked }, Failure::Unavailable { retry_after: asked }]
    {
        let mut session = active();
        session.handle_failure(SILENCE, at(9), 0.0);
        session.handle_failure(failure, at(10), 0.0);
        session.handle_good(at(12));
        assert_eq!(session.poll_step(at(12)), Step::Wait(at(27)), "{failure:?}");
    }
}

proptest! {
    #[test]
    fn after_a_cut_of_any_length_jobs_are_asked_for_within_ten_seconds(
        cut in 0i64..3_000, randoms in proptest::collection::vec(0.0f64..=1.0, 16)
    ) {
        let (mut session, mut now) = (active(), at(0));
        let back = at(cut);
        for random in randoms.into_iter().cycle() {
            match session.poll_step(now) {
                Step::Wait(until) => now = until,
                Step::Resync | Step::Poll if now < back => session.handle_failure(SILENCE, now, random),
                Step::Resync => session.handle_resynced(true, now),
                Step::Poll => break,
                Step::Halt | Step::Reopen => prop_assert!(false, "nobody rejected anything"),
            }
        }
        prop_assert!(now.duration_since(back) <= SignedDuration::from_secs(10));
    }

    #[test]
    fn two_polls_fit_into_the_disconnect_window(wanted in 0u64..10_000, window in 2u64..10_000) {
        let wait = poll_wait(Duration::from_secs(wanted), Duration::from_secs(window));
        prop_assert!(wait * 2 <= Duration::from_secs(window) && wait <= MAX_WAIT);
        prop_assert!(wait >= Duration::from_secs(1));
    }
}

#[test]
fn a_poll_waits_as_long_as_was_set_within_the_window() {
    let wait = |wanted, window| poll_wait(Duration::from_secs(wanted), Duration::from_secs(window)).as_secs();
    assert_eq!((wait(30, 60), wait(20, 60), wait(300, 60), wait(0, 60)), (30, 20, 30, 30));
    assert_eq!((wait(900, 3600), wait(0, 3600), wait(30, 5), wait(30, 1)), (300, 30, 2, 1));
}

#[test]
fn each_status_has_one_meaning() {
    let asked = Some(Duration::from_secs(7));
    let (limited, unavailable) =
        (Failure::RateLimited { retry_after: asked }, Failure::Unavailable { retry_after: asked });
    for (status, meaning) in [
        (302, unavailable),
        (400, Failure::Refused),
        (401, Failure::Unauthorized),
        (403, Failure::Forbidden),
        (404, Failure::NotFound),
        (405, Failure::Refused),
        (408, unavailable),
        (409, Failure::Closed),
        (410, Failure::NotFound),
        (413, Failure::TooLarge),
        (429, limited),
        (500, unavailable),
        (502, unavailable),
        (503, unavailable),
    ] {
        assert_eq!(Failure::of_status(status, asked), meaning, "{status}");
    }
    assert_eq!(Failure::of_status(502, None), Failure::Unavailable { retry_after: None });
}

/// State, seconds until something is asked again, and what; for an agent that was pulling jobs.
#[test]
fn each_failure_of_a_poll_has_one_consequence() {
    let asked = Some(Duration::from_secs(17));
    let rejected = |rejection| (State::Rejected(rejection), 1, Step::Reopen);
    let later = |seconds| (State::Active, seconds, Step::Poll);
    for (failure, (state, seconds, then)) in [
        (Failure::Unauthorized, rejected(Rejection::CredentialRejected)),
        (Failure::Forbidden, rejected(Rejection::IdentityForbidden)),
        (Failure::NotFound, later(1)),
        (Failure::Closed, later(1)),
        (Failure::TooLarge, later(1)),
        (Failure::Refused, later(1)),
        (Failure::RateLimited { retry_after: asked }, later(17)),
        (Failure::RateLimited { retry_after: None }, later(1)),
        (Failure::Unavailable { retry_after: asked }, later(17)),
        (Failure::Unavailable { retry_after: None }, later(1)),
    ] {
        let mut session = active();
        session.handle_failure(failure, at(0), 0.0);
        assert_eq!(session.state(), state, "{failure:?}");
        assert_eq!(session.poll_step(at(seconds - 1)), Step::Wait(at(seconds)), "{failure:?}");
        assert_eq!(session.poll_step(at(seconds)), then, "{failure:?}");
        assert_eq!(failure.is_rejection(), then == Step::Reopen, "{failure:?}");
    }
}

#[test]
fn instant_answers_without_news_are_no_hot_loop() {
    assert_eq!(pause_after_poll(0, Duration::ZERO), MIN_POLL_INTERVAL);
    assert_eq!(pause_after_poll(0, Duration::from_millis(400)), Duration::from_millis(600));
    assert_eq!(pause_after_poll(0, Duration::from_secs(30)), Duration::ZERO);
    assert_eq!(pause_after_poll(3, Duration::ZERO), Duration::ZERO);
}
