//! The time of day as this process counts it. It never goes back and never stands still.
//!
//! Deadlines, back-offs and windows are times of day. A wall clock that is set back by an hour would make all of them
//! wait for an hour; so what was given last is counted on by a clock that nobody sets. A wall clock that is ahead of that
//! is followed: the machine was asleep, or had started with a wrong time, and a credential must be exchanged in time.
//!
//! Nothing else in this crate reads the wall clock: clippy refuses it.

use jiff::{SignedDuration, Timestamp};
use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Instant,
};

static CLOCK: LazyLock<Mutex<Clock>> = LazyLock::new(|| {
    let (given, at) = (wall(), Instant::now());
    Mutex::new(Clock { given, at })
});

/// The time now: never before one that was given already, to whichever thread.
pub fn now() -> Timestamp {
    // Every change is one assignment: it is whole even after a panic.
    let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    clock.read(wall(), Instant::now())
}

/// What was given last, and when that was by a clock that nobody sets.
#[derive(Clone, Copy, Debug)]
struct Clock {
    given: Timestamp,
    at: Instant,
}

impl Clock {
    fn read(&mut self, wall: Timestamp, at: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(at.saturating_duration_since(self.at));
        let counted = self.given.saturating_add(passed.unwrap_or(SignedDuration::MAX));
        *self = Self { given: counted.unwrap_or(self.given).max(wall), at };
        self.given
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn times_given_never_go_back_and_go_on_when_the_wall_clock_is_set_back() {
        let start = Instant::now();
        let mut clock = Clock { given: second(10_000), at: start };
        let mut read = |wall, passed| clock.read(second(wall), start + Duration::from_secs(passed));
        assert_eq!(read(10_001, 1), second(10_001));
        assert_eq!(read(6_402, 2), second(10_002), "set back by an hour");
        assert_eq!(read(6_410, 10), second(10_010));
        assert_eq!(read(10_011, 11), second(10_011), "and right again");
    }

    #[test]
    fn a_wall_clock_that_is_ahead_is_followed_and_counted_on() {
        let start = Instant::now();
        let mut clock = Clock { given: second(0), at: start };
        let mut read = |wall, passed| clock.read(second(wall), start + Duration::from_secs(passed));
        assert_eq!(read(30_000, 1), second(30_000), "asleep, or wrong at the start");
        assert_eq!(read(2, 2), second(30_001));
    }

    #[test]
    fn no_thread_is_given_a_time_before_one_that_was_given() {
        let ascends = || (0..1_000).map(|_| now()).is_sorted();
        let before = now();
        let all = std::thread::scope(|scope| {
            [scope.spawn(ascends), scope.spawn(ascends)].map(|thread| thread.join().unwrap())
        });
        assert_eq!((all, before <= now()), ([true, true], true));
    }
}
