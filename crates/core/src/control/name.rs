//! Names that people give to organizations and clusters.

use std::fmt;
use thiserror::Error;

/// Longest DNS label (RFC 1123).
const LABEL_BYTES: usize = 63;

/// A DNS label: lower-case letters, digits and `-`, beginning and ending with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsLabel(String);

/// The text is not a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{subject} must be 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit")]
pub struct NotALabel {
    /// The member that was meant.
    pub subject: &'static str,
}

impl DnsLabel {
    /// Takes a name; `subject` names the member in the error.
    ///
    /// # Errors
    /// The text is not a DNS label.
    pub fn parse(subject: &'static str, text: &str) -> Result<Self, NotALabel> {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if (1..=LABEL_BYTES).contains(&text.len()) && edges && text.chars().all(inside) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotALabel { subject })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_rfc_1123() {
        for good in ["a", "0", "org-a", &"x".repeat(63)] {
            assert!(DnsLabel::parse("name", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"x".repeat(64)] {
            assert!(DnsLabel::parse("name", bad).is_err(), "{bad}");
        }
    }
}
