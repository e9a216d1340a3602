//! Whether the control plane still holds what this agent reported to it, as all loops of the agent share it.
//!
//! The decision is `core/agent/divergence`'s. Each answer to events is compared, those to heartbeats included; what is
//! compared with is published by the loop that reports.

use crate::{agent::conversation::until, clock};
use jiff::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use vworkspace_core::agent::divergence::{Comparison, Depth, Divergence, Settled};
use vworkspace_protocol::event::EventsAnswer;
use vworkspace_transport::LinkError;

/// The one comparison of this process. Every method is short and takes the clock itself.
#[derive(Default)]
pub struct ReportCheck {
    divergence: Mutex<Divergence>,
    /// What was reported and accepted; `None` while something is on its way.
    settled: Mutex<Option<Settled>>,
    /// Told when a snapshot may be due at another time than before.
    changed: Notify,
}

impl ReportCheck {
    /// What was reported and accepted now. Publish a change before a request is sent that follows from it.
    pub fn settle(&self, settled: Option<Settled>) {
        *lock(&self.settled) = settled;
    }

    /// What was reported and accepted, to be handed to [`ReportCheck::heard`] with the answer to a request sent now.
    pub fn settled(&self) -> Option<Settled> {
        *lock(&self.settled)
    }

    /// Compares the answer to a request with events. `before`: what was settled when it was sent, or is by itself once
    /// its own events count as accepted. Returns whether the control plane holds something else than was reported, as far
    /// as is known.
    pub fn heard(&self, before: Option<Settled>, answer: &EventsAnswer) -> bool {
        let held = answer.report_digest.as_deref();
        let after = self.settled();
        let mut divergence = self.divergence();
        let was_diverged = divergence.is_diverged();
        let comparison = divergence.handle_answer(before, after, held);
        let is_diverged = divergence.is_diverged();
        drop(divergence);
        match (was_diverged, is_diverged) {
            (false, true) => tracing::warn!(
                held,
                reported = before.map(|settled| tracing::field::display(settled.digest)),
                "the control plane holds something else than was reported; a snapshot follows"
            ),
            (true, false) => tracing::info!("the control plane holds what was reported again"),
            (false, false) | (true, true) => {}
        }
        if comparison != Comparison::Agrees {
            self.changed.notify_one();
        }
        is_diverged
    }

    /// A call of any kind failed. No connection, one that broke before its answer, or somebody else's answer, as of a
    /// proxy, may be the restart of a control plane that has forgotten.
    pub fn failed(&self, error: &LinkError) {
        if matches!(error, LinkError::Unreachable { .. } | LinkError::Unexpected { .. }) {
            self.divergence().handle_connection_lost();
            self.changed.notify_one();
        }
    }

    /// Another connection is used from now on.
    pub fn another_link(&self) {
        self.divergence().handle_another_link();
    }

    /// A snapshot begins; returns how much it reports.
    pub(super) fn begin(&self) -> Depth {
        self.divergence().handle_snapshot_begun(clock::now())
    }

    /// The snapshot is over; `taken`: the control plane accepted all of it.
    pub(super) fn end(&self, taken: bool) {
        self.divergence().handle_snapshot_ended(taken, clock::now());
        self.changed.notify_one();
    }

    /// Whether a snapshot is due.
    pub(super) fn is_due(&self) -> bool {
        self.divergence().is_snapshot_due(clock::now())
    }

    /// Waits until a snapshot is due. For one waiting task.
    pub(super) async fn due(&self) {
        loop {
            if self.is_due() {
                return;
            }
            let next = self.divergence().poll_timeout();
            tokio::select! {
                () = self.changed.notified() => {}
                () = at(next) => {}
            }
        }
    }

    /// Whether the next comparison decides: it should come soon.
    pub fn is_in_doubt(&self) -> bool {
        self.divergence().is_in_doubt()
    }

    fn divergence(&self) -> MutexGuard<'_, Divergence> {
        lock(&self.divergence)
    }
}

/// Every change is one call: what is locked is whole even after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until then; without a time for ever.
async fn at(due: Option<Timestamp>) {
    match due {
        Some(due) => tokio::time::sleep(until(due, clock::now())).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use vworkspace_core::report_digest::ReportDigest;

    fn digest(n: u8) -> ReportDigest {
        ReportDigest::from_bytes([n; 16])
    }

    fn answer(n: u8) -> EventsAnswer {
        EventsAnswer { report_digest: Some(digest(n).to_string()) }
    }

    fn settled(revision: u64) -> Option<Settled> {
        Some(Settled { digest: digest(1), revision })
    }

    #[test]
    fn snapshot_is_due_after_two_differing_answers() {
        let check = ReportCheck::default();
        check.settle(settled(1));
        assert!(!check.heard(check.settled(), &answer(2)));
        assert!(check.is_in_doubt() && check.due().now_or_never().is_none());
        assert!(check.heard(check.settled(), &answer(2)));
        assert!(check.due().now_or_never().is_some());
        assert_eq!(check.begin(), Depth::WithEnds);
        assert!(check.due().now_or_never().is_none(), "it is under way");
        check.end(true);
        assert!(!check.heard(check.settled(), &answer(1)));
        assert!(check.due().now_or_never().is_none());
    }

    #[test]
    fn answer_is_not_compared_when_something_was_reported_meanwhile() {
        let check = ReportCheck::default();
        check.settle(settled(1));
        for (between, after) in [(None, None), (None, settled(2)), (settled(2), settled(2))] {
            let before = settled(1);
            check.settle(between);
            check.settle(after);
            for _ in 0..3 {
                assert!(!check.heard(before, &answer(2)));
            }
            assert!(!check.is_in_doubt() && check.due().now_or_never().is_none());
        }
    }
}
