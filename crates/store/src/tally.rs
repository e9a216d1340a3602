//! What the writer has done so far, for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counts since the store was opened. Read while the writer works, they may be one group apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Groups committed or given up.
    pub groups: u64,
    /// Calls in them.
    pub calls: u64,
    /// Time spent in the calls' statements.
    pub working: Duration,
    /// Time spent making groups durable.
    pub committing: Duration,
}

/// The counters behind a [`Tally`]; one thread adds, any may read.
#[derive(Default)]
pub(crate) struct Counters {
    groups: AtomicU64,
    calls: AtomicU64,
    working: AtomicU64,
    committing: AtomicU64,
}

impl Counters {
    pub(crate) fn group(&self, calls: usize) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.calls.fetch_add(calls as u64, Ordering::Relaxed);
    }

    pub(crate) fn worked(&self, took: Duration) {
        add(&self.working, took);
    }

    pub(crate) fn committed(&self, took: Duration) {
        add(&self.committing, took);
    }

    pub(crate) fn read(&self) -> Tally {
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        Tally {
            groups: self.groups.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            working: time(&self.working),
            committing: time(&self.committing),
        }
    }
}

fn add(counter: &AtomicU64, took: Duration) {
    counter.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
