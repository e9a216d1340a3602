//! Judges from the outcomes of its writes whether a database can still be written.
//!
//! A disk may refuse a large write and accept a small one a moment later, so one outcome proves little. The state is
//! [`WriteState::Failed`] only when nothing was written for [`FAILED_AFTER`], and [`WriteState::Degraded`] until
//! [`CALM_AFTER`] has passed without a failure, which also keeps mixed outcomes from flapping. A store that has nothing
//! to write is good: only failures that nothing has disproved ask for a probe.

use std::time::{Duration, Instant};

/// Time without any successful write, since the first failure, after which the database counts as not writable.
pub const FAILED_AFTER: Duration = Duration::from_secs(30);
/// Time without a failure after which a database that is written again counts as good.
pub const CALM_AFTER: Duration = Duration::from_secs(60);

/// Why writes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// The disk has no room for the write.
    DiskFull,
    /// Another process holds the database.
    Locked,
    /// The file system or the database file refuses the write.
    Storage,
    /// A write has been under way for [`FAILED_AFTER`].
    Stuck,
    /// More writes wait than the queue holds.
    QueueFull,
}

impl WriteFault {
    /// The fault in words, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::DiskFull => "the disk is full",
            Self::Locked => "another process holds the database",
            Self::Storage => "the storage fails",
            Self::Stuck => "a write does not end",
            Self::QueueFull => "the write queue is full",
        }
    }
}

/// Whether the database can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteState {
    /// No write failed lately.
    Good,
    /// Some writes fail, or failed within [`CALM_AFTER`].
    Degraded(WriteFault),
    /// No write of any size has succeeded for [`FAILED_AFTER`].
    Failed(WriteFault),
}

/// Outcomes of writes, reduced to what the state needs.
#[derive(Debug, Default)]
pub struct WriteHealth {
    /// Start of the write that is under way.
    begun: Option<Instant>,
    /// First failure since the last success.
    failing_since: Option<Instant>,
    last_failure: Option<(Instant, WriteFault)>,
}

impl WriteHealth {
    /// A write begins.
    pub fn handle_begun(&mut self, now: Instant) {
        self.begun = Some(now);
    }

    /// The write ended without a failure. `wrote`: it put something on the disk, which alone proves that the disk
    /// accepts writes; a transaction that changed nothing succeeds on a full disk, too.
    pub fn handle_committed(&mut self, wrote: bool) {
        self.begun = None;
        if wrote {
            self.failing_since = None;
        }
    }

    /// The write failed.
    pub fn handle_failed(&mut self, fault: WriteFault, now: Instant) {
        self.begun = None;
        self.failing_since.get_or_insert(now);
        self.last_failure = Some((now, fault));
    }

    /// A write was refused because the queue is full. A failure of the database itself says more.
    pub fn handle_refused(&mut self, now: Instant) {
        if self.failing_since.is_none() {
            self.last_failure = Some((now, WriteFault::QueueFull));
        }
    }

    /// Returns whether the database can be written.
    pub fn state(&self, now: Instant) -> WriteState {
        let passed = |since: Instant| now.saturating_duration_since(since);
        if self.begun.is_some_and(|begun| passed(begun) >= FAILED_AFTER) {
            return WriteState::Failed(WriteFault::Stuck);
        }
        let Some((at, fault)) = self.last_failure else { return WriteState::Good };
        match self.failing_since {
            Some(since) if passed(since) >= FAILED_AFTER => WriteState::Failed(fault),
            Some(_) => WriteState::Degraded(fault),
            None if passed(at) < CALM_AFTER => WriteState::Degraded(fault),
            None => WriteState::Good,
        }
    }

    /// Returns `true` if nothing was written since the last failure: a small write shows whether that still holds.
    pub fn needs_probe(&self) -> bool {
        self.failing_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: WriteFault = WriteFault::DiskFull;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn idle_database_stays_good_and_is_not_probed() {
        let (start, mut health) = (Instant::now(), WriteHealth::default());
        health.handle_begun(start);
        health.handle_committed(true);
        assert_eq!(health.state(at(start, 100_000)), WriteState::Good);
        assert!(!health.needs_probe());
    }

    #[test]
    fn state_is_failed_after_thirty_seconds_without_success() {
        let (start, mut health) = (Instant::now(), WriteHealth::default());
        for second in [10, 20, 39] {
            health.handle_failed(FULL, at(start, second));
        }
        assert!(health.needs_probe());
        assert_eq!(health.state(at(start, 39)), WriteState::Degraded(FULL));
        assert_eq!(health.state(at(start, 40)), WriteState::Failed(FULL));
    }

    #[test]
    fn small_success_between_failures_keeps_the_state_degraded() {
        let (start, mut health) = (Instant::now(), WriteHealth::default());
        for second in (0..600).step_by(10) {
            health.handle_failed(FULL, at(start, second));
            assert_eq!(health.state(at(start, second + 5)), WriteState::Degraded(FULL));
            health.handle_committed(true);
            assert!(!health.needs_probe());
            assert_eq!(health.state(at(start, second + 9)), WriteState::Degraded(FULL));
        }
        assert_eq!(health.state(at(start, 590 + 59)), WriteState::Degraded(FULL));
        assert_eq!(health.state(at(start, 590 + 60)), WriteState::Good);
    }

    #[test]
    fn commit_that_wrote_nothing_proves_nothing() {
        let (start, mut health) = (Instant::now(), WriteHealth::default());
        health.handle_failed(FULL, start);
        health.handle_committed(false);
        assert!(health.needs_probe());
        assert_eq!(health.state(at(start, 30)), WriteState::Failed(FULL));
    }

    #[test]
    fn write_that_does_not_end_fails_the_state() {
        let (start, mut health) = (Instant::now(), WriteHealth::default());
        health.handle_begun(start);
        assert_eq!(health.state(at(start, 29)), WriteState::Good);
        assert_eq!(health.state(at(start, 30)), WriteState::Failed(WriteFault::Stuck));
        health.handle_committed(true);
        assert_eq!(health.state(at(start, 31)), WriteState::Good);
    }

    #[test]
    fn full_queue_degrades_and_hides_no_database_failure() {
        let (start, mut health) = (Instant::now(), WriteHealth::default());
        health.handle_refused(start);
        assert_eq!(health.state(start), WriteState::Degraded(WriteFault::QueueFull));
        assert!(!health.needs_probe());
        health.handle_failed(WriteFault::Locked, start);
        health.handle_refused(start);
        assert_eq!(health.state(start), WriteState::Degraded(WriteFault::Locked));
    }
}
