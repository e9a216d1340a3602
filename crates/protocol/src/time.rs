//! Tolerant reading of times (reference contract, section 2.1).
//!
//! A zero time (`0001-01-01T00:00:00Z`), `null`, an empty string and an absent member all mean "not set".

use jiff::Timestamp;
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
    text.parse().map(Some)
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

    #[test]
    fn other_text_is_refused() {
        assert!(parse("yesterday").is_err());
    }
}
