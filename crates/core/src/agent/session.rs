//! When the agent talks to the control plane, and what each answer means for that (contract, section 4).
//!
//! ```text
//!                    credential                    snapshot taken
//!   Unregistered ───────────────► Resyncing ─────────────────────► Active
//!        ▲                          ▲  │ ▲                          │
//!        │ credential gone          │  │ └──── no good round trip ──┘
//!        └──────────────────────────┘  │       twice in a row, or for the window: told as disconnected
//!                                      └── 401, 403 ──► Rejected ──► Resyncing
//!                                                          after 1 min, doubling to 15 min; at once when
//!                                                          somebody changes Secret or Cluster
//! ```
//!
//! **Nothing stops for good.** A control plane may reject every credential for an hour and accept one afterwards, for
//! example because it ran on an empty database or was restored. After each wait all credentials held are tried again.
//!
//! **How soon after a cut.** Jobs flow within ten seconds after the link is back, however long the cut was:
//!
//! - Where nobody answers, or something that does not say when to come back, the back-off grows to
//!   [`RECONNECT_CEILING`] and no further. Our own control plane says when, if it is alive and has too much to do, and
//!   that is taken exactly; what is left is a dead line, a dead control plane, or a proxy before it, and a try costs
//!   those next to nothing.
//! - A fleet comes back spread over that window by full jitter: no more at once than after a restart of the control
//!   plane that took as long as the window, which it has to stand anyway. A call is never made before the former one
//!   was answered or given up, so that one that is slow to answer is asked less, not more. One that hangs when the link
//!   comes back is answered then, or given up within its own bound.
//! - Whatever gets through sooner, an event or a sign of life, ends the waiting: the link is back. Once per cut, and
//!   not within a second of the last try, so that a poll that fails for a reason of its own goes on backing off. A wait
//!   that the other side asked for stands.
//! - What is refused otherwise, as by a plain 429, backs off up to a minute.

use crate::{
    backoff::{Backoff, CEILING, FLOOR},
    planted::{Bug, planted},
};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use vworkspace_protocol::{
    limits::{DEFAULT_WAIT, MAX_WAIT},
    problem::code,
};

/// Shortest time between two polls that brought nothing new, whatever the control plane answers.
pub const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long without a good round trip before `Disconnected=True`, by default.
pub const DISCONNECT_AFTER: Duration = Duration::from_secs(60);
/// Longest delay between two tries while nobody answers.
pub const RECONNECT_CEILING: Duration = Duration::from_secs(8);
/// Shortest wait a poll asks for: none at all would be no long poll.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// So many failed calls in a row are a cut.
const CUT_AFTER: u32 = 2;
/// Window of the wait after the first rejection.
const FIRST_REJECTION: Duration = Duration::from_secs(60);
/// Window of the longest wait after a rejection.
pub const REJECTION_CEILING: Duration = Duration::from_secs(15 * 60);
/// Longest `Retry-After` taken from something that is not known to be the control plane.
pub const FOREIGN_CEILING: Duration = Duration::from_secs(60);
/// Longest pause of the agent that lost a conflict of identity, unless the control plane asks for another one.
const CONFLICT_CEILING: Duration = Duration::from_secs(60);

/// What a failed call means, whatever the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 401: the credential is not accepted.
    Unauthorized,
    /// 403: the identity may not do this.
    Forbidden,
    /// 404: no such job.
    NotFound,
    /// 409: the job is closed, or its result is recorded.
    Closed,
    /// 429: come back later.
    RateLimited {
        /// Exactly when, if told.
        retry_after: Option<Duration>,
    },
    /// 413, of the control plane or of a proxy: a smaller message may be taken.
    TooLarge,
    /// 409 `identity_conflict`: another agent under this identity goes first.
    IdentityConflict {
        /// Exactly when to come back, if told.
        retry_after: Option<Duration>,
    },
    /// Another 4xx: this message never will be taken.
    Refused,
    /// 5xx, no answer, an answer that cannot be read, or one that is not the control plane's.
    Unavailable {
        /// Exactly when, if told.
        retry_after: Option<Duration>,
    },
}

impl Failure {
    /// What an error of the control plane means, by its status and stable code.
    pub fn of_refusal(status: u16, error: &str, retry_after: Option<Duration>) -> Self {
        if status == 409 && error == code::IDENTITY_CONFLICT {
            return Self::IdentityConflict { retry_after };
        }
        Self::of_status(status, retry_after)
    }

    /// What an answer means that something in between gave in the control plane's place: nothing, but that it may be
    /// tried again. Its size limit counts, since every request has to pass it.
    pub fn of_foreign(status: u16, retry_after: Option<Duration>) -> Self {
        if status == 413 {
            return Self::TooLarge;
        }
        let is_believed = match status {
            400 => planted(Bug::BisectOnStrangers400),
            401 | 403 => planted(Bug::BelieveStrangersRejection),
            404 => planted(Bug::DropJobOnStrangers404),
            409 => planted(Bug::RecordedByStrangers409),
            _ => false,
        };
        if is_believed {
            return Self::of_status(status, retry_after);
        }
        let most = if planted(Bug::ObeyStrangersRetryAfter) { Duration::MAX } else { FOREIGN_CEILING };
        Self::Unavailable { retry_after: retry_after.map(|asked| asked.min(most)) }
    }

    /// What an HTTP status other than 2xx means.
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 | 410 => Self::NotFound,
            409 => Self::Closed,
            413 => Self::TooLarge,
            429 => Self::RateLimited { retry_after },
            // A redirect or a time-out of a proxy may go away; another 4xx will not.
            408 | 425 => Self::Unavailable { retry_after },
            400..500 => Self::Refused,
            _ => Self::Unavailable { retry_after },
        }
    }

    /// Whether this one message never will be taken, however often it is sent.
    pub fn is_final(self) -> bool {
        match self {
            Self::NotFound | Self::Closed | Self::Refused => true,
            Self::Unauthorized
            | Self::Forbidden
            | Self::TooLarge
            | Self::IdentityConflict { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. } => false,
        }
    }

    /// Whether what was presented, a registration token or a credential, is of no use until it is another one.
    pub fn is_rejection(self) -> bool {
        match self {
            Self::Unauthorized | Self::Forbidden => true,
            Self::NotFound
            | Self::Closed
            | Self::TooLarge
            | Self::IdentityConflict { .. }
            | Self::Refused
            | Self::RateLimited { .. }
            | Self::Unavailable { .. } => false,
        }
    }

    /// When the other side asked to come back.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::IdentityConflict { retry_after }
            | Self::RateLimited { retry_after }
            | Self::Unavailable { retry_after } => retry_after,
            Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::Closed
            | Self::TooLarge
            | Self::Refused => None,
        }
    }

    /// The same without the time to come back: who asked for it is not asked next.
    pub fn without_pause(self) -> Self {
        match self.retry_after() {
            Some(_) => Self::Unavailable { retry_after: None },
            None => self,
        }
    }

    /// Whether there may be no link at all, and nobody said when to come back.
    fn is_silence(self) -> bool {
        matches!(self, Self::Unavailable { retry_after: None })
    }
}

/// How long a poll waits for jobs when `wanted` was set, nothing being the default: at most what the protocol allows,
/// and at most half the disconnect window, so that a cluster without work has a good round trip in time even when one
/// poll is lost. Whole seconds, at least one.
pub fn poll_wait(wanted: Duration, disconnect_after: Duration) -> Duration {
    let wanted = if wanted.as_secs() == 0 { DEFAULT_WAIT } else { wanted };
    let wait = wanted.min(MAX_WAIT).min(disconnect_after / 2).max(MIN_WAIT);
    Duration::from_secs(wait.as_secs())
}

/// The pause after a poll that brought so many new jobs and took so long: an instant answer without news, again and
/// again, must not become a hot loop.
pub fn pause_after_poll(new: usize, took: Duration) -> Duration {
    if new > 0 { Duration::ZERO } else { MIN_POLL_INTERVAL.saturating_sub(took) }
}

/// How long after a rejection it is asked again, when so many came before in a row: within a minute, doubling to 15
/// minutes, with full jitter. `random` is uniform in 0..1.
pub fn rejection_delay(before: u32, random: f64) -> Duration {
    let window = FIRST_REJECTION.saturating_mul(1 << before.min(4)).min(REJECTION_CEILING);
    FLOOR + (window - FLOOR).mul_f64(random.clamp(0.0, 1.0))
}

/// Why the control plane serves this agent no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 401 with every credential held.
    CredentialRejected,
    /// 403: the cluster may not do this any more.
    IdentityForbidden,
    /// 409 `identity_conflict`: another agent uses the same identity and goes first.
    IdentityConflict,
}

/// The rejections in a row since the last good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The last one's reason.
    pub why: Rejection,
    /// When the control plane is asked again, or was last asked again.
    pub retry_at: Timestamp,
    count: u32,
}

/// Where the conversation stands. Each state says how it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no credential. Left when one appears.
    Unregistered,
    /// Status first. Left when the control plane took the snapshot, or rejected the agent.
    Resyncing,
    /// Pulling jobs. Left by a rejection, by two failed calls in a row, or when the disconnect window passed.
    Active,
    /// Every credential was rejected. Left when the wait is over, by a good answer, or when somebody changes Secret or
    /// Cluster.
    Rejected(Rejection),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until there is a credential.
    Halt,
    /// Forget which credentials were refused, and ask what is next: the wait after a rejection is over.
    Reopen,
    /// Nothing, until this time.
    Wait(Timestamp),
    /// Send the conditions of all owned objects.
    Resync,
    /// Ask for jobs.
    Poll,
}

/// The conversation's state machine.
#[derive(Debug)]
pub struct Session {
    state: State,
    backoff: Backoff,
    /// Outlives the tries that follow a rejection: what they are is not known before one is answered well.
    rejected: Option<Rejected>,
    not_before: Option<Timestamp>,
    /// When to try again if anything gets through before `not_before`; absent: not sooner.
    soonest: Option<Timestamp>,
    /// Whether a wait was ended early since a poll or a snapshot last got through.
    hurried: bool,
    last_good: Option<Timestamp>,
    disconnect_after: SignedDuration,
    /// Since when there is a credential, or the last good round trip: what the window is measured from.
    silent_since: Option<Timestamp>,
}

impl Session {
    /// A session without a credential.
    pub fn new(disconnect_after: Duration) -> Self {
        Self {
            state: State::Unregistered,
            backoff: Backoff::default(),
            rejected: None,
            not_before: None,
            soonest: None,
            hurried: false,
            last_good: None,
            disconnect_after: SignedDuration::try_from(disconnect_after)
                .unwrap_or(SignedDuration::from_mins(1)),
            silent_since: None,
        }
    }

    /// Another connection is made, with another credential, URL or CA; `present` is false when there is none to use.
    pub fn handle_credential(&mut self, present: bool, now: Timestamp) {
        let first = if planted(Bug::JobsBeforeSnapshot) { State::Active } else { State::Resyncing };
        self.state = if present { first } else { State::Unregistered };
        self.calm();
        self.silent_since = self.last_good.or(Some(now)).filter(|_| present);
    }

    /// Somebody changed the credentials or the Cluster: what was rejected may be accepted now.
    pub fn handle_change(&mut self) {
        self.rejected = None;
        self.reopen();
    }

    /// A call of any kind succeeded: the link is there, and a wait for it to come back is over. A conflict of identity
    /// is not: results are taken during one.
    pub fn handle_good(&mut self, now: Timestamp) {
        self.rejected = self.rejected.filter(|rejected| rejected.why == Rejection::IdentityConflict);
        self.reopen();
        let waiting = self.not_before.filter(|at| now < *at);
        if let Some((at, soonest)) = waiting.zip(self.soonest.take()) {
            self.not_before = Some(at.min(soonest));
            self.hurried = true;
        }
        self.last_good = Some(now);
        self.silent_since = Some(now);
    }

    /// There is nothing left to tell: the control plane took the snapshot, or, without `round_trip`, there was
    /// nothing to take and so nothing is known about the link.
    pub fn handle_resynced(&mut self, round_trip: bool, now: Timestamp) {
        if round_trip {
            self.handle_polled(now);
        }
        if self.state == State::Resyncing {
            self.state = State::Active;
        }
    }

    /// A poll was answered.
    pub fn handle_polled(&mut self, now: Timestamp) {
        self.rejected = None;
        self.handle_good(now);
        self.calm();
    }

    /// A poll or a snapshot failed. `random` is uniform in 0..1.
    pub fn handle_failure(&mut self, failure: Failure, now: Timestamp, random: f64) {
        match failure {
            Failure::Unauthorized => self.reject(Rejection::CredentialRejected, now, random),
            Failure::Forbidden => self.reject(Rejection::IdentityForbidden, now, random),
            Failure::IdentityConflict { retry_after } => {
                // Not silenced: results of the jobs it had are still taken.
                let delay = self.backoff.handle_failure_within(CONFLICT_CEILING, retry_after, random);
                self.wait(Rejection::IdentityConflict, delay, now);
                self.soonest = None;
                self.cut();
            }
            Failure::NotFound
            | Failure::Closed
            | Failure::TooLarge
            | Failure::Refused
            | Failure::RateLimited { .. }
            | Failure::Unavailable { .. } => {
                let ceiling = if failure.is_silence() { RECONNECT_CEILING } else { CEILING };
                let asked = failure.retry_after().filter(|_| !planted(Bug::IgnoreRetryAfter));
                let delay = self.backoff.handle_failure_within(ceiling, asked, random);
                self.not_before = Some(after(now, delay));
                let may_hurry = failure.is_silence() && !self.hurried;
                self.soonest = may_hurry.then(|| after(now, FLOOR));
                // One lost request alone is no cut: its events still wait in the outbox, and a busy control plane
                // must not be asked to take snapshots as well.
                if self.backoff.failures() >= CUT_AFTER || self.is_disconnected(now) {
                    self.cut();
                }
            }
        }
    }

    /// What to do next.
    pub fn poll_step(&mut self, now: Timestamp) -> Step {
        match (self.state, self.not_before) {
            (State::Unregistered, _) => Step::Halt,
            (State::Rejected(_), _) if planted(Bug::StopWhenRejected) => Step::Halt,
            (State::Rejected(Rejection::IdentityForbidden), _) if planted(Bug::StopWhenForbidden) => {
                Step::Halt
            }
            (State::Rejected(_) | State::Resyncing | State::Active, Some(at)) if now < at => Step::Wait(at),
            (State::Rejected(_), _) => {
                self.reopen();
                Step::Reopen
            }
            (State::Resyncing, _) => Step::Resync,
            (State::Active, _) => Step::Poll,
        }
    }

    /// The rejections since the last good answer, if the last call was rejected.
    pub fn rejected(&self) -> Option<Rejected> {
        self.rejected
    }

    /// Where the conversation stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The last good round trip.
    pub fn last_good(&self) -> Option<Timestamp> {
        self.last_good
    }

    /// Whether there was no good round trip within the window.
    pub fn is_disconnected(&self, now: Timestamp) -> bool {
        self.silent_since.is_some_and(|since| now.duration_since(since) >= self.disconnect_after)
    }

    /// When [`Session::is_disconnected`] turns true unless something good happens.
    pub fn disconnects_at(&self) -> Option<Timestamp> {
        self.silent_since.and_then(|since| since.checked_add(self.disconnect_after).ok())
    }

    fn reject(&mut self, why: Rejection, now: Timestamp, random: f64) {
        let delay = rejection_delay(self.rejected.map_or(0, |rejected| rejected.count), random);
        self.wait(why, delay, now);
        self.soonest = None;
        self.state = State::Rejected(why);
    }

    fn wait(&mut self, why: Rejection, delay: Duration, now: Timestamp) {
        let retry_at = after(now, delay);
        let count = self.rejected.map_or(0, |rejected| rejected.count).saturating_add(1);
        self.rejected = Some(Rejected { why, retry_at, count });
        self.not_before = Some(retry_at);
    }

    /// Leaves the state of rejection; what comes next is not held back by it.
    fn reopen(&mut self) {
        if matches!(self.state, State::Rejected(_)) {
            self.state = State::Resyncing;
            self.not_before = None;
        }
    }

    fn cut(&mut self) {
        if self.state == State::Active && !planted(Bug::JobsAfterCut) {
            self.state = State::Resyncing;
        }
    }

    fn calm(&mut self) {
        self.backoff.handle_success();
        self.not_before = None;
        self.soonest = None;
        self.hurried = false;
    }
}

fn after(now: Timestamp, delay: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX)).unwrap_or(now)
}

#[cfg(test)]
mod tests;
