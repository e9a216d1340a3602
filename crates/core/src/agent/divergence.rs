//! Does the control plane still hold what was reported to it, and when is everything reported once more? (contract,
//! section 3)
//!
//! ```text
//!   answer with a digest ── nothing on its way? ──► equal: agreement, all is forgiven
//!                                             └──► unequal twice in a row ──► snapshot, then ≥ 1 min, doubling to 1 h
//!   answers without      ── a connection was lost ──► snapshot, at most one in 10 min
//! ```
//!
//! - A digest is compared only where the answer and the agent speak of the same moment: the outbox was empty from before
//!   the request until after its answer, and no snapshot was under way. So load alone never looks like a loss.
//! - The first snapshot of a divergence repeats the stored keys, and the ends of objects: that is what a control plane
//!   needs that was restored from a backup. If that did not help, the second counts every condition anew, since
//!   something is held under a key that says otherwise. Later ones are like the first.

use crate::{
    planted::{Bug, planted},
    report_digest::ReportDigest,
};
use jiff::{SignedDuration, Timestamp};

/// So many comparisons in a row that do not agree are a divergence.
const DIVERGED_AFTER: u32 = 2;
/// Shortest time between two snapshots for a divergence; doubles with each that did not help.
pub const MIN_WAIT: SignedDuration = SignedDuration::from_mins(1);
/// Longest time between two.
pub const MAX_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// Shortest time between two snapshots for a lost connection, while the control plane sends no digests.
pub const PRECAUTION_INTERVAL: SignedDuration = SignedDuration::from_mins(10);

/// What was reported, at a moment when the control plane had taken all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Of all that was reported.
    pub digest: ReportDigest,
    /// Differs from that of any moment before something was queued.
    pub revision: u64,
}

/// How much a snapshot reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// The conditions there are, under their stored keys.
    #[default]
    Plain,
    /// The same, and the ends that the control plane took before.
    WithEnds,
    /// The same, every condition under a new key.
    Anew,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// There was nothing to compare.
    None,
    /// The control plane holds what was reported.
    Agrees,
    /// It holds something else.
    Differs,
}

/// Why a snapshot is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// For a reason of the session's.
    Other,
    Precaution,
    Diverged(Depth),
}

/// Decides when everything is reported once more because the control plane may have forgotten it.
#[derive(Debug, Default)]
pub struct Divergence {
    /// Comparisons in a row that did not agree.
    differing: u32,
    is_diverged: bool,
    /// Snapshots taken since the last agreement.
    snapshots: u32,
    not_before: Option<Timestamp>,
    under_way: Option<Cause>,
    /// The control plane answers without digests.
    sends_none: bool,
    connection_lost: bool,
    last_precaution: Option<Timestamp>,
}

impl Divergence {
    /// Handles the answer to a request with events, which carried the digest `held`. `before` and `after` are what was
    /// reported when the agent sent the request and when it has the answer; they are compared with `held` only if equal.
    pub fn handle_answer(
        &mut self,
        before: Option<Settled>,
        after: Option<Settled>,
        held: Option<&str>,
    ) -> Comparison {
        let held = held.and_then(|text| text.parse::<ReportDigest>().ok());
        self.sends_none = held.is_none();
        let settled = after.filter(|_| before == after && !planted(Bug::IgnoreReportDigest));
        let (Some(settled), Some(held), None) = (settled, held, self.under_way) else {
            return Comparison::None;
        };
        if settled.digest == held {
            (self.differing, self.snapshots, self.is_diverged) = (0, 0, false);
            return Comparison::Agrees;
        }
        self.differing = self.differing.saturating_add(1);
        self.is_diverged |= self.differing >= DIVERGED_AFTER;
        Comparison::Differs
    }

    /// No connection, or it broke before an answer came: the control plane may be another one since, or an older state
    /// of itself.
    pub fn handle_connection_lost(&mut self) {
        self.connection_lost = true;
    }

    /// Another connection is used, perhaps to another control plane.
    pub fn handle_another_link(&mut self) {
        (self.differing, self.under_way, self.sends_none) = (0, None, false);
    }

    /// Whether a snapshot is due. Answer with [`Divergence::handle_snapshot_begun`], which any other snapshot tells, too.
    pub fn is_snapshot_due(&self, now: Timestamp) -> bool {
        self.under_way.is_none() && (self.is_repair_due(now) || self.is_precaution_due(now))
    }

    /// When [`Divergence::is_snapshot_due`] turns true unless something is told before; `None`: not by itself.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.under_way.is_some() {
            return None;
        }
        let repair = (self.differing >= DIVERGED_AFTER).then(|| self.not_before.unwrap_or(Timestamp::MIN));
        let precaution = (self.sends_none && self.connection_lost)
            .then(|| self.next_precaution().unwrap_or(Timestamp::MIN));
        repair.into_iter().chain(precaution).min()
    }

    /// A snapshot begins, for whatever reason.
    pub fn handle_snapshot_begun(&mut self, now: Timestamp) -> Depth {
        let (cause, depth) = if self.is_repair_due(now) {
            let depth = if self.snapshots == 1 { Depth::Anew } else { Depth::WithEnds };
            (Cause::Diverged(depth), depth)
        } else if self.is_precaution_due(now) {
            (Cause::Precaution, Depth::Plain)
        } else {
            (Cause::Other, Depth::Plain)
        };
        self.under_way = Some(cause);
        depth
    }

    /// How deep the snapshot is that is under way.
    pub fn depth(&self) -> Depth {
        match self.under_way {
            Some(Cause::Diverged(depth)) => depth,
            Some(Cause::Other | Cause::Precaution) | None => Depth::Plain,
        }
    }

    /// The snapshot is over; `taken`: the control plane took all of it.
    pub fn handle_snapshot_ended(&mut self, taken: bool, now: Timestamp) {
        let Some(cause) = self.under_way.take().filter(|_| taken) else { return };
        self.connection_lost = false;
        self.differing = 0;
        match cause {
            Cause::Other => {}
            Cause::Precaution => self.last_precaution = Some(now),
            Cause::Diverged(_) => {
                let doubled = MIN_WAIT.saturating_mul(1 << self.snapshots.min(6));
                self.not_before = now.checked_add(doubled.min(MAX_WAIT)).ok();
                self.snapshots = self.snapshots.saturating_add(1);
            }
        }
    }

    /// Whether the control plane holds something else than was reported, as far as is known.
    pub fn is_diverged(&self) -> bool {
        self.is_diverged
    }

    /// Whether the last comparison did not agree and the next one decides: it should come soon.
    pub fn is_in_doubt(&self) -> bool {
        self.differing > 0 && !self.is_diverged
    }

    fn is_repair_due(&self, now: Timestamp) -> bool {
        self.differing >= DIVERGED_AFTER && self.not_before.is_none_or(|at| has_come(at, now, MAX_WAIT))
    }

    fn is_precaution_due(&self, now: Timestamp) -> bool {
        self.sends_none
            && self.connection_lost
            && self.next_precaution().is_none_or(|at| has_come(at, now, PRECAUTION_INTERVAL))
    }

    fn next_precaution(&self) -> Option<Timestamp> {
        self.last_precaution.and_then(|at| at.checked_add(PRECAUTION_INTERVAL).ok())
    }
}

/// Whether the time has come; so has one that is further away than `most`: the clock was set back.
fn has_come(at: Timestamp, now: Timestamp, most: SignedDuration) -> bool {
    now >= at || at.duration_since(now) > most
}

#[cfg(test)]
mod tests;
