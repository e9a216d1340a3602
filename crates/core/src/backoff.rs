//! Growing random delays between tries (contract, section 4).

use std::time::Duration;

/// Shortest delay: never faster than once a second.
pub const FLOOR: Duration = Duration::from_secs(1);
/// Longest delay.
pub const CEILING: Duration = Duration::from_secs(60);
/// After this many doublings the window is at its ceiling anyway.
const MAX_DOUBLINGS: u32 = 6;

/// Counts failed tries in a row and says how long to wait before the next: exponential with full jitter, between
/// [`FLOOR`] and [`CEILING`]; a wait the other side asked for is taken exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay before the next try. `random` is uniform in 0..1; `asked` is the other side's `Retry-After`.
    pub fn handle_failure(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        self.handle_failure_within(CEILING, asked, random)
    }

    /// The same, with a longest delay of its own; [`CEILING`] holds anyway.
    pub fn handle_failure_within(
        &mut self,
        ceiling: Duration,
        asked: Option<Duration>,
        random: f64,
    ) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if let Some(asked) = asked {
            return asked;
        }
        let window =
            FLOOR.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)).min(ceiling.clamp(FLOOR, CEILING));
        FLOOR + (window - FLOOR).mul_f64(random.clamp(0.0, 1.0))
    }

    /// A try succeeded: the next failure starts from the smallest window again.
    pub fn handle_success(&mut self) {
        self.failures = 0;
    }

    /// Failed tries since the last good one.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(randoms in proptest::collection::vec(-1.0f64..2.0, 1..200)) {
            let mut backoff = Backoff::default();
            for random in randoms {
                let delay = backoff.handle_failure(None, random);
                prop_assert!((FLOOR..=CEILING).contains(&delay));
            }
        }

        #[test]
        fn a_lower_ceiling_holds(
            ceiling in 0u64..100, randoms in proptest::collection::vec(0.0f64..=1.0, 1..20)
        ) {
            let mut backoff = Backoff::default();
            let most = Duration::from_secs(ceiling).clamp(FLOOR, CEILING);
            for random in randoms {
                let delay = backoff.handle_failure_within(Duration::from_secs(ceiling), None, random);
                prop_assert!((FLOOR..=most).contains(&delay));
            }
        }

        #[test]
        fn what_was_asked_for_is_taken_exactly(seconds in 0u64..100_000, random in 0.0f64..1.0) {
            let asked = Duration::from_secs(seconds);
            prop_assert_eq!(Backoff::default().handle_failure(Some(asked), random), asked);
        }
    }

    #[test]
    fn the_window_doubles_and_a_success_closes_it() {
        let mut backoff = Backoff::default();
        let widest: Vec<u64> = (0..7).map(|_| backoff.handle_failure(None, 1.0).as_secs()).collect();
        assert_eq!(widest, [2, 4, 8, 16, 32, 60, 60]);
        backoff.handle_success();
        assert_eq!(backoff.handle_failure(None, 1.0), Duration::from_secs(2));
    }
}
