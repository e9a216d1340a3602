//! How far something that changes is stored, and when it is stored next. One write at a time.

use crate::backoff::Backoff;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Counts changes and the writes that made them durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    version: u64,
    stored: u64,
    in_flight: Option<u64>,
    not_before: Option<Timestamp>,
    backoff: Backoff,
    failing_since: Option<Timestamp>,
}

impl Shelf {
    /// Something changed: gives the version that must be stored before it is durable.
    pub(super) fn change(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The version that is stored: what changed up to it is durable.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// When the next write may start; absent: all is stored, or a write is on its way.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let is_due = self.version > self.stored && self.in_flight.is_none();
        is_due.then(|| self.not_before.unwrap_or(Timestamp::MIN))
    }

    /// A write of everything up to now is on its way.
    pub(super) fn start(&mut self) {
        self.in_flight = Some(self.version);
    }

    /// What became of the write; the next one starts after `pause`, or with growing delays. Answers whether a write was
    /// on its way at all.
    pub(super) fn handle_stored(
        &mut self,
        stored: bool,
        pause: SignedDuration,
        now: Timestamp,
        random: f64,
    ) -> bool {
        let Some(version) = self.in_flight.take() else { return false };
        let pause = if stored {
            self.stored = version;
            self.backoff.handle_success();
            self.failing_since = None;
            pause
        } else {
            self.failing_since.get_or_insert(now);
            signed(self.backoff.handle_failure(None, random))
        };
        self.not_before = now.checked_add(pause).ok();
        true
    }

    /// When the first of the writes failed that failed since the last good one.
    pub(super) fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }
}

fn signed(delay: Duration) -> SignedDuration {
    SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX)
}
