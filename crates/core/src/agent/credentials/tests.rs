use super::*;
use jiff::Timestamp;
use vworkspace_protocol::JobId;

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

fn life(second: i64) -> Option<Life> {
    let at = |second| Timestamp::from_second(second).unwrap();
    Some(Life { issued_at: at(second), expires_at: at(second + 90) })
}

fn held() -> Held {
    Held::new(ClusterId::new("c"), secret("old"), life(0))
}

fn rotating() -> Held {
    let fetched = Fetched { token: secret("new"), life: life(60), rotation: "r".to_owned() };
    held().fetched(fetched, &Cause::Job(JobId::new("j")))
}

/// What is read again of what is stored beside `current`.
fn stored(next: &Next, current: Held) -> Held {
    let text = serde_json::to_string(next).unwrap();
    current.beside(Some(serde_json::from_str(&text).unwrap()))
}

fn now() -> Timestamp {
    Timestamp::from_second(70).unwrap()
}

/// Three rotations later: `new` is the current one.
fn rotated() -> Held {
    let mut held = Held::new(ClusterId::new("c"), secret("first"), None);
    for token in ["second", "third", "new"] {
        held = promoted(&held, token);
    }
    held
}

fn promoted(held: &Held, token: &str) -> Held {
    let fetched = Fetched { token: secret(token), life: None, rotation: "r".to_owned() };
    let mut verdicts = Verdicts::default();
    verdicts.handle_accepted(&secret(token));
    match held.fetched(fetched, &Cause::Age).settled(&verdicts, now()) {
        Some(Settled::Promoted(held)) => held,
        _ => panic!("not promoted"),
    }
}

fn tokens(held: &Held) -> Vec<&str> {
    held.tokens().map(Secret::expose).collect()
}

fn refuse(held: &Held, tokens: &[&str]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    tokens.iter().for_each(|token| verdicts.handle_refused(&secret(token), held));
    verdicts
}

#[test]
fn next_credential_is_used_first_and_replaces_the_current_one() {
    let mut verdicts = Verdicts::default();
    assert!(held().presented(&verdicts) == &secret("old") && held().settled(&verdicts, now()).is_none());
    verdicts.handle_accepted(&secret("old"));
    let rotating = rotating();
    assert!(rotating.presented(&verdicts) == &secret("new"));
    assert!(rotating.settled(&verdicts, now()).is_none());
    verdicts.handle_accepted(&secret("new"));
    let Some(Settled::Promoted(after)) = rotating.settled(&verdicts, now()) else { panic!("not promoted") };
    assert_eq!(tokens(&after), ["new", "old"]);
    assert!(after.next().is_none() && after.presented(&verdicts) == &secret("new"));
    assert_eq!((after.life, after.rotation.as_deref()), (life(60), Some("r")));
    assert_eq!(after.fulfilled.job, Some(JobId::new("j")));
}

#[test]
fn refused_next_credential_is_dropped_once_the_current_one_works() {
    let (mut verdicts, rotating) = (Verdicts::default(), rotating());
    verdicts.handle_accepted(&secret("old"));
    verdicts.handle_refused(&secret("new"), &rotating);
    assert!(rotating.presented(&verdicts) == &secret("old"));
    assert!(rotating.settled(&verdicts, now()).is_none(), "what was answered before says nothing");
    verdicts.handle_accepted(&secret("old"));
    assert!(rotating.settled(&verdicts, now()) == Some(Settled::Dropped(held())));
    assert_eq!(held().fulfilled, Fulfilled::default());
}

/// An empty control plane may answer 401 to everything: the newest may be the one that works afterwards.
#[test]
fn all_credentials_are_kept_while_all_are_refused() {
    let rotating = rotating();
    let mut verdicts = refuse(&rotating, &["new", "old"]);
    assert!(rotating.is_refused(&verdicts) && rotating.settled(&verdicts, now()).is_none());
    assert!(rotating.presented(&verdicts) == &secret("new"));
    verdicts.handle_change();
    assert!(!rotating.is_refused(&verdicts));
}

#[test]
fn refusal_counts_for_that_credential_until_a_good_answer() {
    let rotating = rotating();
    let mut verdicts = refuse(&rotating, &["new"]);
    let fetched = Fetched { token: secret("newer"), life: None, rotation: "s".to_owned() };
    let again = held().fetched(fetched, &Cause::Age);
    assert!(again.presented(&verdicts) == &secret("newer"));
    verdicts.handle_accepted(&secret("new"));
    assert!(rotating.presented(&verdicts) == &secret("new"));
}

#[test]
fn former_credentials_are_tried_newest_first() {
    let held = rotated();
    assert_eq!(tokens(&held), ["new", "third", "second", "first"]);
    assert!(held.presented(&refuse(&held, &["new"])) == &secret("third"));
    assert!(held.presented(&refuse(&held, &["new", "third", "second"])) == &secret("first"));
}

#[test]
fn four_former_credentials_are_kept_until_they_expire() {
    let held = promoted(&promoted(&rotated(), "newer"), "newest");
    assert_eq!(tokens(&held), ["newest", "newer", "new", "third", "second"]);
    let mut short = rotated();
    short.past.former[1].expires_at = now();
    assert_eq!(tokens(&promoted(&short, "newer")), ["newer", "new", "third", "first"]);
}

#[test]
fn accepted_former_credential_comes_back_and_is_rotated_at_once() {
    let held = rotated();
    let mut verdicts = refuse(&held, &["new", "third"]);
    verdicts.handle_accepted(&secret("second"));
    let Some(Settled::CameBack(back)) = held.settled(&verdicts, now()) else { panic!("not back") };
    assert_eq!(tokens(&back), ["second", "new", "third", "first"]);
    assert!(back.came_back() && back.life.is_none());
    let after = promoted(&back, "newer");
    assert!(!after.came_back());
    assert_eq!(tokens(&after), ["newer", "second", "new", "third", "first"]);
}

#[test]
fn unused_next_credential_is_kept_when_a_former_one_comes_back() {
    let fetched = Fetched { token: secret("newer"), life: None, rotation: "r".to_owned() };
    let held = rotated().fetched(fetched, &Cause::Age);
    let mut verdicts = refuse(&held, &["newer", "new"]);
    verdicts.handle_accepted(&secret("third"));
    let Some(Settled::CameBack(back)) = held.settled(&verdicts, now()) else { panic!("not back") };
    assert_eq!(tokens(&back), ["third", "newer", "new", "second", "first"]);
}

#[test]
fn late_answer_to_a_replaced_credential_is_no_return() {
    let held = rotated();
    let mut verdicts = Verdicts::default();
    verdicts.handle_accepted(&secret("third"));
    assert!(held.settled(&verdicts, now()).is_none());
}

#[test]
fn history_is_bound_to_target_identity_and_current_credential() {
    let held = rotated().with_echo(true);
    let stored = || {
        let text = serde_json::to_string(&held.history("https://x ca").unwrap()).unwrap();
        Some(serde_json::from_str::<History>(&text).unwrap())
    };
    let current = || Held::new(ClusterId::new("c"), secret("new"), None);
    let again = current().after(stored(), "https://x ca");
    assert!(again.echoes() && tokens(&again) == tokens(&held));
    let by_hand = Held { token: secret("by hand"), ..current() };
    let other_identity = Held { cluster: ClusterId::new("d"), ..current() };
    for (other, target) in
        [(current(), "https://y ca"), (by_hand, "https://x ca"), (other_identity, "https://x ca")]
    {
        assert!(other.clone().after(stored(), target) == other);
    }
    assert!(current().history("https://x ca").is_none(), "nothing to remember, nothing to store");
    assert!(held.moved().history("https://x ca").is_none());
}

#[test]
fn lost_rotation_is_marked_until_an_answer_is_stored() {
    let asked = held().asking_for_rotation().unwrap();
    assert_eq!(asked.lost_rotation(), Some(LostRotation::Asked));
    assert!(asked.asking_for_rotation().is_none(), "it is marked already");
    let fetched = Fetched { token: secret("new"), life: None, rotation: "r".to_owned() };
    assert_eq!(asked.fetched(fetched, &Cause::Age).lost_rotation(), None);
}

#[test]
fn repeated_registration_ends_with_any_final_answer() {
    let asked = held().asking_for_rotation().unwrap();
    let fetched = || Fetched { token: secret("new"), life: None, rotation: "r".to_owned() };
    let again = asked.registered_again(Ok((ClusterId::new("c"), fetched()))).unwrap();
    assert_eq!((tokens(&again), again.lost_rotation()), (vec!["new", "old"], None));
    let refused = |answer| asked.registered_again(answer).map(|held| held.lost_rotation());
    let over = Some(Some(LostRotation::RegisteredAgain));
    assert_eq!(refused(Ok((ClusterId::new("d"), fetched()))), over, "another identity is not taken");
    for status in [400, 404, 409, 410, 422] {
        assert_eq!(refused(Err(Failure::of_status(status, None))), over, "{status}");
    }
    for status in [401, 403, 408, 413, 429, 500, 502, 503] {
        assert_eq!(refused(Err(Failure::of_status(status, None))), None, "{status}");
    }
    assert_eq!(refused(Err(Failure::IdentityConflict { retry_after: None })), None);
}

#[test]
fn own_notes_about_credentials_are_no_news() {
    let (held, rotating) = (held(), rotating());
    assert!(!held.asking_for_rotation().unwrap().is_news(&held));
    assert!(!held.clone().with_echo(true).is_news(&held));
    assert!(!held.is_news(&rotating), "the next one was dropped");
    let mut verdicts = Verdicts::default();
    verdicts.handle_accepted(&secret("new"));
    assert!(!rotating.settled(&verdicts, now()).unwrap().held().is_news(&rotating), "it was promoted");
    assert!(rotating.is_news(&held));
    assert!(Held { cluster: ClusterId::new("d"), ..held.clone() }.is_news(&held));
    assert!(Held { token: secret("by hand"), ..held.clone() }.is_news(&held));
}

/// A restored control plane that is put out of the way again: the newest credential is good once more.
#[test]
fn refusal_of_the_accepted_credential_gives_others_another_try() {
    let held = rotated();
    let mut verdicts = refuse(&held, &["new"]);
    verdicts.handle_accepted(&secret("third"));
    let back = held.settled(&verdicts, now()).unwrap().held().clone();
    verdicts.handle_refused(&secret("third"), &back);
    assert!(!back.is_refused(&verdicts) && back.presented(&verdicts) == &secret("new"));
    verdicts.handle_refused(&secret("new"), &back);
    assert!(back.presented(&verdicts) == &secret("second"), "each is tried once");
}

#[test]
fn a_next_credential_is_read_again_beside_the_one_it_follows_and_no_other() {
    let rotating = rotating();
    let next = rotating.next().unwrap();
    assert!(stored(next, held()) == rotating);
    let by_hand = Held { token: secret("by hand"), ..held() };
    let other_identity = Held { cluster: ClusterId::new("d"), ..held() };
    for current in [by_hand, other_identity] {
        assert!(stored(next, current.clone()) == current);
    }
}

#[test]
fn what_is_stored_of_a_next_credential_does_not_tell_the_one_it_follows() {
    let text = serde_json::to_string(rotating().next().unwrap()).unwrap();
    assert!(text.contains("\"token\":\"new\"") && !text.contains("old"), "{text}");
}
