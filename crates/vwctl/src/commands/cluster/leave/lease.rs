//! Judges from the leader-election lease whether an operator runs. Pure.
//!
//! The time in the lease is the writer's clock and not ours, so only changes count: a leader renews its lease within
//! the lease's duration, whatever any clock says.

use std::time::{Duration, Instant};

/// Duration of a lease that names none.
const DEFAULT_DURATION: Duration = Duration::from_secs(15);
/// Longest duration that is waited for, whatever the lease says: so long the command may wait for a dead operator.
const MOST_DURATION: Duration = Duration::from_secs(10 * 60);

/// One reading of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Changes with each write.
    pub version: String,
    /// Nobody holds a lease that was released.
    pub is_held: bool,
    /// For how long it holds without being renewed, in seconds.
    pub duration_seconds: Option<i32>,
}

impl Reading {
    /// How long the lease holds without being renewed.
    pub(super) fn duration(&self) -> Duration {
        let seconds = self.duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        seconds.map_or(DEFAULT_DURATION, Duration::from_secs).min(MOST_DURATION)
    }
}

/// What was seen of the lease so far.
#[derive(Debug, Default)]
pub(super) struct LeaseSight {
    /// The last version, and since when it is known.
    last: Option<(String, Instant)>,
    /// The last version took the place of another one.
    renewed: bool,
}

impl LeaseSight {
    /// Takes a reading, `None` if there is no lease. Returns whether an operator runs, or `None` while that is open.
    pub(super) fn handle_reading(&mut self, lease: Option<&Reading>, now: Instant) -> Option<bool> {
        let Some(lease) = lease.filter(|lease| lease.is_held) else {
            *self = Self::default();
            return Some(false);
        };
        let since = match &self.last {
            Some((version, since)) if *version == lease.version => *since,
            known => {
                self.renewed = known.is_some();
                self.last = Some((lease.version.clone(), now));
                now
            }
        };
        let has_run_out = now.saturating_duration_since(since) > lease.duration();
        if has_run_out { Some(false) } else { self.renewed.then_some(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(version: &str) -> Reading {
        Reading { version: version.to_owned(), is_held: true, duration_seconds: Some(15) }
    }

    #[test]
    fn renewed_lease_says_that_an_operator_runs() {
        let (start, mut sight) = (Instant::now(), LeaseSight::default());
        assert_eq!(sight.handle_reading(Some(&reading("1")), start), None);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(sight.handle_reading(Some(&reading("1")), after(1)), None);
        assert_eq!(sight.handle_reading(Some(&reading("2")), after(2)), Some(true));
        assert_eq!(sight.handle_reading(Some(&reading("2")), after(17)), Some(true));
        assert_eq!(sight.handle_reading(Some(&reading("2")), after(18)), Some(false));
        assert_eq!(sight.handle_reading(Some(&reading("3")), after(19)), Some(true));
    }

    #[test]
    fn lease_that_nobody_renews_is_a_dead_operators() {
        let (start, mut sight) = (Instant::now(), LeaseSight::default());
        assert_eq!(sight.handle_reading(Some(&reading("1")), start), None);
        let late = start + Duration::from_secs(16);
        assert_eq!(sight.handle_reading(Some(&reading("1")), late), Some(false));
    }

    #[test]
    fn long_lease_is_waited_for_as_long_as_it_holds() {
        let judged_after = |duration_seconds, seconds| {
            let (start, mut sight) = (Instant::now(), LeaseSight::default());
            let lease = Reading { duration_seconds, ..reading("1") };
            assert_eq!(sight.handle_reading(Some(&lease), start), None);
            sight.handle_reading(Some(&lease), start + Duration::from_secs(seconds))
        };
        assert_eq!(judged_after(Some(120), 120), None);
        assert_eq!(judged_after(Some(120), 121), Some(false));
        assert_eq!(judged_after(Some(i32::MAX), 600), None);
        assert_eq!(judged_after(Some(i32::MAX), 601), Some(false), "nobody waits for ever");
        assert_eq!(judged_after(None, 16), Some(false));
        assert_eq!(judged_after(Some(-1), 16), Some(false));
    }

    #[test]
    fn released_or_missing_lease_is_nobodys() {
        let (now, mut sight) = (Instant::now(), LeaseSight::default());
        assert_eq!(sight.handle_reading(None, now), Some(false));
        let released = Reading { is_held: false, ..reading("4") };
        assert_eq!(sight.handle_reading(Some(&released), now), Some(false));
    }
}
