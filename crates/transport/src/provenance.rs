//! Whose word an answer is (contract, section 4, "Whose word is it?").
//!
//! A proxy, a firewall or a captive portal may answer in the control plane's place, with any status and any body. Our
//! control plane proves itself: it echoes the request's `X-Vworkspace-Session` on every answer. Once it has done so,
//! an answer without the echo is nobody's word, whatever its form. A plain v1 control plane never echoes; it is
//! believed where its answer is in form.
//!
//! ```text
//!            echo                  every poll in form and none with the echo, for an hour
//!   Unset ─────────► Set ────────────────────────────────────────────────────────► Stripped
//!                     ▲                            echo                              │
//!                     └──────────────────────────────────────────────────────────────┘
//! ```

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// For this long every poll must be in form and without the echo before the mark is dropped: then a proxy on the way
/// strips headers, and waiting longer would cut the cluster off.
pub const STRIPPED_AFTER: Duration = Duration::from_secs(3600);
/// Two polls further apart than this are not "every poll": the agent asks far more often, so it was paused or cut off.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What an answer shows about who gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// It carries the session of its request.
    pub echoed: bool,
    /// Status, content type and body have a documented form.
    pub in_form: bool,
    /// It answers a poll for jobs.
    pub is_poll: bool,
}

/// Whether the control plane at one URL is known to echo the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EchoMark {
    /// No echo was seen: a plain v1 control plane, or none was reached yet. Left by the first echo.
    #[default]
    Unset,
    /// It has echoed. Left when the echo is missing for [`STRIPPED_AFTER`].
    Set {
        /// The latest polls, if they were answered in form and without the echo.
        unechoed: Option<Unechoed>,
    },
    /// It used to echo, and something on the way removes the header now. Left by the next echo.
    Stripped,
}

/// Polls in a row that were answered in form and without the echo, in monotonic time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unechoed {
    /// The answer to the first.
    since: Duration,
    /// The answer to the last.
    last: Duration,
}

impl Unechoed {
    /// The run with one more answer, or a new one after a pause.
    fn and(run: Option<Self>, now: Duration) -> Self {
        let run = run.filter(|run| now.saturating_sub(run.last) <= LONGEST_PAUSE);
        Self { since: run.map_or(now, |run| run.since), last: now }
    }

    fn is_over(self) -> bool {
        self.last.saturating_sub(self.since) >= STRIPPED_AFTER
    }
}

impl EchoMark {
    /// The mark as it was stored.
    pub fn stored(is_set: bool) -> Self {
        if is_set { Self::Set { unechoed: None } } else { Self::Unset }
    }

    /// Whether an answer without the echo is nobody's word.
    pub fn is_set(self) -> bool {
        matches!(self, Self::Set { .. })
    }

    /// Judges one answer; returns `true` if it is the control plane's word. `now` is monotonic time since any fixed
    /// origin.
    pub fn handle_answer(&mut self, answer: Evidence, now: Duration) -> bool {
        let Evidence { echoed, in_form, is_poll } = answer;
        if echoed {
            *self = Self::Set { unechoed: None };
            return in_form;
        }
        match self {
            Self::Unset | Self::Stripped => in_form,
            Self::Set { .. } if !is_poll => false,
            Self::Set { unechoed } => {
                *unechoed = in_form.then(|| Unechoed::and(*unechoed, now));
                let is_stripped = unechoed.is_some_and(Unechoed::is_over);
                if is_stripped {
                    *self = Self::Stripped;
                }
                is_stripped
            }
        }
    }

    /// A poll got no answer, or none that could be read to its end: not every poll was answered in form.
    pub fn handle_unanswered_poll(&mut self) {
        if let Self::Set { unechoed } = self {
            *unechoed = None;
        }
    }
}

/// The [`EchoMark`] of one control plane, shared by all links to it.
#[derive(Debug)]
pub struct Witness {
    mark: Mutex<EchoMark>,
    born: Instant,
}

impl Witness {
    /// A witness of a control plane that is known to echo, or not yet known.
    pub fn new(mark: EchoMark) -> Self {
        Self { mark: Mutex::new(mark), born: Instant::now() }
    }

    /// The mark now.
    pub fn mark(&self) -> EchoMark {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`EchoMark::handle_answer`], at this moment.
    pub fn judge(&self, answer: Evidence) -> bool {
        let now = self.born.elapsed();
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).handle_answer(answer, now)
    }

    /// As [`EchoMark::handle_unanswered_poll`].
    pub fn note_unanswered_poll(&self) {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).handle_unanswered_poll();
    }
}

impl Default for Witness {
    fn default() -> Self {
        Self::new(EchoMark::Unset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHOED: Evidence = Evidence { echoed: true, in_form: true, is_poll: true };
    const BARE_POLL: Evidence = Evidence { echoed: false, in_form: true, is_poll: true };
    const HTML: Evidence = Evidence { echoed: false, in_form: false, is_poll: true };

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn v1_control_plane_is_believed_in_form_only() {
        let mut mark = EchoMark::default();
        assert!(mark.handle_answer(BARE_POLL, minutes(0)));
        assert!(!mark.handle_answer(HTML, minutes(0)));
        assert_eq!(mark, EchoMark::Unset);
    }

    #[test]
    fn answer_without_echo_is_nobodys_once_one_was_echoed() {
        let mut mark = EchoMark::default();
        assert!(mark.handle_answer(ECHOED, minutes(0)));
        assert!(!mark.handle_answer(BARE_POLL, minutes(1)));
        assert!(!mark.handle_answer(Evidence { is_poll: false, ..BARE_POLL }, minutes(1)));
        assert!(mark.is_set());
    }

    #[test]
    fn echoed_answer_out_of_form_is_not_believed() {
        let mut mark = EchoMark::stored(true);
        assert!(!mark.handle_answer(Evidence { in_form: false, ..ECHOED }, minutes(0)));
        assert!(mark.is_set());
    }

    #[test]
    fn mark_is_dropped_after_an_hour_of_polls_without_echo() {
        let mut mark = EchoMark::stored(true);
        for minute in 0..60 {
            assert!(!mark.handle_answer(BARE_POLL, minutes(minute)), "{minute}");
        }
        assert!(mark.handle_answer(BARE_POLL, minutes(60)));
        assert_eq!(mark, EchoMark::Stripped);
        assert!(mark.handle_answer(BARE_POLL, minutes(61)));
        assert!(mark.handle_answer(ECHOED, minutes(62)));
        assert!(!mark.handle_answer(BARE_POLL, minutes(63)));
    }

    #[test]
    fn one_echo_or_one_answer_out_of_form_restarts_the_hour() {
        for breaks in [ECHOED, HTML] {
            let mut mark = EchoMark::stored(true);
            mark.handle_answer(BARE_POLL, minutes(0));
            mark.handle_answer(breaks, minutes(59));
            assert!(!mark.handle_answer(BARE_POLL, minutes(61)));
            assert!(mark.is_set());
        }
    }

    #[test]
    fn unanswered_poll_restarts_the_hour_without_echo() {
        let mut mark = EchoMark::stored(true);
        mark.handle_answer(BARE_POLL, minutes(0));
        for minute in 1..60 {
            mark.handle_unanswered_poll();
            assert!(mark.is_set(), "{minute}");
        }
        assert!(!mark.handle_answer(BARE_POLL, minutes(61)));
        assert!(mark.is_set());
    }

    #[test]
    fn pause_between_polls_restarts_the_hour_without_echo() {
        let mut mark = EchoMark::stored(true);
        for minute in [0, 10, 20, 31, 41, 51, 61, 71, 81] {
            assert!(!mark.handle_answer(BARE_POLL, minutes(minute)), "{minute}");
        }
        assert!(mark.handle_answer(BARE_POLL, minutes(91)));
    }

    #[test]
    fn only_a_poll_drops_the_mark() {
        let mut mark = EchoMark::stored(true);
        for minute in 0..60 {
            mark.handle_answer(BARE_POLL, minutes(minute));
        }
        assert!(!mark.handle_answer(Evidence { is_poll: false, ..BARE_POLL }, minutes(60)));
        assert!(mark.is_set());
        assert!(mark.handle_answer(BARE_POLL, minutes(60)));
    }

    #[test]
    fn answers_to_other_calls_do_not_drop_the_mark() {
        let mut mark = EchoMark::stored(true);
        for minute in 0..200 {
            mark.handle_answer(Evidence { is_poll: false, ..BARE_POLL }, minutes(minute));
        }
        assert!(mark.is_set());
    }
}
