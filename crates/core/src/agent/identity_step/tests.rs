use super::*;
use crate::agent::{credentials::Fetched, rotation::Life, session::Failure};
use proptest::prelude::*;
use vworkspace_protocol::{ClusterId, Secret};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn held() -> Held {
    Held::new(ClusterId::new("c"), Secret::new("old"), None)
}

fn with_next(held: &Held) -> Held {
    let fetched = Fetched { token: Secret::new("new"), life: None, rotation: "r".to_owned() };
    held.fetched(fetched, &Cause::Age)
}

fn came_back() -> Held {
    let mut promoted = Verdicts::default();
    promoted.handle_accepted(&Secret::new("new"));
    let rotated = with_next(&held()).settled(&promoted, NOW).unwrap().held().clone();
    let mut restored = refused(&rotated, &["new"]);
    restored.handle_accepted(&Secret::new("old"));
    rotated.settled(&restored, NOW).unwrap().held().clone()
}

fn accepted(token: &str) -> Verdicts {
    let mut verdicts = Verdicts::default();
    verdicts.handle_accepted(&Secret::new(token));
    verdicts
}

fn refused(held: &Held, tokens: &[&str]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    tokens.iter().for_each(|token| verdicts.handle_refused(&Secret::new(token), held));
    verdicts
}

/// The step of a recorded identity with the token it was exchanged for.
fn step(held: &Held, verdicts: &Verdicts, wish: Option<i64>) -> IdentityStep {
    let (held, token, is_recorded) = (Some(held), Token::Used, true);
    next_step(&Known { held, verdicts, token, is_recorded, wish, now: NOW })
}

#[test]
fn without_a_credential_any_token_is_exchanged() {
    let step = |token| {
        let (verdicts, is_recorded) = (&Verdicts::default(), true);
        next_step(&Known { held: None, verdicts, token, is_recorded, wish: Some(1), now: NOW })
    };
    assert_eq!(step(Token::None), IdentityStep::Wait);
    assert_eq!(step(Token::Used), IdentityStep::Register);
    assert_eq!(step(Token::New), IdentityStep::Register);
}

#[test]
fn new_token_is_registered_whatever_is_held() {
    let lost = held().asking_for_rotation().unwrap();
    for (held, verdicts) in
        [(held(), accepted("old")), (lost.clone(), refused(&lost, &["old"])), (came_back(), accepted("old"))]
    {
        for is_recorded in [false, true] {
            let (held, verdicts, token) = (Some(&held), &verdicts, Token::New);
            let known = Known { held, verdicts, token, is_recorded, wish: Some(1), now: NOW };
            assert_eq!(next_step(&known), IdentityStep::Register);
        }
    }
}

#[test]
fn credential_without_a_record_is_adopted_first() {
    let (held, verdicts) = (held(), accepted("old"));
    for token in [Token::None, Token::Used] {
        let (held, verdicts, is_recorded) = (Some(&held), &verdicts, false);
        let known = Known { held, verdicts, token, is_recorded, wish: Some(1), now: NOW };
        assert_eq!(next_step(&known), IdentityStep::Adopt);
    }
}

#[test]
fn lost_rotation_registers_again_once_with_the_used_token() {
    let asked = held().asking_for_rotation().unwrap();
    let all = refused(&asked, &["old"]);
    assert_eq!(step(&asked, &all, Some(1)), IdentityStep::RegisterAgain);
    assert_eq!(step(&asked, &Verdicts::default(), Some(1)), IdentityStep::Keep, "nothing is refused yet");
    assert_eq!(
        step(&held(), &all, Some(1)),
        IdentityStep::Keep,
        "a revoked cluster does not register by itself"
    );
    let (held, verdicts, token) = (Some(&asked), &all, Token::None);
    let without = Known { held, verdicts, token, is_recorded: true, wish: None, now: NOW };
    assert_eq!(next_step(&without), IdentityStep::Keep);
    assert!(asked.registered_again(Err(Failure::Unauthorized)).is_none(), "it may be an empty control plane");
    let again = asked.registered_again(Err(Failure::Refused)).unwrap();
    assert_eq!(step(&again, &refused(&again, &["old"]), Some(1)), IdentityStep::Keep, "refused for good");
}

#[test]
fn rotation_begins_only_with_an_accepted_credential() {
    let held = held();
    assert_eq!(step(&held, &accepted("old"), Some(1)), IdentityStep::Rotate(Cause::Wish(1)));
    assert_eq!(step(&held, &accepted("another"), Some(1)), IdentityStep::Keep);
    assert_eq!(step(&held, &Verdicts::default(), Some(1)), IdentityStep::Keep);
    let mut verdicts = refused(&held, &["old"]);
    assert_eq!(step(&held, &verdicts, Some(1)), IdentityStep::Keep);
    verdicts.handle_change();
    assert_eq!(step(&held, &verdicts, Some(1)), IdentityStep::Keep, "another try is no good answer");
    verdicts.handle_accepted(&Secret::new("old"));
    assert_eq!(step(&held, &verdicts, Some(1)), IdentityStep::Rotate(Cause::Wish(1)));
}

#[test]
fn rotation_is_due_by_age_by_wish_or_after_a_return() {
    let issued_at = NOW - jiff::SignedDuration::from_hours(2);
    let mut old = held();
    old.life = Some(Life { issued_at, expires_at: NOW + jiff::SignedDuration::from_mins(1) });
    assert_eq!(step(&old, &accepted("old"), None), IdentityStep::Rotate(Cause::Age));
    assert_eq!(step(&held(), &accepted("old"), None), IdentityStep::Keep);
    assert_eq!(step(&came_back(), &accepted("old"), None), IdentityStep::Rotate(Cause::CameBack));
    let mut fulfilled = held();
    fulfilled.fulfilled.wish = Some(1);
    assert_eq!(step(&fulfilled, &Verdicts::default(), Some(1)), IdentityStep::TakeBackWish);
    assert_eq!(step(&with_next(&held()), &accepted("old"), Some(1)), IdentityStep::Keep);
    assert_eq!(withheld(&with_next(&held()), &accepted("old")), Some(Withheld::UnderWay));
    assert_eq!(withheld(&held(), &Verdicts::default()), Some(Withheld::NotAccepted));
}

/// What happens around a cluster that the control plane refuses for good.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The agent presents a credential and hears 401.
    Polled,
    /// Its wait is over, or somebody has changed the Cluster.
    Reopened,
    /// The process ends, and forgets what was answered.
    Restarted,
    /// The controller looks.
    Looked,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use Event::{Looked, Polled, Reopened, Restarted};
    prop::collection::vec(
        prop::sample::select(vec![Looked, Looked, Polled, Polled, Reopened, Restarted]),
        0..80,
    )
}

proptest! {
    /// Whatever is due, marked or held: the control plane hears no rotation, and an exchange of the token only while a
    /// rotation is lost, until it refuses that for good.
    #[test]
    fn refused_cluster_registers_again_until_refused_for_good_and_never_rotates(
        events in events(),
        is_marked: bool,
        has_next: bool,
        for_good: bool,
        wish in prop::option::of(1_i64..3),
    ) {
        let current = if has_next { with_next(&held()) } else { held() };
        let mut held = current.asking_for_rotation().filter(|_| is_marked).unwrap_or(current);
        let (mut verdicts, mut is_over) = (Verdicts::default(), false);
        for event in events {
            match event {
                Event::Polled => {
                    let token = held.presented(&verdicts).clone();
                    verdicts.handle_refused(&token, &held);
                }
                Event::Reopened => verdicts.handle_change(),
                Event::Restarted => verdicts = Verdicts::default(),
                Event::Looked => match step(&held, &verdicts, wish) {
                    IdentityStep::RegisterAgain => {
                        prop_assert!(is_marked && !is_over);
                        is_over = for_good;
                        let answer = if for_good { Failure::Refused } else { Failure::Unauthorized };
                        held = held.registered_again(Err(answer)).unwrap_or(held);
                    }
                    other => prop_assert_eq!(other, IdentityStep::Keep),
                },
            }
        }
    }
}
