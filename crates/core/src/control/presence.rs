//! Whether a cluster's agent is there, and when what it acked must be offered again.

use crate::planted::{Bug, planted};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use vworkspace_protocol::{admin::Presence, id::SessionId};

/// The control plane's view of a cluster's agent at `now` (contract, section 4). One seen by a clock that went back
/// since is not known to be there before it calls again, which a connected one does at once.
pub fn presence(
    registered: bool,
    last_seen: Option<Timestamp>,
    now: Timestamp,
    window: Duration,
) -> Presence {
    match last_seen {
        _ if !registered => Presence::Unregistered,
        Some(seen) if elapsed(seen.min(now), seen.max(now)) <= window => Presence::Connected,
        Some(_) | None => Presence::Disconnected,
    }
}

/// The smallest time that is kept.
const INSTANT: Duration = Duration::from_micros(1);

/// What is remembered of one agent's calls.
///
/// Acked jobs are offered again when the session changes or has been silent for too long (contract, section 2), when
/// a session that is gone says that it holds one, when the cluster registers, and when the control plane starts. All are
/// breaks: the agent that acked may not be the one that asks now, or has told what the control plane no longer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// The run of the agent that called last; plain v1 agents name none.
    pub session: Option<SessionId>,
    /// When it called last.
    pub last_seen: Option<Timestamp>,
    /// The latest break: what was held before it and acked without a result is offered again.
    pub break_at: Option<Timestamp>,
    /// The latest time that was given to a break or to the holding of a job. Breaks are later than all before them, and
    /// nothing is held before the break it follows, wherever the clock goes: they are compared with one another alone.
    pub latest: Option<Timestamp>,
}

impl Sighting {
    /// An agent calls. `stale` is the silence after which an unchanged session counts as broken.
    pub fn handle_call(&mut self, session: Option<&SessionId>, now: Timestamp, stale: Duration) {
        let broken = match self.last_seen {
            None => true,
            Some(seen) => {
                (self.session.as_ref() != session && !planted(Bug::ForgetSession))
                    || elapsed(seen, now) >= stale
            }
        };
        if broken {
            self.break_off(now);
            self.session = session.cloned();
        }
        self.last_seen = Some(now);
    }

    /// Somebody says at `now` that the agent holds a job: the time under which that is to be stored.
    pub fn hold(&mut self, now: Timestamp) -> Timestamp {
        let stamp = self.latest.map_or(now, |latest| now.max(latest));
        self.latest = Some(stamp);
        stamp
    }

    /// It is stored that this session holds a job: it acked it, or told progress. Had another one called meanwhile, then
    /// that one holds nothing of the job. This is a break, too, and later than the one before: of that, everything may
    /// have been offered again already.
    pub fn handle_held(&mut self, session: Option<&SessionId>, now: Timestamp) {
        if !planted(Bug::ForgetSession) && self.last_seen.is_some() && self.session.as_ref() != session {
            self.break_off(now);
        }
    }

    /// A registration gave the identity away: whoever calls from now on may be another agent, of the same session for
    /// all one can tell, because plain v1 agents name none.
    pub fn handle_registration(&mut self, now: Timestamp) {
        self.break_off(now);
    }

    /// The control plane starts. It may have been set back to a backup, and notes are lost in a crash: what an agent acked
    /// and finished since is asked for once more.
    pub fn handle_start(&mut self) {
        if let Some(latest) = self.latest {
            self.break_off(latest);
        }
    }

    fn break_off(&mut self, now: Timestamp) {
        let next = |latest: Timestamp| latest.saturating_add(INSTANT).unwrap_or(Timestamp::MAX);
        self.break_at = Some(self.latest.map_or(now, |latest| now.max(next(latest))));
        self.latest = self.break_at;
    }
}

/// Time from `start` to `end`, zero when the clock went back.
pub(crate) fn elapsed(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start).max(SignedDuration::ZERO)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn presence_follows_the_window() {
        let window = Duration::from_secs(60);
        assert_eq!(presence(false, Some(at(0)), at(0), window), Presence::Unregistered);
        assert_eq!(presence(true, None, at(0), window), Presence::Disconnected);
        assert_eq!(presence(true, Some(at(0)), at(60), window), Presence::Connected);
        assert_eq!(presence(true, Some(at(0)), at(61), window), Presence::Disconnected);
        assert_eq!(presence(true, Some(at(9)), at(1), window), Presence::Connected);
    }

    #[test]
    fn a_clock_that_went_back_shows_nobody_as_connected_for_longer_than_the_window() {
        assert_eq!(presence(true, Some(at(3_600)), at(0), Duration::from_secs(60)), Presence::Disconnected);
        let mut sighting = Sighting::default();
        sighting.handle_call(None, at(3_600), STALE);
        sighting.handle_call(None, at(0), STALE);
        assert_eq!(sighting.last_seen, Some(at(0)));
    }

    #[test]
    fn an_ack_of_a_session_that_is_gone_is_a_break_and_one_of_the_present_one_is_none() {
        let (one, two) = (SessionId::new("1"), SessionId::new("2"));
        let mut sighting = Sighting::default();
        sighting.handle_call(Some(&one), at(0), STALE);
        sighting.handle_held(Some(&one), at(1));
        assert_eq!(sighting.break_at, Some(at(0)));
        sighting.handle_call(Some(&two), at(2), STALE);
        for now in [3, 3, 1] {
            let before = sighting.break_at;
            let held = sighting.hold(at(now));
            sighting.handle_held(Some(&one), at(now));
            assert!(
                sighting.break_at > Some(held),
                "what is held since that moment is from before the break"
            );
            assert!(sighting.break_at > before, "it waited for long: what was to be offered again has been");
        }
    }

    #[test]
    fn what_is_held_is_from_before_the_next_break_and_not_before_the_last_wherever_the_clock_goes() {
        let (one, two) = (SessionId::new("1"), SessionId::new("2"));
        for now in [3_600, 4, 3_600] {
            let mut sighting = Sighting::default();
            sighting.handle_call(Some(&one), at(3_600), STALE);
            let held = sighting.hold(at(3_600));
            assert!(Some(held) >= sighting.break_at);
            sighting.handle_call(Some(&two), at(now), STALE);
            assert!(Some(held) < sighting.break_at);
            assert!(Some(sighting.hold(at(now))) >= sighting.break_at);
            assert!(Some(sighting.hold(at(0))) >= sighting.break_at);
        }
    }

    #[test]
    fn start_of_the_control_plane_is_a_break_for_all_that_is_held() {
        let mut sighting = Sighting::default();
        sighting.handle_start();
        assert_eq!(sighting.break_at, None, "nobody holds anything");
        sighting.handle_call(None, at(0), STALE);
        let held = sighting.hold(at(9));
        sighting.handle_start();
        assert!(sighting.break_at > Some(held));
    }

    #[test]
    fn a_break_is_a_new_session_or_a_long_silence_and_nothing_else() {
        let (one, two) = (SessionId::new("1"), SessionId::new("2"));
        let mut sighting = Sighting::default();
        sighting.handle_call(Some(&one), at(0), STALE);
        assert_eq!(sighting.break_at, Some(at(0)));
        sighting.handle_call(Some(&one), at(599), STALE);
        assert_eq!(sighting.break_at, Some(at(0)));
        sighting.handle_call(Some(&one), at(599 + 600), STALE);
        assert_eq!(sighting.break_at, Some(at(1199)));
        sighting.handle_call(Some(&two), at(1200), STALE);
        assert_eq!(sighting.break_at, Some(at(1200)));
        sighting.handle_call(None, at(1201), STALE);
        assert_eq!(sighting.break_at, Some(at(1201)));
    }
}
