//! Tolerant reading of times (reference contract, section 2.1).
//!
//! A zero time (`0001-01-01T00:00:00Z`), `null`, an empty string and an absent member all mean "not set". A time later
//! than [`Timestamp::MAX`], which is some hours before the end of the year 9999, is that.

use jiff::{Timestamp, fmt::temporal::Pieces};
use serde::{Deserialize, Deserializer, de::Error as _};

/// For `#[serde(default, deserialize_with = "time::optional")]`.
///
/// # Errors
/// A text that is neither empty nor an RFC 3339 time.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    parse(text.as_deref().unwrap_or_default()).map_err(D::Error::custom)
}

fn parse(text: &str) -> Result<Option<Timestamp>, jiff::Error> {
    if text.is_empty() || text.starts_with("0001-01-01T00:00:00") {
        return Ok(None);
    }
    text.parse().or_else(|error| if is_last(text) { Ok(Timestamp::MAX) } else { Err(error) }).map(Some)
}

/// Whether it is a time of the last hours that RFC 3339 can write, which are beyond [`Timestamp::MAX`].
fn is_last(text: &str) -> bool {
    Pieces::parse(text).is_ok_and(|pieces| {
        pieces.date().year() == 9999 && pieces.time().is_some() && pieces.offset().is_some()
    })
}

/// Cuts a time to whole seconds, the resolution of Kubernetes condition times.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_empty_times_mean_not_set() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("0001-01-01T00:00:00Z").unwrap(), None);
    }

    #[test]
    fn fractions_are_read_and_cut_only_on_request() {
        let time = parse("2026-05-30T10:00:00.25Z").unwrap().unwrap();
        assert_eq!(time.to_string(), "2026-05-30T10:00:00.25Z");
        assert_eq!(whole_seconds(time).to_string(), "2026-05-30T10:00:00Z");
    }

    /// Go writes it where somebody means for ever, and one unreadable time makes a whole poll unreadable.
    #[test]
    fn the_last_hours_of_the_last_year_are_the_latest_time_there_is() {
        for last in
            ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999+00:00", "9999-12-30T22:00:00-23:59"]
        {
            assert_eq!(parse(last).unwrap(), Some(Timestamp::MAX), "{last}");
        }
        for none in ["9999-12-32T00:00:00Z", "9999-12-31T23:59:59", "9999-12-31"] {
            assert!(parse(none).is_err(), "{none}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        assert!(parse("yesterday").is_err());
    }
}
