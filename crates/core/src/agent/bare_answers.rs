//! When a plain v1 control plane is believed that does not answer in form (contract, section 4).
//!
//! Such a control plane proves nothing: its bare 404 or 409 to a message about a job looks like a captive portal's.
//! It is believed after five equal answers over ten minutes, each between two polls that were answered in form: a
//! portal in the way would have answered those, too. A bare 400, 401, 403 or 413 is never believed.

use super::session::Failure;
use crate::planted::{Bug, planted};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use vworkspace_protocol::JobId;

/// So many equal answers are believed.
const EQUAL_ANSWERS: u32 = 5;
/// They are spread over at least this long.
const SPREAD: SignedDuration = SignedDuration::from_mins(10);
/// Most rows of answers kept; the one that began first makes room.
const MOST_ROWS: usize = 1_000;

/// Which message about a job was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// The acknowledgement.
    Ack,
    /// Progress.
    Status,
    /// The result.
    Result,
}

/// Counts bare answers.
#[derive(Debug, Default)]
pub struct BareAnswers {
    /// Polls answered in form.
    polls: u64,
    rows: BTreeMap<(JobId, Message), Row>,
}

/// Equal answers to one message.
#[derive(Debug)]
struct Row {
    status: u16,
    since: Timestamp,
    /// Answers between two polls in form.
    counted: u32,
    /// Polls in form when the last answer came.
    polls: u64,
}

impl BareAnswers {
    /// A poll was answered in form.
    pub fn handle_poll(&mut self) {
        self.polls += 1;
    }

    /// The agent speaks to another control plane now, by URL, CA or cluster: what the earlier one answered does not count.
    pub fn handle_another_target(&mut self) {
        *self = Self::default();
    }

    /// A message was answered in form, or not at all: what came before says nothing any more.
    pub fn handle_other(&mut self, job: &JobId, message: Message) {
        self.rows.remove(&(job.clone(), message));
    }

    /// A message was answered by a bare `status`. Returns what it means, once it is believed.
    pub fn handle_bare(
        &mut self,
        job: &JobId,
        message: Message,
        status: u16,
        now: Timestamp,
    ) -> Option<Failure> {
        let key = (job.clone(), message);
        if !matches!(status, 404 | 409) {
            self.rows.remove(&key);
            return None;
        }
        let polls = self.polls;
        let fresh = Row { status, since: now, counted: 0, polls };
        let row = self.rows.entry(key.clone()).or_insert(fresh);
        if row.status != status || row.since > now {
            *row = Row { status, since: now, counted: 0, polls };
        }
        // The answer before this one had a poll on each side.
        if row.polls > 0 && polls > row.polls {
            row.counted += 1;
        }
        row.polls = polls;
        let is_believed = row.counted >= EQUAL_ANSWERS && now.duration_since(row.since) >= SPREAD
            || planted(Bug::BelieveBareAnswer);
        if is_believed {
            self.rows.remove(&key);
        }
        self.make_room();
        is_believed.then(|| Failure::of_status(status, None))
    }

    fn make_room(&mut self) {
        if self.rows.len() > MOST_ROWS
            && let Some(oldest) =
                self.rows.iter().min_by_key(|(_, row)| row.since).map(|(key, _)| key.clone())
        {
            self.rows.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(60 * minute).unwrap()
    }

    /// What the answers of `minutes` minutes mean, one a minute, each after a poll in form where `polls`.
    fn answers(status: u16, minutes: i64, polls: bool) -> Vec<Option<Failure>> {
        let (mut bare, job) = (BareAnswers::default(), JobId::new("j"));
        let one = |minute| {
            if polls {
                bare.handle_poll();
            }
            bare.handle_bare(&job, Message::Ack, status, at(minute))
        };
        (0..=minutes).map(one).collect()
    }

    #[test]
    fn bare_404_is_believed_after_ten_minutes_between_polls() {
        for (status, failure) in [(404, Failure::NotFound), (409, Failure::Closed)] {
            let told = answers(status, 10, true);
            assert!(told[..10].iter().all(Option::is_none), "{told:?}");
            assert_eq!(told[10], Some(failure));
        }
    }

    #[test]
    fn bare_answer_without_polls_in_form_is_never_believed() {
        assert!(answers(404, 1_000, false).iter().all(Option::is_none));
    }

    #[test]
    fn other_bare_statuses_are_never_believed() {
        for status in [200, 400, 401, 403, 413, 502] {
            assert!(answers(status, 1_000, true).iter().all(Option::is_none), "{status}");
        }
    }

    #[test]
    fn another_answer_in_between_starts_the_count_again() {
        let (mut bare, job) = (BareAnswers::default(), JobId::new("j"));
        for minute in 0..9 {
            bare.handle_poll();
            assert_eq!(bare.handle_bare(&job, Message::Result, 404, at(minute)), None);
        }
        bare.handle_other(&job, Message::Result);
        bare.handle_poll();
        assert_eq!(bare.handle_bare(&job, Message::Result, 404, at(20)), None);
        assert_eq!(bare.handle_bare(&job, Message::Ack, 409, at(40)), None, "another message");
    }

    #[test]
    fn another_control_plane_starts_the_count_again() {
        let (mut bare, job) = (BareAnswers::default(), JobId::new("j"));
        let answered = |bare: &mut BareAnswers, minute| {
            bare.handle_poll();
            bare.handle_bare(&job, Message::Ack, 404, at(minute))
        };
        assert!((0..10).all(|minute| answered(&mut bare, minute).is_none()));
        bare.handle_another_target();
        assert!((10..20).all(|minute| answered(&mut bare, minute).is_none()));
        assert_eq!(answered(&mut bare, 20), Some(Failure::NotFound));
    }

    #[test]
    fn rows_are_bounded() {
        let mut bare = BareAnswers::default();
        for n in 0..2 * MOST_ROWS {
            bare.handle_bare(&JobId::new(n.to_string()), Message::Ack, 404, at(0));
        }
        assert_eq!(bare.rows.len(), MOST_ROWS);
    }
}
