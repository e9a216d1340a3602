use std::time::Duration;
use vworkspace_protocol::limits::{DEFAULT_WAIT, MAX_WAIT};

/// Reads the `wait` of a poll: whole seconds, also written `30s`. Absent or unreadable means the default, more than
/// the maximum is cut to it, as v1 servers do.
pub(super) fn parse_wait(text: Option<&str>) -> Duration {
    text.and_then(|text| {
        let digits = text.trim();
        digits.strip_suffix('s').unwrap_or(digits).parse().ok()
    })
    .map_or(DEFAULT_WAIT, |seconds| Duration::from_secs(seconds).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_as_v1_servers_do() {
        for (text, seconds) in [
            (None, 30),
            (Some("0"), 0),
            (Some("5"), 5),
            (Some("30s"), 30),
            (Some("9000"), 300),
            (Some("-1"), 30),
            (Some("soon"), 30),
            (Some(""), 30),
        ] {
            assert_eq!(parse_wait(text), Duration::from_secs(seconds), "{text:?}");
        }
    }
}
