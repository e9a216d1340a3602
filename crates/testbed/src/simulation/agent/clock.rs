//! The control plane's clock as the agent knows it: read off `Date` of the answers that it believes, and counted on since.

use jiff::{SignedDuration, Timestamp};
use std::{cell::Cell, time::Duration};

/// One cluster's knowledge of it, and what it could know if only the control plane had ever answered.
#[derive(Default)]
pub struct ControlClock {
    /// What the agent counts from.
    believed: Cell<Option<Read>>,
    /// The latest time that the control plane itself has told, counted on.
    told: Cell<Option<Read>>,
}

/// A clock read at a moment.
#[derive(Clone, Copy)]
struct Read {
    clock: Timestamp,
    at: Duration,
}

impl Read {
    fn at(self, now: Duration) -> Timestamp {
        let passed = SignedDuration::try_from(now.saturating_sub(self.at)).unwrap_or(SignedDuration::MAX);
        self.clock.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}

impl ControlClock {
    /// The agent believes an answer.
    pub fn believe(&self, clock: Timestamp, at: Duration) {
        self.believed.set(Some(Read { clock, at }));
    }

    /// The control plane gave an answer, and it arrived.
    pub fn hear(&self, clock: Timestamp, at: Duration) {
        let latest = self.told.get().is_none_or(|told| told.at(at) < clock);
        if latest {
            self.told.set(Some(Read { clock, at }));
        }
    }

    /// What the agent takes the control plane's clock for; before any answer it has nothing but `own`.
    pub fn now(&self, now: Duration, own: Timestamp) -> Timestamp {
        self.believed.get().map_or(own, |read| read.at(now))
    }

    /// The latest that the control plane's clock can be by what it told itself.
    pub fn latest(&self, now: Duration) -> Option<Timestamp> {
        self.told.get().map(|read| read.at(now))
    }
}
