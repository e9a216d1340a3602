use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SILENCE: Duration = Duration::from_secs(600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000 + second).unwrap()
}

fn call(sessions: &mut Sessions, name: &str, second: i64, is_poll: bool) -> (Standing, Option<Change>) {
    let session = SessionId::new(name);
    let call = Call { session: Some(&session), address: None, is_poll };
    sessions.handle_call(call, at(second), SILENCE)
}

fn poll(sessions: &mut Sessions, name: &str, second: i64) -> (Standing, Option<Change>) {
    call(sessions, name, second, true)
}

/// `a` was there first, `b` is its copy.
fn in_conflict() -> Sessions {
    let mut sessions = Sessions::default();
    for (name, second) in [("a", 0), ("b", 10), ("a", 20), ("b", 20), ("b", 25)] {
        assert_eq!(poll(&mut sessions, name, second), (Standing::Served, None), "{name} {second}");
    }
    assert_eq!(poll(&mut sessions, "a", 25), (Standing::ServedInConflict, Some(Change::Began)));
    sessions
}

#[test]
fn sessions_that_go_on_beside_each_other_prove_a_conflict() {
    let mut sessions = in_conflict();
    assert_eq!(poll(&mut sessions, "b", 26), (Standing::Refused, None));
    assert_eq!(poll(&mut sessions, "a", 27), (Standing::ServedInConflict, None));
    let conflict = sessions.conflict().unwrap();
    assert_eq!((conflict.since, conflict.served.session.as_str()), (at(25), "a"));
    let refused: Vec<_> = conflict.refused.iter().map(|seen| seen.session.as_str()).collect();
    assert_eq!(refused, ["b"]);
}

#[test]
fn calls_of_a_resumed_leader_within_five_seconds_prove_nothing() {
    let mut sessions = Sessions::default();
    for (name, second) in [("a", 0), ("b", 60), ("a", 90), ("a", 91), ("a", 94), ("b", 95), ("b", 130)] {
        assert_eq!(poll(&mut sessions, name, second), (Standing::Served, None), "{name} {second}");
    }
    assert_eq!(sessions.conflict(), None);
}

#[test]
fn queued_reports_of_a_leader_that_ends_prove_nothing() {
    let mut sessions = Sessions::default();
    poll(&mut sessions, "a", 0);
    poll(&mut sessions, "b", 10);
    for second in 20..60 {
        assert_eq!(call(&mut sessions, "a", second, false), (Standing::Served, None));
    }
}

#[test]
fn late_polls_of_a_session_that_ended_before_prove_nothing() {
    let mut sessions = Sessions::default();
    for (name, second) in
        [("living", 0), ("ended", 1), ("living", 1), ("ended", 1), ("living", 1), ("ended", 2)]
    {
        assert_eq!(poll(&mut sessions, name, second), (Standing::Served, None));
    }
    for second in (2..900).step_by(30) {
        assert_eq!(poll(&mut sessions, "living", second), (Standing::Served, None), "{second}");
    }
}

#[test]
fn late_polls_after_a_restart_prove_nothing_by_what_was_before() {
    let mut sessions = Sessions::default();
    // The second was proved to go on beside the first; then it ends, too.
    for (name, second) in
        [("1", 0), ("2", 1), ("1", 2), ("2", 3), ("2", 60), ("3", 61), ("2", 62), ("3", 63), ("3", 90)]
    {
        assert_eq!(poll(&mut sessions, name, second), (Standing::Served, None), "{name} {second}");
    }
}

#[test]
fn restarts_in_a_row_are_no_conflict() {
    let mut sessions = Sessions::default();
    for run in 0..50 {
        for second in 0..3 {
            assert_eq!(poll(&mut sessions, &format!("s{run}"), run * 3 + second), (Standing::Served, None));
        }
    }
    assert!(sessions.heard.len() <= MOST_SESSIONS);
}

#[test]
fn calls_without_a_session_are_never_judged() {
    let mut sessions = Sessions::default();
    for second in 0..60 {
        if second % 2 == 0 {
            poll(&mut sessions, "a", second);
        }
        let call = Call { session: None, address: None, is_poll: true };
        assert_eq!(sessions.handle_call(call, at(second), SILENCE), (Standing::Served, None));
    }
    assert_eq!(sessions.conflict(), None);
}

#[test]
fn conflict_ends_when_the_later_session_is_silent() {
    let mut sessions = in_conflict();
    poll(&mut sessions, "b", 30);
    poll(&mut sessions, "a", 300);
    assert_eq!(poll(&mut sessions, "a", 629), (Standing::ServedInConflict, None));
    assert_eq!(poll(&mut sessions, "a", 630), (Standing::Served, Some(Change::Ended)));
    assert_eq!(poll(&mut sessions, "b", 640), (Standing::Served, None), "a new session is served at once");
    for (name, second) in [("a", 641), ("b", 641), ("b", 646)] {
        assert_eq!(poll(&mut sessions, name, second), (Standing::Served, None));
    }
    assert_eq!(poll(&mut sessions, "a", 646), (Standing::ServedInConflict, Some(Change::Began)));
}

#[test]
fn later_session_takes_over_when_the_former_is_silent() {
    let mut sessions = in_conflict();
    for second in (30..600).step_by(30) {
        assert_eq!(poll(&mut sessions, "b", second), (Standing::Refused, None), "{second}");
    }
    assert_eq!(poll(&mut sessions, "b", 626), (Standing::Served, Some(Change::Ended)));
}

#[test]
fn of_three_copies_one_is_served_and_succeeded_by_one() {
    let mut sessions = in_conflict();
    for second in (30..3_000).step_by(10) {
        // The served one ends after half an hour, the others go on.
        let a_lives = second < 1_800;
        if a_lives {
            assert_eq!(poll(&mut sessions, "a", second).0, Standing::ServedInConflict);
        }
        let others = [poll(&mut sessions, "b", second).0, poll(&mut sessions, "c", second).0];
        let expected = if second >= 1_790 + 600 { Standing::ServedInConflict } else { Standing::Refused };
        assert_eq!(others, [expected, Standing::Refused], "{second}");
    }
}

#[test]
fn keeping_a_session_ends_the_conflict() {
    let mut sessions = in_conflict();
    assert!(sessions.keep(&SessionId::new("b")));
    assert!(!sessions.keep(&SessionId::new("b")));
    assert_eq!(poll(&mut sessions, "b", 30), (Standing::Served, None));
    assert!(sessions.knows(&SessionId::new("b")) && !sessions.knows(&SessionId::new("a")));
}

#[test]
fn sessions_read_back_as_they_were_stored() {
    let sessions = in_conflict();
    let text = serde_json::to_string(&sessions).unwrap();
    assert_eq!(serde_json::from_str::<Sessions>(&text).unwrap(), sessions);
    assert_eq!(serde_json::from_str::<Sessions>("{}").unwrap(), Sessions::default());
}

proptest! {
    /// However copies call and the clock jumps: never two are served at a time, and which is served changes only when
    /// the one before was silent for the bound.
    #[test]
    fn served_session_changes_only_after_its_silence(
        calls in prop::collection::vec((0u8..4, 0i64..120, any::<bool>()), 1..300)
    ) {
        let mut sessions = Sessions::default();
        let (mut now, mut served, mut heard) = (0, None::<String>, BTreeMap::new());
        for (who, pause, is_poll) in calls {
            now += pause;
            let name = format!("s{who}");
            let (standing, _) = call(&mut sessions, &name, now, is_poll);
            let current = sessions.conflict().map(|conflict| conflict.served.session.as_str().to_owned());
            if let Some(current) = &current {
                prop_assert_eq!(standing == Standing::Refused, *current != name);
                if let Some(former) = served.filter(|former| former != current) {
                    prop_assert!(now - heard[&former] >= 600, "{} gave way to {} too soon", former, current);
                }
            }
            served = current;
            heard.insert(name, now);
        }
    }
}
