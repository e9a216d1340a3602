//! `--set` and its sisters, as Helm reads them.
//!
//! ```text
//!   a.b[0]=1,c={x,y}  ──assignments──▶  a.b[0] = 1,  c = {x,y}  ──apply──▶  values
//! ```

mod parser;

use crate::Map;
use serde_json::Value;

/// How the text of a value is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// `--set`: whole numbers, `true`, `false` and `null` are what they look like.
    Guessed,
    /// `--set-string`: always a text.
    Text,
}

/// Why Helm would refuse a `--set`. No message quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key without `=`.
    #[error("key {0:?} has no value")]
    NoValue(String),
    /// A map without members, as in `a.=x`.
    #[error("key map {0:?} has no value")]
    EmptyMap(String),
    /// A list without its closing brace.
    #[error("a list that begins with {{ ends with }}")]
    OpenList,
    /// Not a number between 0 and 65536.
    #[error("{0:?} is no index of a list: it goes from 0 to 65536")]
    Index(String),
    /// Something between `]` and what may follow it.
    #[error("unexpected {0:?} after the index of a list")]
    AfterIndex(String),
    /// More than 30 levels.
    #[error("a key has more than 30 levels")]
    Levels,
    /// The values so far hold something else there.
    #[error("{key:?} is no {wanted}, so nothing can be set in it")]
    Mismatch {
        /// The key.
        key: String,
        /// `map` or `list`.
        wanted: &'static str,
    },
}

/// One assignment as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Where, with its escapes: `a.b\.c[0]`.
    pub path: String,
    /// What, with its escapes: `x`, `{a,b}`.
    pub value: String,
}

/// Applies the text of one flag to the values so far.
///
/// # Errors
/// What Helm refuses.
pub fn apply(flag: &str, typing: Typing, values: &mut Map) -> Result<(), Error> {
    parser::apply(flag, &|text| typed(text, typing), values)
}

/// Applies a flag whose values are replaced by what `read` makes of them: `--set-file`.
///
/// # Errors
/// What Helm refuses.
pub fn apply_with(flag: &str, read: &dyn Fn(&str) -> Value, values: &mut Map) -> Result<(), Error> {
    parser::apply(flag, read, values)
}

/// The assignments of a flag that [`apply`] takes.
pub fn assignments(flag: &str) -> Vec<Assignment> {
    parser::assignments(flag)
}

/// Returns `true` if a path leads into a list.
pub fn is_in_list(path: &str) -> bool {
    parser::position(path, &['[']).is_some()
}

/// Writes a text so that Helm reads exactly that text as a value.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, c) in text.char_indices() {
        if matches!(c, '\\' | ',') || (index == 0 && c == '{') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn typed(text: &str, typing: Typing) -> Value {
    if typing == Typing::Text {
        return text.into();
    }
    match text.to_ascii_lowercase().as_str() {
        "true" => return true.into(),
        "false" => return false.into(),
        "null" => return Value::Null,
        "0" => return 0.into(),
        _ => {}
    }
    if text.starts_with('0') {
        return text.into();
    }
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

#[cfg(test)]
mod tests;
