//! Retry schedule of one watch: when it starts again after a failure, and which failures are worth a log line.

use crate::backoff::{Backoff, CEILING, FLOOR};
use std::time::Duration;

/// Retry schedule of one watch. `K` is the kind of a failure: two failures of one kind are the same news.
#[derive(Clone, Debug)]
pub struct WatchPace<K> {
    backoff: Backoff,
    failing: Option<K>,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Time until the next try.
    pub delay: Duration,
    /// Whether the watch worked before this failure, or failed in another way.
    pub is_news: bool,
}

impl<K> Default for WatchPace<K> {
    fn default() -> Self {
        Self { backoff: Backoff::default(), failing: None }
    }
}

impl<K: PartialEq> WatchPace<K> {
    /// Records a failed try. `asked` is the API server's `Retry-After`, kept within the bounds of the back-off;
    /// `random` is uniform in 0..1.
    pub fn handle_failure(&mut self, kind: K, asked: Option<Duration>, random: f64) -> Pause {
        let asked = asked.map(|asked| asked.clamp(FLOOR, CEILING));
        let is_news = self.failing.as_ref() != Some(&kind);
        self.failing = Some(kind);
        Pause { delay: self.backoff.handle_failure(asked, random), is_news }
    }

    /// Records that a list or a watch brought something: the next failure starts with the shortest delays. Returns
    /// whether the watch was failing until now.
    ///
    /// That a list is about to start is no progress. Counting it as such would keep every delay at its shortest.
    pub fn handle_progress(&mut self) -> bool {
        self.backoff.handle_success();
        self.failing.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn widest(pace: &mut WatchPace<u16>) -> u64 {
        pace.handle_failure(403, None, 1.0).delay.as_secs()
    }

    #[test]
    fn delays_grow_until_something_arrives() {
        let mut pace = WatchPace::default();
        let delays: Vec<u64> = (0..7).map(|_| widest(&mut pace)).collect();
        assert_eq!(delays, [2, 4, 8, 16, 32, 60, 60]);
        assert!(pace.handle_progress());
        assert_eq!(widest(&mut pace), 2);
    }

    #[test]
    fn a_failure_is_news_once_per_kind_and_recovery_is_too() {
        let mut pace = WatchPace::default();
        let news = [403, 403, 503, 503, 403].map(|kind| pace.handle_failure(kind, None, 0.0).is_news);
        assert_eq!(news, [true, false, true, false, true]);
        assert_eq!([pace.handle_progress(), pace.handle_progress()], [true, false]);
        assert!(pace.handle_failure(403, None, 0.0).is_news, "it worked in between");
    }

    proptest! {
        #[test]
        fn watch_delays_stay_within_a_second_and_a_minute(
            tries in proptest::collection::vec((proptest::option::of(0u64..100_000), -1.0f64..2.0), 1..100)
        ) {
            let mut pace = WatchPace::default();
            for (asked, random) in tries {
                let pause = pace.handle_failure((), asked.map(Duration::from_secs), random);
                prop_assert!((FLOOR..=CEILING).contains(&pause.delay));
            }
        }
    }
}
