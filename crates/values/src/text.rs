//! Values as they travel: texts in order, each a document or what is set at a path.

use crate::{Map, merge, set, yaml};
use serde_json::Value;

/// Most bytes of all texts together; a Secret holds 1 MiB in all.
pub const MOST_BYTES: usize = 512 * 1024;
/// Most texts of one instance.
pub const MOST_TEXTS: usize = 128;
/// Longest path, Flux's bound.
pub const MOST_PATH_BYTES: usize = 250;

/// One text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// A YAML document, or the value for `target_path`.
    pub text: &'a str,
    /// Where the value goes; `None` for a document.
    pub target_path: Option<&'a str>,
    /// The value is exactly this text.
    pub is_literal: bool,
}

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A document.
    #[error(transparent)]
    Yaml(#[from] yaml::Error),
    /// A value for a path.
    #[error(transparent)]
    Set(#[from] set::Error),
}

/// Lays one text over the values so far, as Flux does.
///
/// # Errors
/// What Flux refuses.
pub fn apply(text: &Text<'_>, values: &mut Map) -> Result<(), Error> {
    let Some(path) = text.target_path.filter(|path| !path.is_empty()) else {
        merge(values, yaml::read(text.text)?);
        return Ok(());
    };
    if text.is_literal {
        let literal = |_: &str| Value::String(text.text.to_owned());
        return Ok(set::apply_with(&format!("{path}=x"), &literal, values)?);
    }
    let (value, typing) = unquoted(text.text);
    Ok(set::apply(&format!("{path}={value}"), typing, values)?)
}

/// Flux takes a value in quotes for a text.
fn unquoted(value: &str) -> (&str, set::Typing) {
    let is_quoted = ['"', '\''].iter().any(|quote| value.starts_with(*quote) && value.ends_with(*quote));
    if is_quoted {
        (value.trim_matches(['"', '\'']), set::Typing::Text)
    } else {
        (value, set::Typing::Guessed)
    }
}

/// Returns `true` for a path that Flux takes.
pub fn is_path(path: &str) -> bool {
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let tail = &rest[first.len_utf8()..];
        rest = match first {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '\\' | '/' => tail,
            '[' => match tail.split_once(']') {
                Some((index, after))
                    if (1..=5).contains(&index.len()) && index.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    after
                }
                _ => return false,
            },
            _ => return false,
        };
    }
    !path.is_empty() && path.len() <= MOST_PATH_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(text: &str) -> Text<'_> {
        Text { text, target_path: None, is_literal: false }
    }

    fn at<'a>(path: &'a str, text: &'a str) -> Text<'a> {
        Text { text, target_path: Some(path), is_literal: false }
    }

    /// What the recordings of Flux show (facts 25 and 26).
    #[test]
    fn texts_are_read_as_flux_reads_them() {
        let mut values = Map::new();
        let literal = Text { is_literal: true, ..at("quoted", "0440") };
        let texts = [
            at("mode.octal", "0440"),
            at("list", "a\\,b"),
            at("flag", "true"),
            at("empty", ""),
            at("array", "{x,y}"),
            at("nothing", "null"),
            at("id", "1234567"),
            at("items[1].mode", "0440"),
            literal,
            document("mode: {octal: 0440}\n"),
            at("word", "'12'"),
        ];
        for text in texts {
            apply(&text, &mut values).unwrap();
        }
        let expected = json!({
            "mode": {"octal": 288}, "list": "a,b", "flag": true, "empty": "", "array": ["x", "y"], "nothing": null,
            "id": 1_234_567, "items": [null, {"mode": "0440"}], "quoted": "0440", "word": "12",
        });
        assert_eq!(Value::Object(values), expected);
    }

    #[test]
    fn paths_are_those_that_flux_takes() {
        for path in ["a", "a.b[0]", "a\\.b/c", "a[12345]"] {
            assert!(is_path(path), "{path}");
        }
        for path in ["", "a b", "a[x]", "a[123456]", "a[", "é", &"a".repeat(251)] {
            assert!(!is_path(path), "{path}");
        }
    }
}
