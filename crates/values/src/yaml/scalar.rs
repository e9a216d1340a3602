//! What a scalar says: YAML 1.1 as go-yaml reads it.

use super::tree::Scalar;
use crate::go::{self, Integer};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A scalar's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Integer(Integer),
    Float(f64),
    Text(String),
}

/// Begins every tag of YAML's own types.
const YAML_TAG: &str = "tag:yaml.org,2002:";

/// Reads a scalar.
///
/// # Errors
/// Its text is not what its tag says.
pub(super) fn read(scalar: &Scalar) -> Result<Plain, &'static str> {
    let Some(tag) = &scalar.tag else {
        return Ok(if scalar.is_plain { plain(&scalar.text) } else { Plain::Text(scalar.text.clone()) });
    };
    let text = || Plain::Text(scalar.text.clone());
    match (tag.strip_prefix(YAML_TAG), plain(&scalar.text)) {
        (Some("null"), Plain::Null) => Ok(Plain::Null),
        (Some("null"), _) => Err("is tagged as null and is something else"),
        (Some("bool"), value @ Plain::Bool(_)) => Ok(value),
        (Some("bool"), _) => Err("is tagged as a boolean and is something else"),
        (Some("int"), value @ Plain::Integer(_)) => Ok(value),
        (Some("int"), _) => Err("is tagged as an integer and is something else"),
        (Some("float"), Plain::Integer(Integer::Signed(number))) => Ok(Plain::Float(number as f64)),
        (Some("float"), value @ Plain::Float(_)) => Ok(value),
        (Some("float"), _) => Err("is tagged as a float and is something else"),
        (Some("timestamp"), _) if is_date(&scalar.text) => Ok(text()),
        (Some("timestamp"), _) => Err("is tagged as a timestamp and is something else"),
        (Some("binary"), _) => binary(&scalar.text).map(Plain::Text),
        // Texts, and tags that nobody knows.
        (_, _) => Ok(text()),
    }
}

/// Returns `true` for the key that merges a map into the one it stands in.
pub(super) fn is_merge(scalar: &Scalar) -> bool {
    let has_tag = scalar.tag.as_deref().and_then(|tag| tag.strip_prefix(YAML_TAG)) == Some("merge");
    scalar.text == "<<" && (scalar.is_plain || has_tag)
}

/// The value of a plain scalar.
fn plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return Plain::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Plain::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Plain::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => go::float(text).map(Plain::Float),
        Some(b'+' | b'-' | b'0'..=b'9') => number(&text.replace('_', "")),
        _ => None,
    };
    number.unwrap_or_else(|| Plain::Text(text.to_owned()))
}

/// A number without underscores.
fn number(text: &str) -> Option<Plain> {
    if let Some(integer) = go::integer(text) {
        return Some(Plain::Integer(integer));
    }
    if go::is_decimal(text)
        && let Some(float) = go::float(text)
    {
        return Some(Plain::Float(float));
    }
    // A sign may stand behind the prefix.
    text.strip_prefix("0b").and_then(go::binary).map(Plain::Integer)
}

fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let is_number = |part: Option<&str>, lengths: std::ops::RangeInclusive<usize>| {
        part.is_some_and(|part| {
            lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    is_number(parts.next(), 4..=4)
        && is_number(parts.next(), 1..=2)
        && parts.next().is_some_and(|day| day.starts_with(|first: char| first.is_ascii_digit()))
}

/// Base64, with what is no UTF-8 replaced byte by byte.
fn binary(text: &str) -> Result<String, &'static str> {
    let encoded: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(encoded).map_err(|_| "is tagged as binary and is not base64")?;
    let mut decoded = String::new();
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Ok(decoded)
}
