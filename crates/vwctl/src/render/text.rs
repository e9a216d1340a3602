//! Pieces of text.

use jiff::Timestamp;
use std::error::Error;

/// Longest text in a column of a list.
const CLIP: usize = 80;

/// Text that came from elsewhere, on one line and without control characters: it must not be able to steer the
/// terminal.
pub(crate) fn plain(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One line of foreign text with its spaces, and without control characters.
pub(crate) fn plain_line(line: &str) -> String {
    let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shown.trim_end().to_owned()
}

/// [`plain`], cut to the width of a column.
pub(super) fn clipped(text: &str) -> String {
    let text = plain(text);
    if text.chars().count() <= CLIP {
        return text;
    }
    text.chars().take(CLIP - 1).chain(['…']).collect()
}

/// An error with its causes, on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    plain(&text)
}

/// A moment to the second, UTC.
pub(crate) fn when(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// How long before `as_of` it was, in the largest unit that is not nothing.
pub(super) fn ago(at: Timestamp, as_of: Timestamp) -> String {
    let seconds = as_of.duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[31m\n  b\tc\u{9b}2J"), "a [31m b c 2J");
        assert_eq!(plain_line("  a\x1b[31m  b \t"), "  a [31m  b");
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(clipped(&"ä".repeat(CLIP)), "ä".repeat(CLIP));
        let cut = clipped(&"ä".repeat(CLIP + 1));
        assert!(cut.chars().count() == CLIP && cut.ends_with('…'), "{cut}");
    }

    #[test]
    fn ages_have_one_unit_and_are_never_negative() {
        let ago = |seconds| ago(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        let ages = [-5, 0, 119, 120, 7_200, 172_800].map(ago);
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "2h", "2d"]);
    }
}
