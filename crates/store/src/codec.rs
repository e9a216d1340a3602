//! How domain values are kept in columns.

use crate::Error;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;
use vworkspace_core::control::admission::Effect;
use vworkspace_protocol::{JobKind, Outcome, admin::JobState};

/// In the order of their numbers in the schema.
const STATES: [JobState; 8] = [
    JobState::Queued,
    JobState::Leased,
    JobState::Acked,
    JobState::Closed,
    JobState::Expired,
    JobState::Cancelled,
    JobState::Superseded,
    JobState::Undeliverable,
];

/// Every state's number.
pub(crate) const STATE_CODES: std::ops::Range<i64> = 0..8;

pub(crate) const fn state_code(state: JobState) -> i64 {
    match state {
        JobState::Queued => 0,
        JobState::Leased => 1,
        JobState::Acked => 2,
        JobState::Closed => 3,
        JobState::Expired => 4,
        JobState::Cancelled => 5,
        JobState::Superseded => 6,
        JobState::Undeliverable => 7,
    }
}

pub(crate) fn state(code: i64) -> Result<JobState, Error> {
    let found = usize::try_from(code).ok().and_then(|index| STATES.get(index));
    found.copied().ok_or(Error::Corrupt { what: "job state" })
}

/// 0 apply, 1 delete, 2 intent; admission lets no other kind through.
pub(crate) const fn kind_code(kind: &JobKind) -> Option<i64> {
    match kind {
        JobKind::Apply => Some(0),
        JobKind::Delete => Some(1),
        JobKind::Intent => Some(2),
        JobKind::Other(_) => None,
    }
}

pub(crate) const fn kind(code: i64) -> Result<JobKind, Error> {
    match code {
        0 => Ok(JobKind::Apply),
        1 => Ok(JobKind::Delete),
        2 => Ok(JobKind::Intent),
        _ => Err(Error::Corrupt { what: "job kind" }),
    }
}

pub(crate) const fn effect_code(effect: Effect) -> i64 {
    match effect {
        Effect::Replace => 0,
        Effect::Delete => 1,
    }
}

pub(crate) const fn effect(code: i64) -> Result<Effect, Error> {
    match code {
        0 => Ok(Effect::Replace),
        1 => Ok(Effect::Delete),
        _ => Err(Error::Corrupt { what: "job effect" }),
    }
}

/// Reads the word of an outcome.
pub(crate) fn outcome(text: &str) -> Result<Outcome, Error> {
    let all = [Outcome::Succeeded, Outcome::Failed, Outcome::Noop, Outcome::Conflict];
    all.into_iter().find(|outcome| outcome.as_str() == text).ok_or(Error::Corrupt { what: "outcome" })
}

/// Microseconds since 1970.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The moment as it will read back: whole microseconds.
pub(crate) fn whole_micros(now: Timestamp) -> Timestamp {
    time(micros(now))
}

/// Reads [`micros`]; what lies outside jiff's range was never written.
pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// A new id whose order is that of `now`.
pub(crate) fn new_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

/// An id as it stands in a request; what is not exactly one of ours names nothing.
pub(crate) fn known_id(text: &str) -> Result<Uuid, Error> {
    let id = Uuid::try_parse(text).map_err(|_| Error::NotFound)?;
    let mut buffer = Uuid::encode_buffer();
    if *id.hyphenated().encode_lower(&mut buffer) == *text { Ok(id) } else { Err(Error::NotFound) }
}

/// A JSON column; our own types always serialise.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Corrupt { what: "JSON" })
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|_| Error::Corrupt { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_kinds_read_back() {
        for code in STATE_CODES {
            assert_eq!(state_code(state(code).unwrap()), code);
        }
        for code in 0..3 {
            assert_eq!(kind_code(&kind(code).unwrap()), Some(code));
        }
        assert!(state(8).is_err() && kind(3).is_err());
    }

    #[test]
    fn only_the_exact_text_of_an_id_is_one() {
        let id = new_id(Timestamp::UNIX_EPOCH).to_string();
        assert!(known_id(&id).is_ok());
        for other in ["", "x", &id.replace('-', ""), &format!("{{{id}}}"), &format!("{id}0")] {
            assert!(known_id(other).is_err(), "{other}");
        }
    }
}
