//! The tries of one call that is made again until it succeeds (contract, section 4).

use super::session::Failure;
use crate::backoff::Backoff;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Keeps the tries of a call apart, whatever else wakes who makes it. `C` is everything the call is made of: another
/// one, for example with another credential or to another address, is not held back by what this one failed with.
#[derive(Debug)]
pub struct Spacing<C> {
    failed: Option<Failed<C>>,
}

#[derive(Debug)]
struct Failed<C> {
    call: C,
    not_before: Timestamp,
    backoff: Backoff,
}

impl<C> Default for Spacing<C> {
    fn default() -> Self {
        Self { failed: None }
    }
}

impl<C: PartialEq> Spacing<C> {
    /// When the call may be tried; absent: now.
    pub fn not_before(&self, call: &C, now: Timestamp) -> Option<Timestamp> {
        let failed = self.failed.as_ref().filter(|failed| failed.call == *call);
        failed.map(|failed| failed.not_before).filter(|at| *at > now)
    }

    /// The call failed and is tried again at the time this gives: when the other side asked for it, else after a
    /// growing delay. `random` is uniform in 0..1.
    pub fn handle_failure(
        &mut self,
        call: C,
        asked: Option<Duration>,
        now: Timestamp,
        random: f64,
    ) -> Timestamp {
        self.fail(call, now, |backoff| backoff.handle_failure(asked, random))
    }

    /// The same for a call that the control plane answered; `None` if there is no way to it. A conflict of identity lasts
    /// until a person decides, so there the delay grows beyond what the control plane asks for.
    pub fn handle_answer(
        &mut self,
        call: C,
        answer: Option<Failure>,
        now: Timestamp,
        random: f64,
    ) -> Timestamp {
        self.fail(call, now, |backoff| match answer {
            Some(Failure::IdentityConflict { retry_after: Some(least) }) => {
                backoff.handle_failure(None, random).max(least)
            }
            answer => backoff.handle_failure(answer.and_then(Failure::retry_after), random),
        })
    }

    fn fail(&mut self, call: C, now: Timestamp, delay: impl FnOnce(&mut Backoff) -> Duration) -> Timestamp {
        let mut backoff = match self.failed.take() {
            Some(failed) if failed.call == call => failed.backoff,
            Some(_) | None => Backoff::default(),
        };
        let delay = SignedDuration::try_from(delay(&mut backoff));
        let not_before = now.saturating_add(delay.unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX);
        self.failed = Some(Failed { call, not_before, backoff });
        not_before
    }

    /// There is nothing to try again.
    pub fn handle_success(&mut self) {
        self.failed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_failed_call_waits_for_its_time_and_another_one_does_not() {
        let mut spacing = Spacing::default();
        assert_eq!(spacing.handle_failure("a", Some(Duration::from_secs(17)), at(1), 0.0), at(18));
        assert_eq!(spacing.not_before(&"a", at(17)), Some(at(18)));
        assert_eq!(spacing.not_before(&"a", at(18)), None);
        assert_eq!(spacing.not_before(&"b", at(1)), None);
        spacing.handle_success();
        assert_eq!(spacing.not_before(&"a", at(1)), None);
    }

    #[test]
    fn delays_grow_with_one_call_and_start_anew_with_another() {
        let mut spacing = Spacing::default();
        let mut widest = |call| spacing.handle_failure(call, None, at(0), 1.0).as_second();
        assert_eq!([widest("a"), widest("a"), widest("a")], [2, 4, 8]);
        assert_eq!([widest("b"), widest("a")], [2, 2]);
    }

    #[test]
    fn delays_grow_beyond_what_is_asked_for_in_a_conflict_of_identity() {
        let mut spacing = Spacing::default();
        let conflict = Some(Failure::IdentityConflict { retry_after: Some(Duration::from_secs(30)) });
        let delays: [i64; 7] =
            std::array::from_fn(|_| spacing.handle_answer("a", conflict, at(0), 1.0).as_second());
        assert_eq!(delays, [30, 30, 30, 30, 32, 60, 60]);
        let limited = Some(Failure::RateLimited { retry_after: Some(Duration::from_secs(17)) });
        assert_eq!(spacing.handle_answer("a", limited, at(0), 1.0), at(17), "taken exactly");
        assert_eq!(spacing.handle_answer("b", None, at(0), 1.0), at(2));
    }
}
